"""Says in words what is wrong with a data set's h5, or that nothing is.

    python tools/check_h5.py my_own.h5

Exit code 0 if the file is in the layout that data/layout.py describes, else 2. A clip that is all zeros is no mistake
(nobody was seen), and is drawn as zeros, but a line notes it.
"""

import argparse
import sys
from pathlib import Path

import h5py
from tqdm import tqdm

import _path

from layout import SPLITS, about, check
from util import UserError, exit_on_error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    path = parser.parse_args().file
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        file = h5py.File(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read as h5 ({error})") from None
    notes = []
    with file:
        problems = check(file, values=False)
        if not problems:
            clips = [len(file[f"{split}x"]) for split in SPLITS]
            with tqdm(total=sum(clips), unit="clip", delay=2, leave=False) as bar:
                problems = check(file, step=bar.update, notes=notes)
        for note in notes:
            print(f"{path}: note: {note}")
        if problems:
            print("\n".join(f"{path}: {problem}" for problem in problems))
            return 2
        said, frames = about(file), file["x"].shape[1]
    print(
        "{}: {} training, {} validation and {} test clips".format(path, *clips)
        + f" of up to {frames} frames, {said['joints']} joints, {said['persons']} persons,"
        + f" {len(said['class_names'])} classes: as it should be"
    )
    return 0


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
