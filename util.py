"""What all programs share: errors that are one line, and files written whole or not at all.

Imports neither torch nor NumPy, which take seconds: programs import it first.
"""

import errno
import os
import re
import reprlib
import socket
import stat
from contextlib import contextmanager, suppress
from pathlib import Path

__version__ = "0.2.0"
ROOT = Path(__file__).resolve().parent


class UserError(ValueError):
    """Something that the user can fix. The message is one line: what is wrong, where, and what to do."""


# ---- text and files

UTF8 = {"encoding": "utf-8", "errors": "backslashreplace"}  # for what is written, whatever the locale
_repr = reprlib.Repr()  # of containers from a file, which can be in each other a billion times
_repr.maxlevel, _repr.maxstring, _repr.maxother = 3, 200, 200


def shorten(value, longest=60):
    """A value from a file or an error as one line of at most `longest` characters, for a message."""
    line = " ".join((str(value) if isinstance(value, str | Exception) else _repr.repr(value)).split())
    return line if len(line) <= longest else line[: longest - 3] + "..."


def readable(text):
    """With control characters, and bytes that are not UTF-8 (surrogates), escaped."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda found: repr(found[0])[1:-1], text)


def regular(path):
    """The Path of a regular file. Raises OSError for a folder, FIFO, device or socket, which is never opened."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a FIFO, socket or device"
        raise OSError(errno.EINVAL, f"{what}, not a file", str(path))
    return Path(path)


@contextmanager
def name_file_in_errors(path, part=None):
    """Adds the name of the file to errors of the system in the block, such as a full disk. part: its temporary name."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        unnamed = str(getattr(error, "filename", None)) in ("None", str(part))
        number = getattr(error, "errno", None) if unnamed else None
        if found := re.search(r"errno = (\d+)", str(error)):  # HDF5's errors have many lines
            number = int(found[1])
        if number:
            raise OSError(number, os.strerror(number), str(path)) from None
        raise


@contextmanager
def folders_of(path):
    """Makes the folders of a file; at the end, those of them go again that have stayed empty."""
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


@contextmanager
def atomic_write(path):
    """Yields a temporary path beside `path`, which is renamed to `path` if the block succeeds, and removed if not.

    So a reader sees the old file or the new one, never a part. The content is flushed to the disk before the rename.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.part")
    with folders_of(path), name_file_in_errors(path, part):
        try:
            yield part
            with open(part, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


# ---- numbers


def derive_seed(*numbers):
    """A seed derived from --seed and further numbers, such as the epoch. A last number of 0 makes no difference."""
    import numpy

    return int(numpy.random.SeedSequence(numbers).generate_state(1)[0])
