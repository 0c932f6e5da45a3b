"""Joints of one tool or camera as those of a Kinect, for networks that were trained with one.

    clip = map_joints(clip, "mediapipe33", "kinect_v2")      # (..., 33, 3) -> (..., 25, 3), metres, Kinect's axes

Each joint is a weighted mean. Joints that both have under one name are kept, among them shoulders, elbows, wrists,
knees and ankles; all others are guessed.

The fractions of v1's trunk are those that fit N-UCLA's training clips best, rounded: the joint is then 16 mm (hip
centre), 22 mm (spine) and 43 mm (shoulder centre) off in the median, if hips, shoulders and head are Kinect's. Kinect's
hips are higher and closer together than MediaPipe's, which are kept (N-UCLA: 14 cm apart; MediaPipe: 22). MediaPipe's
thumb is the thumb's root, and its foot the toes.
"""

import numpy as np

from clips.skeletons import AZURE_KINECT, KINECT_V1, KINECT_V2, MEDIAPIPE33, ZED34

# A point is the weights of a skeleton's joints; points are a dict of them by name


def _points(skeleton):
    return dict(zip(skeleton.joints, np.eye(len(skeleton.joints)), strict=True))


def _between(a, b, share=0.5):
    """The point at this share of the way from a to b."""
    return (1 - share) * a + share * b


def _of_mediapipe(foot, trunk):
    """foot: share of the way from ankle to toes. trunk: function of hips, shoulders and head."""
    points = _points(MEDIAPIPE33)
    middle = {name: _between(points[f"left {name}"], points[f"right {name}"]) for name in ("hip", "shoulder", "ear")}
    points |= {"head": middle["ear"]} | trunk(*middle.values())
    for side in ("left", "right"):
        hand = _between(points[f"{side} index finger"], points[f"{side} little finger"])
        points |= {f"{side} hand": hand, f"{side} hand tip": _between(points[f"{side} wrist"], hand, 2)}
        points[f"{side} foot"] = _between(points[f"{side} ankle"], points[f"{side} foot"], foot)
    return points


def _trunk_v1(hips, shoulders, head):
    return {
        "hip centre": _between(hips, shoulders, 1 / 6),
        "spine": _between(hips, shoulders, 1 / 3),
        "shoulder centre": _between(shoulders, head, 3 / 8),
    }


def _trunk_v2(hips, shoulders, head):
    return {
        "base of the spine": hips,
        "middle of the spine": _between(hips, shoulders),
        "spine at the shoulders": shoulders,
        "neck": _between(shoulders, head, 1 / 3),
    }


def _of_azure(skeleton):
    points = _points(skeleton)
    return points | {
        "base of the spine": points["pelvis"],
        "middle of the spine": _between(points["spine at the navel"], points["spine at the chest"]),
        "spine at the shoulders": _between(points["left clavicle"], points["right clavicle"]),
    }


def _weights(points, skeleton):
    return np.array([points[joint] for joint in skeleton.joints])


_V2, _TRUNK_V2 = _points(KINECT_V2), ("base of the spine", "spine at the shoulders", "head")
# (skeleton of the clip, skeleton wanted): weights, (joints wanted, joints of the clip), whose rows sum to 1
MAPS = {
    ("mediapipe33", "kinect_v1"): _weights(_of_mediapipe(1 / 2, _trunk_v1), KINECT_V1),
    ("mediapipe33", "kinect_v2"): _weights(_of_mediapipe(2 / 3, _trunk_v2), KINECT_V2),
    ("kinect_v2", "kinect_v1"): _weights(_V2 | _trunk_v1(*map(_V2.get, _TRUNK_V2)), KINECT_V1),
}
for _skeleton in (AZURE_KINECT, ZED34):
    MAPS[_skeleton.name, "kinect_v2"] = _weights(_of_azure(_skeleton), KINECT_V2)
    MAPS[_skeleton.name, "kinect_v1"] = MAPS["kinect_v2", "kinect_v1"] @ MAPS[_skeleton.name, "kinect_v2"]


def map_joints(clip, source, target):
    """Joints of one skeleton as those of another: (..., joints, 3) -> (..., joints, 3), of the same type.

    An absent person, all zeros, stays so. Raises KeyError if there is no map from source to target (MAPS).
    """
    return MAPS[source, target].astype(clip.dtype) @ clip
