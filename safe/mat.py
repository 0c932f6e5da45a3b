"""Reads a .mat of MATLAB. Nothing in it is run; another process reads it, as scipy crashes on some damaged ones."""

import io
from concurrent.futures.process import BrokenProcessPool
from functools import cache

import numpy as np
from scipy.io import loadmat

from safe.workers import process_pool, submit
from util import UserError, regular, shorten


def read_mat(path, *names):
    """The arrays of numbers in a .mat, or those of these names: {name: array}. Raises UserError, OSError."""
    try:
        return submit(_pool(), load, path, *names).result()
    except BrokenProcessPool:
        _pool.cache_clear()
        raise UserError(f"{path}: cannot be read as a .mat (it crashes scipy's reader)") from None


_pool = cache(lambda: process_pool(1))


def load(path, *names):
    """As `read_mat`, in this process."""
    file = io.BytesIO(regular(path).read_bytes())
    if file.getbuffer()[:10] == b"MATLAB 7.3":
        raise UserError(f"{path}: a .mat of version 7.3; save it with -v7")
    try:
        found = loadmat(file, variable_names=names or None)
    except MemoryError as error:
        raise MemoryError(f"{path}: {error}") from None
    except Exception as error:  # scipy raises many types for a damaged file
        why = shorten(error, 150) or type(error).__name__
        raise UserError(f"{path}: cannot be read as a .mat ({why})") from None
    return {name: value for name, value in found.items() if isinstance(value, np.ndarray) and value.dtype.kind in "fiu"}
