"""What importers share: what numbers mean, the h5 of a data set, and the table at the end."""

import hashlib
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

from clips import h5, protocols
from clips.arrays import absent_if_nan
from clips.checks import FARTHEST
from clips.recordings import add_units, as_poses, check_size, default_origin
from clips.skeletons import known_skeleton
from clips.skipped import named
from safe.files import remove_stale_parts
from safe.program import ArgumentParser, Notes, note, progress
from util import UserError, __version__, readable, shorten


def add_arguments(parser, of, axes=False):
    """Adds the flags that say what numbers and labels mean. of: whose, in words. axes: --axes and --size too."""
    add_units(parser, of, axes)
    add = parser.add_argument
    add("--origin", type=int, help=f"joint, from 1, that becomes the origin of a 3D clip; 0: none ({h5.ORIGIN})")
    add("--classes", type=Path, metavar="FILE", help="the class names, one a line (NTU's are known)")
    add("--first-label", type=int, choices=(0, 1), default=0, help="1 if labels count from 1 (%(default)s)")


def to_metres(clip, args, what, stated=False):
    """Numbers, (frames, persons, joints, 3), as the flags say: turned, in metres, float32. what: how an error names the
    clip. stated: that they are in metres is certain. Raises UserError."""
    with named(what):
        clip = absent_if_nan(np.asarray(clip, np.promote_types(clip.dtype, np.float32)), args.nan)
        poses = as_poses(clip, args.skeleton, args.up, args.scale, getattr(args, "size", None), args.nan)
        vars(args).setdefault("notes", Notes()).add(zip(poses.notes, poses.notes, strict=True), f"{what}: ")
        clip = poses.clip
        if clip.any() and not stated:
            check_size(clip, args.skeleton, args.scale)
    return clip


def place(clip, args, what, stated=False):
    """As `to_metres`, trimmed and centered."""
    return h5.trim_and_center(to_metres(clip, args, what, stated), origin_of(args.skeleton, args))


def origin_of(skeleton, args):
    """The joint, from 1, that becomes the origin, or 0. Raises UserError."""
    known = known_skeleton(skeleton)
    if args.origin is None or known and known.is_2d:
        return default_origin(skeleton)
    if not 0 <= args.origin <= (len(known.joints) if known else args.origin):
        raise UserError(f"--origin {args.origin}: not a joint, from 1, nor 0")
    return args.origin


def count_from_0(labels, args, path):
    """Labels by --first-label as class indices, with a note if they seem to count from 1. Raises UserError."""
    labels, first = np.asarray(labels, np.int64), args.first_label
    if not first <= labels.min() <= labels.max() < 10_000:
        raise UserError(f"{path}: labels are {labels.min()} to {labels.max()}, not {first} to 9,999 (--first-label)")
    if labels.min() == 1 and not first:
        note(f"{path}: no clip has the label 0: labels seem to count from 1; then use --first-label 1")
    return labels - first


def name_classes(number, args):
    """The names of --classes, or else "class 0", "class 1", ... Raises UserError."""
    names = protocols.read_lines(args.classes) if args.classes else tuple(f"class {i}" for i in range(number))
    if len(names) < number:
        raise UserError(f"{args.classes}: {len(names)} names, but labels 0 to {number - 1}")
    return names


def scratch(path):
    """For a with statement: the path of a temporary folder, on the disk on which `path` will be written."""
    disk = next(folder for folder in path.absolute().parents if folder.is_dir())
    return tempfile.TemporaryDirectory(dir=disk, prefix=path.name, suffix=".part", ignore_cleanup_errors=True)


