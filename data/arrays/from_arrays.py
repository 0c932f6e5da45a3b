"""Whole data sets as arrays, as ST-GCN, 2s-AGCN, CTR-GCN and many after them write them, to an h5 of this project.

    python data/arrays/from_arrays.py NTU60_CS.npz --out data/ntu/NTU_CS.h5          # x_train, y_train, x_test, y_test
    python data/arrays/from_arrays.py xsub --out data/ntu/NTU_CS.h5                  # a folder:
        # train_data.npy or train_data_joint.npy, train_label.pkl or .npy, and val_... or test_...
    python data/arrays/from_arrays.py mine --out mine.h5 --skeleton mine.json --axes TVC

Clips are (clips, C, T, V, M), (clips, frames, persons * joints * 3), or what --axes says; labels are one-hot, class
indices, or a pickle of (names of clips, class indices). Without --skeleton, 25 joints are taken for kinect_v2, 20 for
kinect_v1 and 18 for openpose18, and a note says so. Frames without a person are dropped, 3D clips centered. 5% of the
training clips are for validation. Clips are read one at a time, and nothing is run that is in the files.
"""

import math
import sys
import zipfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import h5, protocols
from clips.arrays import arrange, find_axes
from clips.checks import is_one_hot
from clips.importing import add_arguments, count_from_0, name_classes, origin_of, place, write_set
from clips.skeletons import known_skeleton
from clips.skipped import BadFile
from safe import pickles
from safe.arguments import ArgumentParser
from safe.program import exit_on_error
from safe.progress import note
from safe.zips import DAMAGED_ZIP
from util import UserError, __version__, name_file_in_errors, regular, shorten

JOINTS = {25: "kinect_v2", 20: "kinect_v1", 18: "openpose18"}  # of arrays that people share


class Rows:
    """An array of a .npy, perhaps in a .npz: its shape and dtype, from its header, and its rows, read one at a time."""

    def __init__(self, name, size, open_file):
        """name: for errors. size: of the file in bytes. open_file: opens it."""
        self.name, self.open_file = name, open_file
        with open_file() as file:
            self.shape, fortran, self.dtype = self.read_header(file)
            header = file.tell()
        if self.dtype.hasobject or self.dtype.kind not in "fiub" or not self.shape or fortran:
            order = "Fortran-ordered " if fortran else ""
            raise self.error(f"is {order}{self.dtype} {self.shape}, not numbers, clip after clip")
        if size != header + math.prod(self.shape) * self.dtype.itemsize:
            raise self.error(f"has {size:,} bytes, which is wrong for its shape {self.shape}")

    def error(self, what):
        return UserError(f"{self.name} {what}")

    def read_header(self, file):
        try:
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
            return read(file)
        except (*DAMAGED_ZIP, OSError, MemoryError):
            raise
        except Exception as error:  # NumPy raises many types for a damaged header
            raise self.error(f"is not a .npy array ({shorten(error, 150)})") from None

    def __iter__(self):
        size = self.dtype.itemsize * math.prod(self.shape[1:])
        with self.open_file() as file:
            self.read_header(file)
            for row in range(self.shape[0]):
                if len(data := file.read(size)) < size:
                    raise self.error(f"is cut short at row {row}")
                yield np.frombuffer(data, self.dtype).reshape(self.shape[1:])

    def labels(self):
        """The class index of each row, and how many classes there are."""
        if len(self.shape) == 1 and self.dtype.kind in "iu":
            return np.array([*self], np.int64), None
        labels = []
        for row in self if len(self.shape) == 2 else ():
            if not is_one_hot(row[None]).all():
                raise self.error(f"is not one-hot in row {len(labels)}")
            labels.append(row.argmax())
        if len(self.shape) != 2 or len(labels) != self.shape[0]:
            raise self.error(f"is {self.dtype} {self.shape}, not class indices, nor one-hot (clips, classes)")
        return np.array(labels), self.shape[1]


# ---- the files of a set


def open_npz(path, stack):
    """The clips, and the labels, of each side of a .npz: {side: (Rows, labels, number of classes or None)}."""
    archive = stack.enter_context(zipfile.ZipFile(regular(path)))

    def member(name):
        if f"{name}.npy" not in archive.namelist():
            found = ", ".join(archive.namelist()[:8]) or "nothing"
            raise UserError(f"{path}: no array {name} in it, but {shorten(found, 150)}")
        info = archive.getinfo(f"{name}.npy")
        if info.flag_bits & 1:
            raise UserError(f"{path}: {name} is encrypted")
        return Rows(f"{path}: {name}", info.file_size, lambda: archive.open(info))

    return {side: (member(f"x_{side}"), *member(f"y_{side}").labels()) for side in ("train", "test")}


