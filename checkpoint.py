"""Reading checkpoints, ours and the release's, as what they are: files from anywhere, in which nothing is believed."""

import os
import pickle
import re
import warnings
import zipfile

import numpy as np
import torch

from model import SGN, ablations

# What a checkpoint of ours says of itself, and what it may be; the release's lack some
FIELDS = {
    "epoch": lambda value: isinstance(value, int),
    "seed": lambda value: isinstance(value, int) and 0 <= value < 2**32,
    "select": lambda value: isinstance(value, str),
    "recipe": lambda value: isinstance(value, str),
    "about": lambda value: isinstance(value, dict),
    "class_names": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
}


def load_checkpoint(path):
    """A network and the checkpoint it was made from; classes, joints and segments are read off the weights' shapes.

    path: a checkpoint of this project, which says what is ablated, or of the authors' release. Returns (SGN on the CPU,
    dict). Nothing in the file is run: it is read with weights_only. Raises OSError, or ValueError that says what is
    wrong with it.
    """
    checkpoint = load_safely(path)
    try:
        weights = checkpoint["state_dict"]
        shapes = {"" + name: tuple(value.shape) for name, value in weights.items()}
        if not all(_plain(value, os.path.getsize(path)) for value in weights.values()):
            raise TypeError("tensors that the file cannot hold or are not of plain numbers")
        ablate = checkpoint.get("ablate", ())
        if not isinstance(ablate, list | tuple) or not all(isinstance(name, str) for name in ablate):
            raise ValueError(f"its 'ablate' is not a list of names but {str(ablate)[:40]!r}")
        ablate = ablations(ablate)
        joints = shapes[f"{'dif' if 'velocity-only' in ablate else 'joint'}_embed.cnn.0.bn.weight"][0] // 3
        seg = checkpoint["seg"] if "frame-index" in ablate else shapes["tem_embed.cnn.0.cnn.weight"][1]
        classes = shapes["fc.weight"][0]
        if type(seg) is not int or min(seg, joints, classes) < 1:
            raise TypeError("nothing to put out or in")
        if {"identity-graph", "skeleton-graph"} & set(ablate) and shapes["compute_g1.g"] != (joints, joints):
            raise TypeError("a graph of other joints, and no graph is made that is larger than the file")
        net = SGN(classes, joints, seg, ablate, () if "skeleton-graph" in ablate else None)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError, IndexError):
        raise ValueError(f"{path}: a checkpoint of another network, not of SGN") from None
    expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    differing = sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name))
    if differing:
        name = differing[0]
        raise ValueError(
            f"{path}: a checkpoint of another network: {name} is {shapes.get(name, 'missing')}, "
            f"in SGN {expected.get(name, 'there is none')} ({len(differing)} such differences)"
        )
    net.load_state_dict(weights)
    for name, value in net.state_dict().items():
        if not value.isfinite().all():
            raise ValueError(f"{path}: {name} holds values that are not finite")
        if name.endswith("running_var") and (value < 0).any():
            raise ValueError(f"{path}: {name} holds a variance below 0")
    for name, fits in FIELDS.items():
        if name in checkpoint and not fits(checkpoint[name]):
            raise ValueError(f"{path}: a damaged checkpoint, whose {name} is {str(checkpoint[name])[:60]!r}")
    return net, checkpoint


def _plain(value, most):
    """Whether a tensor holds numbers that a network can take, of `most` bytes at most: an expanded one may say more."""
    kinds = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64)
    plain = value.layout == torch.strided and value.is_cpu and value.dtype in kinds
    return plain and value.numel() * value.element_size() <= most


def load_safely(path):
    """torch.load on the CPU, of weights and plain values only; anything else is refused with a ValueError, not run."""
    # The release keeps its best accuracy as a NumPy scalar. NumPy's types believe what a file says of their make-up:
    # others stand in for them
    stand_in = [(_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(part.file_size for part in archive.infolist()) > os.path.getsize(path):
                    raise ValueError("it is smaller than what it says is in it")
        with torch.serialization.safe_globals([*stand_in, (_Dtype, "numpy.dtype")]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch, on what a damaged file makes of its unpickler
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make a reader raise anything
        if isinstance(error, OSError) and error.filename:
            raise
        why = next(iter(str(error).splitlines()), "it is empty")
        if found := re.search(r"Unsupported global: GLOBAL (\S+)", str(error)):
            why = f"it would run {found[1]}"
        elif isinstance(error, pickle.UnpicklingError):  # PyTorch's own words advise to read it unsafely
            why = "it is no file of torch.save, or a damaged one"
        raise ValueError(f"{path}: not a checkpoint that can be read safely ({why})") from None


class _Dtype:
    """In the place of numpy.dtype in a checkpoint: the type of a scalar, and nothing else."""

    def __init__(self, code, *_):
        self.type = {"f4": np.float32, "f8": np.float64}[code]

    def __setstate__(self, state):
        """What the file says of byte order and fields is not taken."""


def _scalar(dtype, data):
    return float(np.frombuffer(data, dtype.type)[0])
