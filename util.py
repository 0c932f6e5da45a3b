"""What the scripts share and none of them owns: one clear line on bad input, files whole or not at all."""

import argparse
import ctypes
import io
import os
import platform
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows; there, start one run at a time in a folder
    fcntl = None

__version__ = "0.1.0"


class UserError(ValueError):
    """Something the user can mend. The message is one line: what is wrong, where, and what to do."""


def interruptible():
    """Called before imports that take seconds: Ctrl-C ends them with a line too. `one_clear_line` then takes over."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as under nohup
        signal.signal(signal.SIGINT, _leave)


def _leave(*_):
    os.write(2, b"interrupted: nothing was begun; the same command starts again\n")
    os._exit(130)  # at once: an exception may be swallowed by what is being imported


@contextmanager
def one_clear_line(smaller="something smaller"):
    """Wraps a program: a UserError, a full disk, no memory, Ctrl-C or SIGTERM ends it with one line, and no traceback.

    smaller: what to lower where memory runs out. The line goes to stderr.
    Exit codes: 2 for bad input, memory, and files that cannot be read or written, 130 for Ctrl-C, 143 for SIGTERM.
    """
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except UserError as error:
        line, code = f"error: {error}", 2
    except KeyboardInterrupt as error:
        line = f"interrupted: {error if error.args else 'what was finished is kept; the same command starts again'}"
        code = 143 if isinstance(error, _Terminated) else 130
    except OSError as error:
        line, code = f"error: {error.filename or 'input/output'}: {error.strerror or error}", 2
    except (MemoryError, RuntimeError) as error:
        if not (
            isinstance(error, MemoryError) or re.search(r"not enough memory|allocate memory|out of memory", str(error))
        ):
            raise
        line, code = f"error: out of memory ({brief(error, 150)}); try {smaller}", 2
    else:
        return
    print(line, file=sys.stderr)
    sys.exit(code)


class _Terminated(KeyboardInterrupt):
    pass


def _terminate(*_):
    raise _Terminated


def brief(value, longest=60):
    """A value from a file or an error, for a message: one line of at most `longest` characters."""
    line = " ".join(str(value).split())
    return line if len(line) <= longest else line[: longest - 3] + "..."


@contextmanager
def alone(path, wait=False):
    """Holds the lock of the file `path`, which is made and stays: nobody else enters while the block runs.

    With `wait` until the others have left, else UserError when there is somebody. The system releases it however the
    process ends. Where there are no such locks (Windows, some network drives) it does nothing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise UserError(f"another run is at work in {path.parent}; wait for it, or stop it") from None
        except OSError as error:
            print(f"{path}: no lock ({error.strerror}); start one run at a time", file=sys.stderr)
        yield


@contextmanager
def naming(path):
    """Gives the system's errors in the block, such as a full disk, the name of the file that they are about."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # The system names no file that it cannot write to, and HDF5 tells it in many lines, or as a RuntimeError
        number = None if getattr(error, "filename", None) else getattr(error, "errno", None)
        if found := re.search(r"errno = (\d+)", str(error)):
            number = int(found[1])
        if number:
            raise OSError(number, os.strerror(number), str(path)) from None
        raise


@contextmanager
def replacing(path):
    """Yields a temporary path beside `path`, renamed to `path` once the block ends well, else removed.

    A reader of `path` therefore sees the old file or the whole new one, never a part. The temporary file is
    flushed to the disk before it is renamed, so this holds through a power cut too.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with naming(path):
            yield part
            with open(part, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def sweep(folder):
    """Removes the temporary files that `replacing` left in `folder` when its process was killed outright."""
    for part in Path(folder).glob("*.*.part"):
        owner = part.name.split(".")[-2]
        if owner.isdigit() and not _alive(int(owner)):
            part.unlink(missing_ok=True)


def _alive(process):
    if os.name != "posix":  # elsewhere os.kill would end the process instead of asking after it
        return process == os.getpid()
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def save_checkpoint(content, path):
    """torch.save, whole or not at all; a full disk is an OSError that names the file."""
    import torch  # here, so that the scripts of data/ start without it

    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path) as part:
        part.write_bytes(buffer.getbuffer())


