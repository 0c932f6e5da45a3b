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

from clips import h5 as layout
from clips import protocols
from clips.columns import read_columns
from clips.importing import print_table
from clips.ntu import center_clip
from safe.files import remove_stale_parts
from safe.h5 import open_h5, unreadable
from safe.program import exit_on_error
from safe.progress import progress
from safe.workers import parallel_map
from util import UserError, __version__

LOADED = 64 * 2**20  # bytes of clips in memory at a time


def read_index(path):
    """Of the clips of step 2: names (str), and frames and width, (clips,) int64."""
    with open_h5(path) as file:
        names, frames, width = read_columns(file, "names", "frames", "width")
        if file["joints"].shape != ((frames * width).sum(),):
            raise unreadable(path, "another number of values than it says")
    return [name.decode() for name in names], frames, width


def read_clips(path, order, frames, width):
    """Yields the clips of these indices, which are in a random order, so that the h5 is written in the order in which
    it is read later. As many as LOADED allows are loaded at a time, in the order in which step 2 wrote them."""
    size = frames * width
    start = size.cumsum() - size
    part = size[order].cumsum() * 4 // LOADED
    with open_h5(path) as file:
        for indices in np.split(order, np.flatnonzero(np.diff(part)) + 1):
            clips = {i: file["joints"][start[i] : start[i] + size[i]].reshape(-1, width[i]) for i in np.sort(indices)}
            yield from (clips[i] for i in indices)


def write_protocol(out, source, splits, dataset, protocol, position):
    """Writes the h5 of one protocol, in a worker. splits: {"": indices, "valid_": ..., "test_": ...} of the clips."""
    names, frames, width = read_index(source)
    labels = np.array([protocols.action(name) - 1 for name in names])
    with progress(total=sum(map(len, splits.values())), desc=out.name, unit="clip", position=position) as bar:

        def centered(order):
            for clip in read_clips(source, order, frames, width):
                yield center_clip(clip)
                bar.update()

        layout.write_h5(
            out,
            {split: (centered(order), labels[order]) for split, order in splits.items()},
            frames=int(frames.max()),
            joints=25,
            persons=2,
            skeleton="kinect_v2",
            class_names=dataset.classes,
            protocol=protocol.words,
            made_by=f"{Path(__file__).name} {__version__}",
        )


def main(argv=None):
    args = protocols.parse_arguments(__doc__, argv, skips=False)
    dataset = protocols.dataset(args.dataset)
    source = protocols.made_by(args.root / "denoised_data" / f"{dataset.name}.h5", "get_raw_denoised_data.py")
    names, frames, _ = read_index(source)
    labels = np.array([protocols.action(name) - 1 for name in names])
    print(dataset.count(len(names)))
    jobs, too_few = [], []
    for protocol in dataset.protocols:
        out = args.root / f"{dataset.name}_{protocol.name}.h5"
        train, test = protocol.split(names)
        print(f"{out}: {count_sides(protocol, len(train), len(test), len(names))}")
        if len(train) < 2 or not len(test):
            too_few.append(out.name)
            continue
        splits = dict(zip(layout.SPLITS, (*layout.split_validation(train), test), strict=True))
        jobs.append((out, source, splits, dataset, protocol, len(jobs)))
    try:
        list(parallel_map(write_protocol, jobs, args.workers))
    finally:
        remove_stale_parts(args.root)
    for out, _, splits, *_ in jobs:
        sides = ({split: values[ids] for split, ids in splits.items()} for values in (labels, frames))
        print_table(out, dataset.classes, *sides)
    if too_few:
        needed = "at least two training clips and one test clip are needed"
        raise UserError(f"{' and '.join(too_few)} not written: {needed}")


def count_sides(protocol, train, test, clips):
    """The numbers of training and test clips in words, and whether these are all."""
    text = f"{train:,} training (5% of them for validation) and {test:,} test clips"
    if protocol.full == (train, test):
        text += ": the full counts"
    elif protocol.full:
        text += ": not the full {:,} and {:,}".format(*protocol.full)
    if train + test < clips:
        text += f"; {clips - train - test:,} clips have a {protocol.field} that is on neither side"
    return text


if __name__ == "__main__":
    with exit_on_error():
        main()
