"""Joins several h5 of one skeleton to one, to pretrain on: their classes side by side.

    python tools/join_h5.py UTDMHAD MSRACTION3D --whole --out pretraining.h5
    python main.py --dataset pretraining.h5 --recipe plus -b 16 --select last --epochs 30
    python main.py --dataset NUCLA --recipe plus -b 16 --select last --init results/pretraining/SGN-plus/0_best.pth

A class is named after its h5: "UTDMHAD_CS: squat". Joints, origin, and what the values of a joint are must be the same
in all; where an h5 does not state its origin, its clips are moved to that of the others. The protocol, which
checkpoints keep, names each h5 with the SHA-256 of its clips. Random splits are left out.
"""

import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from clips.h5 import SPLITS, read_header, split_validation, write_h5
from data import Clips
from engine.config import DATASETS, find_h5
from safe.files import open_h5
from safe.program import ArgumentParser, exit_on_error
from tools.common import path_of
from util import UserError, __version__

SAME = ("joints", "axes", "origin", "skeleton")  # what must be the same in all


def choose(clips, whole):
    """Which clips, of [(h5, split, number, class)], go where: {split: some of them}.

    whole: all of them train, but 5% that test, and 5% of the others for validation.
    """
    if not whole:
        return {split: [clip for clip in clips if clip[1] == split] for split in SPLITS}
    rest, test = split_validation(np.arange(len(clips)))
    return {split: [clips[i] for i in ids] for split, ids in zip(SPLITS, (*split_validation(rest), test), strict=True)}


def main(argv=None):
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("datasets", nargs="+", metavar="DATASET", help=f"{', '.join(DATASETS)} (case 0), or paths of .h5")
    add("--whole", action="store_true", help="train on all clips but 5%% that test, not on the training clips alone")
    add("--out", type=path_of(".h5", ".hdf5"), required=True, help="the h5 to write")
    args = parser.parse_args(argv)
    paths = [find_h5(dataset, 0)[0] for dataset in args.datasets]
    if len({path.stem for path in (*paths, args.out)}) < max(len(paths) + 1, 3):
        raise UserError("at least two h5, and --out, whose files have different names")
    clips, names, words = [], [], []  # clips: (number of the h5, split, number in it, class)
    with ExitStack() as stack:
        files = [stack.enter_context(open_h5(path)) for path in paths]
        headers = [read_header(file) for file in files]
        origins = [header["origin"] for header in headers if header["origin"] is not None]
        first = headers[0] | {"origin": origins[0] if origins else None}
        for i, (path, file, header) in enumerate(zip(paths, files, headers, strict=True)):
            other = [key for key in SAME if header[key] != first[key] and (key, header[key]) != ("origin", None)]
            if other:
                raise UserError(f"{path}: its {' and '.join(other)} differs from that of {paths[0]}")
            packed = Clips.read(path)  # validates all values
            places = [(i, split, n) for split in SPLITS for n in range(len(file[f"{split}x"]))]
            clips += [(*place, len(names) + label) for place, label in zip(places, packed.label.tolist(), strict=True)]
            names += [f"{path.stem}: {name}" for name in header["class_names"]]
            words.append(f"{path.stem} (SHA-256 {packed.sha256})")
        chosen = choose(clips, args.whole)
        splits = {
            split: ((files[i][f"{of}x"][n] for i, of, n, _ in some), np.array([label for *_, label in some], int))
            for split, some in chosen.items()
        }
        header = {key: first[key] for key in SAME} | {"frames": max(file["x"].shape[1] for file in files)}
        header |= {"persons": max(header["persons"] for header in headers), "class_names": names}
        header |= {"protocol": f"{'all clips' if args.whole else 'the training clips'} of {' and '.join(words)}"}
        write_h5(args.out, splits, **header, made_by=f"join_h5.py {__version__}")
    sizes = "{} training, {} validation and {} test clips".format(*map(len, chosen.values()))
    print(f"{args.out}: {len(names)} classes; {sizes}")


if __name__ == "__main__":
    with exit_on_error():
        main()
