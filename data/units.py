"""Whether clips are in metres, with y up, by the size of persons and the way from their feet to their heads."""

import numpy as np

from skeletons import SKELETONS
from util import UserError


def find_size(clip):
    """(frames, persons, joints, 3) -> (3,) float: along x, y and z, the median over the persons of all frames."""
    people = clip[clip.any(axis=(2, 3))]
    return np.median(np.ptp(people, axis=1), axis=0)


def find_up(clip, skeleton):
    """The median of the way from an ankle to the head, (3,); None if these joints are not known."""
    joints = SKELETONS[skeleton].joints if skeleton in SKELETONS else ()
    head = next((joints.index(name) for name in ("head", "nose") if name in joints), None)
    if head is None:
        return None
    people = clip[clip.any(axis=(2, 3))]
    return np.median(people[:, head] - people[:, joints.index("left ankle")], axis=0)


def check_unit(size, is_2d, scale=1.0):
    """Raises UserError if persons of this size, as from `find_size`, are not in metres; or in 2D, not in pictures."""
    height = size[1]
    if height > 10 and is_2d:
        raise UserError(
            f"persons are about {height:,.0f} high: these look like pixels; numbers of a 2D skeleton must be "
            "x / width - 0.5, y / height - 0.5 and the score"
        )
    if height > 10:
        unit, factor = ("centimetres", 0.01) if height <= 300 else ("millimetres", 0.001)
        raise UserError(
            f"persons are about {height:,.0f} high: these look like {unit}; use --scale {scale * factor:.6g}"
        )
    if 0 < max(size) < 0.1 and not is_2d:
        raise UserError(f"persons are about {max(size):.2g} large: too small for metres; correct --scale")


def describe_up(up, flag=None):
    """What is odd about the way up, as from `find_up`, if y does not point from feet to heads; else None.

    flag: the --up that it was turned by.
    """
    axis = int(np.abs(up).argmax())
    if axis == 1 and up[1] > 0:
        return None
    name = f"{'-' if up[axis] < 0 else ''}{'xyz'[axis]}"
    way = f"turned by --up={flag}, they are along {name}" if flag else f"{name} points there: use --up={name}"
    return f"y does not point from feet to heads; {way}, if people stand in most clips"
