"""The skeletons that the field's data sets use: what each joint is called and hangs on. Joints count from 0."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Skeleton:
    """joints: names; parent: the joint that each hangs on, its own number where it hangs on none.

    flat: from pictures: x and y alone, y down, and a joint at exactly 0 was not seen.
    """

    name: str
    joints: tuple[str, ...]
    parent: tuple[int, ...]
    flat: bool = False

    def bones(self):
        """(bones, 2) int64: the joints at each bone's ends."""
        return np.array([pair for pair in enumerate(self.parent) if pair[0] != pair[1]], np.int64).reshape(-1, 2)

    def flip_pairs(self):
        """(joints,) int64: each joint's counterpart on the other side, and its own number where it is in the middle."""
        other = {"left": "right", "right": "left"}
        names = [" ".join(other.get(word, word) for word in name.split()) for name in self.joints]
        return np.array([self.joints.index(name) for name in names], np.int64)


def _sides(side, *names):
    return tuple(f"{side} {name}" for name in names)


_ARM, _LEG = ("shoulder", "elbow", "wrist", "hand"), ("hip", "knee", "ankle", "foot")
_LIMBS = _sides("left", *_ARM) + _sides("right", *_ARM) + _sides("left", *_LEG) + _sides("right", *_LEG)
_TIPS = _sides("left", "hand tip", "thumb") + _sides("right", "hand tip", "thumb")

SKELETONS = {
    25: Skeleton(
        "Kinect v2",  # NTU RGB+D
        ("base of the spine", "middle of the spine", "neck", "head", *_LIMBS, "spine at the shoulders", *_TIPS),
        (0, 0, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 1, 7, 7, 11, 11),
    ),
    20: Skeleton(
        "Kinect v1",  # N-UCLA, SYSU
        ("hip centre", "spine", "shoulder centre", "head", *_LIMBS),
        (0, 0, 1, 2, 2, 4, 5, 6, 2, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18),
    ),
    18: Skeleton(
        "OpenPose",  # Kinetics-Skeleton
        ("nose", "neck")
        + _sides("right", *_ARM[:3])
        + _sides("left", *_ARM[:3])
        + _sides("right", *_LEG[:3])
        + _sides("left", *_LEG[:3])
        + ("right eye", "left eye", "right ear", "left ear"),
        (1, 1, 1, 2, 3, 1, 5, 6, 1, 8, 9, 1, 11, 12, 0, 0, 14, 15),
        flat=True,
    ),
}


def skeleton_of(joints):
    """The skeleton of so many joints; of a number that none has, one of points without bones."""
    names = tuple(f"joint {i}" for i in range(joints))
    return SKELETONS.get(joints) or Skeleton(f"{joints} joints, bones not known", names, tuple(range(joints)))
