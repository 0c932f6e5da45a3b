"""What importers share: the h5 of a data set, and the table at the end."""

import re
import sys

import numpy as np

from clips import h5
from safe.progress import progress
from util import UserError, readable, shorten


def note(text):
    """A line about what is odd, or about what was taken for what."""
    print(readable(f"note: {text}"), file=sys.stderr)


def natural(name):
    """The key that sorts names with numbers as people do: 1, 2, 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name


def write_set(path, clips, labels, sides, class_names, dropped=(), what=None, **header):
    """Writes the h5 of an importer, and prints its table.

    clips: yields (i, rows) of the clips in `sides`, each once, in any order: rows as in `h5.write_h5`. labels: class
    index by i. sides: {"": indices, "test_": ..., perhaps "valid_": ...}; without it 5% of the training clips are for
    validation. dropped: [(names of clips, why they are left out)]. what: i -> how an error names a clip. header: as in
    `h5.open_writer`. Raises UserError if there is too little to train or test on.
    """
    labels = np.asarray(labels, np.int64)
    trained = len(np.unique(labels[sides[""]]))
    if trained < 2 or not all(map(len, sides.values())):
        counts = ", ".join(f"{len(ids)} {NAMES[split]}" for split, ids in sides.items())
        raise UserError(f"{path} not written: {counts} clips; all need some, and training two classes")
    if "valid_" not in sides:
        training, validation = h5.split_validation(sides[""])
        sides = {"": training, "valid_": validation, "test_": sides["test_"]}
    place = {int(i): (split, k) for split, ids in sides.items() for k, i in enumerate(ids)}
    frames = np.zeros(len(labels), np.int64)
    of_split = {split: labels[ids] for split, ids in sides.items()}
    with h5.open_writer(path, of_split, class_names=class_names, **header) as write:
        for i, rows in progress(clips, total=len(place), desc=path.name, unit="clip"):
            write(*place[i], rows, what=what and what(i))
            frames[i] = len(rows)
    print_table(path, class_names, of_split, {split: frames[ids] for split, ids in sides.items()}, dropped)


NAMES = {"": "training", "valid_": "validation", "test_": "test"}


def print_table(path, class_names, labels, frames, dropped=()):
    """Prints what an h5 has of each class, and what was left out. labels, frames: {split: (clips,)} of its clips."""
    everything, lengths = (np.concatenate([of[split] for split in NAMES]) for of in (labels, frames))
    names = [shorten(readable(name), 40) for name in class_names]
    width = max(5, *map(len, names))
    print("{}: {:,} training, {:,} validation and {:,} test clips".format(path, *(len(labels[key]) for key in NAMES)))
    print(f"  {'class':{width}}  {'train':>7} {'valid':>7} {'test':>7}   frames: least, median, most")
    for label, name in [*enumerate(names), (None, "all")]:
        chosen = lengths if label is None else lengths[everything == label]
        counts = " ".join(f"{len(y) if label is None else (y == label).sum():7,}" for y in map(labels.get, NAMES))
        spread = f"{chosen.min():10,} {np.median(chosen):7,.0f} {chosen.max():7,}" if len(chosen) else ""
        print(f"  {name:{width}}  {counts} {spread}".rstrip())
    for left_out, why in dropped:
        if left_out:
            print(f"  left out: {len(left_out):,} clips, for example {shorten(readable(left_out[0]))}: {why}")
