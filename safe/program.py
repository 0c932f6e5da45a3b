"""The frame of a program: errors in one line, standard streams that hold, flags, progress bars and notes."""

import argparse
import difflib
import os
import re
import signal
import sys
from contextlib import contextmanager, suppress
from functools import partial
from io import TextIOWrapper

from util import UserError, readable, shorten


@contextmanager
def exit_on_error(reduce="the input"):
    """Wraps a program: a UserError, a full disk, no memory, Ctrl-C or SIGTERM ends it with one line on standard error.

    reduce: what to make smaller when memory runs out. Exit codes: 2 for bad input, no memory, and files that cannot be
    read or written; 130 for Ctrl-C; 143 for SIGTERM.
    """
    signal.signal(signal.SIGTERM, _raise_terminated)
    prepare_streams()
    try:
        try:
            yield
        except SystemExit:  # of sys.exit(main())
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except UserError as error:
        line, code = f"error: {error}", 2
    except KeyboardInterrupt as error:
        line = f"interrupted: {error if error.args else 'finished work is kept; run the same command again'}"
        code = 143 if isinstance(error, _Terminated) else 130
    except OSError as error:
        where = error.filename or ("standard output" if _output_fails() else "input/output")
        line, code = f"error: {where}: {error.strerror or error}", 2
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        line, code = f"error: out of memory ({shorten(error, 150)}); reduce {reduce}", 2
    else:
        return
    _output_fails()
    with suppress(OSError):
        print(readable(line), file=sys.stderr)
    sys.exit(code)


class _Terminated(KeyboardInterrupt):
    pass


def _raise_terminated(*_):
    raise _Terminated


def is_out_of_memory(error):
    """Whether an exception, of Python or of PyTorch, says that memory is short: no fault of a file that is read."""
    of_torch = isinstance(error, RuntimeError) and re.search("(not enough|allocate|out of) memory", str(error))
    return isinstance(error, MemoryError) or bool(of_torch)


def let_threads_sleep():
    """Call before torch is imported: OpenMP's threads then sleep soon while they wait. By default they spin, on a busy
    machine on a core that another process needs: a step takes several times as long (docs/performance.md)."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def prepare_streams():
    """Closed standard streams become /dev/null: the next file that is opened would take their number, and get what
    libraries write there. Characters that standard output cannot show are escaped, as in errors."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, errors="backslashreplace"))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _output_fails():
    """Whether standard output cannot be written. What is left for it is dropped: Python would fail over it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


# ---- flags


def did_you_mean(word, known):
    """ "; did you mean X?" for the nearest of the known words, else an empty string."""
    nearest = difflib.get_close_matches(word, known, 1, 0.6)
    return f"; did you mean {nearest[0]}?" if nearest else ""


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, whose errors are one line, with the nearest flag for an unknown one. Shows the text as it is.

    elsewhere: {flag of another program, or of before: what there is in its place}.
    """

    def __init__(self, *args, elsewhere=(), **kwargs):
        self.elsewhere = dict(elsewhere)
        super().__init__(*args, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **kwargs)

    def parse_args(self, args=None, namespace=None):
        args, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = unknown[0].split("=")[0]
            if flag in self.elsewhere:
                self.error(f"{flag}: {self.elsewhere[flag]}")
            self.error(f"unknown argument {flag}{did_you_mean(flag, self._option_string_actions)}")
        return args

    def error(self, message):
        self.exit(2, f"error: {readable(message)} (--help lists the arguments)\n")


def argument_type(parse):
    """An argparse type from a function that reads a text, and whose ValueErrors say what is wrong with it."""

    def read(text):
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(error) from None

    return read


def number(low, high, kind=float):
    """An argparse type: a number from low to high, of that kind."""

    def read(text):
        with suppress(ValueError):
            value = kind(text)
            if low <= value <= high:  # not of NaN
                return value
        words = "a whole number" if kind is int else "a number"
        raise argparse.ArgumentTypeError(f"{shorten(readable(text))} is not {words} from {low:,.10g} to {high:,.10g}")

    return read


whole = partial(number, kind=int)
# A type for each kind of number. Beyond the bounds nothing useful happens, or memory ends
positive_int = whole(1, 10**6)  # frames, clips, samples, classes, workers, ...
positive_float = number(1e-30, 1e30)  # float32 holds these
nonnegative_float = number(0, 1e30)
fraction = number(1e-30, 1)
fps = number(1, 1000)
seed = whole(0, 2**32 - 1)


def number_list(text):
    """An argparse type: "1,0.5" for these two, none below 0."""
    return [nonnegative_float(part) for part in text.split(",")]


def seed_list(text):
    """An argparse type: "3" for seeds 1, 2, 3, or "4,7" for these two; at most 100, each once."""
    if "," not in text:
        return list(range(1, whole(1, 100)(text) + 1))
    seeds = [seed(part) for part in text.split(",")]
    if len(set(seeds)) < len(seeds) or len(seeds) > 100:
        raise argparse.ArgumentTypeError(f"{shorten(text)}: at most 100 seeds, each of them once")
    return seeds


# ---- progress, and what is said beside it


def progress(*args, disable=None, **kwargs):
    """A bar of tqdm, which takes these arguments. It shows nothing without a terminal, and with TQDM_DISABLE=1."""
    from tqdm import tqdm

    off = disable or os.environ.get("TQDM_DISABLE", "0") not in ("", "0")
    return tqdm(*args, disable=off or None, **kwargs)


def print_above_bars(line, file):
    """Prints a line above the progress bars, also those of other processes."""
    from tqdm import tqdm

    tqdm.write("\x1b[2K" * file.isatty() + line, file=file)


class Notes:
    """What a user should know of recordings: each kind is said once."""

    def __init__(self):
        self.said = set()

    def add(self, notes, where=""):
        """notes: (kind, text), as from Classifier.odd."""
        for kind, text in notes:
            if (kind := without_numbers(kind)) not in self.said:
                self.said.add(kind)
                note(f"{where}{text}")


def without_numbers(text):
    return re.sub(r"\d[\d,.]*", "", text)


def note(text):
    """A line on standard error about what is odd, or what was taken for what."""
    print(readable(f"note: {text}"), file=sys.stderr)
