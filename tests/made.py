"""Reads the h5 that the scripts of data/ have made, and recordings as these center them."""

from types import SimpleNamespace

import h5py

from clips.h5 import ORIGIN, SPLITS, read_header, trim_and_center, validate
from clips.recordings import read_any


def read(path):
    """A correct h5: its header as attributes; and by split its clips x, class indices y, and sizes, how many."""
    with h5py.File(path) as file:
        assert validate(file) == []
        x, y = ({split: file[f"{split}{key}"][()] for split in SPLITS} for key in "xy")
        y = {split: labels.argmax(axis=1).tolist() for split, labels in y.items()}
        return SimpleNamespace(x=x, y=y, sizes=[*map(len, x.values())], **read_header(file))


def read_recording(path, origin=ORIGIN):
    """The clip of a recording, trimmed and centered."""
    poses = read_any(path)
    return poses.clip if poses.centered else trim_and_center(poses.clip, origin)
