"""For torch.hub: SGN from this folder, or from a repository with its files.

    net = torch.hub.load("path/to/this/folder", "sgn", source="local", dataset="NUCLA")
    logits = net(clips)                                        # (batch, 20, 60), metres -> (batch, 10)

The program that calls this may have modules of its own called model, data or util: it keeps them.
"""

import sys
import zlib
from contextlib import contextmanager
from pathlib import Path

dependencies = ["torch", "numpy", "h5py", "tqdm"]

_ROOT = Path(__file__).resolve().parent
_FOLDERS = [_ROOT, *(_ROOT / "data" / folder for folder in ("", "ntu", "nucla"))]


def sgn(checkpoint=None, dataset=None, case=0, num_classes=60, num_joint=25, seg=20, folded=False):
    """SGN on the CPU: takes (batch, seg, 3 * num_joint) in metres, returns logits (batch, num_classes).

    checkpoint: path of a checkpoint, ours or the release's. dataset, case: or the one of results/ or pretrained/. With
    either, the network has its weights and is in evaluation mode; otherwise it has new weights for num_classes,
    num_joint and seg, from torch's generator, and is in training mode. folded: the form for inference,
    inference.Folded, of a checkpoint. Raises ValueError for a checkpoint that is missing, damaged or not SGN's.
    """
    with _own_modules():
        if checkpoint is None and dataset is None:
            from model import SGN
        else:
            from engine.checkpoint import find_checkpoint, load_checkpoint
        if folded:
            from engine.folded import Folded
    if checkpoint is None and dataset is None:
        return SGN(num_classes, num_joint, seg)
    if dataset is not None:
        checkpoint = find_checkpoint(_ROOT / "results", dataset, "SGN", case)
    net = load_checkpoint(checkpoint).net
    return Folded(net).eval() if folded else net


@contextmanager
def _own_modules():
    """Imports in the block find this folder's modules. Afterwards the host's sys.path and modules are as before.

    Ours stay in sys.modules under names that no other module has, where torch.compile and pickle look for them.
    """
    names = {path.stem for folder in _FOLDERS for path in folder.glob("*.py")}
    private = {name: f"sgn_{zlib.crc32(bytes(_ROOT)):08x}_{name}" for name in names}
    path, host = sys.path[:], {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
    sys.modules.update({name: sys.modules[own] for name, own in private.items() if own in sys.modules})
    sys.path[:0] = map(str, _FOLDERS)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in names & sys.modules.keys():
            _rename(sys.modules.pop(name), name, private[name])
        sys.modules.update(host)


def _rename(module, old, new):
    for value in vars(module).values():
        if getattr(value, "__module__", None) == old and callable(value):
            value.__module__ = new
    module.__name__, sys.modules[new] = new, module
