"""What can be wrong with the arrays of an h5: shapes, values, labels, copies, and bones that change their length.

layout.validate calls these checks, and tools/check_h5.py prints what they find.
"""

import hashlib
import math
from itertools import compress

import h5py
import numpy as np

BLOCK = 2**24  # bytes of x in memory at a time
FARTHEST = 1e6  # no coordinate of a person is as large, whatever its unit: a kilometre in millimetres
LARGEST, CLASSES = 2**28, 100_000  # bytes of a clip or a chunk; classes
# Bones are judged by their lengths in all frames, in multiples of the person's mean bone over the clip. In N-UCLA and
# the demo set, which are in the right order, the quartiles of a bone are up to 0.23 apart, and left and right differ by
# 1%; in 30 of their clips up to 0.37 and 45%. With joints in other orders it was 0.41 to 0.71, or 1.7 to 10 times. The
# change in relation to the bone itself tells less: a thumb's length in correct data of a Kinect varies by half.
CLIPS = 30  # fewer clips say too little
SPREAD = 0.4  # between a bone's quartiles, of the mean bone, or of this one if it is longer
RATIO = 1.5  # of a bone's median length to that of its counterpart


def check_shapes(file, splits):
    """Yields what is wrong with the types and shapes of an open h5's arrays. splits: prefixes of its datasets."""
    shapes = {}
    for key in (f"{split}{array}" for split in splits for array in "xy"):
        array = file.get(key)
        if not isinstance(array, h5py.Dataset):
            yield f"no dataset '{key}'"
            continue
        is_x = key.endswith("x")
        if len(array.shape or ()) != (3 if is_x else 2):
            axes = "(clips, frames, persons * joints * 3)" if is_x else "(clips, classes), one-hot"
            yield f"{key}: shape {array.shape}, not {axes}"
            continue
        shapes[key] = array.shape
        if array.dtype.newbyteorder("=") != np.float32 if is_x else array.dtype.kind not in "fiub":
            yield f"{key}: {array.dtype}, not {'float32' if is_x else 'float64'}"
        # A sparse or compressed array is larger than the file, but not by so much
        if array.size * array.dtype.itemsize > 2000 * max(file.id.get_filesize(), 4096):
            yield f"{key}: shape {array.shape}, which a file of this size cannot hold"
        # A clip and a label are read as a whole, and so is a chunk
        if max(math.prod(array.shape[1:]), math.prod(array.chunks or ())) * array.dtype.itemsize > LARGEST:
            yield f"{key}: shape {array.shape}, chunks {array.chunks}: a clip or a chunk is larger than 256 MiB"
        if not (1 if is_x else 2) <= array.shape[1] <= (array.shape[1] if is_x else CLASSES):
            yield f"{key}: shape {array.shape}; at least 1 frame, and 2 to {CLASSES:,} classes, are needed"
        if key in ("x", "test_x") and not len(array):
            yield f"{key} has no clips"
        first = key[-1]
        if first in shapes and array.shape[1:] != shapes[first][1:]:
            axes = "frames and width" if is_x else "classes"
            yield f"{key} has {axes} {array.shape[1:]}, but {first} has {shapes[first][1:]}"
    for split in splits:
        x, y = f"{split}x", f"{split}y"
        if x in shapes and y in shapes and shapes[x][0] != shapes[y][0]:
            yield f"{x} has {shapes[x][0]} clips, but {y} has {shapes[y][0]}"


def check_resplits(file, splits):
    """Yields what is wrong with the table of random splits, of an h5 whose shapes are correct."""
    clips, table = sum(len(file[f"{split}y"]) for split in splits), file["resplits"]
    shape = getattr(table, "shape", None) or ()
    if len(shape) != 2 or not 1 <= shape[0] <= 10_000 or shape[1] != clips or table.dtype != np.uint8:
        yield f"resplits: {getattr(table, 'dtype', 'group')} {shape}, not uint8 (splits, {clips} clips)"
        return
    table = table[()]
    bad = (table > 2).any(axis=1) | (table != 0).all(axis=1) | (table != 2).all(axis=1)
    if bad.any():
        yield f"resplits: split {bad.argmax() + 1} has no 0 (training), no 2 (test), or a value above 2"


def is_one_hot(y):
    """Which rows of y are one-hot: (clips, classes) -> (clips,) bool."""
    return ((y == 0) | (y == 1)).all(axis=1) & (y.sum(axis=1) == 1)


