"""Reads the h5 that the scripts of data/ have made."""

from types import SimpleNamespace

import h5py

from clips.h5 import SPLITS, read_header, validate


def read(path):
    """The arrays and the header of a correct h5, as attributes; sizes: how many clips train, validate and test."""
    with h5py.File(path) as file:
        assert validate(file) == []
        arrays = {key: file[key][()] for key in file}
        return SimpleNamespace(sizes=[len(arrays[f"{split}y"]) for split in SPLITS], **arrays, **read_header(file))


def labels(made, split):
    """Class indices."""
    return vars(made)[f"{split}y"].argmax(axis=1).tolist()


def lengths(x):
    """How many frames each clip has."""
    return [int(row.any(axis=1).nonzero()[0].max(initial=-1)) + 1 for row in x]
