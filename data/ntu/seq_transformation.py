"""Step 3 of 3: moves each clip to its origin and writes one h5 a protocol.

    python seq_transformation.py                     # in data/ntu, after get_raw_denoised_data.py
    python seq_transformation.py --root DIR --dataset NTU120

Reads DIR/denoised_data/, writes DIR/NTU_CS.h5 and NTU_CV.h5 (NTU120_CS.h5 and NTU120_CSet.h5, DEMO_CS.h5 and
DEMO_CV.h5), in the layout of data/layout.py. The files are written at the same time if there are two workers; a file
that is finished, from the same clips, is not written again. (SPEC, "Step 3, h5".)
"""

import sys
from pathlib import Path

import h5py
import numpy as np

sys.path[:0] = [str(parent) for parent in Path(__file__).resolve().parents[1:3]]
import blocks  # noqa: E402
import protocols  # noqa: E402
from layout import SPLITS, hold_out, write_h5  # noqa: E402
from tqdm import tqdm  # noqa: E402

from util import UserError, __version__, one_clear_line, sweep  # noqa: E402

SCRIPT = Path(__file__).name
BEFORE = "get_raw_denoised_data.py"
HELD = 64 * 2**20  # bytes of clips in memory at a time


def at_origin(clip, joints=25, origin=2):
    """Subtracts joint 2 of the first frame in which actor 1 is there from every joint: (frames, 75 or 150) float32.

    In a clip of two actors, one whose values in a frame sum to 0 is not there, and stays 0.
    joints, origin: for skeletons of another kind, their joints, and which of them, from 1, is the origin.
    """
    persons = clip.reshape(len(clip), -1, joints, 3)
    first = (persons[:, 0] != 0).any(axis=(1, 2)).argmax()
    moved = persons - persons[first, 0, origin - 1]
    if persons.shape[1] > 1:
        moved[clip.reshape(len(clip), -1, joints * 3).sum(axis=2) == 0] = 0
    return moved.reshape(clip.shape)


class Source:
    """The clips of step 2, wherever they lie: names, frames (clips,), and the clips themselves in any order."""

    def __init__(self, folder, dataset):
        self.folder, self.dataset = folder, dataset
        self.index = blocks.read_index(folder, dataset, BEFORE)
        names, frames, width, block, start = [], [], [], [], []
        for i, (key, made_from, _) in enumerate(self.index):
            with blocks.open_block(folder, dataset, key, made_from, BEFORE) as file:
                size = file["frames"][()] * file["width"][()]
                names.append(file["names"][()])
                frames.append(file["frames"][()])
                width.append(file["width"][()])
                block.append(np.full(len(size), i))
                start.append(size.cumsum() - size)
        self.names = [name.decode() for name in np.concatenate(names)]
        self.frames, self.width, self.block, self.start = map(np.concatenate, (frames, width, block, start))

    def clips(self, order):
        """Yields the clips of these indices in their order, which is a random one.

        As many as HELD allows are fetched at a time, block by block, so that the h5 is written in the order in which
        it will be read.
        """
        size = (self.frames * self.width)[order]
        part = (size.cumsum() * 4) // HELD
        for some in np.split(order, np.flatnonzero(np.diff(part)) + 1):
            yield from self.fetch(some)

    def fetch(self, order):
        clips = [None] * len(order)
        rank = np.argsort(order)
        for places in np.split(rank, np.flatnonzero(np.diff(self.block[order[rank]])) + 1):
            if not len(places):
                continue
            key, made_from, _ = self.index[self.block[order[places[0]]]]
            with blocks.open_block(self.folder, self.dataset, key, made_from, BEFORE) as file:
                joints = file["joints"]
                for place in places:
                    i = order[place]
                    shape = int(self.frames[i]), int(self.width[i])
                    clips[place] = joints[self.start[i] : self.start[i] + shape[0] * shape[1]].reshape(shape)
        return clips


def write_protocol(path, source, parts, dataset, protocol, made_from, position):
    """Writes one protocol's h5 (in a worker). parts: the clips of each split, in order."""
    labels = np.array([protocols.action(name) - 1 for name in source.names])
    with tqdm(total=sum(map(len, parts.values())), desc=path.name, unit="clip", position=position) as bar:

        def clips(order):
            for clip in source.clips(order):
                yield at_origin(clip)
                bar.update()

        write_h5(
            path,
            {split: (clips(order), labels[order]) for split, order in parts.items()},
            frames=int(source.frames.max()),
            joints=25,
            persons=2,
            class_names=dataset.classes,
            protocol=protocol.words,
            made_by=f"{SCRIPT} {__version__}",
            made_from=made_from,
        )


def main(argv=None):
    args = blocks.arguments(__doc__, argv, skips=False)
    dataset = protocols.dataset(args.dataset, args.root)
    source = Source(args.root / "denoised_data", dataset.name)
    sweep(args.root)
    print(blocks.full_or_not(dataset, len(source.names)))
    jobs, poor = [], []
    for protocol in dataset.protocols:
        path = args.root / f"{dataset.name}_{protocol.name}.h5"
        train, test = protocol.split(source.names)
        print(f"{path}: {counts(protocol, len(train), len(test), len(source.names))}")
        made_from = blocks.digest(SCRIPT, protocol, dataset.classes, source.index)
        if len(train) < 2 or not len(test):
            poor.append(path.name)
        elif not finished(path, made_from):
            parts = dict(zip(SPLITS, (*hold_out(train), test), strict=True))
            jobs.append((path, source, parts, dataset, protocol, made_from, len(jobs)))
    with blocks.written(write_protocol, jobs, args.workers, args.root) as made:
        list(made)
    if poor:
        raise UserError(f"{' and '.join(poor)} not written: at least two training clips and one test clip are needed")
    return 0


def counts(protocol, train, test, clips):
    """One line on the size of a protocol's two sides, and whether that is all of them."""
    text = f"{train:,} training (5% of them set apart) and {test:,} test clips"
    if protocol.full == (train, test):
        text += ": the full counts"
    elif protocol.full:
        text += ": not the full {:,} and {:,}".format(*protocol.full)
    if train + test < clips:
        text += f"; {clips - train - test:,} clips have a {protocol.field} that is on neither side"
    return text


def finished(path, made_from):
    """Whether this h5 is there and made from just this."""
    try:
        with h5py.File(path) as file:
            return file.attrs.get("made_from") == made_from
    except OSError:
        return False


if __name__ == "__main__":
    with one_clear_line():
        sys.exit(main())
