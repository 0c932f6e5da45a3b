"""What several tools share: types and flags of their command lines, and the loop over recordings."""

import sys
from pathlib import Path

from tqdm import tqdm

from safe.program import argument_type, progress
from util import UserError, readable


def path_of(*suffixes):
    """An argparse type: the path of a file whose name ends in one of these."""

    def read(text):
        if Path(text).suffix not in suffixes:
            raise ValueError(f"{text}: must end in {' or '.join(suffixes)}")
        return Path(text)

    return argument_type(read)


def read_each(files, read, skipped):
    """Yields (path, read(path)) of each path. One that cannot be read is named, and added to `skipped`.

    Raises UserError if none can be read.
    """
    for path in progress(files, unit="file", leave=False, disable=len(files) < 2):
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
