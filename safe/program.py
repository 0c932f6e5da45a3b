"""The frame of a program: errors in one line, interrupts, and standard streams that hold."""

import errno
import io
import os
import signal
import sys
from contextlib import contextmanager, suppress

from util import UserError, is_out_of_memory, readable, shorten


@contextmanager
def exit_on_error(reduce="the input"):
    """Wraps a program: a UserError, a full disk, no memory, Ctrl-C or SIGTERM ends it with one line on standard error.

    reduce: what to make smaller when memory runs out. Exit codes: 2 for bad input, no memory, and files that cannot be
    read or written; 130 for Ctrl-C; 143 for SIGTERM.
    """
    signal.signal(signal.SIGTERM, _raise_terminated)
    if signal.getsignal(signal.SIGINT) is _exit_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
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
        if error.errno in (errno.EACCES, errno.EPERM):
            line += "; change its permissions, or choose another file or folder"
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        line, code = f"error: out of memory ({shorten(error, 150)}); reduce {reduce}", 2
    else:
        return
    _output_fails()
    print(readable(line), file=sys.stderr)
    sys.exit(code)


class _Terminated(KeyboardInterrupt):
    pass


def _raise_terminated(*_):
    raise _Terminated


def handle_early_interrupt():
    """Call before slow imports: Ctrl-C during them ends the program with one line. `exit_on_error` then takes over."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # under nohup it is ignored, and stays so
        signal.signal(signal.SIGINT, _exit_at_once)


def let_threads_sleep():
    """Call before torch is imported: OpenMP's threads then sleep soon while they wait. By default they spin, on a busy
    machine on a core that another process needs: a step takes several times as long (docs/performance.md)."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _exit_at_once(*_):
    with suppress(OSError):
        os.write(2, b"interrupted: nothing has started yet; run the same command again\n")
    os._exit(130)  # an exception could be swallowed by the module that is being imported


class _StandardError(io.FileIO):
    """Drops what cannot be written: a message that nobody can read is no reason to end a run of hours."""

    def write(self, data):
        with suppress(OSError):
            return super().write(data)
        return len(data)


def prepare_streams():
    """Makes the standard streams hold, before a program or a worker does anything.

    Closed streams become /dev/null: the next file that is opened would take their number, and get what libraries write
    there. Characters that cannot be shown are escaped. What cannot be written to standard error is dropped.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, errors="backslashreplace"))  # noqa: SIM115
        elif mode == "w" and stream is getattr(sys, f"__{name}__"):  # and not what a test or a notebook put there
            stream.reconfigure(errors="backslashreplace")
    if sys.stderr is sys.__stderr__ and os.name == "posix":
        buffer, encoding = io.BufferedWriter(_StandardError(2, "w", closefd=False)), sys.stderr.encoding
        sys.stderr = io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=True)


def _output_fails():
    """Whether standard output cannot be written. What is left for it is dropped: Python would fail over it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
