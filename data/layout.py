"""The layout of every data set's h5, which the scripts in this folder write and `data.py` reads.

Six datasets (SPEC, "Step 3, h5"): `x`, `valid_x`, `test_x` float32 (clips, frames, persons * joints * 3), in metres,
zero after a clip's last frame; `y`, `valid_y`, `test_y` one-hot float64 (clips, classes). A protocol that is the mean
over random splits has a seventh, `resplits` uint8 (splits, clips): to which of these each clip goes in each split, 0
training, 1 validation, 2 test, the clips counted on through x, valid_x and test_x. Attributes of the file:

    joints, persons     how the last axis of x is made up: person by person, joint by joint, x y z
    class_names         one string a class
    protocol            which clips train and which test, in words
    made_by             program and version that wrote the file

A file from elsewhere may lack the attributes, if its x are 150 wide: then it has 25 joints and 2 persons.
"""

from contextlib import contextmanager
from operator import index

import h5py
import numpy as np

import util

SPLITS = ("", "valid_", "test_")
# Frames in a chunk, the unit that is on disk or not. Fewer: less padding on disk; more: fewer chunks to look up.
# 10,000 NTU-like clips in chunks of 20, 50 frames take 340, 397 MB and 1.8, 1.0 s to read, 0.6, 0.4 s to write; dense
# 1800 MB, 0.2 s and 1.0 s plus what the disk takes; gzip-1 with shuffle 255 MB, but 2.7 s and 6.9 s.
CHUNK = 50
LABELS = 4096  # rows of y written at a time: all of Kinetics' would take 800 MB


def write_h5(path, splits, **about):
    """Writes one h5 in the layout above, clip by clip; whole or not at all.

    splits: {"": (clips, labels), "valid_": …, "test_": …}; labels (n,) of class indices; clips an iterable of n
    arrays (the clip's frames, persons * joints * 3), metres, at most `frames` long. A clip may be narrower by whole
    persons: those it lacks are zeros. about: frames, joints, persons, class_names, protocol, made_by and perhaps more,
    as `writing` takes them. Raises UserError, naming the clip, for shapes, labels or values that are wrong.
    """
    with writing(path, {split: labels for split, (_, labels) in splits.items()}, **about) as put:
        for split, (clips, _) in splits.items():
            for i, clip in enumerate(clips):
                put(split, i, clip)


@contextmanager
def writing(path, labels, *, frames, joints, persons, class_names, protocol, made_by, resplits=None, **more):
    """The same for clips that come in an order of their own: yields put(split, i, clip), to be called once a clip.

    labels: {"": (n,) class indices, "valid_": …, "test_": …}. resplits: (splits, all clips) as above, if there are any.
    more: further attributes of the file.
    put's errors name the clip `what`, if it is given, instead of its place in the h5.
    Padding is not written: a chunk of HDF5 that nothing was written to reads as zeros and takes no disk.
    """
    names = list(class_names)
    # Any HDF5 since 1.10 (2016) reads this; older files index their chunks in a way that is slower to read.
    with util.replacing(path) as part, h5py.File(part, "w", libver="v110") as file:
        file.attrs.update(joints=joints, persons=persons, protocol=protocol, made_by=made_by, **more)
        file.attrs["class_names"] = names
        missing = {}
        for split in SPLITS:
            y = _checked_labels(labels[split], f"{split}y", len(names))
            one_hot_y = file.create_dataset(f"{split}y", (len(y), len(names)), "float64")
            for at in range(0, len(y), LABELS):
                one_hot_y[at : at + LABELS] = np.eye(len(names))[y[at : at + LABELS]]
            chunks = (1, min(frames, CHUNK), joints * 3) if len(y) else None
            file.create_dataset(f"{split}x", (len(y), frames, persons * joints * 3), "float32", chunks=chunks)
            missing[split] = np.ones(len(y), bool)

        def put(split, i, clip, what=None):
            if i >= len(missing[split]):
                raise util.UserError(f"{split}x: more clips than the {len(missing[split])} labels of {split}y")
            x = file[f"{split}x"]
            _write_clip(x, i, _checked_clip(clip, what or f"{split}x, clip {i}", x.shape, joints * 3))
            missing[split][i] = False

        if resplits is not None:
            file["resplits"] = np.asarray(resplits, np.uint8)
            if problems := list(_check_resplits(file)):
                raise util.UserError(problems[0])
        yield put
        for split in SPLITS:
            if missing[split].any():
                raise util.UserError(f"{split}x: {missing[split].sum()} clips fewer than {split}y has labels")


