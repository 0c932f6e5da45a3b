"""Lists what is wrong with a data set's h5.

    python tools/check_h5.py my_own.h5

Exit code 0 if the file is in the layout of clips/h5.py, else 2. Some things are allowed, and noted: empty clips;
classes without training clips; test clips that also train; persons that are not in metres or not upright along y;
joints that are probably in another order than the skeleton's; flip pairs that leave out arms or legs (clips/checks.py).
Left and right exchanged altogether cannot be seen, nor can any order in 2D data, whose lengths mean nothing.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from clips.h5 import SPLITS, read_header, validate
from safe.files import open_h5
from safe.program import ArgumentParser, exit_on_error, progress


def main(argv=None):
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    path = parser.parse_args(argv).file
    notes = []
    with open_h5(path) as file, progress(unit="clip", delay=2, leave=False) as bar:
        problems = validate(file, bar.update, notes)
        for line in (*(f"note: {note}" for note in notes), *problems):
            print(f"{path}: {line}")
        if problems:
            return 2
        header, frames = read_header(file), file["x"].shape[1]
        counts = [len(file[f"{split}x"]) for split in SPLITS]
    persons = "1 person" if header["persons"] == 1 else f"up to {header['persons']} persons"
    about = f"{header['joints']} joints (skeleton {header['skeleton'].name}), {persons}"
    about += f", {len(header['class_names'])} classes"
    counts = "{} training, {} validation and {} test clips".format(*counts)
    print(f"{path}: correct: {counts} of up to {frames} frames, {about}")
    return 0


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
