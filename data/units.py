"""Whether clips are in metres, with y up, by the size of persons and the way from their feet to their heads."""

import numpy as np

from skeletons import SKELETONS
from util import UserError


def find_size(clip):
    """(frames, persons, joints, 3) -> (3,) float: along x, y and z, the median over the persons of all frames."""
    people = clip[clip.any(axis=(2, 3))]
    return np.median(np.ptp(people, axis=1), axis=0)


def find_up(clip, skeleton):
    """The median of the way from an ankle to the head, (3,); None in 2D, or if these joints are not known."""
    joints = SKELETONS[skeleton].joints if skeleton in SKELETONS else ()
    head = next((joints.index(name) for name in ("head", "nose") if name in joints), None)
    if head is None or SKELETONS[skeleton].is_2d:
        return None
    people = clip[clip.any(axis=(2, 3))]
    return np.median(people[:, head] - people[:, joints.index("left ankle")], axis=0)


def check_unit(size, skeleton, scale=1.0):
    """Raises UserError if persons of this size, as from `find_size`, are not in metres; or in 2D, not in pictures.

    scale: the --scale that they were multiplied by. Smallness is judged of known skeletons, which are of whole bodies.
    """
    known = SKELETONS.get(skeleton)
    height = max(size)
    if known and known.is_2d:
        if size[1] > 10:
            raise UserError(
                f"persons are about {size[1]:,.0f} high: these look like pixels; numbers of a 2D skeleton must be "
                "x / width - 0.5, y / height - 0.5 and the score"
            )
    elif height > 10:
        unit, factor = ("centimetres", 0.01) if height <= 300 else ("millimetres", 0.001)
        raise UserError(
            f"persons are about {height:,.0f} high: these look like {unit}; use --scale {scale * factor:.6g}"
        )
    elif known and 0 < height < 0.1:
        raise UserError(f"persons are about {height:.2g} high: too small for metres; correct --scale")


def describe_up(up, flag, skeleton):
    """What is odd about the way up, as from `find_up`, if y does not point from feet to heads; else None.

    flag: the --up that it was turned by, or None; a clip of MediaPipe's is then turned to Kinect's axes.
    """
    axis = int(np.abs(up).argmax())
    if axis == 1 and up[1] > 0:
        return None
    of_file = up * [-1, -1, 1] if skeleton == "mediapipe33" and not flag else up
    name = f"{'-' if of_file[axis] < 0 else ''}{'xyz'[axis]}"
    if flag:
        return f"with --up={flag} heads lie towards {name} from the feet, not y, if people stand in most clips"
    return f"heads lie towards {name} from the feet, not y; use --up={name}, if people stand in most clips"
