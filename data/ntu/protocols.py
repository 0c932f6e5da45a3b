"""What is known about NTU RGB+D beforehand: names of clips, classes, which clips are left out, which train and test.

(SPEC, "NTU RGB+D .skeleton text" and "Step 3, h5"; protocols: Shahroudy et al., CVPR 2016; Liu et al., TPAMI 2019.)
"""

import re
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1])]
from util import UserError  # noqa: E402

NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
FIELDS = ("setup", "camera", "performer", "replication", "action")

# The order of the performers is the order of the clips in the h5.
CS_TRAIN = (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
CS_TEST = (3, 6, 7, 10, 11, 12, 20, 21, 22, 23, 24, 26, 29, 30, 32, 33, 36, 37, 39, 40)
CSUB_TRAIN = (
    *CS_TRAIN,
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89),
    *(91, 92, 93, 94, 95, 97, 98, 100, 103),
)
CSUB_TEST = tuple(sorted(set(range(1, 107)) - set(CSUB_TRAIN)))


class Protocol(NamedTuple):
    """A rule that parts clips into training and test by one field of their names."""

    name: str  # as in the name of the h5
    field: str
    train: tuple[int, ...]
    test: tuple[int, ...]
    full: tuple[int, int] | None  # training (with the 5% set apart) and test clips of the whole data set

    @property
    def words(self):
        def listed(values):
            return ", ".join(map(str, values))

        return f"{self.name}: {self.field} {listed(self.train)} train; {self.field} {listed(self.test)} test"

    def split(self, names):
        """Indices of the training and of the test clips among `names` (in name order): two (n,) int64 arrays.

        Value by value in the protocol's order, and in name order within one value.
        """
        at = FIELDS.index(self.field) + 1
        values = np.array([int(NAME.fullmatch(name)[at]) for name in names], dtype=np.int64)
        return tuple(
            np.concatenate([np.flatnonzero(values == value) for value in side]) for side in (self.train, self.test)
        )


class Dataset(NamedTuple):
    """One of the data sets that come as .skeleton files."""

    name: str
    classes: tuple[str, ...]
    left_out: frozenset[str]  # names of the clips known to lack their skeletons
    protocols: tuple[Protocol, Protocol]
    full: int | None  # clips of the whole data set, without those left out

    def belongs(self, name):
        """Whether a clip's action is one of this data set: NTU120's folder holds NTU60's clips as well."""
        return 1 <= action(name) <= len(self.classes)


def action(name):
    """The action of a clip, 1, 2, …; its label is one less."""
    return int(NAME.fullmatch(name)[5])


def lines(path):
    return tuple(path.read_text(encoding="utf-8").splitlines())


@cache
def dataset(name, root=None):
    """The data set called `name`, one of NAMES.

    DEMO, made-up clips under NTU60's rules, has its classes in `root`/actions.txt or data/demo/actions.txt, a name a
    line. UserError if there is neither.
    """
    if name == "DEMO":
        homes = [folder / "actions.txt" for folder in (root, HERE.parent / "demo") if folder]
        actions = next((lines(home) for home in homes if home.is_file()), None)
        if actions is None:
            raise UserError(
                f"{homes[0]}: no such file: the demo's classes. Run data/demo/make_demo.py, which writes it"
            )
        protocols = tuple(protocol._replace(full=None) for protocol in dataset("NTU").protocols)
        return Dataset(name, actions, frozenset(), protocols, None)
    actions = lines(HERE / "actions.txt")
    missing = frozenset(lines(HERE / "missing_skeletons.txt"))
    if name == "NTU":
        cs = Protocol("CS", "performer", CS_TRAIN, CS_TEST, (40091, 16487))
        cv = Protocol("CV", "camera", (2, 3), (1,), (37646, 18932))
        missing = frozenset(clip for clip in missing if action(clip) <= 60)
        return Dataset(name, actions[:60], missing, (cs, cv), 56578)
    csub = Protocol("CS", "performer", CSUB_TRAIN, CSUB_TEST, (63026, 50919))
    cset = Protocol("CSet", "setup", tuple(range(2, 33, 2)), tuple(range(1, 33, 2)), (54468, 59477))
    return Dataset(name, actions, missing, (csub, cset), 113945)


NAMES = ("NTU", "NTU120", "DEMO")
