"""Northwestern-UCLA: from `all_sqe.zip`, or the folder unpacked from it, to `NUCLA_CV.h5`.

    python data/nucla/make_nucla.py all_sqe.zip                # the standard protocol: views 1, 2 train, view 3 tests
    python data/nucla/make_nucla.py all_sqe --test-view 1
    python data/nucla/make_nucla.py all_sqe.zip --train-views 1 --test-view 2 --out NUCLA_1_2.h5   # never view 3
    python data/nucla/make_nucla.py all_sqe.zip --test-view 1 2 --test-performers 2 7 9 --out NUCLA_CS.h5    # nor here

A clip is a json, named action, subject, execution, view: {"skeletons": [frames][20][3] metres, "label": 1...10}.
Each clip is moved so that joint 2, the spine, of its first frame is the origin, as NTU's clips are.
(SPEC, "Northwestern-UCLA".)
"""

import argparse
import json
import re
import sys
import zipfile
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
from layout import at_origin, hold_out, write_h5  # noqa: E402

from util import UserError, __version__, one_clear_line  # noqa: E402

ACTIONS = (
    "pick up with one hand",
    "pick up with two hands",
    "drop trash",
    "walk around",
    "sit down",
    "stand up",
    "donning",
    "doffing",
    "throw",
    "carry",
)
NAME = re.compile(r"a(\d\d)_s(\d\d)_e(\d\d)_v(\d\d)\.json")
JOINTS = 20


def read_clip(text, name, labelled=True):
    """(frames, 60) float32, metres, and the class index, from the text of one json. Raises UserError.

    labelled: False for a recording that need not have a label; then None stands for it.
    """
    try:
        clip = json.loads(text)
        skeletons = np.asarray(clip["skeletons"], dtype=np.float64)
        label = int(clip["label"]) if labelled else None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"{name}: not a clip of N-UCLA ({error})") from None
    if skeletons.ndim != 3 or skeletons.shape[1:] != (JOINTS, 3) or not len(skeletons):
        raise UserError(f"{name}: skeletons of shape {skeletons.shape}, not (frames, {JOINTS}, 3)")
    if not np.isfinite(skeletons).all():
        raise UserError(f"{name}: a coordinate is not finite")
    if labelled and not 1 <= label <= len(ACTIONS):
        raise UserError(f"{name}: label {label}, not 1 to {len(ACTIONS)}")
    return at_origin(skeletons), label - 1 if labelled else None


def read_all(source):
    """Yields (name, text) of every clip below a folder or in a zip, in name order."""
    if source.is_dir():
        found = [(path, path.read_bytes) for path in source.rglob("*.json")]
    else:
        try:
            archive = zipfile.ZipFile(source)
        except zipfile.BadZipFile:
            raise UserError(f"{source}: neither a folder nor a zip file") from None
        found = [(Path(info.filename), lambda info=info: archive.read(info)) for info in archive.infolist()]
    found = sorted((path.name, path, read) for path, read in found if NAME.fullmatch(path.name))
    if not found:
        raise UserError(f"{source}: no clip named like a01_s01_e00_v01.json in it")
    for (name, one, _), (next_name, other, _) in pairwise(found):
        if name == next_name:
            raise UserError(f"{source}: {one} and {other} in it are of one name; take away one of them")
    for name, _, read in tqdm(found, unit="clip"):
        try:
            text = read()
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise UserError(f"{source}: {name} in it is damaged ({error})") from None
        yield name, text


def listed(numbers):
    return ", ".join(map(str, numbers[:-1])) + " and " * (len(numbers) > 1) + str(numbers[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="all_sqe.zip, or the folder unpacked from it")
    views = dict(type=int, nargs="+", choices=(1, 2, 3))
    parser.add_argument("--test-view", **views, default=[3], help="the view that tests (3); or several")
    parser.add_argument(
        "--train-views", **views, help="views that train (all but those that test; with --test-performers, the same)"
    )
    parser.add_argument("--test-performers", type=int, nargs="+", help="only they test, and only the others train")
    parser.add_argument(
        "--out",
        type=Path,
        help="file to write (beside this script, NUCLA_CV.h5; NUCLA_CV_test1.h5, ... with another view)",
    )
    args = parser.parse_args()
    test_views, held_out = sorted({*args.test_view}), sorted({*(args.test_performers or ())})
    rest = test_views if held_out else [view for view in (1, 2, 3) if view not in test_views]
    train_views = sorted({*(args.train_views or rest)})
    if not held_out and (both := {*test_views} & {*train_views}):
        raise UserError(f"--train-views: view {both.pop()} tests; take others")
    if (held_out or len(test_views) > 1 or train_views != rest) and not args.out:
        raise UserError("--train-views, --test-performers, several --test-view: name the file too, with --out")
    out = args.out or HERE / ("NUCLA_CV.h5" if test_views == [3] else f"NUCLA_CV_test{test_views[0]}.h5")

    rows = []
    for name, text in read_all(args.source):
        clip, label = read_clip(text, name)
        _, performer, _, view = map(int, NAME.fullmatch(name).groups())
        rows.append((clip, label, performer, view))
    clips, *columns = zip(*rows, strict=True)
    labels, performers, views = map(np.array, columns)
    theirs = np.isin(performers, held_out)
    test = np.flatnonzero(np.isin(views, test_views) & (theirs | (not held_out)))
    learn = np.flatnonzero(np.isin(views, train_views) & ~theirs)
    if len(learn) < 2 or not len(test):
        found = f"of {len(views)} clips {len(learn)} would train and {len(test)} test"
        raise UserError(f"{args.source}: {found}; both sides need some")
    protocol = f"cross-view: views {listed(train_views)} train, view {listed(test_views)} tests"
    if held_out:
        of = f" of views {listed(test_views)}" if test_views == train_views else f"; {protocol}"
        protocol = f"cross-subject: performers {listed(held_out)} test, the others train{of}"
    train, valid = hold_out(learn)
    write_h5(
        out,
        {s: ((clips[i] for i in ids), labels[ids]) for s, ids in (("", train), ("valid_", valid), ("test_", test))},
        frames=max(map(len, clips)),
        joints=JOINTS,
        persons=1,
        class_names=ACTIONS,
        protocol=protocol,
        made_by=f"make_nucla.py {__version__}",
    )
    print(f"{out}: {len(train)} training, {len(valid)} validation and {len(test)} test clips")


if __name__ == "__main__":
    with one_clear_line():
        main()
