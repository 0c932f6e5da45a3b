"""For torch.hub: SGN from this folder, or from a repository with its files.

    net = torch.hub.load("path/to/this/folder", "sgn", source="local", dataset="NUCLA")
    logits = net(clips)                                        # (batch, 20, 60), metres -> (batch, 10)

Of this project only model.py, checkpoint.py and folded.py are loaded, from their files and under names of their own:
neither modules of the caller's that are called model, data or util, nor a later import of them, are touched.
"""

import contextlib
import importlib.util
import pathlib
import sys

dependencies = ["torch", "numpy"]

_ROOT = pathlib.Path(__file__).resolve().parent


def _load(name):
    path, known = _ROOT / f"{name}.py", f"sgn_{name}"
    loaded = sys.modules.get(known)
    if loaded is None or loaded.__file__ != str(path):
        spec = importlib.util.spec_from_file_location(known, path)
        loaded = importlib.util.module_from_spec(spec)
        with _as_ours("model"):
            spec.loader.exec_module(loaded)
        sys.modules[known] = loaded  # so that pickle finds its classes, and a second load has the same ones
    return loaded


@contextlib.contextmanager
def _as_ours(name):
    """While a file of ours is loaded, the module of that name is ours, if it is loaded yet."""
    theirs = sys.modules.get(name)
    if f"sgn_{name}" in sys.modules:
        sys.modules[name] = sys.modules[f"sgn_{name}"]
    try:
        yield
    finally:
        sys.modules.pop(name, None)
        if theirs is not None:
            sys.modules[name] = theirs


def sgn(checkpoint=None, dataset=None, case=0, num_classes=None, num_joint=None, seg=None, folded=False):
    """SGN (CVPR 2020) on the CPU: takes (batch, seg, 3 * num_joint) in metres, returns logits (batch, num_classes).

    checkpoint: path to a checkpoint, ours or the authors'; or
    dataset, case: results/<dataset>/SGN/<case>_best.pth of this folder. The weights say classes, joints and segments.
    num_classes, num_joint, seg: of a network with fresh weights, where neither is given (60, 25, 20).
    folded: the form for inference, folded.Folded: the same logits up to rounding, faster, without gradients.

    A network with a checkpoint comes in evaluation mode, a fresh one in training mode, as PyTorch makes it.
    Raises FileNotFoundError where there is no such checkpoint, ValueError for one that is none of SGN's, and for
    arguments that exclude each other.
    """
    model, fresh = _load("model"), {"num_classes": num_classes, "num_joint": num_joint, "seg": seg}
    fresh = {name: value for name, value in fresh.items() if value is not None}
    if (checkpoint is not None) + (dataset is not None) + bool(fresh) > 1:
        raise ValueError("sgn takes a checkpoint, or a dataset, or num_classes, num_joint and seg of fresh weights")
    if dataset is not None:
        checkpoint = _ROOT / "results" / dataset / "SGN" / f"{case}_best.pth"
        if not checkpoint.is_file():
            shipped = sorted(path.relative_to(_ROOT).as_posix() for path in _ROOT.glob("results/*/SGN/*_best.pth"))
            raise FileNotFoundError(f"no checkpoint {checkpoint}; there are {', '.join(shipped) or 'none'}")
    net = model.SGN(**fresh) if checkpoint is None else _load("checkpoint").load_checkpoint(checkpoint)[0].eval()
    return _load("folded").Folded(net).eval() if folded else net