def _checked_labels(labels, what, classes):
    labels = np.asarray(labels)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise util.UserError(f"{what}: labels must be a list of class indices, not {labels.dtype} {labels.shape}")
    labels = labels.astype(np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise util.UserError(f"{what}: clip {wrong[0]} has label {labels[wrong[0]]}, not 0 to {classes - 1}")
    return labels


def _checked_clip(clip, what, shape, person):
    with np.errstate(over="ignore"):
        clip = np.ascontiguousarray(clip, dtype=np.float32)
    _, frames, width = shape
    if clip.ndim != 2 or clip.shape[1] % person or not person <= clip.shape[1] <= width:
        raise util.UserError(f"{what}: shape {clip.shape}, not (frames, {width}): {width // person} x {person} values")
    if not 1 <= len(clip) <= frames:
        raise util.UserError(f"{what}: {len(clip)} frames, not 1 to {frames}")
    if not np.isfinite(clip).all():
        raise util.UserError(f"{what}: NaN or infinity in frame {int(np.isfinite(clip).all(axis=1).argmin())}")
    return clip


def _write_clip(x, i, clip):
    """Writes the chunks of a clip in which there is anything, past HDF5's cache of chunks (three times faster)."""
    _, rows, width = x.chunks
    chunk = np.zeros((rows, width), np.float32)
    for column in range(0, clip.shape[1], width):
        for row in range(0, len(clip), rows):
            some = clip[row : row + rows, column : column + width]
            if some.any():
                chunk[: len(some)] = some
                chunk[len(some) :] = 0
                x.id.write_direct_chunk((i, row, column), chunk)


def at_origin(skeletons):
    """Moves a clip so that joint 2, the spine, of its first frame that is not empty is the origin, as NTU's clips are.

    (frames, joints, 3) metres -> (frames, joints * 3) float32. Empty frames stay empty.
    """
    there = (skeletons != 0).any(axis=(1, 2))
    moved = skeletons - skeletons[there.argmax(), 1]
    moved[~there] = 0
    return moved.astype(np.float32).reshape(len(skeletons), -1)


def hold_out(indices):
    """The training clips and the 5% set apart for validation, both shuffled as in the release (SPEC, "Step 3, h5").

    Used by every script of this folder. indices: (n,) int64 -> ((n - v,), (v,)), v = ceil(n / 20).
    """
    from sklearn.model_selection import train_test_split

    return train_test_split(indices, test_size=0.05, random_state=10000)


def about(file):
    """What an open h5 says of itself: {"joints", "persons", "class_names", "protocol"}, for data.py.

    Class names are made up ("class 0", …) and the protocol is "" if the file has none.
    Raises UserError if the file is not in this layout; the values of its arrays are not looked at.
    """
    if problems := check(file, values=False):
        more = f" (and {len(problems) - 1} more: tools/check_h5.py lists them)" if len(problems) > 1 else ""
        raise util.UserError(f"{file.filename}: {problems[0]}{more}")
    joints, persons = _joints_and_persons(file, file["x"].shape[2])
    names = _class_names(file)
    if names is None:
        names = [f"class {i}" for i in range(file["y"].shape[1])]
    return {
        "joints": joints,
        "persons": persons,
        "class_names": tuple(names),
        "protocol": str(file.attrs.get("protocol", "")),
    }


def check(file, values=True, step=None, notes=None):
    """What is wrong with an open h5, in words, one string a problem; [] if it is in this layout.

    values: also read all arrays, a few MB at a time. step: called with the number of clips after each such part.
    notes: a list that takes what is odd but no mistake: empty clips, which some data sets have.
    """
    problems = [f"no dataset '{s}{k}'" for s in SPLITS for k in "xy" if not _has(file, f"{s}{k}")]
    shapes = {}
    for key, rank, kinds in ((f"{s}{k}", *rest) for s in SPLITS for k, *rest in (("x", 3, "f"), ("y", 2, "fiub"))):
        if not _has(file, key):
            continue
        if len(file[key].shape or ()) != rank:
            axes = "(clips, frames, persons * joints * 3)" if rank == 3 else "(clips, classes), one-hot"
            problems.append(f"{key}: shape {file[key].shape}, not {axes}")
        else:
            shapes[key] = file[key].shape
        if file[key].dtype.kind not in kinds or (rank == 3 and file[key].dtype.itemsize != 4):
            problems.append(f"{key}: {file[key].dtype}, not {'float32' if rank == 3 else 'float64'}")
    for split in SPLITS:
        x, y = f"{split}x", f"{split}y"
        if x in shapes and y in shapes and shapes[x][0] != shapes[y][0]:
            problems.append(f"{x} has {shapes[x][0]} clips, but {y} has {shapes[y][0]}")
        for key in {x, y} & shapes.keys():  # what is sparse or compressed is larger than the file, but not by so much
            if file[key].size * file[key].dtype.itemsize > 2000 * max(file.id.get_filesize(), 4096):
                problems.append(f"{key}: shape {shapes[key]}, which a file of this size cannot hold")
        if y in shapes and shapes[y][1] < 2 or x in shapes and shapes[x][1] < 1:
            problems.append(f"{x}, {y}: at least 1 frame and 2 classes are needed")
        if split != "valid_" and x in shapes and shapes[x][0] == 0:
            problems.append(f"{x} has no clips")
        for key, axes in ((x, "frames and width"), (y, "classes")):
            first = key.removeprefix(split)
            if key in shapes and first in shapes and shapes[key][1:] != shapes[first][1:]:
                problems.append(f"{key} has {axes} {shapes[key][1:]}, but {first} has {shapes[first][1:]}")
    problems += _check_attributes(file, shapes)
    if not problems and "resplits" in file:
        problems += _check_resplits(file)
    if not problems and values:
        notes = [] if notes is None else notes
        problems = [p for split in SPLITS for p in _check_values(file, split, step, notes)]
    return problems


def _has(file, key):
    return isinstance(file.get(key), h5py.Dataset)


def _joints_and_persons(file, width):
    """From the attributes, or by the width of x: 150 is 25 joints of 2 persons. ValueError or TypeError if neither."""
    joints, persons = file.attrs.get("joints"), file.attrs.get("persons")
    if joints is None and persons is None and width == 150:
        return 25, 2
    return index(joints), index(persons)


def _class_names(file):
    """A list of str, or None; TypeError or ValueError if the attribute is something else."""
    names = file.attrs.get("class_names")
    return names if names is None else [str(name, "utf-8") if isinstance(name, bytes) else "" + name for name in names]


def _check_attributes(file, shapes):
    width, classes = shapes.get("x", (0, 0, None))[2], shapes.get("y", (0, None))[1]
    try:
        joints, persons = _joints_and_persons(file, width)
    except TypeError:
        yield f"attributes joints and persons: whole numbers must say how the {width} values of a frame are made up"
    else:
        if joints < 1 or persons < 1:
            yield f"attributes: {joints} joints and {persons} persons, both must be 1 or more"
        elif width is not None and persons * joints * 3 != width:
            yield f"x is {width} wide, but {persons} persons * {joints} joints * 3 are {persons * joints * 3}"
    try:
        names = _class_names(file)
    except (TypeError, ValueError):
        yield "attribute class_names: not a list of text"
    else:
        if names is not None and classes is not None and len(names) != classes:
            yield f"attribute class_names: {len(names)} names, but y has {classes} classes"


def _check_resplits(file):
    clips, table = sum(len(file[f"{split}y"]) for split in SPLITS), file["resplits"]
    shape = getattr(table, "shape", None) or ()
    if len(shape) != 2 or not 1 <= shape[0] <= 10_000 or shape[1] != clips or table.dtype != np.uint8:
        yield f"resplits: {getattr(table, 'dtype', 'group')} {shape}, not uint8 (splits, {clips} clips)"
        return
    table = table[()]
    bad = (table > 2).any(axis=1) | (table != 0).all(axis=1) | (table != 2).all(axis=1)
    if bad.any():
        yield f"resplits: split {bad.argmax() + 1} has no 0 (training), no 2 (test), or a value above 2"


def one_hot(y):
    """Which rows of y are one-hot: (clips, classes) -> (clips,) bool."""
    return ((y == 0) | (y == 1)).all(axis=1) & (y.sum(axis=1) == 1)


def _check_values(file, split, step, notes):
    """NaN or infinity in x, labels in y that are not one-hot: the first of each, and how many. Empty clips: notes."""
    x, y = file[f"{split}x"], file[f"{split}y"]
    found = {
        f"{split}x: clip %s has NaN or infinity": [],
        f"{split}y: the label of clip %s is not one-hot": [],
        (empty := f"{split}x: clip %s is empty: all its values are 0"): [],
    }
    several = max(1, 2**24 // max(1, x.shape[1] * x.shape[2] * 4))
    for at in range(0, len(x), several):
        some, labels = x[at : at + several], y[at : at + several]
        whole, there = np.isfinite(some).all(axis=(1, 2)), (some != 0).any(axis=(1, 2))
        for clips, good in zip(found.values(), (whole, one_hot(labels), there), strict=True):
            clips.extend(at + np.flatnonzero(~good))
        if step:
            step(len(some))
    for text, clips in found.items():
        if clips:
            line = text % clips[0] + (f" (and {len(clips) - 1} more clips)" if len(clips) > 1 else "")
            if text == empty:
                notes.append(line)
            else:
                yield line
