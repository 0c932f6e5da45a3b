"""Progress bars, on terminals alone, and what is said beside them."""

import os
import sys

from util import readable


def progress(*args, disable=None, **kwargs):
    """A bar of tqdm, which takes these arguments. It shows nothing without a terminal, and with TQDM_DISABLE=1."""
    from tqdm import tqdm

    off = disable or os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
    return tqdm(*args, disable=off or None, **kwargs)


def print_above_bars(line, file):
    """Prints a line above the progress bars, also those of other processes."""
    from tqdm import tqdm

    tqdm.write("\x1b[2K" * file.isatty() + line, file=file)


def note(text):
    """A line on standard error about what is odd, or what was taken for what."""
    print(readable(f"note: {text}"), file=sys.stderr)
