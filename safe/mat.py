"""Arrays in MATLAB's .mat files, read in another process: scipy itself crashes on some damaged files."""

import io
from concurrent.futures.process import BrokenProcessPool
from functools import cache

import numpy as np

from safe.workers import process_pool
from util import UserError, shorten


def read_mats(files, variable):
    """Yields (name, array) for each (name, bytes of a .mat): its `variable`, numbers of 3 axes. Raises UserError."""
    for name, content in files:
        array = read_mat(name, content, variable).get(variable, np.empty(0))
        array = array[:, :, None] if array.ndim == 2 else array  # MATLAB drops a last axis of 1
        if array.ndim != 3:
            raise UserError(f"{name}: no {variable} in it, numbers of three axes")
        yield name, array


_pool = cache(lambda: process_pool(1))


def read_mat(name, content, *variables):
    """The arrays of numbers in the bytes of a .mat, or those of these names: {variable: array}. Raises UserError."""
    try:
        return _pool().submit(_load, name, content, variables).result()
    except BrokenProcessPool:
        _pool.cache_clear()
        raise UserError(f"{name}: cannot be read as a .mat (it crashes scipy's reader)") from None


def _load(name, content, variables):
    import scipy.io

    try:
        found = scipy.io.loadmat(io.BytesIO(content), variable_names=variables or None)
    except MemoryError as error:
        raise MemoryError(f"{name}: {error}") from None
    except Exception as error:  # scipy raises many types for a damaged file; nothing in a .mat is executed
        why = "version 7.3: save it with -v7" if content[:10] == b"MATLAB 7.3" else shorten(error, 150)
        raise UserError(f"{name}: cannot be read as a .mat ({why or type(error).__name__})") from None
    return {name: array for name, array in found.items() if isinstance(array, np.ndarray) and array.dtype.kind in "fiu"}
