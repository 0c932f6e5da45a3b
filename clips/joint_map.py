"""Joints of one tool or camera as those of a Kinect, for networks that were trained with one.

    clip = map_joints(clip, "mediapipe33", "kinect_v2")      # (..., 33, 3) -> (..., 25, 3), metres, Kinect's axes

Each joint is a weighted mean. Joints that both have under one name are kept, among them shoulders, elbows, wrists,
knees and ankles; all others are guessed. The fractions of v1's trunk fit N-UCLA's training clips best, rounded: 16 mm
(hip centre), 22 mm (spine) and 43 mm (shoulder centre) off in the median. Kinect's hips are higher and closer together
than MediaPipe's, which are kept (14 cm apart in N-UCLA; MediaPipe's 22).
"""

import numpy as np

from clips.skeletons import AZURE_KINECT, KINECT_V1, KINECT_V2, MEDIAPIPE33, ZED34


def _map(source, target, *points):
    """Weights, (joints of target, joints of source), whose rows sum to 1. points: (name, a, b, share) for what lies at
    this share of the way from a to b, joints of the source or points before it; (name, a) for what lies at a."""
    weights = dict(zip(source.joints, np.eye(len(source.joints)), strict=True))
    for name, a, *way in points:
        b, share = way or (a, 0)
        weights[name] = (1 - share) * weights[a] + share * weights[b]
    return np.array([weights[joint] for joint in target.joints])


def _both(name, a, b, share):
    return [tuple(f"{side} {joint}" for joint in (name, a, b)) + (share,) for side in ("left", "right")]


_MIDDLES = [(f"{name}s", f"left {name}", f"right {name}", 1 / 2) for name in ("hip", "shoulder", "ear")]
_BODY = [*_MIDDLES, ("head", "ears"), *_both("hand", "index finger", "little finger", 1 / 2)]
_BODY_V1 = [*_BODY, *_both("foot", "ankle", "foot", 1 / 2)]
_BODY_V2 = [*_BODY, *_both("foot", "ankle", "foot", 2 / 3), *_both("hand tip", "wrist", "hand", 2)]
_TRUNK_V1 = [("hip centre", "hips", "shoulders", 1 / 6), ("spine", "hips", "shoulders", 1 / 3)]
_TRUNK_V1 += [("shoulder centre", "shoulders", "head", 3 / 8)]
_TRUNK_V2 = [("base of the spine", "hips"), ("middle of the spine", "hips", "shoulders", 1 / 2)]
_TRUNK_V2 += [("spine at the shoulders", "shoulders"), ("neck", "shoulders", "head", 1 / 3)]
_OF_V2 = [("hips", "base of the spine"), ("shoulders", "spine at the shoulders")]
_OF_AZURE = [("base of the spine", "pelvis"), ("spine at the shoulders", "left clavicle", "right clavicle", 1 / 2)]
_OF_AZURE += [("middle of the spine", "spine at the navel", "spine at the chest", 1 / 2)]
MAPS = {  # (skeleton of the clip, skeleton wanted): weights
    ("mediapipe33", "kinect_v1"): _map(MEDIAPIPE33, KINECT_V1, *_BODY_V1, *_TRUNK_V1),
    ("mediapipe33", "kinect_v2"): _map(MEDIAPIPE33, KINECT_V2, *_BODY_V2, *_TRUNK_V2),
    ("kinect_v2", "kinect_v1"): _map(KINECT_V2, KINECT_V1, *_OF_V2, *_TRUNK_V1),
    ("azure_kinect", "kinect_v2"): _map(AZURE_KINECT, KINECT_V2, *_OF_AZURE),
    ("zed34", "kinect_v2"): _map(ZED34, KINECT_V2, *_OF_AZURE),
}
for _name in ("azure_kinect", "zed34"):
    MAPS[_name, "kinect_v1"] = MAPS["kinect_v2", "kinect_v1"] @ MAPS[_name, "kinect_v2"]


def map_joints(clip, source, target):
    """Joints of one skeleton as those of another: (..., joints, 3) -> (..., joints, 3), of the same type.

    An absent person, all zeros, stays so. Raises KeyError if there is no map from source to target (MAPS).
    """
    return MAPS[source, target].astype(clip.dtype) @ clip
