"""What is known of NTU RGB+D: names of clips, classes, which lack skeletons, which train and which test; and what its
three scripts share.

Protocols: Shahroudy et al., CVPR 2016 (NTU60), and Liu et al., TPAMI 2019 (NTU120).
"""

import re
from functools import cache
from math import prod
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from clips import skipped
from safe.files import remove_stale_parts
from safe.program import ArgumentParser
from util import ROOT, UserError, atomic_write, regular

HERE = ROOT / "data/ntu"
NAME = r"S(?P<setup>\d{3})C(?P<camera>\d{3})P(?P<performer>\d{3})R(?P<replication>\d{3})A(?P<action>\d{3})"
NAME = re.compile(NAME, re.ASCII)
NAMES = ("NTU", "NTU120", "DEMO")  # the data sets
GROUP = 64  # clips that a worker reads at a time
CHUNK = 2**16  # bytes of a column

# The order of the performers is the order of the clips in the h5
CS_TRAIN = (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
CS_TEST = tuple(sorted(set(range(1, 41)) - set(CS_TRAIN)))
CSUB_TRAIN = (*CS_TRAIN, 45, 46, 47, 49, 50, *range(52, 60), 70, 74, 78, *range(80, 87), 89)
CSUB_TRAIN += (*range(91, 96), 97, 98, 100, 103)
CSUB_TEST = tuple(sorted(set(range(1, 107)) - set(CSUB_TRAIN)))


class Protocol(NamedTuple):
    """Splits clips into training and test by one field of their names."""

    name: str  # as in the name of the h5
    field: str  # a group of NAME
    train: tuple[int, ...]
    test: tuple[int, ...]
    full: tuple[int, int] | None  # training (with validation) and test clips of the whole data set
    words: str  # the protocol in words, for the h5

    def split(self, names):
        """Indices of the training and of the test clips in `names`, which are sorted: two (n,) int64 arrays, in the
        order of the protocol's values, and in that of the names for each value."""
        values = np.array([int(NAME.fullmatch(name)[self.field]) for name in names], dtype=np.int64)
        sides = ([np.flatnonzero(values == value) for value in side] for side in (self.train, self.test))
        return tuple(map(np.concatenate, sides))


class NtuDataset(NamedTuple):
    """A data set in the form of NTU RGB+D's .skeleton files."""

    name: str
    classes: tuple[str, ...]
    missing: frozenset[str]  # names of the clips that are known to lack skeletons
    protocols: tuple[Protocol, Protocol]
    full: int | None  # clips of the whole data set, without those

    def has(self, name):
        """Whether a clip's action is one of this data set's: NTU120's folder has NTU60's clips too."""
        return 1 <= action(name) <= len(self.classes)

    def count(self, clips):
        """The number of clips in words, and whether these are all."""
        known, full = "NTU60" if self.name == "NTU" else self.name, self.full
        what = f": the full {known}" if full == clips else f": not the full {known}, which has {full:,}" if full else ""
        return f"{clips:,} clips{what}"


def action(name):
    """The action of a clip, from 1. Its label is one less."""
    return int(NAME.fullmatch(name)["action"])


def read_lines(path):
    """The lines of a text file: a tuple of str. Raises UserError."""
    try:
        return tuple(regular(path).read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text in UTF-8") from None


@cache
def dataset(name):
    """The NtuDataset of this name: NTU, NTU120, or DEMO (made-up clips of data/demo with the protocols of NTU)."""
    actions, missing = read_lines(HERE / "actions.txt"), frozenset(read_lines(HERE / "missing_skeletons.txt"))
    words = "cross-subject: 20 performers train, 20 test"
    cs = Protocol("CS", "performer", CS_TRAIN, CS_TEST, (40091, 16487), words)
    cv = Protocol("CV", "camera", (2, 3), (1,), (37646, 18932), "cross-view: cameras 2, 3 train, camera 1 tests")
    if name == "NTU":
        missing = frozenset(clip for clip in missing if action(clip) <= 60)
        return NtuDataset(name, actions[:60], missing, (cs, cv), 56578)
    if name == "DEMO":
        actions = read_lines(HERE.parent / "demo" / "actions.txt")
        cs = cs._replace(full=None, words="cross-subject: performers by the lists of NTU RGB+D")
        return NtuDataset(name, actions, frozenset(), (cs, cv._replace(full=None)), None)
    words = "cross-subject: 53 performers train, 53 test"
    csub = Protocol("CS", "performer", CSUB_TRAIN, CSUB_TEST, (63026, 50919), words)
    even, odd = tuple(range(2, 33, 2)), tuple(range(1, 33, 2))
    cset = Protocol("CSet", "setup", even, odd, (54468, 59477), "cross-setup: even setups train, odd setups test")
    return NtuDataset(name, actions, missing, (csub, cset), 113945)


# ---- the three scripts


def parse_arguments(description, argv=None, skips=True):
    """The arguments of the three scripts: root, dataset, and workers and strict if the script may skip files."""
    gone = {} if skips else {"--workers": "not needed: this step has one process"}
    parser = ArgumentParser(description=description, epilog=skipped.EXIT_CODES if skips else None, elsewhere=gone)
    add = parser.add_argument
    add("--root", type=Path, default=HERE, help="holds nturgb+d_skeletons/, gets the results (%(default)s)")
    add("--dataset", choices=NAMES, default="NTU", help="(%(default)s)")
    if skips:
        skipped.add_arguments(parser)
    args = parser.parse_args(argv)
    if not args.root.is_dir():
        raise UserError(f"--root {args.root}: no such folder")
    return args


def made_by(path, script):
    """The path of what `script`, the step before, has written. Raises UserError if it is missing."""
    if not path.exists():
        raise UserError(f"{path}: no such file: first run {script} --dataset {path.stem}")
    return path


def write_columns(path, groups):
    """Writes an h5 for the next script: the arrays of each group of clips, {name: array}, behind those of the group
    before. The file appears when it is complete. The groups have the same names and dtypes."""
    remove_stale_parts(path.parent)
    with atomic_write(path) as part, h5py.File(part, "w") as file:
        for arrays in groups:
            for name, array in arrays.items():
                if name not in file:
                    row = array.shape[1:]
                    chunks = (max(1, CHUNK // (array.itemsize * prod(row))), *row)
                    file.create_dataset(name, (0, *row), array.dtype, maxshape=(None, *row), chunks=chunks)
                column = file[name]
                column.resize(len(column) + len(array), axis=0)
                column[len(column) - len(array) :] = array


def read_columns(file, *names):
    """Arrays of an open h5, which are as long as each other. Raises UserError."""
    columns = [file[name][()] for name in names]
    if len({np.shape(column)[:1] for column in columns}) > 1 or not np.ndim(columns[0]):
        raise UserError(f"{file.filename}: {', '.join(names)} are not as long as each other")
    return columns
