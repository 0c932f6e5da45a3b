"""Fine-tuning: training that starts from a checkpoint's weights, ours or the release's (docs/training.md)."""

import hashlib
from pathlib import Path

from engine import distributed
from engine.checkpoint import load_checkpoint
from engine.distributed import warn_once
from util import UserError


def read_init(path):
    """The Checkpoint that a run starts from, and the file's SHA-256. Raises UserError."""

    def read():
        return load_checkpoint(path), hashlib.sha256(Path(path).read_bytes()).hexdigest()

    return distributed.run_on_main(read)


def keeps_last_layer(checkpoint, classes, class_names):
    """Whether the last layer is for as many classes, and for the same ones as far as their names are known."""
    known = checkpoint.class_names and class_names[0] != "class 0"  # as in Clips.unnamed
    return checkpoint.net.num_classes == classes and (not known or checkpoint.class_names == class_names)


def copy_weights(net, checkpoint, class_names):
    """Copies a checkpoint's weights to a network; those of the last layer only if it is for the same classes."""
    weights = checkpoint.net.state_dict()
    if not keeps_last_layer(checkpoint, net.num_classes, class_names):
        weights |= {f"fc.{name}": value for name, value in net.fc.state_dict().items()}
    net.load_state_dict(weights)


def freeze(net):
    """Only the last layer gets gradients. Train it in evaluation mode: batch norms then keep their statistics."""
    net.requires_grad_(False)
    net.fc.requires_grad_(True)


def report(checkpoint, class_names, runs):
    """Prints how runs (runs.Run) start from a checkpoint. Raises UserError if they would overwrite it."""
    path, config = checkpoint.path, runs[0].config
    if path.resolve() in [(run.folder / f"{config.case}_best.pth").resolve() for run in runs]:
        raise UserError(f"--init {path}: this run would overwrite it; copy it, or choose other --results")
    line, classes, before = f"starts from the weights of {path}", config.num_classes, checkpoint.net.num_classes
    if not keeps_last_layer(checkpoint, classes, class_names):
        these = f"{classes} classes, not {before}" if classes != before else "other classes"
        line += f", with a new last layer for {these}"
    warn_once(line)
    trained_on = {key: checkpoint.about.get(key) for key in ("dataset", "case", "split")}
    same_data = trained_on["dataset"] == config.dataset
    if same_data and any(trained_on[key] != str(getattr(run.config, key)) for run in runs for key in trained_on):
        warn_once(f"{path} was trained on another split of {config.dataset}: it may have seen these test clips")
