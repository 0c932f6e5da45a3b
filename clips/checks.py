"""What can be wrong with the arrays of an h5: shapes, values, labels, copies, and bones that change their length.

clips/h5.py calls these checks, data.py reads by `read_parts`, and tools/check_h5.py prints what they find.
"""

import hashlib
import math
from itertools import compress

import h5py
import numpy as np

BLOCK = 2**24  # bytes of x, or of y, in memory at a time
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
        array, first = file.get(key), key[-1]
        is_x = first == "x"
        if not isinstance(array, h5py.Dataset):
            yield f"no dataset '{key}'"
            continue
        if len(array.shape or ()) != (3 if is_x else 2):
            axes = "(clips, frames, persons * joints * 3)" if is_x else "(clips, classes), one-hot"
            yield f"{key}: shape {array.shape}, not {axes}"
            continue
        shapes[key], size = array.shape, array.dtype.itemsize
        if array.dtype.newbyteorder("=") != np.float32 if is_x else array.dtype.kind not in "fiub":
            yield f"{key}: {array.dtype}, not {'float32' if is_x else 'float64'}"
        # A sparse or compressed array is larger than the file, but not by so much
        if array.size * size > 2000 * max(file.id.get_filesize(), 4096):
            yield f"{key}: shape {array.shape}, which a file of this size cannot hold"
        # A clip and a label are read as a whole, and so is a chunk
        if max(math.prod(array.shape[1:]), math.prod(array.chunks or ())) * size > LARGEST:
            yield f"{key}: shape {array.shape}, chunks {array.chunks}: a clip or a chunk is larger than 256 MiB"
        if not (1 if is_x else 2) <= array.shape[1] <= (array.shape[1] if is_x else CLASSES):
            yield f"{key}: shape {array.shape}; at least 1 frame, and 2 to {CLASSES:,} classes, are needed"
        if key in ("x", "test_x") and not len(array):
            yield f"{key} has no clips"
        if first in shapes and array.shape[1:] != shapes[first][1:]:
            axes = "frames and width" if is_x else "classes"
            yield f"{key} has {axes} {array.shape[1:]}, but {first} has {shapes[first][1:]}"
    for split in splits:
        x, y = (shapes.get(f"{split}{array}") for array in "xy")
        if x and y and x[0] != y[0]:
            yield f"{split}x has {x[0]} clips, but {split}y has {y[0]}"


def check_resplits(file, splits):
    """Yields what is wrong with the table of random splits, if there is one, of an h5 whose shapes are correct."""
    if "resplits" not in file:
        return
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


def read_parts(file, splits, block=None):
    """Yields (split, i, x, label, wrong) of all clips of an open h5 whose shapes are correct, a few MB at a time.

    splits: prefixes of its datasets. block: clips at a time. i: the first clip. x: (clips, frames, width) float32.
    label: (clips,) int64. wrong: {(array, what is wrong with some clips): their numbers}, as `describe` takes them.
    """
    for split in splits:
        x, y = file[f"{split}x"], file[f"{split}y"]
        step = block or max(1, BLOCK // max(4 * x.shape[1] * x.shape[2], 8 * y.shape[1]))
        for i in range(0, len(x), step):
            values, one_hot, wrong = x[i : i + step], y[i : i + step], {}
            if not (correct := is_one_hot(one_hot)).all():
                wrong[f"{split}y", "has a label that is not one-hot"] = i + np.flatnonzero(~correct)
            if not (values.min() > -FARTHEST and values.max() < FARTHEST):
                far = ~(np.abs(values) < FARTHEST).all(axis=(1, 2))
                wrong[f"{split}x", "has NaN, infinity or a value above 1e6"] = i + np.flatnonzero(far)
            yield split, i, values, one_hot.argmax(axis=1), wrong


def describe(found):
    """A line for each of {(array, what): numbers of clips}."""
    for (array, what), clips in found.items():
        more = f" (and {len(clips) - 1} more clips)" if len(clips) > 1 else ""
        yield f"{array}: clip {clips[0]} {what}{more}"


def check_values(file, splits, skeleton=None, step=lambda clips: None):
    """What is wrong with the values of an open h5 whose shapes and attributes are correct, and what is odd but allowed:
    two lists of lines. Odd are empty clips, test clips that also train, and bones.

    skeleton: of 3D joints, a Skeleton; None if lengths mean nothing. step: called with the clips of each part.
    """
    bones = BoneLengths(skeleton) if skeleton and len(skeleton.bones()) else None
    trained, bad, odd = set(), {}, {}  # digests of clips that train, without empty ones; {(array, what): clips}

    def add(found, more):
        for key, clips in more.items():
            found.setdefault(key, []).extend(clips)

    for split, i, x, _, wrong in read_parts(file, splits):
        add(bad, wrong)
        filled = x.any(axis=(1, 2))
        digests = [hashlib.blake2b(clip, digest_size=16).digest() for clip in x]
        add(odd, {(f"{split}x", "is empty: all its values are 0"): i + np.flatnonzero(~filled)})
        if split == "test_":
            copies = [at for at, digest in enumerate(digests, i) if digest in trained]
            add(odd, {(f"{split}x", "is also a training or validation clip"): copies})
        else:
            trained.update(compress(digests, filled))
        if bones and not any(array.endswith("x") for array, _ in wrong):
            bones.add(x)
        step(len(x))
    notes = [*describe({key: clips for key, clips in odd.items() if clips})]
    return [*describe(bad)], notes + ([*bones.notes()] if bones else [])


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
        pairs = self.pairs()
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

    def pairs(self):
        """(pairs, 2): bones that are each other's counterpart, each pair once."""
        other = {frozenset(bone): i for i, bone in enumerate(self.bones.tolist())}
        sides = self.skeleton.pairs or range(len(self.skeleton.joints))
        found = [other.get(frozenset(sides[joint] for joint in bone), -1) for bone in self.bones.tolist()]
        return np.array([(i, k) for i, k in enumerate(found) if i < k], np.int64).reshape(-1, 2)
