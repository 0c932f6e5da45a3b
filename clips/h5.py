"""The layout of every data set's h5: the scripts of data/ write it, data.py reads it.

`x`, `valid_x`, `test_x` are float32 (clips, frames, persons * joints * 3), in metres, zero after a clip's last frame;
`y`, `valid_y`, `test_y` one-hot float64 (clips, classes). Perhaps there are `resplits`, uint8 (splits, clips), where
the result is the mean over random splits. Attributes say the rest (docs/data.md); a file from elsewhere may lack them
if its x are 150 wide: it then has 25 joints and 2 persons, of NTU RGB+D.
"""

from contextlib import contextmanager
from itertools import product

import h5py
import numpy as np

from clips.checks import FARTHEST, SAMPLE, check_resplits, check_shapes, check_values, describe_empty, find_odd, pick
from clips.skeletons import KINECT_V2, Skeleton, read_skeleton
from safe.pickles import check_schema
from safe.program import note
from util import UserError, atomic_write, readable, shorten

SPLITS = ("", "valid_", "test_")
AXES_3D, AXES_2D = "x, y, z", "x - 0.5, y - 0.5, score"
ORIGIN = 2  # the joint at the origin, from 1: the spine in the skeletons of both Kinects
# Frames in a chunk, the unit that is stored or not: smaller chunks store less padding, larger ones read faster
CHUNK = 50
LABELS = 4096  # rows of y written at a time: all of Kinetics' would take 800 MB
ATTRIBUTES = dict.fromkeys(("joints", "persons", "origin"), int) | dict.fromkeys(("protocol", "axes", "skeleton"), str)
ATTRIBUTES |= dict.fromkeys(("parents", "flip_pairs"), [int]) | dict.fromkeys(("class_names", "joint_names"), [str])


# ---- writing


def write_h5(path, splits, **header):
    """Writes an h5 in this layout, clip by clip; the file appears when it is complete.

    splits: {"": (clips, labels), "valid_": ..., "test_": ...}, perhaps without valid_: labels (n,) class indices, clips
    an iterable of n arrays (frames of the clip, persons * joints * 3), metres; the last persons may be missing.
    header: frames (of the longest clip), joints, persons, class_names, protocol, made_by, and perhaps skeleton (a name
    or a Skeleton; or joint_names, parents, flip_pairs) and axes, as above; origin: as above, and each clip is centered
    there (`trim_and_center`). Without it clips stay as they are.
    Raises UserError that names the clip for a wrong shape, label or value. What is odd about the clips is printed to
    standard error (checks.find_odd), and classes of which none trains.
    """
    with open_writer(path, {split: labels for split, (_, labels) in splits.items()}, **header) as write:
        for split, (clips, _) in splits.items():
            for i, clip in enumerate(clips):
                write(split, i, clip)


