"""Whether clips are in metres, with y up, by the size of persons and the way from their feet to their heads."""

import numpy as np

from clips.checks import FARTHEST
from clips.skeletons import known_skeleton
from clips.skipped import BadFile


def find_up(clip, skeleton):
    """The median of the way from an ankle to the head, (3,); None in 2D, or if these joints are not known."""
    known = known_skeleton(skeleton)
    head, ankle = (known.find("head", "nose"), known.find("left ankle")) if known else (None, None)
    if head is None or ankle is None or known.is_2d:
        return None
    people = clip[clip.any(axis=(2, 3))]
    return np.median(people[:, head] - people[:, ankle], axis=0)


def check_size(clip, skeleton, scale=None):
    """Raises BadFile if a clip, (frames, persons, joints, 3), is not of persons: in metres; or in 2D, in pictures.

    A few odd joints, as Kinect gives them, are allowed: it is the median person that is judged. scale: the --scale that
    numbers without a unit were multiplied by; None where the file's format says the unit. Smallness is judged of known
    skeletons, which are of whole bodies.
    """
    if not (np.abs(clip) < FARTHEST).all():
        raise BadFile(None, "NaN or infinity, or a coordinate too large for a person")
    size = np.median(np.ptp(clip[clip.any(axis=(2, 3))], axis=1), axis=0)  # along x, y and z
    known = known_skeleton(skeleton)
    is_2d = known is not None and known.is_2d
    height = size[1] if is_2d else max(size)
    if height <= 10 and (is_2d or not known or not 0 < height < 0.1):
        return
    why = "no person's size"
    if scale is not None and is_2d:
        why = "these look like pixels; numbers of a 2D skeleton must be x / width - 0.5, y / height - 0.5 and the score"
    elif scale is not None and height < 10:
        why = "too small for metres; correct --scale"
    elif scale is not None and height <= 30_000:
        unit, factor = ("centimetres", 0.01) if height <= 300 else ("millimetres", 0.001)
        why = f"these look like {unit}; use --scale {scale * factor:.6g}"
    raise BadFile(None, f"persons are about {height:{',.0f' if height > 10 else '.2g'}} high: {why}")


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
