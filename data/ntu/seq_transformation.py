"""Step 3 of 3: centers each clip and writes one h5 for each protocol.

    python seq_transformation.py                     # in data/ntu, after get_raw_denoised_data.py
    python seq_transformation.py --root DIR --dataset NTU120

Reads DIR/denoised_data/NTU.h5, writes DIR/NTU_CS.h5 and NTU_CV.h5 (NTU120_CS.h5 and NTU120_CSet.h5, DEMO_CS.h5 and
DEMO_CV.h5), in the layout of clips/h5.py. With two workers both are written at the same time.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import protocols
from clips.columns import read_columns
from clips.h5 import SPLITS, split_validation, write_h5
from clips.importing import print_table
from clips.ntu import center_clip
from safe.files import remove_stale_parts
from safe.h5 import open_h5
from safe.program import exit_on_error
from safe.progress import progress
from safe.workers import parallel_map
from util import UserError, __version__


def read_index(path):
    """Of the clips of step 2: names (str), numbers of frames, and where their numbers begin, with the end of all."""
    with open_h5(path) as file:
        names, frames, width = read_columns(file, "names", "frames", "width")
    return [name.decode() for name in names], frames, np.append(0, (frames * width).cumsum())


def write_protocol(out, source, splits, labels, protocol, dataset, position):
    """Writes the h5 of one protocol, in a worker. splits: {"": indices, "valid_": ..., "test_": ...} of the clips.

    The indices are in a random order, so that the h5 is written in the order in which it is read later.
    """
    _, frames, begin = read_index(source)
    about = {"joints": 25, "persons": 2, "skeleton": "kinect_v2", "class_names": dataset.classes}
    about |= {"protocol": protocol.words, "made_by": f"{Path(__file__).name} {__version__}"}
    bar = progress(total=sum(map(len, splits.values())), desc=out.name, unit="clip", position=position)
    with bar, open_h5(source) as file:

        def centered(order):
            for i in order:
                yield center_clip(file["joints"][begin[i] : begin[i + 1]].reshape(frames[i], -1))
                bar.update()

        clips = {split: (centered(order), labels[order]) for split, order in splits.items()}
        write_h5(out, clips, frames=int(frames.max()), **about)


def count_sides(protocol, train, test, clips):
    """The numbers of training and test clips in words, and whether these are all."""
    text = f"{train:,} training (5% of them for validation) and {test:,} test clips"
    if protocol.full:
        is_full = protocol.full == (train, test)
        text += ": the full counts" if is_full else ": not the full {:,} and {:,}".format(*protocol.full)
    neither = f"; {clips - train - test:,} clips have a {protocol.field} that is on neither side"
    return text + neither * (train + test < clips)


def main(argv=None):
    args = protocols.parse_arguments(__doc__, argv, skips=False)
    dataset = protocols.dataset(args.dataset)
    source = protocols.made_by(args.root / "denoised_data" / f"{dataset.name}.h5", "get_raw_denoised_data.py")
    names, frames, _ = read_index(source)
    labels = np.array([protocols.action(name) - 1 for name in names])
    print(dataset.count(len(names)))
    jobs, too_few = [], []
    for protocol in dataset.protocols:
        out, (train, test) = args.root / f"{dataset.name}_{protocol.name}.h5", protocol.split(names)
        print(f"{out}: {count_sides(protocol, len(train), len(test), len(names))}")
        if len(train) < 2 or not len(test):
            too_few.append(out.name)
        else:
            splits = dict(zip(SPLITS, (*split_validation(train), test), strict=True))
            jobs.append((out, source, splits, labels, protocol, dataset, len(jobs)))
    try:
        list(parallel_map(write_protocol, jobs, args.workers))
    finally:
        remove_stale_parts(args.root)  # of workers that an interrupt killed
    for out, _, splits, *_ in jobs:
        sides = ({split: values[ids] for split, ids in splits.items()} for values in (labels, frames))
        print_table(out, dataset.classes, *sides)
    if too_few:
        raise UserError(f"{' and '.join(too_few)} not written: two training clips and one test clip are needed")


if __name__ == "__main__":
    with exit_on_error():
        main()
