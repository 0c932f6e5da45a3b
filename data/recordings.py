"""Reads a recording that is in no data set as a clip like those that a network was trained on.

    clip = read_recording("S001C001P001R001A010.skeleton")       # (frames, persons, 25, 3) float32, metres

data, data/ntu and data/nucla must be on the import path.
"""

from pathlib import Path

import numpy as np

from blocks import BadFile, Skipped
from get_raw_denoised_data import actors
from get_raw_skes_data import read_file
from layout import center
from make_nucla import read_json
from seq_transformation import center_clip
from util import UserError, regular

ORIGIN = 2  # the joint at the origin, from 1: the spine in the skeletons of both Kinects


def read_recording(path, origin=ORIGIN):
    """Reads a file as the data sets' scripts do: (frames, persons, joints, 3) float32, metres.

    path: a `.skeleton` of NTU RGB+D, of which one or two actors are chosen; a `.json` of N-UCLA, with or without a
    label; or a `.npy`, (frames, joints, 3) or (frames, persons, joints, 3) in metres, zeros for an absent person.
    origin: the joint, from 1, that becomes the origin of a `.npy`; 0 for none.
    Raises UserError with the file, and the line of a `.skeleton`; OSError if the system cannot read it.
    """
    path = Path(path)
    if path.suffix not in READERS:
        raise UserError(f"{path}: not a .skeleton, .json or .npy file")
    try:
        clip = READERS[path.suffix](path, origin)
        if not clip.any():
            raise BadFile(None, "nobody is in it: all coordinates are 0")
        if not np.isfinite(clip).all():
            raise BadFile(None, "a coordinate is too large for float32")
    except BadFile as error:
        raise UserError(str(Skipped(str(path), *error.args))) from None
    return clip


def _read_skeleton(path, _):
    clip = center_clip(actors(*read_file(path)))
    return clip.reshape(len(clip), -1, 25, 3)


def _read_json(path, _):
    clip, _ = read_json(regular(path).read_bytes(), path, labelled=False)
    return clip.reshape(len(clip), 1, -1, 3)


def _read_npy(path, origin):
    try:
        array = np.load(
            regular(path), mmap_mode="r", allow_pickle=False
        )  # mapped: no memory is allocated by the header alone
        shape, dtype = array.shape, array.dtype
    except OSError:
        raise
    except Exception as error:  # NumPy raises many types for a damaged header
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadFile(None, f"not an array of numbers in NumPy's format ({why})") from None
    if len(shape) not in (3, 4) or shape[-1] != 3 or 0 in shape or dtype.kind not in "fiu":
        wanted = "(frames, joints, 3) or (frames, persons, joints, 3)"
        raise BadFile(None, f"{dtype} of shape {shape}, not {wanted}, metres")
    if shape[-2] < origin:
        raise BadFile(None, f"{shape[-2]} joints, so joint {origin} cannot be the origin")
    clip = np.array(array, np.promote_types(dtype, np.float32)).reshape(len(array), -1, *shape[-2:])
    finite = np.isfinite(clip).all(axis=(1, 2, 3))
    if not finite.all():
        raise BadFile(None, f"NaN or infinity in frame {finite.argmin() + 1}; use zeros for an absent person")
    return prepare(clip, origin)


READERS = {".skeleton": _read_skeleton, ".json": _read_json, ".npy": _read_npy}


def prepare(clip, origin=ORIGIN):
    """Centers a clip as the data sets' scripts do: (frames, persons, joints, 3), metres; returns float32.

    Frames without a person, and persons in no frame, are dropped. Joint `origin` (from 1; 0 for none) of person 1 in
    the first of its frames becomes the origin. A clip without persons becomes one without frames.
    """
    present = clip.any(axis=(2, 3))
    clip = clip[present.any(axis=1)][:, present.any(axis=0)]
    if origin and len(clip):
        clip = center(clip, ~clip.any(axis=(2, 3)), origin - 1)
    with np.errstate(over="ignore"):
        return clip.astype(np.float32)
