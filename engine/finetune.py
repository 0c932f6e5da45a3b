"""Fine-tuning: training that starts from a checkpoint's weights, ours or the release's (docs/training.md)."""

import hashlib
from pathlib import Path

from engine.checkpoint import load_checkpoint
from safe.program import note
from util import UserError


def read_init(path):
    """The Checkpoint that a run starts from, and the file's SHA-256. Raises UserError."""
    return load_checkpoint(path), hashlib.sha256(Path(path).read_bytes()).hexdigest()


def new_weights(checkpoint, net, clips):
    """Names in the network's state dict of what the checkpoint does not have in this shape, or for other classes."""
    theirs = checkpoint.net.state_dict()
    new = {name for name, ours in net.state_dict().items() if name not in theirs or ours.shape != theirs[name].shape}
    return new | {"fc.weight", "fc.bias"} if "fc.weight" in new or checkpoint.has_other_classes(clips) else new


def start_from(checkpoint, net, clips, freeze=False):
    """Copies a checkpoint's weights to a network, all that fit. freeze: only the last layer gets gradients; train it in
    evaluation mode, so that batch norms keep their statistics."""
    own, new = net.state_dict(), new_weights(checkpoint, net, clips)
    net.load_state_dict(checkpoint.net.state_dict() | {name: own[name] for name in new}, strict=False)
    if freeze:
        net.requires_grad_(False)
        net.fc.requires_grad_(True)


def report(checkpoint, clips, runs):
    """Prints how runs (runs.Run) start from a checkpoint. Raises UserError if they would overwrite it, or if layers
    that are new would be frozen."""
    path, config = checkpoint.path, runs[0].config
    if path.resolve() in [(run.folder / f"{config.case}_best.pth").resolve() for run in runs]:
        raise UserError(f"--init {path}: this run would overwrite it; copy it, or choose other --results")
    net = config.make_network(clips)
    new = {name.split(".")[0] for name in new_weights(checkpoint, net, clips)}
    gone = {name.split(".")[0] for name in checkpoint.net.state_dict().keys() - net.state_dict().keys()}
    if config.freeze and (random := sorted(new - {"fc"})):
        raise UserError(f"--freeze: {', '.join(random)} would stay random; leave out --freeze, or --variant")
    others = ", ".join(sorted(new | gone))
    note(f"starts from the weights of {path}" + f", but for {others}" * bool(others))
    about = {key: checkpoint.about.get(key) for key in ("dataset", "case", "split")}
    changed = any(about[key] != str(getattr(run.config, key)) for run in runs for key in about)
    if about["dataset"] == config.dataset and changed:
        note(f"{path} was trained on another split of {config.dataset}: it may have seen these test clips")
