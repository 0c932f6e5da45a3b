"""Files that cannot be read as clips: where, and why."""

from contextlib import contextmanager
from typing import NamedTuple

from util import UserError, readable, regular


class BadFile(Exception):
    """A file that is skipped. args: line (from 1, or None), reason."""


class Skipped(NamedTuple):
    """A row of skipped.csv."""

    file: str
    line: int | None
    reason: str

    @classmethod
    def of(cls, file, error):
        """From the BadFile or OSError that reading the file raised."""
        if isinstance(error, BadFile):
            return cls(str(file), *error.args)
        return cls(str(file), None, f"cannot be read: {error.strerror or error}")

    def __str__(self):
        return readable(f"{self.file}{'' if self.line is None else f', line {self.line}'}: {self.reason}")


@contextmanager
def named(file):
    """Turns a BadFile in the block into a UserError that names the file."""
    try:
        yield
    except BadFile as error:
        raise UserError(str(Skipped.of(file, error))) from None


def read_bytes(path, largest):
    """The content of a file. Raises BadFile if it is larger, OSError if the system cannot read it."""
    path = regular(path)
    if path.stat().st_size > largest:
        raise BadFile(None, f"larger than {largest >> 20} MB")
    return path.read_bytes()
