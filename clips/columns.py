"""An h5 of columns: what a script writes, a group of clips after another, and the next one reads."""

from math import prod

import h5py
import numpy as np

import util
from safe.files import remove_stale_parts
from util import UserError

CHUNK = 2**16  # bytes


def write_columns(path, groups):
    """Writes the arrays of each group, {name: array}, behind those of the one before; the file appears when it is
    complete. The groups have the same names and dtypes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_parts(path.parent)
    with util.atomic_write(path) as part, h5py.File(part, "w") as file:
        for arrays in groups:
            for name, array in arrays.items():
                if name not in file:
                    row = array.shape[1:]
                    chunks = (max(1, CHUNK // (array.itemsize * prod(row))), *row)
                    file.create_dataset(name, (0, *row), array.dtype, maxshape=(None, *row), chunks=chunks)
                column = file[name]
                column.resize(len(column) + len(array), axis=0)
                column[len(column) - len(array) :] = array


def read_columns(file, *names):
    """Arrays of an open h5, which are as long as each other. Raises UserError."""
    columns = [file[name][()] for name in names]
    if len({np.shape(column)[:1] for column in columns}) > 1 or not np.ndim(columns[0]):
        raise UserError(f"{file.filename}: {', '.join(names)} are not as long as each other")
    return columns
