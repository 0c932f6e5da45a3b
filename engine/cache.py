"""main.py --cache: packed clips beside their h5, `<name>.packed.h5`, mapped into memory the next time."""

import sys
from pathlib import Path

import h5py
import numpy as np

from clips.skeletons import read_skeleton
from data import Clips, as_ranges
from safe.files import state_of
from safe.h5 import open_h5
from util import UserError, atomic_write

MARK = "packed clips"  # how the state of a cache begins
VERSION = 5  # of what is in it
HEADER = ("joints", "persons", "class_names", "protocol", "axes", "sha256")  # kept as they are


def read_cached(path):
    """Clips.read by way of the cache. One of an h5 that has changed is written anew; other files are left alone."""
    path = Path(path)
    packed, state = path.with_suffix(".packed.h5"), f"{MARK} {VERSION}, {state_of(path)}"
    if clips := read(packed, state):
        return clips
    clips = Clips.read(path)
    try:
        if packed.exists() and not is_cache(packed):
            raise FileExistsError(0, "a file of this name that is no cache is there")
        write(clips, packed, state)
    except OSError as error:
        print(f"note: {packed}: not written: {error.strerror}", file=sys.stderr)
    return clips


def write(clips, packed, state):
    with atomic_write(packed) as part, h5py.File(part, "w") as file:
        for name in ("frames", "length", "label"):
            file[name] = getattr(clips, name).numpy()
        if clips.resplits is not None:
            file["resplits"] = clips.resplits.numpy()
        file.attrs.update(state=state, splits=[len(ids) for ids in clips.splits.values()])
        file.attrs.update({name: getattr(clips, name) for name in HEADER} | clips.skeleton.to_attributes())
        if clips.origin is not None:
            file.attrs["origin"] = clips.origin


def read(packed, state):
    """The clips of a cache; None if there is none, or it is damaged, or was made from another state of the h5."""
    try:
        with open_h5(packed) as file:
            if file.attrs.get("state") != state:
                return None
            frames, length, label = file["frames"], file["length"][:], file["label"][:]
            # Mapped copy-on-write: torch wants memory that it may write to
            frames = np.memmap(packed, np.float32, "c", frames.id.get_offset(), frames.shape)
            header = {name: file.attrs[name] for name in HEADER}
            header |= {"class_names": tuple(header["class_names"]), "joints": int(header["joints"])}
            sizes = [int(size) for size in file.attrs["splits"]]
            whole = len(label) == len(length) == sum(sizes) and min(sizes) >= 0 and (length >= 0).all()
            if not whole or frames.shape != (length.sum() + 1, header["joints"] * 3):
                return None
            if len(label) and not (label.min() >= 0 and label.max() < len(header["class_names"])):
                return None
            header |= {"skeleton": read_skeleton(file.attrs, header["joints"]), "origin": file.attrs.get("origin")}
            resplits = file["resplits"][:] if "resplits" in file else None
            return Clips.from_arrays(frames, length, label, as_ranges(sizes), header, resplits)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError):
        return None


def is_cache(path):
    try:
        with open_h5(path) as file:
            return str(file.attrs.get("state")).startswith(MARK)
    except UserError:
        return False
