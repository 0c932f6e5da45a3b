"""MediaPipe's 33 joints as those of the two Kinects, for networks that were trained with a Kinect.

    clip = map_joints(clip, "mediapipe33", "kinect_v2")      # (..., 33, 3) -> (..., 25, 3), metres, Kinect's axes

Each joint is a weighted mean of MediaPipe's. Shoulders, elbows, wrists, knees and ankles are MediaPipe's own; all
others are guessed:

hips                 MediaPipe's, though Kinect's are higher and closer together (N-UCLA: 14 cm apart; MediaPipe: 22)
head                 between the ears
spine                v2: its base between the hips, its middle half way from there to the shoulders, its top between the
                     shoulders. v1: hip centre and spine one and two sixths of that way up, the shoulder centre three
                     eighths of the way from between the shoulders to the head
neck (v2)            a third of the way from between the shoulders to the head
hands                between the knuckles of index and little finger; the tip (v2) as far again from the wrist
thumbs (v2)          MediaPipe's, which is the thumb's root and not its tip
feet                 on the way from the ankle to the toes, half of it (v1) or two thirds (v2)

The fractions of v1's trunk are those that fit N-UCLA's training clips best, rounded: the joint is then 16 mm (hip
centre), 22 mm (spine) and 43 mm (shoulder centre) off in the median, if hips, shoulders and head are Kinect's. The
others are guesses.
"""

import numpy as np

from clips.skeletons import KINECT_V1, KINECT_V2, MEDIAPIPE33

POINTS = dict(zip(MEDIAPIPE33.joints, np.eye(33), strict=True))  # each as the weights of MediaPipe's joints


def _between(a, b, share=0.5):
    """The point at this share of the way from a to b."""
    return (1 - share) * a + share * b


def _kinect(foot, trunk):
    """All joints by name. foot: share of the way from ankle to toes. trunk: function of hips, shoulders and head."""
    middle = {name: _between(POINTS[f"left {name}"], POINTS[f"right {name}"]) for name in ("hip", "shoulder", "ear")}
    points = POINTS | {"head": middle["ear"]} | trunk(*middle.values())
    for side in ("left", "right"):
        hand = _between(POINTS[f"{side} index finger"], POINTS[f"{side} little finger"])
        points |= {f"{side} hand": hand, f"{side} hand tip": _between(POINTS[f"{side} wrist"], hand, 2)}
        points[f"{side} foot"] = _between(POINTS[f"{side} ankle"], POINTS[f"{side} foot"], foot)
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


# (skeleton of the clip, skeleton wanted): weights, (joints wanted, joints of the clip), whose rows sum to 1
MAPS = {
    (MEDIAPIPE33.name, kinect.name): np.array([points[joint] for joint in kinect.joints])
    for kinect, points in ((KINECT_V1, _kinect(1 / 2, _trunk_v1)), (KINECT_V2, _kinect(2 / 3, _trunk_v2)))
}


def map_joints(clip, source, target):
    """Joints of one skeleton as those of another: (..., joints, 3) -> (..., joints, 3), of the same type.

    An absent person, all zeros, stays so. Raises KeyError if there is no map from source to target (MAPS).
    """
    return MAPS[source, target].astype(clip.dtype) @ clip
