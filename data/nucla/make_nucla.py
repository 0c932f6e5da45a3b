"""Northwestern-UCLA: converts `all_sqe.zip`, or the folder unpacked from it, to `NUCLA_CV.h5`.

    python data/nucla/make_nucla.py all_sqe.zip                # the standard protocol: views 1, 2 train, view 3 tests
    python data/nucla/make_nucla.py all_sqe --test-view 1
    python data/nucla/make_nucla.py all_sqe.zip --train-views 1 --test-view 2 --out NUCLA_1_2.h5     # without view 3
    python data/nucla/make_nucla.py all_sqe.zip --test-view 1 2 --test-performers 2 7 9 --out NUCLA_CS.h5

A clip is a json whose name gives action, subject, execution and view: {"skeletons": [frames][20][3] metres, "label":
1...10}. Joint 2, the spine, of its first frame becomes the origin, as in NTU's clips.
"""

import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips.importing import write_set
from clips.nucla import ACTIONS, read_json
from safe.program import ArgumentParser, exit_on_error, note, whole
from safe.zips import read_members
from util import UserError

HERE = Path(__file__).resolve().parent
NAME = re.compile(r"a(\d\d)_s(\d\d)_e(\d\d)_v(\d\d)\.json", re.ASCII)
# The right class of (performer, class) in view 2, where two pairs of labels are swapped: docs/results.md
CORRECT = {(4, 4): 5, (4, 5): 4, (5, 6): 7, (5, 7): 6}


def read_all(source):
    """Yields (name, text) of every clip below a folder or in a zip, in name order. Raises UserError."""
    for match, text in read_members(source, NAME, "a01_s01_e00_v01.json"):
        yield match[0], text


def parse_arguments(argv=None):
    """The arguments, completed: sorted views and performers, and the name of the file. Raises UserError."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    views = dict(type=int, nargs="+", choices=(1, 2, 3), metavar="VIEW")
    people = dict(type=whole(1, 99), nargs="+", metavar="PERFORMER", default=[])
    add("source", type=Path, help="all_sqe.zip, or the folder unpacked from it")
    add("--test-view", **views, default=[3], help="test views (3)")
    add("--train-views", **views, help="training views (the others; with --test-performers, the test views)")
    add("--test-performers", **people, help="test performers; the others train")
    add("--correct-labels", action="store_true", help="correct the labels of 24 clips of view 2 (docs/results.md)")
    add("--distinct", action="store_true", help="leave out test clips that are copies of training clips")
    add("--out", type=Path, help="file to write (in the folder of this script: NUCLA_CV.h5, NUCLA_CV_test1.h5, ...)")
    args = parser.parse_args(argv)
    tests, people = {*args.test_view}, {*args.test_performers}
    usual = tests if people else {1, 2, 3} - tests
    trains = {*(args.train_views or usual)}
    if not people and tests & trains:
        raise UserError(f"--train-views: view {min(tests & trains)} tests; take others")
    if (people or len(tests) > 1 or trains != usual) and not args.out:
        raise UserError("--train-views, --test-performers, several --test-view: name the file too, with --out")
    args.test_view, args.train_views, args.test_performers = sorted(tests), sorted(trains), sorted(people)
    variant = f"_test{min(tests)}" * (tests != {3}) + "_corrected" * args.correct_labels + "_distinct" * args.distinct
    args.out = args.out or HERE / f"NUCLA_CV{variant}.h5"
    return args


def choose_split(performers, views, args):
    """Which clips train and which test, two arrays of indices, and the protocol in words. performers, views: arrays."""
    people, chosen = args.test_performers, np.isin(performers, args.test_performers)
    train = np.isin(views, args.train_views) & ~chosen
    test = np.isin(views, args.test_view) & (chosen | (not people))
    trains, tests, numbers = (", ".join(map(str, values)) for values in (args.train_views, args.test_view, people))
    words = f"cross-subject: performers {numbers} test, the others train; " if people else "cross-view: "
    words += f"views {trains} train, view {tests} tests"
    words += "; labels of view 2 corrected" * (args.correct_labels and 2 in args.train_views + args.test_view)
    return np.flatnonzero(train), np.flatnonzero(test), words + "; no copies" * args.distinct


def find_copies(clips, train, test):
    """Which of the test clips, indices, are copies of training clips: (len(test),) bool."""
    contents = [clip.tobytes().rstrip(b"\0") for clip in clips]  # empty frames at the end are padding in an h5
    trained = {contents[i] for i in train} - {b""}
    return np.array([contents[i] in trained for i in test], dtype=bool)


def main(argv=None):
    args = parse_arguments(argv)
    found = [(*map(int, NAME.fullmatch(name).groups()), *read_json(text, name)) for name, text in read_all(args.source)]
    _, performers, _, views, clips, labels = zip(*found, strict=True)
    if args.correct_labels:
        rows = zip(performers, views, labels, strict=True)
        labels = [CORRECT.get((who, label), label) if view == 2 else label for who, view, label in rows]
    train, test, protocol = choose_split(performers, views, args)
    copies = find_copies(clips, train, test)
    if args.distinct:
        test = test[~copies]
    elif copies.any():
        note(f"copies of training clips among the test clips: {copies.sum()}; see --distinct")
    sides, about = {"": train, "test_": test}, {"frames": max(map(len, clips)), "skeleton": "kinect_v1"}
    write_set(args.out, clips.__getitem__, labels, sides, ACTIONS, protocol=protocol, **about)


if __name__ == "__main__":
    with exit_on_error():
        main()
