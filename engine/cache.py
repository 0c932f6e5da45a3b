"""main.py --cache: packed clips beside their h5, `<name>.packed.pt`, mapped into memory the next time."""

from pathlib import Path

import torch

from clips.skeletons import read_skeleton
from data import Clips, as_ranges
from safe.files import state_of
from safe.program import note
from safe.torch_files import read_torch_file
from util import atomic_write

VERSION = 7  # of what is in a cache
ARRAYS = ("frames", "length", "label", "resplits")
HEADER = ("joints", "persons", "class_names", "protocol", "axes", "sha256", "origin")  # kept as they are


def read_cached(path):
    """Clips.read by way of the cache, which is written anew if the h5 has changed."""
    path = Path(path)
    packed, state = path.with_suffix(".packed.pt"), f"{VERSION}, {state_of(path)}"
    if clips := read(packed, state):
        return clips
    clips = Clips.read(path)
    content = {name: getattr(clips, name) for name in (*ARRAYS, *HEADER)}
    if clips.resplits is not None:
        content["resplits"] = clips.resplits.long()  # the reader of torch files knows no uint8
    content |= {"skeleton": clips.skeleton.to_attributes(), "sizes": [len(ids) for ids in clips.splits.values()]}
    try:
        with atomic_write(packed) as part, open(part, "wb") as file:
            torch.save(content | {"state": state}, file)
    except (OSError, RuntimeError) as error:  # PyTorch's does not say why
        note(f"{packed}: not written: {getattr(error, 'strerror', None) or 'is the disk full?'}")
    return clips


def read(packed, state):
    """The clips of a cache; None if there is none, or it is damaged, or was made from another state of the h5."""
    try:
        content = read_torch_file(packed, mapped=True)
        frames, length, label, resplits = (content[name] for name in ARRAYS)
        resplits = None if resplits is None else resplits.byte()
        header = {name: content[name] for name in HEADER}
        # Other columns than its joints': a skeleton of any size would be built
        if content["state"] != state or frames.dim() != 2 or frames.shape[1] != 3 * header["joints"]:
            return None
        header["skeleton"] = read_skeleton(content["skeleton"], header["joints"])
        splits = as_ranges(content["sizes"])
        whole = (length >= 0).all() and len(frames) == length.sum() + 1 and len(label) == len(length)
        if not whole or ((label < 0) | (label >= len(header["class_names"]))).any():
            return None
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError):
        return None
    return Clips(frames, length.cumsum(0) - length, length, label, splits, **header, resplits=resplits)
