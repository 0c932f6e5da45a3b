"""Step 3 of 3: centers each clip and writes one h5 for each protocol.

    python seq_transformation.py                     # in data/ntu, after get_raw_denoised_data.py
    python seq_transformation.py --root DIR --dataset NTU120

Reads DIR/denoised_data/, writes DIR/NTU_CS.h5 and NTU_CV.h5 (NTU120_CS.h5 and NTU120_CSet.h5, DEMO_CS.h5 and
DEMO_CV.h5), in the layout of clips/h5.py. With two workers both are written at the same time. A file that is
complete and made from the same clips is not written again.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import blocks, protocols
from clips import h5 as layout
from clips.ntu import center_clip
from safe.h5 import unreadable
from safe.program import exit_on_error
from safe.workers import parallel_map
from util import UserError, __version__, exclusive_lock, progress, remove_stale_parts

SCRIPT = Path(__file__).name
BEFORE = "get_raw_denoised_data.py"
LOADED = 64 * 2**20  # bytes of clips in memory at a time


class Source:
    """The clips of step 2 in all blocks: names, and frames, width, block and start as (clips,) int64."""

    def __init__(self, folder, dataset):
        self.folder, self.dataset = folder, dataset
        self.index = blocks.read_index(folder, dataset, BEFORE)
        names, columns = [], []
        for i, row in enumerate(self.index):
            with self._open(row) as file:
                of_clips, frames, width = blocks.read_columns(file, "names", "frames", "width")
                size = frames * width
                if file["joints"].shape != (size.sum(),):
                    raise unreadable(file.filename, "another number of values than it says")
            names += [name.decode() for name in of_clips]
            columns.append([frames, width, np.full(len(size), i), size.cumsum() - size])
        self.names = names
        self.frames, self.width, self.block, self.start = np.concatenate(columns, axis=1)

    def _open(self, row):
        key, made_from, _ = row
        return blocks.open_block(self.folder, self.dataset, key, made_from, BEFORE)

    def clips(self, order):
        """Yields the clips of these indices, which are in a random order.

        They are loaded block by block, as many as LOADED allows at a time, so that the h5 is written in the order in
        which it is read later.
        """
        part = ((self.frames * self.width)[order].cumsum() * 4) // LOADED
        for indices in np.split(order, np.flatnonzero(np.diff(part)) + 1):
            yield from self._load(indices)

    def _load(self, indices):
        clips, block = [None] * len(indices), self.block[indices]
        for number in np.unique(block):
            with self._open(self.index[number]) as file:
                for place in np.flatnonzero(block == number):
                    i = indices[place]
                    shape = self.frames[i], self.width[i]
                    clips[place] = file["joints"][self.start[i] : self.start[i] + shape[0] * shape[1]].reshape(shape)
        return clips


def write_protocol(path, source, splits, dataset, protocol, made_from, position):
    """Writes the h5 of one protocol, in a worker. splits: {"": indices, "valid_": ..., "test_": ...} of the clips."""
    labels = np.array([protocols.action(name) - 1 for name in source.names])
    with progress(total=sum(map(len, splits.values())), desc=path.name, unit="clip", position=position) as bar:

        def centered(order):
            for clip in source.clips(order):
                yield center_clip(clip)
                bar.update()

        layout.write_h5(
            path,
            {split: (centered(order), labels[order]) for split, order in splits.items()},
            frames=int(source.frames.max()),
            joints=25,
            persons=2,
            skeleton="kinect_v2",
            class_names=dataset.classes,
            protocol=protocol.words,
            made_by=f"{SCRIPT} {__version__}",
            made_from=made_from,
        )


def main(argv=None):
    args = protocols.parse_arguments(__doc__, argv, epilog=None)
    dataset = protocols.dataset(args.dataset)
    source = Source(args.root / "denoised_data", dataset.name)
    print(dataset.count(len(source.names)))
    jobs, too_few, written = [], [], []
    for protocol in dataset.protocols:
        path = args.root / f"{dataset.name}_{protocol.name}.h5"
        train, test = protocol.split(source.names)
        print(f"{path}: {count_sides(protocol, len(train), len(test), len(source.names))}")
        made_from = blocks.digest(SCRIPT, protocol, dataset.classes, source.index)
        if len(train) < 2 or not len(test):
            too_few.append(path.name)
            continue
        written.append(path.name)
        if layout.made_from(path) != made_from:
            splits = dict(zip(layout.SPLITS, (*layout.split_validation(train), test), strict=True))
            jobs.append((path, source, splits, dataset, protocol, made_from, len(jobs)))
    with exclusive_lock(source.folder / ".lock"):
        remove_stale_parts(args.root)
        list(parallel_map(write_protocol, jobs, args.workers, args.root))
    if too_few:
        needed = "at least two training clips and one test clip are needed"
        rest = f"; {written[0]} is written" if written else ""
        raise UserError(f"{' and '.join(too_few)} not written: {needed}{rest}")
    return 0


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
        sys.exit(main())
