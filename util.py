"""What all programs share: errors that are one line, files written whole or not at all, and types of flags.

Imports neither torch nor NumPy, which take seconds: programs import it first.
"""

import argparse
import difflib
import errno
import os
import re
import reprlib
import socket
import stat
import sys
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks: start one run at a time in a folder
    fcntl = None

__version__ = "0.2.0"
ROOT = Path(__file__).resolve().parent


class UserError(ValueError):
    """Something that the user can fix. The message is one line: what is wrong, where, and what to do."""


# ---- programs


def is_out_of_memory(error):
    """Whether an exception, of Python or of PyTorch, says that memory is short: no fault of a file that is read."""
    short = r"(not enough|allocate|out of) memory"
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and re.search(short, str(error)) is not None
    )


_repr = reprlib.Repr()  # of containers from a file, which can be in each other a billion times
_repr.maxlevel, _repr.maxstring, _repr.maxother = 3, 200, 200


def shorten(value, longest=60):
    """A value from a file or an error as one line of at most `longest` characters, for a message."""
    line = " ".join((str(value) if isinstance(value, str | Exception) else _repr.repr(value)).split())
    return line if len(line) <= longest else line[: longest - 3] + "..."


def did_you_mean(word, known):
    """ "; did you mean X?" for the nearest of the known words, else an empty string."""
    nearest = difflib.get_close_matches(word, known, 1, 0.6)
    return f"; did you mean {nearest[0]}?" if nearest else ""


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, whose errors are one line, with the nearest flag for an unknown one. Shows the text as it is."""

    def __init__(self, *args, elsewhere=(), **kwargs):
        """elsewhere: {flag of another program: what there is in its place}."""
        self.elsewhere = dict(elsewhere)
        kwargs = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False} | kwargs
        super().__init__(*args, **kwargs)

    def parse_args(self, args=None, namespace=None):
        args, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = unknown[0].split("=")[0]
            if flag in self.elsewhere:
                self.error(f"{flag}: {self.elsewhere[flag]}")
            self.error(f"unknown argument {flag}{did_you_mean(flag, self._option_string_actions)}")
        return args

    def error(self, message):
        self.exit(2, f"error: {message} (--help lists the arguments)\n")


def progress(*args, disable=None, **kwargs):
    """A bar of tqdm, which takes these arguments. It shows nothing without a terminal, and with TQDM_DISABLE=1."""
    from tqdm import tqdm

    off = disable or os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
    return tqdm(*args, disable=off or None, **kwargs)


def print_above_bars(line, file):
    """Prints a line above the progress bars, also those of other processes."""
    from tqdm import tqdm

    tqdm.write("\x1b[2K" * file.isatty() + line, file=file)


# ---- text and files

UTF8 = {"encoding": "utf-8", "errors": "backslashreplace"}  # for what is written, whatever the locale


def readable(text):
    """With control characters, and bytes that are not UTF-8 (surrogates), escaped."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda found: repr(found[0])[1:-1], text)


def regular(path):
    """The Path of a regular file. Raises OSError for a folder, FIFO, device or socket, which is never opened."""
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind != stat.S_IFREG:
        names = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        message = f"{names.get(kind, 'a device')}, not a file"
        raise OSError(errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL, message, str(path))
    return Path(path)


@contextmanager
def exclusive_lock(path, wait=False):
    """Holds a lock on the file `path`, which is created and stays, while the block runs.

    wait: wait for whoever holds it; otherwise raise UserError. The system releases the lock however the process ends.
    Without support for locks (Windows, some network drives) a line says so.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise UserError(f"{path.parent}: another run is writing there; wait for it, or stop it") from None
        except OSError as error:
            print(f"{path}: no lock ({error.strerror}); start one run at a time", file=sys.stderr)
        yield


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
def atomic_write(path):
    """Yields a temporary path beside `path`, which is renamed to `path` if the block succeeds, and removed if not.

    So a reader sees the old file or the new one, never a part. The content is flushed to the disk before the rename.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.part")
    try:
        with name_file_in_errors(path, part):
            yield part
            with open(part, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def remove_stale_parts(folder, prefix=""):
    """Removes temporary files of `atomic_write`, of names that start with `prefix`, whose process was killed.

    Only those of this machine: another may be writing to the same drive.
    """
    own = re.compile(rf".*\.{re.escape(socket.gethostname())}\.(\d+)\.part")
    for part in Path(folder).glob(f"{prefix}*.part"):
        if (found := own.fullmatch(part.name)) and not _is_alive(int(found[1])):
            part.unlink(missing_ok=True)


def _is_alive(process):
    if os.name != "posix":  # elsewhere os.kill would end the process
        return True
    try:
        os.kill(process, 0)
    except OSError as error:  # it may belong to somebody else
        return not isinstance(error, ProcessLookupError)
    return True


# ---- numbers


def derive_seed(*numbers):
    """A seed derived from --seed and further numbers, such as the epoch. A last number of 0 makes no difference."""
    import numpy

    return int(numpy.random.SeedSequence(numbers).generate_state(1)[0])


# ---- types of flags, for argparse


def argument_type(parse):
    """An argparse type from a function that reads a text, and whose ValueErrors say what is wrong with it."""

    def read(text):
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(error) from None

    return read


def _number(kind, allowed):
    def parse(text):
        value = kind(text)
        if not (allowed(value) and abs(value) < float("inf")):
            raise argparse.ArgumentTypeError(f"{text} is out of range")
        return value

    parse.__name__ = kind.__name__  # argparse names it in its messages
    return parse


positive_int = _number(int, lambda value: value >= 1)
positive_float = _number(float, lambda value: value > 0)
nonnegative_float = _number(float, lambda value: value >= 0)
fraction = _number(float, lambda value: 0 < value <= 1)
seed = _number(int, lambda value: 0 <= value < 2**32)


def number_list(text):
    """An argparse type: "1,0.5" for these two, none below 0."""
    return [nonnegative_float(part) for part in text.split(",")]


def seed_list(text):
    """An argparse type: "3" for seeds 1, 2, 3, or "4,7" for these two; at most 100, each once."""
    if "," not in text:
        return list(range(1, _number(int, lambda value: 1 <= value <= 100)(text) + 1))
    seeds = [seed(part) for part in text.split(",")]
    if len(set(seeds)) < len(seeds) or len(seeds) > 100:
        raise argparse.ArgumentTypeError(f"{shorten(text)}: at most 100 seeds, each of them once")
    return seeds
