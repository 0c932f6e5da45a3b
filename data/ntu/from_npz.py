"""The .npz of the CTR-GCN family, which holds the same clips, to the h5 that the three scripts would make.

    python from_npz.py NTU60_CS.npz                  # to NTU_CS.h5 in data/ntu
    python from_npz.py NTU120_CSub.npz --out my.h5

Such a file holds x_train, x_test (clips, frames, 150) and y_train, y_test (clips, classes), one-hot, all training
clips together: 5% are set apart by the same call as in seq_transformation.py. The arrays are read from the zip as a
stream, compressed or not, a few clips at a time, and nothing is unpickled.
"""

import argparse
import math
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
from numpy.lib import format as npy

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
import protocols  # noqa: E402
from blocks import digest  # noqa: E402
from layout import hold_out, one_hot, writing  # noqa: E402
from tqdm import tqdm  # noqa: E402

from util import UserError, __version__, one_clear_line  # noqa: E402

OUT = {"NTU60_CS": "NTU_CS", "NTU60_CV": "NTU_CV", "NTU120_CSub": "NTU120_CS", "NTU120_CSet": "NTU120_CSet"}
ROWS = 64  # read at a time


class Member:
    """An array in the zip: its shape and dtype, from its header alone, and its rows as a stream."""

    def __init__(self, archive, name, axes):
        self.archive, self.name = archive, name
        try:
            info = archive.getinfo(f"{name}.npy")
        except KeyError:
            there = ", ".join(archive.namelist()[:8]) or "nothing"
            raise UserError(f"{archive.filename}: no array {name} in it, but {there}") from None
        if info.flag_bits & 1:
            raise self.wrong("is encrypted")
        with archive.open(info) as file:
            self.shape, fortran, self.dtype = self.header(file)
            header = file.tell()
        if self.dtype.hasobject:
            raise self.wrong("holds Python objects, which are not unpickled")
        if self.dtype.kind not in "fiub" or len(self.shape) != len(axes) or fortran:
            order = "Fortran-ordered " if fortran else ""
            raise self.wrong(f"is {order}{self.dtype} {self.shape}, not numbers ({', '.join(axes)})")
        if info.file_size != header + math.prod(self.shape) * self.dtype.itemsize:
            raise self.wrong(f"has {info.file_size:,} bytes, which is not what its shape {self.shape} takes")

    def wrong(self, what):
        return UserError(f"{self.archive.filename}: {self.name} {what}")

    def header(self, file):
        try:
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
            return read(file)
        except (ValueError, KeyError) as error:
            raise self.wrong(f"is no .npy array ({error})") from None

    def blocks(self):
        """Yields arrays of up to ROWS rows."""
        with self.archive.open(f"{self.name}.npy") as file:
            self.header(file)
            row = self.dtype.itemsize * math.prod(self.shape[1:])
            for at in range(0, self.shape[0], ROWS):
                rows = min(ROWS, self.shape[0] - at)
                data = file.read(rows * row)
                if len(data) < rows * row:
                    raise self.wrong(f"is cut short at row {at}")
                yield np.frombuffer(data, self.dtype).reshape(rows, *self.shape[1:])

    def labels(self):
        """The class index of each row of a one-hot array."""
        labels, at = [], 0
        for some in self.blocks():
            bad = ~one_hot(some)
            if bad.any():
                raise self.wrong(f"is not one-hot in row {at + int(bad.argmax())}")
            labels.append(some.argmax(axis=1))
            at += len(some)
        return np.concatenate(labels)


def convert(archive, out, made_from):
    """Writes `out` from an open .npz."""
    x = {side: Member(archive, f"x_{side}", ("clips", "frames", "150")) for side in ("train", "test")}
    y = {side: Member(archive, f"y_{side}", ("clips", "classes")) for side in ("train", "test")}
    for side, least in (("train", 2), ("test", 1)):
        if x[side].shape[2] != 150 or not x[side].shape[1]:
            raise x[side].wrong(f"has the shape {x[side].shape}, not (clips, frames, 150)")
        if x[side].shape[0] != y[side].shape[0]:
            raise x[side].wrong(f"has {x[side].shape[0]:,} clips, but y_{side} has {y[side].shape[0]:,}")
        if x[side].shape[0] < least:
            raise x[side].wrong(f"has {x[side].shape[0]} clips: at least {least} are needed")
    for train, test in (x.values(), y.values()):
        if train.shape[1:] != test.shape[1:]:
            raise test.wrong(f"has the shape {test.shape}, which does not go with {train.name}'s {train.shape}")
    classes = y["train"].shape[1]
    known = {60: "NTU", 120: "NTU120"}.get(classes)
    names = protocols.dataset(known).classes if known else [f"class {i}" for i in range(classes)]
    train, test = y["train"].labels(), y["test"].labels()
    kept, apart = hold_out(np.arange(len(train)))
    place = {int(i): (split, row) for split, rows in (("", kept), ("valid_", apart)) for row, i in enumerate(rows)}
    labels = {"": train[kept], "valid_": train[apart], "test_": test}
    about = {"joints": 25, "persons": 2, "class_names": names, "protocol": f"as in {Path(archive.filename).name}"}
    about |= {"made_by": f"{Path(__file__).name} {__version__}", "made_from": made_from}
    with (
        tqdm(total=len(train) + len(test), desc=out.name, unit="clip") as bar,
        writing(out, labels, frames=x["train"].shape[1], **about) as put,
    ):
        for side, member in x.items():
            at = 0
            for some in member.blocks():
                for i, clip in enumerate(some, start=at):
                    split, row = place[i] if side == "train" else ("test_", i)
                    put(split, row, clip, what=f"{archive.filename}: x_{side}, clip {i}")
                at += len(some)
                bar.update(len(some))
    return {split: len(rows) for split, rows in labels.items()}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("npz", type=Path)
    parser.add_argument("--out", type=Path, help="h5 to write (data/ntu/NTU_CS.h5 for NTU60_CS.npz, and so on)")
    args = parser.parse_args(argv)
    out = args.out or HERE / f"{OUT.get(args.npz.stem, args.npz.stem)}.h5"
    if not args.npz.is_file():
        raise UserError(f"{args.npz}: no such file")
    stat = args.npz.stat()
    made_from = digest(Path(__file__).name, stat.st_size, stat.st_mtime_ns)
    if out.exists():
        try:
            with h5py.File(out) as file:
                same = file.attrs.get("made_from") == made_from
        except OSError:
            same = False
        if not same:
            raise UserError(f"{out}: is there already, and not from this file; remove it or choose another --out")
        print(f"{out}: is there already, from this file")
        return
    try:
        with zipfile.ZipFile(args.npz) as archive:
            sizes = convert(archive, out, made_from)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(f"{args.npz}: cannot be read as an .npz ({error})") from None
    print("{}: {:,} training, {:,} validation and {:,} test clips".format(out, *sizes.values()))


if __name__ == "__main__":
    with one_clear_line():
        main()
