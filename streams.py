"""Standard input, output and error that hold whatever a program is started with: closed, full, or of few characters."""

import io
import os
import sys


class _Stream(io.FileIO):
    failed = False

    def write(self, data):
        try:
            return super().write(data)
        except OSError as error:
            if self.failed or self.fileno() == 2:  # a message that nobody can read is no reason to end a run of hours
                return len(data)
            self.failed = True  # said once, and not again when Python ends
            raise OSError(error.errno, error.strerror, "standard output") from None


class _Unbuffered(io.BufferedWriter):
    """What Python has under PYTHONUNBUFFERED, but for that it writes all of a long text to a pipe."""

    def write(self, data):
        written = super().write(data)
        self.flush()
        return written


def prepare():
    """To be called before a program does anything.

    Closed streams become /dev/null; otherwise the next file that is opened would take their number, and get what is
    meant for them. What cannot be written to standard error is dropped. Characters that cannot be shown are escaped.
    When a stream is flushed stays as it was.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null == number:
                os.set_inheritable(number, True)  # by workers
            else:
                os.dup2(null, number)
            mode = "w" if number else "r"
            stream = io.FileIO(number, mode, closefd=False)
            stream = io.BufferedWriter(stream) if number else io.BufferedReader(stream)
            setattr(sys, name, io.TextIOWrapper(stream, "utf-8", "backslashreplace"))
        elif number and stream is getattr(sys, f"__{name}__"):  # and not what a test, or a notebook, put there
            if os.name == "posix":
                buffer = _Unbuffered if stream.write_through else io.BufferedWriter
                how = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
                stream = io.TextIOWrapper(buffer(_Stream(number, "w", closefd=False)), stream.encoding, **how)
                setattr(sys, name, stream)
            stream.reconfigure(errors="backslashreplace")
