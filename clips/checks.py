"""What can be wrong or odd with clips and their h5: shapes, values, labels, copies; units, axes, orders of joints.

clips/h5.py calls the first checks, data.py reads by `read_parts`, and tools/check_h5.py prints what they find. Whether
clips are of persons, in metres, with y up, and with their joints in the order of their skeleton, is judged by a sample
of their persons (`pick`, `find_odd`).
"""

import hashlib
import math
from collections import Counter, defaultdict
from itertools import combinations, compress, product
from math import prod

import h5py
import numpy as np

from clips.skeletons import SKELETONS, known_skeleton

BLOCK = 2**24  # bytes of x, or of y, in memory at a time
LARGEST, CLASSES = 2**28, 100_000  # bytes of a clip or a chunk; classes
FARTHEST = 1e6  # no coordinate of a person is as large, whatever its unit: a kilometre in millimetres
SAMPLE, FRAMES = 200, 8  # clips of a set that are looked at, and frames of a person in one
USUAL, HEIGHTS = 1.6, (0.5, 2.5)  # metres, of the median person of a set; some sit, and some are children
# Bones are judged by their lengths in multiples of the person's mean bone. In N-UCLA, UTD-MHAD and MSRAction3D, in the
# right order, the quartiles of a bone are up to 0.23 apart (in 30 clips 0.37), left and right differ by up to 4% (45%),
# and no exchange of two joints makes all bones together more than 0.7% shorter. With joints in other orders it was 0.41
# to 1.4; 1.7 to 10 times; or 6.8% to 13%, and from 2% on of two exchanged joints, but for a wrist with its hand.
JOINTS = 100  # skeletons of more are not looked at
PEOPLE = 30  # fewer say little
SPREAD = 0.4  # between a bone's quartiles, of the mean bone, or of this one if it is longer
RATIO = 1.5  # of a bone's median length to that of its counterpart
SHORTER = 0.02, 0.05  # by an exchange; of few persons: single clips of N-UCLA reach 0.04, UTD-MHAD 0.01


# ---- an h5


def check_shapes(file, splits):
    """Yields what is wrong with the types and shapes of an open h5's arrays. splits: prefixes of its datasets."""
    shapes = {}
    for split, first in product(splits, "xy"):
        key, is_x = split + first, first == "x"
        array = file.get(key)
        axes = "float32 (clips, frames, persons * joints * 3)" if is_x else "one-hot float64 (clips, classes)"
        if not isinstance(array, h5py.Dataset) or len(array.shape or ()) != (3 if is_x else 2):
            yield f"{key}: {array.shape if isinstance(array, h5py.Dataset) else 'missing'}, not {axes}"
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

    block: clips at a time. i: the first clip. x: (clips, frames, width) float32. label: (clips,) int64. wrong: {(array,
    what is wrong with some clips): their numbers}, as `describe` takes them.
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
        if len(clips):
            yield f"{array}: clip {clips[0]} {what}" + f" (and {len(clips) - 1} more clips)" * (len(clips) > 1)


