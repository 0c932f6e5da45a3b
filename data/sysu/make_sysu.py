"""SYSU 3D HOI: converts the folder `SYSU3DAction` to `SYSU_CS.h5` (cross-subject) and `SYSU_SS.h5` (same-subject).

    python data/sysu/make_sysu.py SYSU3DAction

A clip is `3DvideoNorm/<performer>/video<k>/sklWorld.mat`, k = 1...12 the action: the variable SW (20, 3, frames),
metres. Every second frame is kept, as in the release. Joint 2, the spine, of the first of them becomes the origin, as
in NTU's clips. A file that cannot be read is an error, because the splits would differ without its clip.

Each h5 has all clips once and a table of thirty random splits (Hu et al., CVPR 2015), `resplits`; its x, valid_x and
test_x are those of the first.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips.checks import FARTHEST
from clips.h5 import SPLITS, center, split_validation
from clips.importing import write_set
from clips.protocols import read_lines
from safe.mat import read_mats
from safe.program import ArgumentParser, exit_on_error, progress
from util import UserError, regular

HERE = Path(__file__).resolve().parent
ACTIONS = read_lines(HERE / "actions.txt")
FULL = 480  # clips of the whole data set
NUMBERS, SEED = range(1, 31), 1  # of the splits
PROTOCOLS = {
    "CS": "cross-subject: a random half of the performers train, the others test",
    "SS": "same-subject: a random half of each action's clips train, the others test",
}


def find_clips(folder):
    """The clips below a folder: [(performer, action from 1, path)], performer by performer. Raises UserError."""
    inside = folder / "SYSU3DAction" / "3DvideoNorm", folder / "3DvideoNorm"
    home, numbers = next(filter(Path.is_dir, inside), folder), {f"video{i}": i for i in range(1, len(ACTIONS) + 1)}
    paths = [*home.glob("*/video*/sklWorld.mat")]
    if not paths:
        raise UserError(f"{folder}: no 3DvideoNorm/<performer>/video<k>/sklWorld.mat in it")
    if odd := [path.parent for path in paths if path.parent.name not in numbers]:
        raise UserError(f"{odd[0]}: not video1 to video{len(ACTIONS)}")
    return sorted((path.parents[1].name, numbers[path.parent.name], path) for path in paths)


def read_all(paths):
    """Yields the clip of each sklWorld.mat: (frames, 60) float32, metres. Raises UserError."""
    files = ((path, regular(path).read_bytes()) for path in progress(paths, unit="clip"))
    for path, skeletons in read_mats(files, "SW"):
        if skeletons.shape[:2] != (20, 3):
            raise UserError(f"{path}: SW is {skeletons.shape}, not (20 joints, 3, frames)")
        clip = skeletons.transpose(2, 0, 1)[::2, None].astype(np.float64)
        if not clip.any() or not (np.abs(clip) < FARTHEST).all():
            raise UserError(f"{path}: all is empty, or a coordinate is not finite, or too large for metres")
        yield center(clip, ~clip.any(axis=(2, 3))).astype(np.float32).reshape(len(clip), -1)


def make_split(name, performers, labels, number):
    """Split `number` of a protocol: indices of the training, validation and test clips. Raises UserError.

    performers, labels: of the clips, (clips,) str and int.
    """
    rng = np.random.default_rng([SEED, list(PROTOCOLS).index(name), number])
    if name == "CS":
        people = np.unique(performers)
        train = np.isin(performers, rng.permutation(people)[: len(people) // 2])
    else:
        clips = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
        train = np.isin(range(len(labels)), np.concatenate([some[: len(some) // 2] for some in clips]))
    if train.sum() < 2 or train.all():
        raise UserError(f"{name}: {train.sum()} of {len(train)} clips would train; more performers are needed")
    return (*split_validation(np.flatnonzero(train)), np.flatnonzero(~train))


def main(argv=None):
    gone = dict.fromkeys(["--seed", "--splits"], "gone: the 30 random splits are those of seed 1")
    parser = ArgumentParser(description=__doc__, elsewhere=gone)
    parser.add_argument("folder", type=Path, help="SYSU3DAction, or the folder that contains it")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the two h5 (%(default)s)")
    args = parser.parse_args(argv)
    performers, actions, paths = zip(*find_clips(args.folder), strict=True)
    performers, labels = np.array(performers), np.array(actions) - 1
    all_splits = {name: [make_split(name, performers, labels, number) for number in NUMBERS] for name in PROTOCOLS}
    clips = [*read_all(paths)]
    full = "the full data set" if len(clips) == FULL else f"not the full data set, which has {FULL}"
    print(f"{len(clips)} clips of {len(np.unique(performers))} performers: {full}")
    for name, splits in all_splits.items():
        table = np.zeros((len(splits), len(clips)), np.uint8)
        for row, (_, validation, test) in zip(table, splits, strict=True):
            row[validation], row[test] = 1, 2
        path, sides = args.out / f"SYSU_{name}.h5", dict(zip(SPLITS, splits[0], strict=True))
        words = f"{PROTOCOLS[name]}; split 1 of {len(splits)} of seed {SEED}"
        about = {"skeleton": "kinect_v1", "protocol": words, "resplits": table[:, np.concatenate(splits[0])]}
        write_set(path, clips.__getitem__, labels, sides, ACTIONS, frames=max(map(len, clips)), **about)


if __name__ == "__main__":
    with exit_on_error():
        main()
