"""Writes an h5 with some of the classes of another, and perhaps only a few training clips of each.

    python tools/subset_h5.py --dataset DEMO --classes 0-7 --out eight.h5                # to train on
    python tools/subset_h5.py --dataset DEMO --classes 8-12 --shots 5 --out five.h5      # to fine-tune on

All test clips of these classes are kept. With --shots a seed chooses that many clips of each class among those for
training and validation, and none are left for validation.
"""

import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from clips.h5 import SPLITS, read_header, write_h5
from data import Clips
from engine.config import DATASETS, find_h5
from safe import program
from safe.files import open_h5
from tools.common import path_of
from util import UserError, __version__, shorten


def parse_classes(text, names):
    """The classes in a text such as "0-7,9,jump up", numbers from 0 or names: a list of numbers. Raises UserError."""
    chosen = []
    for part in text.split(","):
        ends = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part)
        if part in names:
            chosen.append(names.index(part))
        elif ends and int(ends[1]) <= int(ends[2] or ends[1]) < len(names):
            chosen += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
        else:
            nearest = program.did_you_mean(part, names)
            raise UserError(f"--classes: {part!r:.60} is no class; there are 0 to {len(names) - 1}{nearest}")
    if len(chosen) < 2 or len(set(chosen)) < len(chosen):
        raise UserError(f"--classes {shorten(text)}: at least two classes, each of them once")
    return chosen


def choose(labels, classes, shots=None, seed=1):
    """The clips of these classes: {split: [(split of the h5, number in it)]}. labels: {split: (n,) class indices}.

    shots: of the clips for training and validation, so many of each class, which all train. Raises UserError.
    """
    chosen = {split: [(split, i) for i in np.flatnonzero(np.isin(labels[split], classes))] for split in SPLITS}
    if shots is None:
        return chosen
    few, rng = [], np.random.default_rng(seed)
    for number in classes:
        those = [(split, i) for split, i in chosen[""] + chosen["valid_"] if labels[split][i] == number]
        if len(those) < shots:
            raise UserError(f"--shots {shots}: class {number} has {len(those)} training clips")
        few += [those[i] for i in np.sort(rng.choice(len(those), shots, replace=False))]
    return chosen | {"": few, "valid_": []}


def main(argv=None):
    gone = dict.fromkeys(["--data"], "gone: give the path of the h5 as --dataset")
    parser = program.ArgumentParser(description=__doc__, elsewhere=gone)
    add = parser.add_argument
    add("--dataset", required=True, help=f"{', '.join(DATASETS)}, or the path of an .h5")
    add("--case", type=int, default=0, help="protocol, as in main.py (%(default)s)")
    add("--classes", required=True, metavar="CLASS[,CLASS]", help="numbers from 0, ranges such as 0-7, or names")
    add("--shots", type=program.positive_int, help="training clips of each class (all)")
    add("--seed", type=program.seed, default=1, help="of the choice of --shots (%(default)s)")
    add("--out", type=path_of(".h5", ".hdf5"), required=True, help="the h5 to write")
    args = parser.parse_args(argv)
    path, _ = find_h5(args.dataset, args.case)
    if args.out.resolve() == path.resolve():
        raise UserError(f"--out {args.out}: the path of another .h5")
    clips = Clips.read(path)  # validates all values
    names = clips.class_names
    classes = parse_classes(args.classes, names)
    labels = {split: clips.label[clips.ids(name)].numpy() for split, name in zip(SPLITS, clips.splits, strict=True)}
    chosen = choose(labels, classes, args.shots, args.seed)
    few = f", {args.shots} training clips of each (seed {args.seed})" if args.shots else ""
    with open_h5(path) as file:
        splits = {
            split: ((file[f"{of}x"][i] for of, i in places), [classes.index(labels[of][i]) for of, i in places])
            for split, places in chosen.items()
        }
        header = read_header(file)
        header |= {"protocol": f"{header['protocol']}; classes {args.classes}{few}".lstrip("; ")}
        header |= {"frames": file["x"].shape[1], "class_names": [names[i] for i in classes]}
        write_h5(args.out, splits, **header, made_by=f"subset_h5.py {__version__}")
    sizes = "{} training, {} validation and {} test clips".format(*map(len, chosen.values()))
    print(f"{args.out}: {len(classes)} classes; {sizes}")


if __name__ == "__main__":
    with program.exit_on_error():
        main()
