"""What the programs that draw clips and tests share: flags for a data set and its checkpoint, and what they name."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from clips.h5 import SPLITS
from data import Clips
from engine import distributed
from engine.checkpoint import find_checkpoint, load_checkpoint
from engine.datasets import DATASETS, find_h5
from safe import arguments
from safe.h5 import open_h5
from util import UserError

# Okabe and Ito's colours, which people with any colour vision can tell apart; their yellow is too light for lines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def add_data(command, required=True):
    """Adds the flags that `open_data` and `open_checkpoint` read."""
    add = command.add_argument
    add("--dataset", required=required, help=f"{', '.join(DATASETS)}, or the path of an .h5")
    add("--case", type=int, default=0, help="protocol, as in main.py (%(default)s)")
    add("--data", type=Path, help="folder of the h5 (the data set's own below data/)")
    add("--results", type=Path, default=util.ROOT / "results", help="folder of the runs (results/)")
    add("--checkpoint", type=Path, help="checkpoint (that of the run in --results, else the one in pretrained/)")
    add("--device", help="cpu, cuda, ... (cuda if there is a GPU, else cpu)")
    add("--seed", type=arguments.seed, help="of the samples (the checkpoint's)")


def open_data(args):
    """The data set of the flags: (path of its h5, its name, its Clips)."""
    path, name = find_h5(args.dataset, args.case, args.data)
    return path, name, Clips.read(path).to(distributed.pick_device(args.device))


def open_checkpoint(args, name, clips, optional=False):
    """The Checkpoint of the flags, which must fit the clips. optional: None if there is no file, and none is named."""
    path = args.checkpoint or find_checkpoint(args.results, name, "SGN", args.case)
    if optional and not args.checkpoint and not path.is_file():
        return None
    checkpoint = load_checkpoint(path)
    checkpoint.check_fits(clips.joints, len(clips.class_names))
    return checkpoint


def confusion_counts(label, logits):
    """How many clips of class i (row) were classified as j (column): (classes, classes) int64."""
    n = logits.shape[1]
    return np.bincount(label * n + logits.argmax(axis=1), minlength=n * n).reshape(n, n)


def read_frames(path, clips, i):
    """A clip as the h5 has it, between its first and last frame with a person: (frames, persons, joints, 3) float32.

    clips: the Clips of that h5, in any split; i: the clip's number among them. Raises UserError for an empty clip.
    """
    k = (clips.start + clips.length <= clips.start[i]).sum().item()  # so many clips come before it in the h5
    with open_h5(path) as file:
        for split in SPLITS:
            if k < len(file[f"{split}x"]):
                break
            k -= len(file[f"{split}x"])
        if not clips.length[i]:
            raise UserError(f"{path}: {split}x: clip {k} is empty; tools/check_h5.py lists such clips")
        dense = file[f"{split}x"][k].reshape(-1, clips.persons, clips.joints, 3)
    present = np.flatnonzero(dense.any(axis=(1, 2, 3)))
    return dense[present[0] : present[-1] + 1]
