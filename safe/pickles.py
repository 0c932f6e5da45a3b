"""Reads pickles without running anything in them: NumPy arrays, numbers, text and containers, and nothing else.

    content = load("ntu60_3danno.pkl")          # its arrays are `content[...].array`

The classes here take the place of NumPy's own, which believe what a file says of memory.
"""

import io
import os
import pickle
import re
import struct

import numpy as np

from util import UserError, regular, shorten


def load(path):
    """The content of a pickle, of any protocol; arrays are objects with an attribute `array`.

    Raises pickle.UnpicklingError that names what is not allowed, and any other exception for a damaged file.
    """
    with _File(io.FileIO(regular(path))) as file:
        return _Unpickler(file).load()


def read(path, of):
    """As `load`, for a program. of: what the pickle is of. Raises UserError for what is wrong with the file."""
    try:
        return load(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged pickle can raise anything
        why = shorten(error, 150) or type(error).__name__
        raise UserError(f"{path}: cannot be read as a pickle of {of} ({why})") from None


class _File(io.BufferedReader):
    """A file of which no more is read than there is: one may claim to hold more than there is memory."""

    def __init__(self, raw):
        super().__init__(raw)
        self.size = os.fstat(raw.fileno()).st_size

    def read(self, n=-1):
        if n > self.size:
            raise pickle.UnpicklingError("it ends too early")
        return super().read(n)


def show(value):
    """A value of a file for a message, in short. The text of lists that hold a list twice, and so on, has no end."""
    plain = isinstance(value, str) or type(value) is int and abs(value) < 10**18
    return shorten(repr(value)) if plain else f"of type {type(value).__name__}"


class _Dtype:
    def __init__(self, code, *_):
        if not isinstance(code, str) or not re.fullmatch("[fiu][1248]|b1|U[0-9]{1,4}", code):
            raise pickle.UnpicklingError(f"a NumPy array of type {show(code)}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        self.dtype = self.dtype.newbyteorder(">" if state[1] == ">" else "<")


class _Array:
    def __init__(self, *_):
        self.array = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        self.array = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data, dtype, shape, order="C"):
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)  # ValueError if the sizes differ


def _frombuffer(data, dtype, shape, order, axes=None):
    holder = _Array()
    holder.array = _array(data, dtype, shape, "C" if order == "K" else order)
    holder.array = holder.array if axes is None else holder.array.transpose(axes)
    return holder


def _scalar(dtype, data):
    return np.frombuffer(data, dtype.dtype)[0].item()


def _encode(text, encoding="latin1"):
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"a text encoded as {show(encoding)}")
    return text.encode(encoding)


def _bytes(data=b"", encoding="latin1"):
    return _encode(data, encoding) if isinstance(data, str) else b"".join([data])  # bytes(n) would take memory


ALLOWED = {("numpy", "dtype"): _Dtype, ("numpy", "ndarray"): _Array, ("_codecs", "encode"): _encode}
for core in ("numpy.core", "numpy._core"):
    ALLOWED |= {(f"{core}.multiarray", "_reconstruct"): _Array, (f"{core}.multiarray", "scalar"): _scalar}
    ALLOWED |= {(f"{core}.numeric", "_frombuffer"): _frombuffer}
CONTAINERS = {kind.__name__: kind for kind in (dict, list, tuple, set, frozenset, complex)}
CONTAINERS |= {"bytes": _bytes, "bytearray": _bytes}
ALLOWED |= {(module, name): kind for module in ("builtins", "__builtin__") for name, kind in CONTAINERS.items()}
ALLOWED |= {("collections", "OrderedDict"): dict, ("collections", "defaultdict"): lambda *_: {}}


class _Tuple(tuple):
    """No key of a dict and no member of a set: the hash of tuples that hold a tuple twice, and so on, has no end."""

    __hash__ = None


def _load_tuple(load):
    def load_unhashable(unpickler):
        load(unpickler)
        unpickler.stack[-1] = _Tuple(unpickler.stack[-1])

    return load_unhashable


def _load_bytearray(unpickler):
    """Reads before it takes memory, and not after it as pickle does."""
    (length,) = struct.unpack("<Q", unpickler.read(8))
    unpickler.append(bytearray(unpickler.read(length)))


class _Unpickler(pickle._Unpickler):  # in Python: that in C takes memory for as many objects as a file claims to have
    dispatch = dict(pickle._Unpickler.dispatch)
    for code in (pickle.EMPTY_TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.TUPLE):
        dispatch[code[0]] = _load_tuple(dispatch[code[0]])

    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray

    def find_class(self, module, name):
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it would run {module}.{name}") from None

    def persistent_load(self, key):
        raise pickle.UnpicklingError("it refers to objects outside the file")
