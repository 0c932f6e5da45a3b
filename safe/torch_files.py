"""Reads and writes files of torch.save: tensors and plain values, of which nothing is run and nothing is believed."""

import io
import sys
import zipfile
from collections import namedtuple

import torch

from safe import pickles
from safe.program import is_out_of_memory
from util import UserError, atomic_write, readable, regular, shorten

READ = {"Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16}
READ["Long"] = torch.int64
OTHERS = {"Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool}
OTHERS |= {"ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128}


def read_torch_file(path):
    """What torch.load gives for tensors and plain values, on the CPU. Anything else in the file is refused: UserError.

    Returns dicts, lists, tuples and tensors that have no attributes of their own. What is no dense tensor of a type of
    READ becomes None.
    """
    try:
        with pickles.File(regular(path)) as file:
            content, storages = (_read_zip if zipfile.is_zipfile(file) else _read_old)(file)
            return storages.plain(content, {})
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; main.py writes one when it trains") from None
    except Exception as error:  # a damaged file can make the reader raise anything
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.filename):
            raise
        refused = isinstance(error, pickles.Refused)
        why = readable(str(error)) if refused else "not written by torch.save, or damaged"
        raise UserError(f"{path}: cannot be read safely ({shorten(why, 150)})") from None


def _read_zip(file):
    archive = zipfile.ZipFile(file)
    parts = {part.filename: part for part in archive.infolist()}
    if sum(part.file_size for part in parts.values()) > file.size:
        raise pickles.Refused("its parts are larger than the file")
    root = next(name for name in parts if name.endswith("/data.pkl")).removesuffix("data.pkl")
    if f"{root}byteorder" in parts and archive.read(f"{root}byteorder") != b"little":
        raise pickles.Refused("written by a big-endian machine")
    storages = _Storages(lambda key: bytearray(archive.read(parts[f"{root}data/{key}"])))
    return storages.unpickle(io.BytesIO(archive.read(f"{root}data.pkl"))), storages


def _read_old(file):
    """Of PyTorch before 1.6: five pickles, last the content and the keys of its storages; then the length and the
    numbers of each of these."""
    file.seek(0)
    numbers = {}
    storages = _Storages(numbers.__getitem__)
    *_, content, keys = (storages.unpickle(file) for _ in range(5))
    for key in keys:
        length = int.from_bytes(file.read(8), "little")
        numbers[key] = bytearray(file.read(length * storages.dtypes[key].itemsize))
    return content, storages


_Tensor = namedtuple("_Tensor", "storage offset size stride")  # what a pickle says of one
ALLOWED = pickles.NUMPY | {("torch", f"{name}Storage"): dtype for name, dtype in (READ | OTHERS).items()}
ALLOWED["torch._utils", "_rebuild_tensor_v2"] = lambda *args: _Tensor(*args[:4])
ALLOWED["torch._utils", "_rebuild_parameter"] = lambda tensor, *_: tensor


class _Storages:
    """The numbers of a file, loaded when a tensor needs them. read: a function of a key, which gives bytes."""

    def __init__(self, read):
        self.read, self.dtypes, self.loaded = read, {}, {}

    def unpickle(self, file):
        return pickles.Unpickler(file, ALLOWED, self.find).load()

    def find(self, entry):
        """The key of what a pickle refers to: ("storage", dtype, key, device, length, a view in very old files)."""
        kind, dtype, key, _, _, *view = entry
        if kind != "storage" or not isinstance(key, str) or not isinstance(dtype, torch.dtype) or any(view):
            raise pickles.Refused("it refers to objects outside the file")
        self.dtypes[key] = dtype
        return key

    def plain(self, value, seen, depth=0):
        """A value with its tensors. seen: {id: result}; a file can contain one object a billion times."""
        if depth > 20:
            raise ValueError("nested too deeply")
        if id(value) not in seen:
            new = value
            if isinstance(value, _Tensor):
                new = self.tensor(value)
            elif isinstance(value, dict):
                new = {key: self.plain(part, seen, depth + 1) for key, part in value.items()}
            elif isinstance(value, list | tuple):
                new = type(value)([self.plain(part, seen, depth + 1) for part in value])
            seen[id(value)] = new
        return seen[id(value)]

    def tensor(self, of):
        if (dtype := self.dtypes[of.storage]) not in READ.values():
            return None
        if of.storage not in self.loaded:
            data = self.read(of.storage)
            self.loaded[of.storage] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self.loaded[of.storage].as_strided(of.size, of.stride, of.offset)


def save_torch_file(content, path):
    """torch.save of tensors and plain values, whole or not at all. A full disk is an OSError that names the file.

    Equal content gives equal bytes, whichever device it is on, and whether it was computed or loaded.
    """
    buffer = io.BytesIO()
    torch.save(_canonical(content), buffer)
    with atomic_write(path) as part:
        part.write_bytes(buffer.getvalue())


def _canonical(value):
    """A copy that shares nothing but equal texts: torch.save writes what is shared once, and tensors as they lie."""
    if isinstance(value, dict):
        return {_canonical(key): _canonical(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_canonical, value))
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone(memory_format=torch.contiguous_format)
    return sys.intern(value) if isinstance(value, str) else value


@torch.no_grad()
def copy_tensors(target, source, name):
    """Copies tensors in nested dicts, from `read_torch_file`, into the target's: whatever their strides, the target
    keeps its own. Raises ValueError if the source has another structure, or values that are not finite."""
    if isinstance(target, dict):
        if not isinstance(source, dict) or source.keys() != target.keys():
            raise ValueError(f"{name} has other entries")
        for key, value in target.items():
            copy_tensors(value, source[key], f"{name}.{key}")
        return
    if not isinstance(source, torch.Tensor) or (source.shape, source.dtype) != (target.shape, target.dtype):
        raise ValueError(f"{name} is no tensor of {tuple(target.shape)} {target.dtype}")
    if not source.isfinite().all() or (name.endswith(("running_var", "exp_avg_sq", "step")) and (source < 0).any()):
        raise ValueError(f"{name} is not finite, or negative")
    target.copy_(source)