def check_values(file, splits, skeleton, step, notes):
    """Yields what is wrong with the values of an open h5 whose shapes and attributes are correct.

    splits: prefixes of its datasets. skeleton: of 3D joints, a skeletons.Skeleton; None if lengths mean nothing. step:
    called with the number of clips after each part, or None. notes: gets what is odd but allowed; a list, or None.
    """
    bones = BoneLengths(skeleton) if skeleton and len(skeleton.bones()) and notes is not None else None
    trained = set()  # digests of the training and validation clips, without empty ones
    for split in splits:
        x, y = file[f"{split}x"], file[f"{split}y"]
        infinite, unlabelled, empty, copies = [], [], [], []
        clips = max(1, BLOCK // max(x.shape[1] * x.shape[2] * 4, y.shape[1] * 8))
        for at in range(0, len(x), clips):
            values = x[at : at + clips]
            finite = (np.abs(values) < FARTHEST).all(axis=(1, 2))
            infinite.extend(at + np.flatnonzero(~finite))
            unlabelled.extend(at + np.flatnonzero(~is_one_hot(y[at : at + clips])))
            filled = values.any(axis=(1, 2))
            empty.extend(at + np.flatnonzero(~filled))
            if notes is not None:
                digests = [hashlib.blake2b(clip, digest_size=16).digest() for clip in values]
                if split == "test_":
                    copies.extend(i for i, digest in enumerate(digests, at) if digest in trained)
                else:
                    trained.update(compress(digests, filled))
            if bones:
                bones.add(values[finite])
            if step:
                step(len(values))
        if infinite:
            yield _line(f"{split}x", infinite, "has NaN, infinity or a value above 1e6")
        if unlabelled:
            yield _line(f"{split}y", unlabelled, "has a label that is not one-hot")
        if empty and notes is not None:
            notes.append(_line(f"{split}x", empty, "is empty: all its values are 0"))
        if copies:
            notes.append(_line(f"{split}x", copies, "is also a training or validation clip"))
    if bones:
        notes.extend(bones.notes())


def _line(array, clips, what):
    more = f" (and {len(clips) - 1} more clips)" if len(clips) > 1 else ""
    return f"{array}: clip {clips[0]} {what}{more}"


class BoneLengths:
    """How long the bones of a skeleton are: a histogram for each, to which clips are added.

    Finds joints in another order than the skeleton's. It cannot find left and right exchanged altogether, nor arms
    with legs on both sides: the lengths stay the same on both sides.
    """

    BINS, STEP = 1200, 0.01  # of the logarithm of a length, from -6 to 6

    def __init__(self, skeleton):
        self.skeleton, self.bones, self.clips = skeleton, skeleton.bones(), 0
        self.counts = np.zeros((len(self.bones), self.BINS), np.int64)

    def add(self, x):
        """x: (clips, frames, persons * joints * 3) float32, finite. A joint that is all zeros is absent."""
        x = x.reshape(*x.shape[:2], -1, len(self.skeleton.joints), 3).swapaxes(1, 2)
        clip, person, frame = x.any(axis=(3, 4)).nonzero()
        x, track = x[clip, person, frame], clip * x.shape[1] + person
        a, b = (x[:, joints] for joints in self.bones.T)
        seen = a.any(axis=2) & b.any(axis=2)  # (frames, bones)
        length = np.linalg.norm(a - b, axis=2) * seen
        mean = np.bincount(track, length.sum(axis=1)) / np.maximum(np.bincount(track, seen.sum(axis=1)), 1)
        relative = np.log(np.maximum(length / np.maximum(mean, 1e-9)[track, None], 1e-9))
        bins = ((relative / self.STEP).round() + self.BINS // 2).clip(0, self.BINS - 1).astype(np.int64)
        bins += np.arange(len(self.bones)) * self.BINS
        self.counts += np.bincount(bins[seen], minlength=self.counts.size).reshape(self.counts.shape)
        self.clips += len(np.unique(track))

    def quantile(self, q):
        """Of each bone's lengths, as multiples of the mean bone: (bones,), NaN if the bone was never seen."""
        total = self.counts.cumsum(axis=1)
        place = (total >= np.maximum(q * total[:, -1:], 1)).argmax(axis=1) - self.BINS // 2
        return np.where(total[:, -1] > 0, np.exp(place * self.STEP), np.nan)

    def notes(self):
        """At most two lines, of the bone that changes most and the pair that differs most."""
        if self.clips < CLIPS:
            return
        low, median, high = map(self.quantile, (0.25, 0.5, 0.75))
        spread = (high - low) / np.maximum(median, 1)
        if count := int((spread > SPREAD).sum()):
            i = np.nanargmax(spread)
            quartiles = f"its quartiles are {low[i]:.2f} and {high[i]:.2f} of the mean bone"
            yield self._note(f"{self._name(i)} changes its length: {quartiles}", count)
        pairs = self._pairs()
        ratio = median[pairs[:, 0]] / median[pairs[:, 1]]
        ratio = np.maximum(ratio, 1 / ratio)
        if count := int((ratio > RATIO).sum()):
            i = np.nanargmax(ratio)
            one, other = sorted(pairs[i], key=lambda bone: -median[bone])
            yield self._note(f"{self._name(one)} is {ratio[i]:.1f} times as long as {self._name(other)}", count)

    def _note(self, what, count):
        more = f" ({count} bones like this)" if count > 1 else ""
        name = "the stated skeleton" if self.skeleton.name == "custom" else self.skeleton.name
        return f"are the joints in the order of {name}? {what}{more}"

    def _name(self, bone):
        return " - ".join(self.skeleton.joints[joint] for joint in self.bones[bone])

    def _pairs(self):
        """(pairs, 2): bones that are each other's counterpart, each pair once."""
        if self.skeleton.pairs is None:
            return np.zeros((0, 2), np.int64)
        index = {frozenset(bone): i for i, bone in enumerate(self.bones.tolist())}
        other = [index.get(frozenset(self.skeleton.pairs[joint] for joint in bone), -1) for bone in self.bones.tolist()]
        return np.array([(i, k) for i, k in enumerate(other) if i < k], np.int64).reshape(-1, 2)