def open_folder(path):
    """As `open_npz`, of a folder of .npy and .pkl."""

    def find(*names):
        if found := next((path / name for name in names if (path / name).exists()), None):
            return found
        raise UserError(f"{path}: no {' or '.join(names)} in it")

    def rows(path):
        return Rows(str(path), regular(path).stat().st_size, lambda: open(path, "rb"))

    sides, test = {}, "val" if [*path.glob("val_data*.npy")] else "test"
    for side, name in (("train", "train"), ("test", test)):
        data = find(f"{name}_data.npy", f"{name}_data_joint.npy")
        labels = find(f"{name}_label.pkl", f"{name}_label.npy")
        sides[side] = rows(data), *(rows(labels).labels() if labels.suffix == ".npy" else (read_pickle(labels), None))
    return sides


def read_pickle(path):
    """The class indices of a pickle of them, or of (names, class indices). Raises UserError."""
    content = pickles.read(path, "labels")
    is_pair = isinstance(content, list | tuple) and len(content) == 2 and not isinstance(content[1], int)
    labels = content[1] if is_pair else content
    labels = labels.array.tolist() if isinstance(getattr(labels, "array", None), np.ndarray) else labels
    if not isinstance(labels, list | tuple) or not all(type(label) is int and 0 <= label < 10_000 for label in labels):
        raise UserError(f"{path}: not a pickle of (names, class indices)")
    return np.array(labels, np.int64)


# ---- the set


def choose_skeleton(rows, args):
    """Sets args.skeleton, if it is not given, by the joints that a clip has. Raises UserError."""
    shape, axes = rows.shape[1:], args.axes or ""
    at = axes.index("V") if len(axes) == len(shape) else -2 if len(shape) == 4 or shape[-1:] == (3,) else -1
    found = [n for n in JOINTS if len(shape) > 2 and shape[at] == n or len(shape) == 2 and shape[1] in (n * 3, n * 6)]
    if not args.skeleton and not found:
        raise rows.error(f"has the shape {rows.shape}: say which skeleton, with --skeleton NAME or FILE.json")
    if not args.skeleton:
        args.skeleton = JOINTS[found[0]]
        note(f"{rows.name} has {found[0]} joints, taken for {args.skeleton}; --skeleton names another")


def convert(sides, args):
    """Writes the h5. sides: as from `open_npz`."""
    (train, *_), (test, *_) = sides.values()
    if train.shape[1:] != test.shape[1:]:
        raise test.error(f"has the shape {test.shape}, which does not go with {train.shape} of the training clips")
    for rows, labels, _ in sides.values():
        if len(labels) != rows.shape[0]:
            raise rows.error(f"has {rows.shape[0]:,} clips, but {len(labels):,} labels")
    if len(widths := {number for *_, number in sides.values()}) > 1:
        raise train.error(f"and {test.name.rpartition(' ')[2]} have labels of other numbers of classes: {widths}")
    choose_skeleton(train, args)
    known = known_skeleton(args.skeleton)
    try:
        name, _, sizes = find_axes(train.shape[1:], known and len(known.joints), args.axes)
    except BadFile as error:
        raise train.error(f"does not say its axes: {error.args[1]}") from None
    if not args.axes and name not in ("CTVM", "CTV"):
        note(f"{train.name}: a clip is taken for {name} (T frames, M persons, V joints, C values), else use --axes")
    labels = count_from_0(np.concatenate([labels for _, labels, _ in sides.values()]), args, args.source)
    classes = max(1 + labels.max(), *(n or 0 for *_, n in sides.values()))
    ntu = {60: "NTU", 120: "NTU120"}.get(classes) if args.skeleton == "kinect_v2" and not args.classes else None
    if ntu:
        note(f"{classes} classes of Kinect v2's joints are taken for those of {ntu}; --classes names others")
    empty = np.zeros((1, sizes["V"] * 3), np.float32)

    def clips():
        for side, (rows, *_) in sides.items():
            for k, row in enumerate(rows):
                clip = place(arrange(row, sizes["V"], args.axes)[0], args, f"{rows.name} clip {k}")
                yield k + (side == "test") * train.shape[0], clip if len(clip) else empty

    write_set(
        args.out,
        clips(),
        labels,
        dict(zip(("", "test_"), np.split(np.arange(len(labels)), [train.shape[0]]), strict=True)),
        protocols.dataset(ntu).classes if ntu else name_classes(classes, args),
        frames=sizes["T"],
        joints=sizes["V"],
        persons=sizes["M"],
        axes=h5.AXES_2D if known and known.is_2d else h5.AXES_3D,
        skeleton=args.skeleton,
        origin=origin_of(args.skeleton, args),
        protocol=f"as in {args.source.name}",
        made_by=f"{Path(__file__).name} {__version__}",
    )


def main(argv=None):
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("source", type=Path, help="a .npz, or a folder")
    add("--out", type=Path, required=True, metavar="FILE.h5", help="file to write")
    add_arguments(parser, "the arrays", axes=True, labels=True)
    args = parser.parse_args(argv)
    with ExitStack() as stack, name_file_in_errors(args.source):
        try:
            convert(open_folder(args.source) if args.source.is_dir() else open_npz(args.source, stack), args)
        except DAMAGED_ZIP as error:
            raise UserError(f"{args.source}: cannot be read as an .npz ({shorten(error, 150)})") from None


if __name__ == "__main__":
    with exit_on_error():
        main()
