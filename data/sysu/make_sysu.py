"""SYSU 3D HOI: from the folder `SYSU3DAction` to `SYSU_CS.h5` (cross-subject) and `SYSU_SS.h5` (same-subject).

    python data/sysu/make_sysu.py SYSU3DAction                 # thirty random splits, drawn from seed 1
    python data/sysu/make_sysu.py SYSU3DAction --seed 2        # thirty others

A clip is `3DvideoNorm/<performer>/video<k>/sklWorld.mat`, k = 1...12 the action: the variable SW (20, 3, frames),
metres. Of its frames every second one is kept, as in the release, and it is moved so that joint 2, the spine, of the
first of them is the origin, as NTU's clips are. A file that cannot be read ends it all: without its clip the splits
would be others.

Cross-subject: a random half of the performers train, the others test. Same-subject: of each action a random half of the
clips trains, the other half tests. The figure to report is the mean over thirty such splits, so each h5 holds all clips
once and a table, `resplits`, of who is where in each; its x, valid_x and test_x are the first split. Split k of a seed
is the same however many are drawn. (SPEC, "SYSU 3D HOI"; the protocols: Hu et al., CVPR 2015.)
"""

import argparse
import io
import re
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "ntu"), str(HERE.parents[1])]
import blocks  # noqa: E402
from layout import SPLITS, at_origin, hold_out, write_h5  # noqa: E402

import util  # noqa: E402
from util import UserError, __version__, one_clear_line  # noqa: E402

ACTIONS = (
    "drinking",
    "pouring",
    "calling phone",
    "playing phone",
    "wearing backpacks",
    "packing backpacks",
    "sitting chair",
    "moving chair",
    "taking out wallet",
    "taking from wallet",
    "mopping",
    "sweeping",
)
JOINTS = 20
FULL = 480  # clips of the whole data set


def read_clip(path):
    """(frames, 60) float32, metres, from one sklWorld.mat. Raises UserError."""
    text = io.BytesIO(path.read_bytes())
    try:
        skeletons = np.asarray(loadmat(text, variable_names=["SW"])["SW"])  # or a sparse matrix
    except Exception as error:  # at a damaged file scipy raises whatever it stumbles over; nothing in a .mat is run
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read as a .mat of SYSU ({said})") from None
    if skeletons.ndim == 2:  # MATLAB drops a last axis of 1
        skeletons = skeletons[:, :, None]
    if skeletons.ndim != 3 or skeletons.shape[:2] != (JOINTS, 3) or skeletons.dtype.kind not in "fiu":
        raise UserError(f"{path}: SW is {skeletons.dtype} {skeletons.shape}, not numbers ({JOINTS}, 3, frames)")
    clip = skeletons.transpose(2, 0, 1)[::2].astype(np.float64)
    if not (np.abs(clip) < 1e6).all():
        raise UserError(f"{path}: a coordinate is not finite, or no metres")
    if not clip.any():
        raise UserError(f"{path}: no frames, or all are empty")
    return at_origin(clip)


def read_all(paths):
    """Yields the clips of these files. A process of its own reads them: scipy itself crashes at some damaged files."""
    with blocks.processes(1) as pool:
        for path in tqdm(paths, unit="clip"):
            try:
                yield blocks.submit(pool, read_clip, path).result()
            except BrokenProcessPool:
                raise UserError(f"{path}: cannot be read as a .mat of SYSU (it crashes scipy's reader)") from None


def find(folder):
    """The clips below a folder: [(performer, action from 1, path)], performer by performer. Raises UserError."""
    inside = (folder / "SYSU3DAction" / "3DvideoNorm", folder / "3DvideoNorm", folder)
    home = next((home for home in inside if home.is_dir()), folder)
    found = []
    for path in home.glob("*/video*/sklWorld.mat"):
        number = re.fullmatch(r"video(\d{1,3})", path.parent.name)
        if not number or not 1 <= int(number[1]) <= len(ACTIONS):
            raise UserError(f"{path.parent}: not video1 to video{len(ACTIONS)}")
        found.append((path.parents[1].name, int(number[1]), path))
    if not found:
        raise UserError(f"{folder}: no 3DvideoNorm/<performer>/video<k>/sklWorld.mat in it")
    found.sort()
    for a, b in zip(found, found[1:], strict=False):
        if a[:2] == b[:2]:
            raise UserError(f"{b[2]}: the same performer and action as {a[2]}")
    return found


def cross_subject(performers, labels, rng):
    """Which clips train: those of a random half of the performers. (clips,) str and int -> (clips,) bool."""
    names = np.unique(performers)
    return np.isin(performers, rng.permutation(names)[: len(names) // 2])


def same_subject(performers, labels, rng):
    """Which clips train: a random half of each action's."""
    train = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        clips = rng.permutation(np.flatnonzero(labels == label))
        train[clips[: len(clips) // 2]] = True
    return train


PROTOCOLS = {
    "CS": (cross_subject, "cross-subject: a random half of the performers train, the others test"),
    "SS": (same_subject, "same-subject: a random half of each action's clips train, the others test"),
}


def draw(name, performers, labels, seed, number):
    """Split `number` of a protocol: the indices of its training, validation and test clips. Raises UserError."""
    rng = np.random.default_rng([seed, list(PROTOCOLS).index(name), number])
    train = PROTOCOLS[name][0](performers, labels, rng)
    if train.sum() < 2 or train.all():
        raise UserError(
            f"{name}: {train.sum()} of {len(train)} clips to train on; more performers are needed, or actions of theirs"
        )
    return (*hold_out(np.flatnonzero(train)), np.flatnonzero(~train))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="SYSU3DAction, or the folder it lies in")
    parser.add_argument("--seed", type=util.seed, default=1, help="of the random splits (%(default)s)")
    parser.add_argument("--splits", type=util.count, default=30, help="random splits to draw (%(default)s)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the two h5 (%(default)s)")
    args = parser.parse_args(argv)

    found = find(args.folder)
    performers, actions = np.array([row[0] for row in found]), np.array([row[1] for row in found])
    drawn = {p: [draw(p, performers, actions - 1, args.seed, k + 1) for k in range(args.splits)] for p in PROTOCOLS}
    clips = list(read_all([path for *_, path in found]))
    full = "the full data set" if len(clips) == FULL else f"not the full data set, which has {FULL}"
    print(f"{len(clips)} clips of {len(np.unique(performers))} performers: {full}")
    for name, splits in drawn.items():
        table = np.zeros((len(splits), len(clips)), np.uint8)
        for row, (_, valid, test) in zip(table, splits, strict=True):
            row[valid], row[test] = 1, 2
        first = dict(zip(SPLITS, splits[0], strict=True))
        path = args.out / f"SYSU_{name}.h5"
        write_h5(
            path,
            {split: ((clips[i] for i in ids), actions[ids] - 1) for split, ids in first.items()},
            frames=max(map(len, clips)),
            joints=JOINTS,
            persons=1,
            class_names=ACTIONS,
            protocol=f"{PROTOCOLS[name][1]}; split 1 of {len(splits)} of seed {args.seed}",
            made_by=f"make_sysu.py {__version__}",
            resplits=table[:, np.concatenate(splits[0])],
        )
        sizes = "{} training, {} validation and {} test clips".format(*map(len, splits[0]))
        print(f"{path}: {sizes} in the first of {len(splits)} random splits")


if __name__ == "__main__":
    with one_clear_line():
        main()