@contextmanager
def open_writer(path, labels, *, frames, joints, persons, class_names, skeleton=None, resplits=None, **more):
    """As `write_h5`, for clips in any order: yields write(split, i, clip, what=None), to be called once for each clip.

    labels: {"": (n,) class indices, "valid_": ..., "test_": ...}. resplits: (splits, clips), see above. more: the other
    attributes of the file. what: how an error names the clip, instead of its place in the h5.
    Padding is not written: a chunk of HDF5 that was never written reads as zeros and takes no space.
    """
    skeleton = skeleton.to_attributes() if isinstance(skeleton, Skeleton) else {"skeleton": skeleton}
    if skeleton.pop("is_2d", False):
        more.setdefault("axes", AXES_2D)
    names = [*map(readable, class_names)]
    if len({*names}) < len(names):
        raise UserError(f"class_names: {shorten(max(names, key=names.count))} twice")
    if not labels.keys() <= {*SPLITS} or not all(len(labels.get(split, ())) for split in ("", "test_")):
        raise UserError("x and test_x need clips; splits are '', 'test_' and perhaps 'valid_'")
    labels = {split: _checked_labels(labels.get(split, []), f"{split}y", len(names)) for split in SPLITS}
    more = {key: value for key, value in (more | skeleton).items() if value is not None}
    # Any HDF5 since 1.10 (2016) reads this version; the index of chunks in older versions is slower to read.
    with atomic_write(path) as part, h5py.File(part, "w", libver="v110") as file:
        file.attrs.update(joints=joints, persons=persons, class_names=names, **more)
        x, missing, people, width = {}, {}, [], persons * joints * 3
        for split, y in labels.items():
            one_hot = file.create_dataset(f"{split}y", (len(y), len(names)), "float64")
            for at in range(0, len(y), LABELS):
                one_hot[at : at + LABELS] = y[at : at + LABELS, None] == np.arange(len(names))
            chunks = (1, min(frames, CHUNK), joints * 3) if len(y) else None
            x[split] = file.create_dataset(f"{split}x", (len(y), frames, width), "float32", chunks=chunks)
            missing[split] = np.ones(len(y), bool)
        if resplits is not None:
            file["resplits"] = np.asarray(resplits, np.uint8)
        header, problems = _read_layout(file, shapes=False)
        if problems:
            raise UserError(problems[0])

        def write(split, i, clip, what=None):
            if i >= len(missing[split]):
                raise UserError(f"{split}x: more clips than the {len(missing[split])} labels of {split}y")
            clip = _checked_clip(clip, what or f"{split}x, clip {i}", (frames, width), joints, header["origin"])
            _write_chunks(x[split].id, i, clip, min(frames, CHUNK), joints * 3)
            if i % max(1, len(missing[split]) // SAMPLE) == 0:
                people.extend(pick(clip.reshape(len(clip), -1, joints, 3)))
            missing[split][i] = False

        yield write
        for split in SPLITS:
            if missing[split].any():
                raise UserError(f"{split}x: {missing[split].sum()} clips fewer than {split}y has labels")
        trained = {*labels[""].tolist(), *labels["valid_"].tolist()}
        is_2d = header["axes"] == AXES_2D
        for odd in (*describe_empty(trained, names), *find_odd(people, header["skeleton"], is_2d)):
            note(f"{path}: {odd}")


def _checked_labels(labels, what, classes):
    labels = np.asarray(labels)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise UserError(f"{what}: labels must be a list of class indices, not {labels.dtype} {labels.shape}")
    if len(wrong := np.flatnonzero((labels < 0) | (labels >= classes))):
        raise UserError(f"{what}: clip {wrong[0]} has label {labels[wrong[0]]}, not 0 to {classes - 1}")
    return labels.astype(np.int64)


def _checked_clip(clip, what, shape, joints, origin):
    frames, width = shape
    given, person = np.asarray(clip), joints * 3
    if given.ndim != 2 or given.shape[1] % person or not person <= given.shape[1] <= width:
        raise UserError(f"{what}: shape {given.shape}, not (frames, {width}): {width // person} x {person} values")
    if not 1 <= len(given) <= frames:
        raise UserError(f"{what}: {len(given)} frames, not 1 to {frames}")
    with np.errstate(over="ignore"):
        clip = np.ascontiguousarray(given, dtype=np.float32)
    if not (np.abs(clip) < FARTHEST).all():
        raise UserError(f"{what}: NaN or infinity, or a number too large")
    if origin and clip.any():
        clip = trim_and_center(given.reshape(len(given), -1, joints, 3), origin)
    return clip.reshape(len(clip), -1)


def _write_chunks(x, i, clip, rows, width):
    """Writes the chunks of a clip that are not all zero, of (rows, width), to the data set of h5py's low-level `x`:
    without HDF5's cache of chunks that is three times faster."""
    padded = np.zeros((len(clip) + -len(clip) % rows, clip.shape[1]), np.float32)
    padded[: len(clip)] = clip
    for column, row in product(range(0, clip.shape[1], width), range(0, len(clip), rows)):
        chunk = padded[row : row + rows, column : column + width]
        if chunk.any():
            x.write_direct_chunk((i, row, column), np.ascontiguousarray(chunk))


# ---- what the scripts of all data sets do


def center(clip, absent, joint=1):
    """Moves a clip so that one joint of person 1 is the origin: the spine, as in the release's seq_transformation.py.

    clip: (frames, persons, joints, 3) metres. joint: which, from 0, in the first frame in which person 1 is not all
    zero. absent: (frames, persons) bool, where the result is set to 0. Returns a new array like clip.
    """
    first = clip[:, 0].any(axis=(1, 2)).argmax()
    moved = clip - clip[first, 0, joint]
    moved[absent] = 0
    return moved


def trim_and_center(clip, origin=ORIGIN):
    """Drops what is empty and centers a clip, as the data sets' scripts do: (frames, persons, joints, 3), metres.

    Frames without a person, and persons in no frame, are dropped. Joint `origin` (from 1; 0 for none) of person 1 in
    the first of its frames becomes the origin. A clip without persons becomes one without frames. Returns float32.
    """
    present = clip.any(axis=(2, 3))
    clip = clip[present.any(axis=1)][:, present.any(axis=0)]
    if origin and len(clip):
        clip = center(clip, ~clip.any(axis=(2, 3)), origin - 1)
    with np.errstate(over="ignore"):
        return clip.astype(np.float32)


def split_validation(indices):
    """5% of the training clips for validation, by the release's call: (n,) int64 -> training, validation.

    Validation has ceil(n / 20) clips; both are in the shuffled order of the release.
    """
    from sklearn.model_selection import train_test_split

    return train_test_split(indices, test_size=0.05, random_state=10000)


# ---- reading and checking


def read_header(file):
    """What an open h5 says of itself: {"joints", "persons", "class_names", "protocol", "axes", "skeleton", "origin"}.

    class_names is a tuple, ("class 0", ...) if the file has none; protocol is then "", axes "x, y, z". skeleton is a
    skeletons.Skeleton, origin an int or None.
    Raises UserError if the file is not in this layout; the values of its arrays are not checked.
    """
    header, problems = _read_layout(file)
    if problems:
        more = f" (and {len(problems) - 1} more: tools/check_h5.py lists them)" * (len(problems) > 1)
        raise UserError(f"{file.filename}: {problems[0]}{more}")
    return header


def validate(file, step=lambda clips: None, notes=None):
    """What is wrong with an open h5: a list of lines, empty if it is in this layout.

    All arrays are read, a few MB at a time; step is called with the number of clips after each such part. notes: a list
    to which what is odd but allowed is added: empty clips and classes, test clips that also train, and persons that are
    not in metres, not upright along y, or whose bones do not look like those of the skeleton.
    """
    header, problems = _read_layout(file)
    if problems:
        return problems
    problems, odd, people = check_values(file, SPLITS, header, step)
    if notes is not None:
        notes += odd + find_odd(people, header["skeleton"], header["axes"] == AXES_2D)
    return problems


def _read_layout(file, shapes=True):
    """The header, and what is wrong with the file but for the values of its arrays. shapes: whether to check these."""
    problems = [*check_shapes(file, SPLITS)] if shapes else []
    try:
        return ({}, problems) if problems else (_header(file), [*check_resplits(file, SPLITS)])
    except ValueError as error:
        return {}, [f"attributes: {shorten(error, 200)}"]


def _header(file):
    width, classes = file["x"].shape[2], file["y"].shape[1]
    stated = {name: _plain(file.attrs[name]) for name in ATTRIBUTES if name in file.attrs}
    for name, value in stated.items():
        check_schema(value, ATTRIBUTES[name], name)
    of_ntu = width == 150 and "joints" not in stated and "persons" not in stated
    joints, persons = (25, 2) if of_ntu else (stated.get("joints", 0), stated.get("persons", 0))
    axes, origin = stated.get("axes", AXES_3D), stated.get("origin")
    class_names = stated.get("class_names", [f"class {i}" for i in range(classes)])
    if joints < 1 or persons < 1 or persons * joints * 3 != width:
        raise ValueError(f"{persons} persons * {joints} joints * 3, but x is {width} wide")
    if axes not in (AXES_3D, AXES_2D):
        raise ValueError(f"axes are {axes!r:.60}, not {AXES_3D!r} or, of 2D joints, {AXES_2D!r}")
    if len(class_names) != classes:
        raise ValueError(f"{len(class_names)} class_names, but y has {classes} classes")
    if not 0 <= (origin or 0) <= joints:
        raise ValueError(f"origin is {origin}, not a joint from 1 to {joints}, or 0 for none")
    skeleton = {key: stated[key] for key in ("skeleton", "joint_names", "parents", "flip_pairs") if key in stated}
    if of_ntu and not skeleton:
        skeleton = KINECT_V2.to_attributes()
    skeleton = read_skeleton(skeleton | {"is_2d": axes == AXES_2D}, joints)
    header = {"joints": joints, "persons": persons, "origin": origin, "axes": axes, "skeleton": skeleton}
    return header | {"class_names": tuple(class_names), "protocol": stated.get("protocol", "")}


def _plain(value):
    """An attribute as Python's numbers, lists and text, which can be shown."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.ravel().tolist()]
    value = value.item() if isinstance(value, np.generic) else value
    value = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    return readable(value) if isinstance(value, str) else value