def natural(name):
    """The key that sorts names with numbers as people do: 1, 2, 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name


def write_set(path, read, labels, sides, class_names, dropped=(), what=lambda i: f"clip {i}", **header):
    """Writes the h5 of an importer, and prints its table. Raises UserError if there is too little to train or test on.

    read: i -> a clip, (frames, persons, joints, 3) or (frames, persons * joints * 3); called in the order of the h5.
    labels: class index by i. sides: {"": indices, "test_": ..., perhaps "valid_": ...}; without it 5% of the training
    clips are for validation. dropped: [(names of clips, why they are left out)]. what: i -> how an error names a clip.
    header: as in `h5.open_writer`; joints and axes are those of a skeleton that is known, persons one, and made_by the
    program, if it does not say otherwise.
    """
    if known := known_skeleton(header["skeleton"]):
        header = {"joints": len(known.joints), "axes": h5.AXES_2D if known.is_2d else h5.AXES_3D} | header
    header = {"persons": 1, "made_by": f"{Path(sys.argv[0]).name} {__version__}"} | header
    labels = np.asarray(labels, np.int64)
    trained = len(np.unique(labels[sides[""]]))
    if trained < 2 or not all(map(len, sides.values())):
        counts = ", ".join(f"{len(ids)} {NAMES[split]}" for split, ids in sides.items())
        raise UserError(f"{path} not written: {counts} clips; all need some, and training two classes")
    if untested := [class_names[i] for i in np.setdiff1d(labels[sides[""]], labels[sides["test_"]])]:
        note(f"{path}: classes without test clips: {shorten(readable(', '.join(untested)), 100)}")
    if "valid_" not in sides:
        training, validation = h5.split_validation(sides[""])
        sides = {"": training, "valid_": validation, "test_": sides["test_"]}
    places = [(split, k, int(i)) for split, ids in sides.items() for k, i in enumerate(ids)]
    frames, of_splits = np.zeros(len(labels), np.int64), {split: labels[ids] for split, ids in sides.items()}
    digests = {split: {} for split in sides}  # of clips, by number
    remove_stale_parts(path.parent, path.name)
    with h5.open_writer(path, of_splits, class_names=class_names, **header) as write:
        for split, k, i in progress(places, desc=path.name, unit="clip"):
            clip = read(i)
            write(split, k, clip.reshape(len(clip), -1), what(i))
            frames[i] = len(clip)
            if clip.any():
                digests[split][i] = hashlib.blake2b(np.ascontiguousarray(clip), digest_size=16).digest()
    known = {*digests[""].values(), *digests["valid_"].values()}
    if both := [i for i, digest in digests["test_"].items() if digest in known]:
        note(f"{len(both):,} test clips are also training or validation clips, for example {what(both[0])}")
    print_table(path, class_names, labels, frames, [np.asarray(sides[split], int) for split in NAMES], dropped)


NAMES = {"": "training", "valid_": "validation", "test_": "test"}


def print_table(path, class_names, labels, frames, sides, dropped):
    """Prints how many clips of each class are on each side, the indices of three, and what was left out."""
    names = [shorten(readable(name), 40) for name in class_names]
    width = max(5, *map(len, names))
    print("{}: {:,} training, {:,} validation and {:,} test clips".format(path, *map(len, sides)))
    print(f"  {'class':{width}}  {'train':>7} {'valid':>7} {'test':>7}   frames: least, median, most")
    for label, name in [*enumerate(names), (None, "all")]:
        lengths = [frames[ids[(labels[ids] == label) | (label is None)]] for ids in sides]
        counts, chosen = " ".join(f"{len(some):7,}" for some in lengths), np.concatenate(lengths)
        spread = f"{chosen.min():10,} {np.median(chosen):7,.0f} {chosen.max():7,}" if len(chosen) else ""
        print(f"  {name:{width}}  {counts} {spread}".rstrip())
    for left_out, why in dropped:
        if left_out:
            print(f"  left out: {len(left_out):,} clips, for example {shorten(readable(left_out[0]))}: {why}")


# ---- data sets of one person a clip, of Kinect v1's joints, of which odd subjects train and even ones test


def convert(argv, doc, out, read, class_names):
    """The main function of a script, whose docstring is `doc`: writes the h5, and says what is odd about its clips.

    out: the h5 that --out replaces. read: function of the zip or folder that yields (name, subject from 1, label from
    0, clip), a clip (frames, 20, 3) metres, y up, in Kinect v1's order. Joint 2, the spine, becomes its origin; 5% of
    the training clips are for validation. Clips without a person are left out and counted. Raises UserError.
    """
    parser = ArgumentParser(description=doc)
    parser.add_argument("source", type=Path, help="the zip, or the folder unpacked from it")
    parser.add_argument("--out", type=Path, default=out, help="file to write (in the folder of this script)")
    args = parser.parse_args(argv)
    source, rows, empty = args.source, [], []
    for name, subject, label, joints in read(source):
        if not 0 <= label < len(class_names):
            raise UserError(f"{source}: {name}: there are actions 1 to {len(class_names)}")
        if not (np.abs(joints) < FARTHEST).all():
            raise UserError(f"{source}: {name}: a coordinate is not finite, or too large for metres")
        clip = h5.trim_and_center(joints[:, None])
        if len(clip):
            rows.append((subject, label, clip))
        else:
            empty.append(name)
    subjects, labels, clips = zip(*rows, strict=True) if rows else [()] * 3
    odd = np.array(subjects) % 2 == 1
    sides, dropped = {"": np.flatnonzero(odd), "test_": np.flatnonzero(~odd)}, [(empty, "nobody is in them")]
    about = {"frames": max(map(len, clips), default=0), "skeleton": "kinect_v1", "origin": h5.ORIGIN}
    about["protocol"] = "cross-subject: odd subjects train, even subjects test"
    write_set(args.out, clips.__getitem__, labels, sides, class_names, dropped, **about)