def opened(load, path):
    """load(path), with a missing or broken checkpoint as a UserError."""
    try:
        return load(path)
    except FileNotFoundError:
        raise UserError(f"no checkpoint: {path} is missing; --train 1 makes it") from None
    except ValueError as error:
        raise UserError(error) from None


def keep_memory(keep=True):
    """Has the C library keep what is freed for the next training step, instead of handing it back to the system.

    A step on a CPU allocates some tensors of 30 MB, and without this a fifth of its time is the system's, which maps
    and clears their pages anew. keep=False: back to about what glibc does by itself. With another C library nothing
    happens.
    """
    # Number of mmaps, size from which there are any, free memory that is handed back, what is asked for beyond need
    values = (0, 2**25, 2**31 - 1, 2**26) if keep else (2**16, 2**25, 2**26, 2**17)
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in zip((-4, -3, -1, -2), values, strict=True):
            mallopt(option, value)


def derived_seed(*numbers):
    """A seed of its own for everything that needs one, from --seed and what tells it apart, such as the epoch.

    A last number of 0 makes no difference.
    """
    import numpy

    return int(numpy.random.SeedSequence(numbers).generate_state(1)[0])


def provenance(command, on, **more):
    """What is needed to run something again, {str: str}: command line, versions, hardware, git commit, and `more`.

    on: the torch.device it runs on.
    """
    import numpy
    import torch

    root = Path(__file__).resolve().parent
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() or "none"
    except OSError:
        commit = "none"
    if on.type == "cuda":
        name = torch.cuda.get_device_name(on)
    else:
        name = f"CPU, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    versions = f"sgn {__version__}, torch {torch.__version__}, numpy {numpy.__version__}"
    versions += f", python {platform.python_version()}"
    about = {"command": command, "versions": versions, "hardware": name, "commit": commit}
    return about | {key: str(value) for key, value in more.items()}


def write_csv(path, comments, rows):
    """A csv of dicts with the same keys, after comment lines that start with #; whole or not at all."""
    lines = [f"# {line}" for line in comments] + [",".join(rows[0])]
    lines += [",".join(f"{value:.6g}" for value in row.values()) for row in rows]
    with replacing(path) as part:
        part.write_text("\n".join(lines) + "\n")


def _number(kind, allowed):
    """An argparse type: a finite number that `allowed` takes."""

    def parse(text):
        value = kind(text)
        if not (allowed(value) and abs(value) < float("inf")):
            raise argparse.ArgumentTypeError(f"{text} is out of range")
        return value

    parse.__name__ = kind.__name__  # argparse names it when the text is no number at all
    return parse


count = _number(int, lambda value: value >= 1)
above_zero = _number(float, lambda value: value > 0)
not_negative = _number(float, lambda value: value >= 0)
factor = _number(float, lambda value: 0 < value <= 1)
seed = _number(int, lambda value: 0 <= value < 2**32)


def seeds(text):
    """An argparse type: "3" for seeds 1, 2, 3, or "4,7" for just these; at most 100, each once."""
    if "," not in text:
        return list(range(1, _number(int, lambda value: 1 <= value <= 100)(text) + 1))
    found = [seed(part) for part in text.split(",")]
    if len(set(found)) < len(found) or len(found) > 100:
        raise argparse.ArgumentTypeError(f"{brief(text)}: at most 100 seeds, each of them once")
    return found


def told(read):
    """An argparse type of a function that reads a text, and whose ValueErrors say what is wrong with it."""

    def parse(text):
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(error) from None

    return parse


def pick_device(name=None):
    """The torch.device of that name; by default CUDA where there is some, else the CPU. Raises UserError."""
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.rand(1, generator=torch.Generator(device), device=device).item()  # as a run will
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {brief(name or 'cuda')}: not to be had here ({brief(error, 150)})") from None
    return device
