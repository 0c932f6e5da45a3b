"""Converts a .npz of CTR-GCN and related projects to the h5 that the three scripts would make.

    python from_npz.py NTU60_CS.npz                  # to NTU_CS.h5 in data/ntu
    python from_npz.py NTU120_CSub.npz --out my.h5

Such a file has x_train, x_test (clips, frames, 150) and one-hot y_train, y_test (clips, classes). 5% of the training
clips become the validation clips, as in seq_transformation.py. The arrays are read clip by clip, compressed or
not, and nothing is unpickled.
"""

import math
import sys
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import h5 as layout
from clips import protocols
from clips.checks import is_one_hot
from safe.arguments import ArgumentParser
from safe.program import exit_on_error
from safe.progress import progress
from safe.zips import DAMAGED_ZIP
from util import UserError, __version__, name_file_in_errors, regular

HERE = Path(__file__).resolve().parent
OUT = {"NTU60_CS": "NTU_CS", "NTU60_CV": "NTU_CV", "NTU120_CSub": "NTU120_CS", "NTU120_CSet": "NTU120_CSet"}


class Member:
    """An array in the zip: its shape and dtype, read from its header, and its rows, a few at a time."""

    def __init__(self, archive, name, axes):
        self.archive, self.name = archive, name
        if f"{name}.npy" not in archive.namelist():
            found = ", ".join(archive.namelist()[:8]) or "nothing"
            raise UserError(f"{archive.filename}: no array {name} in it, but {found}")
        info = archive.getinfo(f"{name}.npy")
        if info.flag_bits & 1:
            raise self.error("is encrypted")
        with archive.open(info) as file:
            self.shape, fortran, self.dtype = self.read_header(file)
            header = file.tell()
        if self.dtype.hasobject:
            raise self.error("holds Python objects, which are not unpickled")
        if self.dtype.kind not in "fiub" or len(self.shape) != len(axes) or fortran:
            order = "Fortran-ordered " if fortran else ""
            raise self.error(f"is {order}{self.dtype} {self.shape}, not numbers ({', '.join(axes)})")
        if info.file_size != header + math.prod(self.shape) * self.dtype.itemsize:
            raise self.error(f"has {info.file_size:,} bytes, which is wrong for its shape {self.shape}")

    def error(self, what):
        return UserError(f"{self.archive.filename}: {self.name} {what}")

    def read_header(self, file):
        try:
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
            return read(file)
        except (ValueError, KeyError) as error:
            raise self.error(f"is not a .npy array ({error})") from None

    def rows(self):
        """Yields each row."""
        with self.archive.open(f"{self.name}.npy") as file:
            self.read_header(file)
            for row in range(self.shape[0]):
                data = file.read(self.dtype.itemsize * math.prod(self.shape[1:]))
                if len(data) < self.dtype.itemsize * math.prod(self.shape[1:]):
                    raise self.error(f"is cut short at row {row}")
                yield np.frombuffer(data, self.dtype).reshape(self.shape[1:])

    def labels(self):
        """The class index of each row of a one-hot array."""
        labels = []
        for row in self.rows():
            if not is_one_hot(row[None]).all():
                raise self.error(f"is not one-hot in row {len(labels)}")
            labels.append(row.argmax())
        return np.array(labels)


def convert(archive, out):
    """Writes `out` from an open .npz. Returns the number of clips of each split."""
    x = {side: Member(archive, f"x_{side}", ("clips", "frames", "150")) for side in ("train", "test")}
    y = {side: Member(archive, f"y_{side}", ("clips", "classes")) for side in ("train", "test")}
    for side, least in (("train", 2), ("test", 1)):
        if x[side].shape[2] != 150 or not x[side].shape[1]:
            raise x[side].error(f"has the shape {x[side].shape}, not (clips, frames, 150)")
        if x[side].shape[0] != y[side].shape[0]:
            raise x[side].error(f"has {x[side].shape[0]:,} clips, but y_{side} has {y[side].shape[0]:,}")
        if x[side].shape[0] < least:
            raise x[side].error(f"has {x[side].shape[0]} clips: at least {least} are needed")
    for train, test in (x.values(), y.values()):
        if train.shape[1:] != test.shape[1:]:
            raise test.error(f"has the shape {test.shape}, which does not go with {train.name}'s {train.shape}")
    classes = y["train"].shape[1]
    known = {60: "NTU", 120: "NTU120"}.get(classes)
    train, test = y["train"].labels(), y["test"].labels()
    training, validation = layout.split_validation(np.arange(len(train)))
    places = {int(i): (split, k) for split, ids in (("", training), ("valid_", validation)) for k, i in enumerate(ids)}
    labels = {"": train[training], "valid_": train[validation], "test_": test}
    header = {
        "joints": 25,
        "persons": 2,
        "skeleton": "kinect_v2",
        "class_names": protocols.dataset(known).classes if known else [f"class {i}" for i in range(classes)],
        "protocol": f"as in {Path(archive.filename).name}",
        "made_by": f"{Path(__file__).name} {__version__}",
    }
    with (
        progress(total=len(train) + len(test), desc=out.name, unit="clip") as bar,
        layout.open_writer(out, labels, frames=x["train"].shape[1], **header) as write,
    ):
        for side, member in x.items():
            for i, clip in enumerate(member.rows()):
                split, k = places[i] if side == "train" else ("test_", i)
                write(split, k, clip, what=f"{archive.filename}: x_{side}, clip {i}")
                bar.update()
    return {split: len(rows) for split, rows in labels.items()}


def main(argv=None):
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("npz", type=Path)
    parser.add_argument("--out", type=Path, help="h5 to write (data/ntu/NTU_CS.h5 for NTU60_CS.npz, and so on)")
    args = parser.parse_args(argv)
    out = args.out or HERE / f"{OUT.get(args.npz.stem, args.npz.stem)}.h5"
    try:
        with name_file_in_errors(args.npz), zipfile.ZipFile(regular(args.npz)) as archive:
            sizes = convert(archive, out)
    except DAMAGED_ZIP as error:
        raise UserError(f"{args.npz}: cannot be read as an .npz ({error})") from None
    print("{}: {:,} training, {:,} validation and {:,} test clips".format(out, *sizes.values()))


if __name__ == "__main__":
    with exit_on_error():
        main()
