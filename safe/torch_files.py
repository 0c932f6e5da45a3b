"""Reads and writes files of torch.save: tensors and plain values, of which nothing is run and nothing is believed."""

import io
import os
import pickle
import re
import sys
import warnings
import zipfile

import numpy as np
import torch

from util import UserError, atomic_write, is_out_of_memory, readable, regular, shorten

TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64)  # of tensors


def read_torch_file(path):
    """torch.load of tensors and plain values, on the CPU. Anything else in the file is refused with a UserError.

    Returns dicts, lists, tuples and tensors that have no attributes of their own. What is no dense tensor of numbers
    on the CPU becomes None.
    """
    # The release stores its best accuracy as a NumPy scalar. NumPy's own types trust what a file says of their layout
    stand_ins = [(_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    stand_ins.append((_Dtype, "numpy.dtype"))
    try:
        if zipfile.is_zipfile(regular(path)):
            with zipfile.ZipFile(path) as archive:
                if sum(part.file_size for part in archive.infolist()) > os.path.getsize(path):
                    raise ValueError("its parts are larger than the file")
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _plain(torch.load(path, map_location="cpu", weights_only=True), {})
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; main.py writes one when it trains") from None
    except Exception as error:  # a damaged file can make the reader raise anything
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.filename):
            raise
        why = next(iter(str(error).splitlines()), "it is empty")
        if isinstance(error, pickle.UnpicklingError):  # PyTorch's own message suggests loading it unsafely
            runs = re.search(r"GLOBAL (\S+)", str(error))
            why = "not written by torch.save, or damaged"
            if runs:
                why = f"it would run {readable(runs[1])}; a checkpoint is a state_dict"
        raise UserError(f"{path}: cannot be read safely ({shorten(why, 150)})") from None


def _plain(value, seen, depth=0):
    """A value as `read_torch_file` returns it. seen: {id: result}; a file can contain one object a billion times."""
    if depth > 20:
        raise ValueError("nested too deeply")
    if id(value) not in seen:
        new = value
        if isinstance(value, dict):
            new = {key: _plain(of_key, seen, depth + 1) for key, of_key in dict.items(value)}
        elif isinstance(value, list | tuple):
            new = [_plain(part, seen, depth + 1) for part in value]
            new = new if isinstance(value, list) else tuple(new)
        elif isinstance(value, torch.Tensor):
            dense = value.layout == torch.strided and value.is_cpu and not value.is_nested and value.dtype in TYPES
            new = torch.Tensor.detach(value) if dense else None
        seen[id(value)] = new
    return seen[id(value)]


class _Dtype:
    """Takes the place of numpy.dtype: the type of a scalar, and nothing else that the file says."""

    def __init__(self, code, *_):
        self.type = {"f4": np.float32, "f8": np.float64}[code]

    def __setstate__(self, state):
        pass


def _scalar(dtype, data):
    return float(np.frombuffer(data, dtype.type)[0])


def save_torch_file(content, path):
    """torch.save of tensors and plain values, whole or not at all. A full disk is an OSError that names the file.

    Equal content gives equal bytes, whichever device it is on, and whether it was computed or loaded.
    """
    buffer = io.BytesIO()
    torch.save(_canonical(content), buffer)
    with atomic_write(path) as part:
        part.write_bytes(buffer.getbuffer())


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
    if not isinstance(source, torch.Tensor):
        raise ValueError(f"{name} is no tensor")
    if (source.shape, source.dtype) != (target.shape, target.dtype):
        shape = f"{tuple(source.shape)} {source.dtype}"
        raise ValueError(f"{name} is {shape}, not {tuple(target.shape)} {target.dtype}")
    if not source.isfinite().all() or (name.endswith(("running_var", "exp_avg_sq", "step")) and (source < 0).any()):
        raise ValueError(f"{name} is not finite, or negative")
    target.copy_(source)
