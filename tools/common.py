"""What several tools share: types and flags of their command lines, and the loop over recordings."""

import sys
from pathlib import Path

from tqdm import tqdm

from engine.config import DATASETS
from safe import arguments, progress
from util import UserError, readable


def path_of(*suffixes):
    """An argparse type: the path of a file whose name ends in one of these."""

    def read(text):
        if Path(text).suffix not in suffixes:
            raise ValueError(f"{text}: must end in {' or '.join(suffixes)}")
        return Path(text)

    return arguments.argument_type(read)


def add_dataset(parser, required=True):
    """Adds the flags that engine.config.find_h5 takes."""
    add = parser.add_argument
    add("--dataset", required=required, help=f"{', '.join(DATASETS)}, or the path of an .h5")
    add("--case", type=int, default=0, help="protocol, as in main.py (%(default)s)")
    add("--data", type=Path, help="folder of the h5 (the data set's own below data/)")


def read_each(files, read, skipped):
    """Yields (path, read(path)) of each path. One that cannot be read is named, and added to `skipped`.

    Raises UserError if none can be read.
    """
    for path in progress.progress(files, unit="file", leave=False, disable=len(files) < 2):
        try:
            found = read(path)
        except (UserError, OSError) as error:
            why = str(getattr(error, "strerror", None) or error)
            why = why if why.startswith(str(path)) else f"{path}: {why}"
            if len(files) == 1:
                raise UserError(why) from None
            tqdm.write(readable(f"skipped: {why}"), file=sys.stderr)
            skipped.append(path)
        else:
            yield path, found
    if len(skipped) == len(files):
        raise UserError(f"none of the {len(files)} files could be read")
    if skipped:
        print(f"{len(skipped)} of {len(files)} files were skipped", file=sys.stderr)


def named_or_own(skeleton):
    """What recordings.read_any takes for a Skeleton: its name, or itself if it is of one's own."""
    return skeleton if skeleton.name == "custom" else skeleton.name


class Notes:
    """What a user should know of recordings: each kind is said once."""

    def __init__(self):
        self.said = set()

    def add(self, notes, where=""):
        """notes: (kind, text), as from Classifier.odd."""
        for kind, text in notes:
            if kind not in self.said:
                self.said.add(kind)
                progress.note(f"{where}{text}")
