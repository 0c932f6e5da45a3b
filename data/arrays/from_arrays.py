"""Whole data sets as arrays, as ST-GCN, 2s-AGCN, CTR-GCN and many after them write them, to an h5 of this project.

    python data/arrays/from_arrays.py NTU60_CS.npz --out data/ntu/NTU_CS.h5          # x_train, y_train, x_test, y_test
    python data/arrays/from_arrays.py xsub --out data/ntu/NTU_CS.h5                  # a folder:
        # train_data.npy or train_data_joint.npy, train_label.pkl or .npy, and val_... or test_...
    python data/arrays/from_arrays.py mine --out mine.h5 --skeleton mine.json --axes TVC

Clips are (clips, C, T, V, M), (clips, frames, persons * joints * 3), or what --axes says; labels are one-hot, class
indices, or a pickle of (names of clips, class indices). Without --skeleton, 25 joints are taken for kinect_v2, 20 for
kinect_v1 and 18 for openpose18, and a note says so. Frames without a person are dropped, 3D clips centered. A .npz is
unpacked beside the h5 while it is read. Nothing is run that is in the files.
"""

import sys
import zipfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import protocols
from clips.arrays import arrange, find_axes, read_array
from clips.checks import is_one_hot
from clips.importing import add_arguments, count_from_0, name_classes, origin_of, place, scratch, write_set
from clips.skeletons import known_skeleton
from clips.skipped import BadFile, named
from safe import pickles
from safe.program import ArgumentParser, exit_on_error, note
from safe.zips import DAMAGED_ZIP
from util import UserError, name_file_in_errors, regular, shorten

JOINTS = {25: "kinect_v2", 20: "kinect_v1", 18: "openpose18"}  # of arrays that people share


# ---- the files of a set: for each side its clips and its labels


def unpack_npz(path, folder):
    """Writes the arrays of a .npz to a folder: [(.npy, .npy)]. Raises UserError."""
    pairs = [[f"{array}_{side}.npy" for array in "xy"] for side in ("train", "test")]
    try:
        with name_file_in_errors(path), zipfile.ZipFile(regular(path)) as archive:
            if missing := [name for pair in pairs for name in pair if name not in archive.namelist()]:
                found = ", ".join(archive.namelist()[:8]) or "nothing"
                raise UserError(f"{path}: no {missing[0]} in it, but {shorten(found, 150)}")
            return [[Path(archive.extract(name, folder)) for name in pair] for pair in pairs]
    except DAMAGED_ZIP as error:
        raise UserError(f"{path}: cannot be read as an .npz ({shorten(error, 150)})") from None


def find_files(folder):
    """The files of a folder: [(.npy, .npy or .pkl)]. Raises UserError."""

    def find(*names):
        if found := next((folder / name for name in names if (folder / name).exists()), None):
            return found
        raise UserError(f"{folder}: no {' or '.join(names)} in it")

    sides = "train", "val" if [*folder.glob("val_data*.npy")] else "test"
    clips = [find(f"{side}_data.npy", f"{side}_data_joint.npy") for side in sides]
    labels = [find(f"{side}_label.pkl", f"{side}_label.npy") for side in sides]
    return [*zip(clips, labels, strict=True)]


def read_numbers(path):
    """The array of a .npy, which stays on the disk. Raises BadFile."""
    array, _ = read_array(path)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub" or not array.ndim:
        raise BadFile(None, "not an array of numbers, clip by clip")
    return array


def read_labels(path):
    """Class indices, and how many classes there are, or None. Raises BadFile, or UserError for a damaged pickle."""
    if path.suffix == ".npy":
        labels = read_numbers(path)
        if labels.ndim == 2 and is_one_hot(labels).all():
            return labels.argmax(axis=1), labels.shape[1]
    else:
        labels = pickles.read(path, "labels")
        if isinstance(labels, list | tuple) and len(labels) == 2 and not isinstance(labels[1], int):
            _, labels = labels
        labels = getattr(labels, "array", labels)
        if isinstance(labels, list | tuple) and all(type(label) is int and 0 <= label < 10_000 for label in labels):
            labels = np.array(labels, np.int64)
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise BadFile(None, "neither class indices, nor one-hot (clips, classes), nor (names, class indices)")
    return labels.astype(np.int64), None


