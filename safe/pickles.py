"""Reads pickles without running anything in them: NumPy arrays, numbers, text and containers, and nothing else.

check_schema says whether what a file holds has the form that is expected.

    content = read("ntu60_3danno.pkl", "clips")          # its arrays are `content[...].array`

The classes here take the place of NumPy's own, which believe what a file says of memory.
"""

import io
import os
import pickle
import re
import sys

import numpy as np

from util import UserError, regular, shorten


class Refused(pickle.UnpicklingError):
    """Names what is not allowed in a pickle."""


def read(path, of):
    """The content of a pickle, of any protocol; arrays are objects with an attribute `array`.

    of: what the pickle is of. Raises UserError that names what is not allowed, or says that the file is damaged.
    """
    try:
        with File(regular(path)) as file:
            return Unpickler(file, ALLOWED).load()
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged pickle can raise anything
        why = shorten(error, 150) or type(error).__name__
        raise UserError(f"{path}: cannot be read as a pickle of {of} ({why})") from None


class File(io.BufferedReader):
    """A file of which no more is read than there is: one may claim to hold more than there is memory."""

    def __init__(self, path):
        super().__init__(io.FileIO(path))
        self.size = os.fstat(self.fileno()).st_size

    def read(self, n=-1):
        if n > self.size:
            raise Refused("it ends too early")
        return super().read(n)


def show(value):
    """A value of a file for a message, in short. The text of lists that hold a list twice, and so on, has no end."""
    plain = isinstance(value, str) or type(value) is int and abs(value) < 10**18
    return shorten(repr(value)) if plain else f"of type {type(value).__name__}"


class _Dtype:
    def __init__(self, code, *_):
        if not isinstance(code, str) or not re.fullmatch("[fiu][1248]|b1|U[0-9]{1,4}", code):
            raise Refused(f"a NumPy array of type {show(code)}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        self.dtype = self.dtype.newbyteorder(">" if state[1] == ">" else "<")


class _Array:
    array = None  # in protocols before 5 what it holds comes later

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        self.array = np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if fortran else "C")


def _array_of(data, dtype, shape, order, axes=None):
    made = _Array()
    made.array = np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")  # also of "K"
    made.array = made.array if axes is None else made.array.transpose(axes)
    return made


def _scalar(dtype, data):
    return np.frombuffer(data, dtype.dtype)[0].item()


def _encode(text, encoding):
    if encoding != "latin1":
        raise Refused(f"a text encoded as {show(encoding)}")
    return text.encode(encoding)


def _checked(keys):
    """Keys of a dict, or members of a set: texts and small whole numbers. The hash of a tuple that holds a tuple twice,
    and so on, has no end, and those of large numbers may all be equal."""
    for key in keys:
        if not (isinstance(key, str) or type(key) is int and abs(key) < 2**32):
            raise Refused(f"a key {show(key)}")
    return keys


def _set(members):
    return set(_checked(list(members)))


def _dict(items=()):
    items = list(items)
    _checked([key for key, _ in items])
    return dict(items)


NUMPY = {("numpy", "dtype"): _Dtype, ("_codecs", "encode"): _encode, ("collections", "OrderedDict"): _dict}
NUMPY |= {(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")}
ALLOWED = NUMPY | {("numpy", "ndarray"): _Array, ("collections", "defaultdict"): lambda *_: {}}
for core in ("numpy.core", "numpy._core"):
    ALLOWED[f"{core}.multiarray", "_reconstruct"] = lambda *_: _Array()
    ALLOWED[f"{core}.numeric", "_frombuffer"] = _array_of
# "bytes" is called for empty ones alone: with a number it would take memory
CONTAINERS = {"list": list, "tuple": tuple, "dict": _dict, "set": _set, "frozenset": _set, "bytes": lambda: b""}
ALLOWED |= {("builtins", name): kind for name, kind in CONTAINERS.items()}


# Steps of an Unpickler that hash something, and where on the stack that lies
HASHED = {pickle.DICT: slice(None, None, 2), pickle.SETITEMS: slice(None, None, 2), pickle.SETITEM: slice(-2, -1)}
HASHED |= {pickle.ADDITEMS: slice(None), pickle.FROZENSET: slice(None)}


def _checked_first(code):
    do = pickle._Unpickler.dispatch[code[0]]

    def checked(unpickler):
        _checked(unpickler.stack[HASHED[code]])
        do(unpickler)

    return checked


class Unpickler(pickle._Unpickler):  # in Python: that in C takes memory for as many objects as a file claims to have
    """allowed: {(module, name): what takes its place}. persistent: a function of what a file names by an ID."""

    dispatch = pickle._Unpickler.dispatch | {code[0]: _checked_first(code) for code in HASHED}
    # Bytes are read before memory is taken for them, and bytearrays after it
    dispatch[pickle.BYTEARRAY8[0]] = pickle._Unpickler.load_binbytes8

    def __init__(self, file, allowed, persistent=None):
        super().__init__(file)
        self.allowed, self.persistent = allowed, persistent

    def load_build(self):
        state = self.stack.pop()
        if not isinstance(self.stack[-1], dict):  # the attributes of a dict are left out
            self.stack[-1].__setstate__(state)

    dispatch[pickle.BUILD[0]] = load_build

    def find_class(self, module, name):
        module = "builtins" if module == "__builtin__" else module  # as Python 2 calls it
        if (module, name) not in self.allowed:
            raise Refused(f"it would run {module}.{name}")
        return self.allowed[module, name]

    def persistent_load(self, key):
        if not self.persistent:
            raise Refused("it refers to objects outside the file")
        return self.persistent(key)


# ---- plain values from any file


def check_schema(value, schema, name):
    """Raises ValueError unless a value is as the schema says.

    schema: a type (float: any finite number, but no bool; object: anything); [schema] for a list of such; {type:
    schema} for a dict with such keys and values; {"key": schema, ...} for a dict with just these keys.
    """
    if schema is float:
        if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
            raise ValueError(f"{name} is no finite number")
        return
    kind = schema if isinstance(schema, type) else type(schema)
    if not isinstance(value, kind):
        raise ValueError(f"{name} is a {type(value).__name__}, not a {kind.__name__}")
    if isinstance(schema, list):
        for i, part in enumerate(value):
            check_schema(part, schema[0], f"{name}[{i}]")
    elif isinstance(schema, dict):
        of_key, of_value = next(iter(schema.items()))
        if isinstance(of_key, type):
            check_schema([*value], [of_key], f"keys of {name}")
            schema = dict.fromkeys(value, of_value)
        if value.keys() != schema.keys():
            raise ValueError(f"{name} has other entries than {', '.join(schema)}")
        for key, part in schema.items():
            check_schema(value[key], part, f"{name}.{key}")
