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

from clips.skeletons import KINECT_V1, KINECT_V2, MEDIAPIPE33, SKELETONS


def _between(a, b, share=0.5):
    """The point at this share of the way from a to b; points are {joint of MediaPipe: weight}."""
    return {joint: (1 - share) * a.get(joint, 0) + share * b.get(joint, 0) for joint in {**a, **b}}


def _joint(name):
    return {name: 1.0}


def _middle(name):
    return _between(_joint(f"left {name}"), _joint(f"right {name}"))


def _limbs(foot, tip):
    """What both Kinects have of arms and legs. foot: share of the way from ankle to toes."""
    points = {}
    for side in ("left", "right"):
        names = [f"{side} {name}" for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")]
        points |= {name: _joint(name) for name in names}
        points[f"{side} foot"] = _between(_joint(f"{side} ankle"), _joint(f"{side} foot"), foot)
        hand = _between(_joint(f"{side} index finger"), _joint(f"{side} little finger"))
        points[f"{side} hand"] = hand
        if tip:
            points[f"{side} hand tip"] = _between(_joint(f"{side} wrist"), hand, 2)
            points[f"{side} thumb"] = _joint(f"{side} thumb")
    return points


_HIPS, _SHOULDERS, _HEAD = _middle("hip"), _middle("shoulder"), _middle("ear")
_POINTS = {
    KINECT_V1.name: _limbs(foot=1 / 2, tip=False)
    | {
        "hip centre": _between(_HIPS, _SHOULDERS, 1 / 6),
        "spine": _between(_HIPS, _SHOULDERS, 1 / 3),
        "shoulder centre": _between(_SHOULDERS, _HEAD, 3 / 8),
        "head": _HEAD,
    },
    KINECT_V2.name: _limbs(foot=2 / 3, tip=True)
    | {
        "base of the spine": _HIPS,
        "middle of the spine": _between(_HIPS, _SHOULDERS),
        "spine at the shoulders": _SHOULDERS,
        "neck": _between(_SHOULDERS, _HEAD, 1 / 3),
        "head": _HEAD,
    },
}


def _matrix(name):
    """(joints, 33) float64: the weights of MediaPipe's joints in each joint of a Kinect. Rows sum to 1."""
    points = _POINTS[name]
    return np.array([[points[j].get(joint, 0.0) for joint in MEDIAPIPE33.joints] for j in SKELETONS[name].joints])


# (skeleton of the clip, skeleton wanted): weights, (joints wanted, joints of the clip)
MAPS = {(MEDIAPIPE33.name, name): _matrix(name) for name in _POINTS}


def map_joints(clip, source, target):
    """Joints of one skeleton as those of another: (..., joints, 3) -> (..., joints, 3), of the same type.

    An absent person, all zeros, stays so. Raises KeyError if there is no map from source to target (MAPS).
    """
    return MAPS[source, target].astype(clip.dtype) @ clip