def read_side(paths, source):
    """The clips, their labels, and the number of classes or None. Raises UserError."""
    with named(f"{source}: {paths[0].name}"):
        clips = read_numbers(paths[0])
    with named(f"{source}: {paths[1].name}"):
        labels, classes = read_labels(paths[1])
    if len(clips) != len(labels):
        raise UserError(f"{source}: {paths[0].name}: {len(clips):,} clips, but {len(labels):,} labels")
    return clips, labels, classes


# ---- the set


def find_skeleton(shape, axes):
    """The name of the skeleton of clips of this shape, by the number of joints. axes: as of --axes. Raises BadFile."""
    if axes and len(axes) == len(shape):
        joints = shape[axes.index("V")]
    elif len(shape) < 3:  # (frames, persons * joints * 3)
        joints = next((n for n in JOINTS if shape[1:] in ((n * 3,), (2 * n * 3,))), None)
    else:
        joints = shape[-2] if len(shape) == 4 or shape[-1] == 3 else shape[-1]
    if joints not in JOINTS:
        raise BadFile(None, f"clips of shape {shape}: say which skeleton, with --skeleton NAME or FILE.json")
    note(f"clips of {joints} joints are taken for {JOINTS[joints]}; --skeleton names another")
    return JOINTS[joints]


def find_sizes(shape, skeleton, axes):
    """How many frames T, persons M and joints V a clip of this shape has: {letter: size}. Raises BadFile."""
    known = known_skeleton(skeleton)
    name, _, sizes = find_axes(shape, known and len(known.joints), axes)
    if not axes and name not in ("CTVM", "CTV"):
        note(f"a clip is taken for {name} (T frames, M persons, V joints, C values), else use --axes")
    return sizes


def convert(files, args):
    """Writes the h5. files: of the training and of the test side, clips and labels. Raises UserError."""
    source = args.source
    (train, train_labels, number), (test, test_labels, other) = (read_side(paths, source) for paths in files)
    if train.shape[1:] != test.shape[1:] or number != other:
        what = f"clips {train.shape[1:]} and {test.shape[1:]}, classes {number} and {other}"
        raise UserError(f"{source}: {files[0][0].name} and {files[1][0].name} do not go together: {what}")
    with named(source):
        args.skeleton = args.skeleton or find_skeleton(train.shape[1:], args.axes)
        sizes = find_sizes(train.shape[1:], args.skeleton, args.axes)
    labels = count_from_0(np.concatenate([train_labels, test_labels]), args, source)
    classes = max(1 + labels.max(), number or 0)
    ntu = {60: "NTU", 120: "NTU120"}.get(classes) if args.skeleton == "kinect_v2" and not args.classes else None
    if ntu:
        note(f"{classes} classes of Kinect v2's joints are taken for those of {ntu}; --classes names others")

    about = {"protocol": f"as in {source.name}", "skeleton": args.skeleton, "origin": origin_of(args.skeleton, args)}
    about |= {"frames": sizes["T"], "persons": sizes["M"], "joints": sizes["V"]}
    n, nobody = len(train), np.zeros((1, 1, sizes["V"], 3), np.float32)

    def read(i):
        rows, k, (path, _) = (train, i, files[0]) if i < n else (test, i - n, files[1])
        clip = place(arrange(rows[k], sizes["V"], args.axes)[0], args, f"{source}: {path.name} clip {k}")
        return clip if len(clip) else nobody

    sides = {"": np.arange(n), "test_": np.arange(n, len(labels))}
    class_names = protocols.dataset(ntu).classes if ntu else name_classes(classes, args)
    write_set(args.out, read, labels, sides, class_names, **about)


def main(argv=None):
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("source", type=Path, help="a .npz, or a folder")
    add("--out", type=Path, required=True, metavar="FILE.h5", help="file to write")
    add_arguments(parser, "the arrays", axes=True)
    args = parser.parse_args(argv)
    with scratch(args.out) as folder:
        convert(find_files(args.source) if args.source.is_dir() else unpack_npz(args.source, Path(folder)), args)


if __name__ == "__main__":
    with exit_on_error():
        main()
