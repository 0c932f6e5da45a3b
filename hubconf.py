"""For torch.hub: SGN from this folder, or from a repository with its files.

    net = torch.hub.load("path/to/this/folder", "sgn", source="local", dataset="NUCLA")
    logits = net(clips)                                        # (batch, 20, 60), metres -> (batch, 10)

The program that calls this may have modules of its own called model, data or engine: it keeps them.
"""

import sys
import zlib
from contextlib import contextmanager
from pathlib import Path

dependencies = ["torch", "numpy", "h5py", "tqdm"]

_ROOT = Path(__file__).resolve().parent
_NAMES = {"main", "model", "data", "train", "util", "engine", "clips", "safe"}  # of our modules and packages
_PRIVATE = f"sgn_{zlib.crc32(bytes(_ROOT)):08x}_"


def sgn(checkpoint=None, dataset=None, case=0, num_classes=60, num_joint=25, seg=20, folded=False):
    """SGN on the CPU: takes (batch, seg, 3 * num_joint) in metres, returns logits (batch, num_classes).

    checkpoint: path of a checkpoint, ours or the release's. dataset, case: or the one of results/ or pretrained/. With
    either, the network is in evaluation mode; otherwise it has new weights for num_classes, num_joint and seg, and is
    in training mode. folded: engine.folded.Folded of a checkpoint. Raises ValueError for one that is missing, damaged
    or not SGN's.
    """
    with _own_modules():
        if checkpoint is None and dataset is None:
            from model import SGN

            return SGN(num_classes, num_joint, seg)
        from engine.checkpoint import find_checkpoint, load_checkpoint
        from engine.folded import Folded

        if dataset is not None:
            checkpoint = find_checkpoint(_ROOT / "results", dataset, "SGN", case)
        net = load_checkpoint(checkpoint).net
        return Folded(net).eval() if folded else net


@contextmanager
def _own_modules():
    """Imports in the block find this folder's modules. Afterwards the host's sys.path and modules are as before.

    Ours stay in sys.modules under names that no other module has, where torch.compile and pickle look for them.
    """
    path, host = sys.path[:], _take_modules()
    sys.modules.update({name[len(_PRIVATE) :]: m for name, m in [*sys.modules.items()] if name.startswith(_PRIVATE)})
    sys.path.insert(0, str(_ROOT))
    try:
        yield
    finally:
        sys.path[:] = path
        for name, module in _take_modules().items():
            for value in vars(module).values():
                if getattr(value, "__module__", None) == name and callable(value):
                    value.__module__ = _PRIVATE + name
            module.__name__ = _PRIVATE + name
            sys.modules[_PRIVATE + name] = module
        sys.modules.update(host)


def _take_modules():
    """Removes modules of the names of ours from sys.modules, with all of their packages: {name: module}."""
    return {name: sys.modules.pop(name) for name in [*sys.modules] if name.split(".")[0] in _NAMES}
