"""Arrays in MATLAB's .mat files, read in another process: scipy itself crashes on some damaged files."""

import io
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from safe import workers
from util import UserError


def read_mats(files, variable):
    """Yields (key, array) for each (key, bytes of a .mat), where `variable` is read. Raises UserError with the key.

    Arrays are numbers of three axes; MATLAB drops a last axis of 1, which is put back.
    """
    with workers.process_pool(1) as pool:
        for key, content in files:
            try:
                array = workers.submit(pool, _read, content, variable).result()
            except BrokenProcessPool:
                array = "it crashes scipy's reader"
            if isinstance(array, str):
                raise UserError(f"{key}: cannot be read as a .mat with {variable} ({array})")
            yield key, array


def _read(content, variable):
    """The array, or why it cannot be read."""
    from scipy.io import loadmat

    try:
        array = np.asarray(loadmat(io.BytesIO(content), variable_names=[variable])[variable])  # or a sparse matrix
    except MemoryError:
        raise
    except Exception as error:  # scipy raises many types for a damaged file; nothing in a .mat is executed
        return " ".join(str(error).split()) or type(error).__name__
    array = array[:, :, None] if array.ndim == 2 else array
    if array.ndim != 3 or array.dtype.kind not in "fiu":
        return f"it is {array.dtype} {array.shape}, not numbers of three axes"
    return array