def check_values(file, splits, header, step=lambda clips: None):
    """What is wrong with the values of an open h5 whose shapes and attributes are correct, and what is odd but allowed,
    two lists of lines; and a sample of its persons, as from `pick`. step: called with the clips of each part."""
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
            every = max(1, len(file[f"{split}x"]) // SAMPLE)
            for clip in x[-i % every :: every]:
                people += pick(clip.reshape(len(clip), -1, header["joints"], 3))
        step(len(x))
    return [*describe(bad)], [*describe(odd), *describe_empty(classes, header["class_names"])], people


def describe_empty(labels, class_names):
    """A line that names the classes of which no clip trains, if there are any. labels: those of the clips that do."""
    empty = [f"{i} ({name})" for i, name in enumerate(class_names) if i not in labels]
    if empty:
        from_1 = ": do its labels count from 1?" if 0 not in labels and max(labels, default=0) > 0 else ""
        more = f" (and {len(empty) - 1} more classes)" * (len(empty) > 1)
        yield f"no clip trains of class {empty[0]}{more}{from_1}"


# ---- persons


def pick(clip):
    """A few frames of each person of a clip, (frames, persons, joints, 3): [(frames, joints, 3)]."""
    people = (person[person.any(axis=(1, 2))] for person in clip.swapaxes(0, 1))
    return [one[np.linspace(0, len(one) - 1, min(FRAMES, len(one))).astype(int)] for one in people if len(one)]


def find_extent(frames):
    """The median extent along x, y and z of persons, (n, joints, 3), none of them empty: (3,). A joint that is all 0 is
    absent."""
    seen = frames.any(axis=2, keepdims=True)
    return np.median(np.where(seen, frames, -np.inf).max(axis=1) - np.where(seen, frames, np.inf).min(axis=1), axis=0)


def person_size(people):
    """The median height of persons of a set in 3D, as from `pick`, lying down or upright; None if nobody is there."""
    return float(max(find_extent(np.concatenate(people)))) if people else None


def find_up(clip, skeleton):
    """The median way from an ankle to the head in a clip, (frames, persons, joints, 3): (3,). None if the skeleton does
    not name these joints."""
    ends = [skeleton.find("head", "nose"), skeleton.find("left ankle", "left foot")]
    people = [] if None in ends else clip[clip[:, :, ends].any(axis=3).all(axis=2)]
    return np.median(people[:, ends[0]] - people[:, ends[1]], axis=0) if len(people) else None


def find_lost(clip):
    """Which joints were not found, and put at 0, 0, 0: (frames, persons, joints, 3) -> (frames, persons, joints) bool.

    One joint that is there amid the others of its person is the origin, and so is each that always is.
    """
    seen = clip.any(axis=(2, 3))[..., None]
    zero = (clip == 0).all(axis=3) & seen
    others = np.where(zero[..., None], np.nan, clip)
    low, high = np.fmin.reduce(others, axis=2), np.fmax.reduce(others, axis=2)  # without NaN
    is_far = np.fmax(low, -high).max(axis=2) > (high - low).max(axis=2) / 2
    several = (zero.sum(axis=2, keepdims=True) > 1) & ~(zero | ~seen).all(axis=0)
    return zero & (is_far[..., None] | several)


def towards(way):
    """The axis along which a way, (3,), is longest: "y", "-z"."""
    axis = np.abs(way).argmax()
    return f"{'-' if way[axis] < 0 else ''}{'xyz'[axis]}"


def scale_by(height, wanted):
    """The power of ten by which a height becomes about the wanted one; None if there is none."""
    factor = 10.0 ** round(math.log10(wanted / max(height, 1e-9)))
    return factor if 0.5 < factor * height / wanted < 2 else None


def show_height(height):
    unit = {0.01: ", as in centimetres", 0.001: ", as in millimetres"}.get(scale_by(height, USUAL), "")
    return f"{height:{',.0f' if height > 10 else '.2g'}} high{unit}"


def _odd_in_picture(up):
    """Yields a line if up, as of find_up, is no way from feet to heads in a picture, where y points down."""
    if up is not None and (way := towards(up * [1, 1, 0])) != "-y":
        yield f"heads lie towards {way} from the feet, not -y as in pictures: is each joint x, y, score?"


def odd_clip(clip, skeleton, flag=None, trained="y"):
    """Yields what is odd about a clip of numbers that do not say of what they are: ("up" or "order", a line).

    flag: the --up that it was turned by, or None; a clip of MediaPipe's is then turned to Kinect's axes. trained: the
    way up of the clips that a network was trained on, as of `towards`.
    """
    if not (known := known_skeleton(skeleton)):
        return
    up = find_up(clip, known)
    if known.is_2d:
        yield from (("up", line) for line in _odd_in_picture(up))
        return
    if up is not None and towards(up) != trained:
        name = towards(up * [-1, -1, 1] if skeleton == "mediapipe33" and not flag else up)
        use = "" if flag or trained != "y" else f"; use --up={name}"
        yield "up", f"heads lie towards {name} from the feet, not {trained}{use}, if people stand in most clips"
    yield from (("order", line) for line in find_odd_order(pick(clip), known))


# ---- a set of clips. people: of a sample of them, as from `pick`. skeleton: a Skeleton


def of_people(people, skeleton):
    """What a checkpoint keeps of the persons in 3D that it was trained on: {"person_size": "1.6", "up": "y"}."""
    if not people:
        return {}
    up = find_up(np.concatenate(people)[:, None], skeleton)
    return {"person_size": f"{person_size(people):.3g}"} | ({} if up is None else {"up": towards(up)})


def find_odd(people, skeleton, is_2d=False):
    """What is odd about a set of clips: a list of lines. is_2d: whether a joint is x, y and a score."""
    odd = [*_odd_pairs(skeleton)]
    if not people:
        return odd
    frames = np.concatenate(people)
    extent, up = find_extent(frames), find_up(frames[:, None], skeleton)
    if is_2d:
        if extent[1] > 10:
            odd.append(f"persons are about {extent[1]:,.0f} high: expected are parts of the picture, not pixels")
        return [*odd, *_odd_in_picture(up)]
    height, (lowest, highest) = max(extent), HEIGHTS if up is not None else (0, 10)
    if not lowest <= height <= highest:
        odd.append(f"persons are about {show_height(height)}: expected are metres (importers: --scale)")
    if up is not None and towards(up) != "y":
        why = "if people stand in most clips (importers: --up)"
        odd.append(f"heads lie towards {towards(up)} from the feet, not y, {why}")
    return [*odd, *find_odd_order(people, skeleton)]


def _odd_pairs(skeleton):
    """Lines about the parents and counterparts of a skeleton of one's own that fit, but look wrong."""
    joints, parents, pairs = skeleton.joints, skeleton.parents, skeleton.pairs
    roots = [joint for joint, parent in enumerate(parents) if joint == parent]
    if skeleton.name in SKELETONS or not 1 <= len(skeleton.bones()) <= JOINTS:
        return
    if len(roots) > 1:
        yield f"{len(roots)} joints hang on no other, such as {joints[roots[1]]}: are parents counted from 0?"
    if not pairs or pairs == tuple(range(len(joints))):
        return
    if None in (others := _counterparts(skeleton)):
        yield f"flip_pairs make no bone of {skeleton.bone_name(skeleton.bones()[others.index(None)])}"
    size, alike = Counter(), defaultdict(list)  # joints in the limb that begins with each; limbs of one size
    for joint in range(len(joints)):
        while parents[joint] != joint:
            size[joint] += 1
            joint = parents[joint]
    for joint, n in size.items():
        if n > 1 and pairs[joint] == joint:
            alike[parents[joint], n].append(joints[joint])
    if two := next((limbs for limbs in alike.values() if len(limbs) > 1), None):
        yield f"flip_pairs do not swap {two[0]} and {two[1]}, which look like left and right"


def _counterparts(skeleton):
    """The number of each bone's counterpart, or None if that is no bone."""
    bones, sides = skeleton.bones().tolist(), skeleton.pairs or range(len(skeleton.joints))
    number = {frozenset(bone): i for i, bone in enumerate(bones)}
    return [number.get(frozenset(sides[joint] for joint in bone)) for bone in bones]


def find_odd_order(people, skeleton):
    """At most three lines: the bone that changes most, the pair that differs most, the exchange that helps most; of few
    persons the last alone.

    Left and right exchanged altogether cannot be seen so: all lengths stay the same.
    """
    bones, joints = skeleton.bones(), skeleton.joints
    if not people or not 1 <= len(bones) <= JOINTS:
        return
    quartiles = _distances(people, bones)
    low, median, high = quartiles[:, bones[:, 0], bones[:, 1]]
    asked = f"are the joints in the order of {'the stated skeleton' if skeleton.name == 'custom' else skeleton.name}?"
    if len(people) >= PEOPLE:
        spread = (high - low) / np.maximum(median, 1)
        if (spread > SPREAD).any():
            i = np.nanargmax(spread)
            what = f"changes its length: its quartiles are {low[i]:.2f} and {high[i]:.2f} of the mean bone"
            yield f"{asked} {skeleton.bone_name(bones[i])} {what}"
        other = [i if k is None else k for i, k in enumerate(_counterparts(skeleton))]
        ratio = median / np.maximum(median[other], 1e-9)
        if (ratio > RATIO).any():
            i = np.nanargmax(ratio)
            one, two = skeleton.bone_name(bones[i]), skeleton.bone_name(bones[other[i]])
            yield f"{asked} {one} is {ratio[i]:.1f} times as long as {two}"
    gain, i, k = max(_exchanges(quartiles[1], skeleton), default=(0, 0, 0))
    if gain > SHORTER[len(people) < PEOPLE]:
        yield f"{asked} with {joints[i]} and {joints[k]} exchanged, all bones together would be {gain:.0%} shorter"


def _distances(people, bones):
    """Quartiles of the distances of all joints, in multiples of each person's mean bone: (3, joints, joints), NaN for
    joints that are never there together."""
    parts = []
    for one in people:
        seen = np.where(one.any(axis=2, keepdims=True), one, np.nan)
        apart = np.linalg.norm(seen[:, :, None] - seen[:, None], axis=3)
        lengths = apart[:, bones[:, 0], bones[:, 1]]
        if np.nansum(lengths) > 0:
            parts.append(apart / np.nanmean(lengths))
    apart = np.sort(np.concatenate(parts or [np.full_like(apart, np.nan)]), axis=0)  # NaN comes last
    last = np.isfinite(apart).sum(axis=0) - 1
    at = (np.array([0.25, 0.5, 0.75])[:, None, None] * last).clip(0).astype(int)
    return np.take_along_axis(apart, at, axis=0)


def _exchanges(distance, skeleton):
    """Yields (by which part all bones together become shorter, joint, other) of exchanges of two joints.

    Not of the left arm or leg with the right one: such joints can be close to each other.
    """
    bones, joints = skeleton.bones(), len(skeleton.joints)
    pairs, parents, limb = np.array(skeleton.pairs or range(joints)), np.array(skeleton.parents), np.arange(joints)
    for _ in range(joints):  # the limb is its first joint
        limb = np.where(pairs[parents] != parents, limb[parents], np.arange(joints))
    total = np.nansum(distance[bones[:, 0], bones[:, 1]]) or 1
    for i, k in combinations(range(joints), 2):
        if np.isfinite(distance[i, k]) and not pairs[limb[i]] == limb[k] != limb[i]:
            order = np.arange(joints)
            order[[i, k]] = k, i
            yield 1 - np.nansum(distance[order[bones[:, 0]], order[bones[:, 1]]]) / total, i, k
