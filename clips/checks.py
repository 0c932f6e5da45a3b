"""What can be wrong with the arrays of an h5: shapes, values, labels, empty classes, and copies.

clips/h5.py calls these checks, data.py reads by `read_parts`, and tools/check_h5.py prints what they find.
"""

import hashlib
from collections import defaultdict
from itertools import compress, product
from math import prod

import h5py
import numpy as np

from clips.units import FARTHEST, SAMPLE, pick

BLOCK = 2**24  # bytes of x, or of y, in memory at a time
LARGEST, CLASSES = 2**28, 100_000  # bytes of a clip or a chunk; classes


def check_shapes(file, splits):
    """Yields what is wrong with the types and shapes of an open h5's arrays. splits: prefixes of its datasets."""
    shapes = {}
    for split, first in product(splits, "xy"):
        key, is_x = split + first, first == "x"
        array = file.get(key)
        axes = "float32 (clips, frames, persons * joints * 3)" if is_x else "one-hot float64 (clips, classes)"
        if not isinstance(array, h5py.Dataset):
            yield f"no dataset '{key}', {axes}"
            continue
        if len(array.shape or ()) != (3 if is_x else 2):
            yield f"{key}: shape {array.shape}, not {axes}"
            continue
        shapes[key], size, row = array.shape, array.dtype.itemsize, array.shape[1:]
        like = shapes.get(first, array.shape)[1:]
        right = array.dtype.newbyteorder("=") == np.float32 if is_x else array.dtype.kind in "fiub"
        wrong = {
            f"{array.dtype}, not {axes}": not right,
            # A sparse or compressed array is larger than the file, but not by so much
            "more than a file of this size can hold": array.size * size > 2000 * max(file.id.get_filesize(), 4096),
            # A clip and a label are read as a whole, and so is a chunk
            "a clip, or a chunk, is larger than 256 MiB": max(prod(row), prod(array.chunks or ())) * size > LARGEST,
            f"it needs 1 frame, or 2 to {CLASSES:,} classes": not row[0] if is_x else not 2 <= row[0] <= CLASSES,
            "it needs clips": not len(array) and key in ("x", "test_x"),
            f"clips are {row}, but those of {first} {like}": row != like,
        }
        yield from (f"{key}: shape {array.shape}: {what}" for what, is_so in wrong.items() if is_so)
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
        if not len(clips):
            continue
        more = f" (and {len(clips) - 1} more clips)" if len(clips) > 1 else ""
        yield f"{array}: clip {clips[0]} {what}{more}"


def check_values(file, splits, header, step=lambda clips: None):
    """What is wrong with the values of an open h5 whose shapes and attributes are correct, and what is odd but allowed:
    two lists of lines. Odd are empty clips and classes, and test clips that also train. Also returns a sample of its
    persons, as from units.pick.

    step: called with the clips of each part.
    """
    trained, classes, people = set(), set(), []  # trained: digests
    bad, odd = defaultdict(list), defaultdict(list)  # {(array, what): clips}
    for split, i, x, label, wrong in read_parts(file, splits):
        for key, clips in wrong.items():
            bad[key].extend(clips)
        filled = x.any(axis=(1, 2))
        digests = [hashlib.blake2b(clip, digest_size=16).digest() for clip in x]
        odd[f"{split}x", "is empty: all its values are 0"].extend(i + np.flatnonzero(~filled))
        if split == "test_":
            copies = (at for at, digest in enumerate(digests, i) if digest in trained)
            odd[f"{split}x", "is also a training or validation clip"].extend(copies)
        else:
            trained.update(compress(digests, filled))
            classes.update(label.tolist())
        if not any(array.endswith("x") for array, _ in wrong):
            for at in range(-i % (every := max(1, len(file[f"{split}x"]) // SAMPLE)), len(x), every):
                people += pick(x[at].reshape(len(x[at]), -1, header["joints"], 3))
        step(len(x))
    return [*describe(bad)], [*describe(odd), *describe_empty(classes, header["class_names"])], people


def describe_empty(labels, class_names):
    """A line that names the classes of which no clip trains, if there are any. labels: those of the clips that do."""
    empty = [f"{i} ({name})" for i, name in enumerate(class_names) if i not in labels]
    if empty:
        from_1 = ": do its labels count from 1?" if 0 not in labels and max(labels, default=0) > 0 else ""
        more = f" (and {len(empty) - 1} more classes)" if len(empty) > 1 else ""
        yield f"no clip trains of class {empty[0]}{more}{from_1}"
