"""Files that cannot be read as clips: where and why, and what the scripts share that skip them."""

import csv
from contextlib import closing, contextmanager
from typing import NamedTuple

from safe.program import positive_int, progress
from safe.workers import available_cores, parallel_map
from util import UTF8, UserError, atomic_write, readable, regular

EXIT_CODES = """exit codes:
  0  done
  2  wrong or missing input, one line says which; or, with --strict, a file that would be skipped
  3  done, but files were skipped: they are listed at the end and in a ...skipped.csv
  130, 143  interrupted or terminated; run the same command again
"""


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


# ---- scripts


def add_arguments(parser):
    """Adds --workers and --strict to the arguments of a script that may skip files."""
    add = parser.add_argument
    add("--workers", type=positive_int, default=available_cores(), help="processes (all cores: %(default)s)")
    add("--strict", action="store_true", help="stop at the first file that would be skipped")


def read_groups(read, jobs, args, skipped, title, clips):
    """Yields what `read`, called in --workers processes, makes of each group of clips, in the order of the jobs.

    read(*job) returns ({name: array}, one of them "names", of the clips; [Skipped]), and the latter are added to
    `skipped`. clips: how many there are in all. Raises UserError for the first skipped one with --strict.
    """
    groups = parallel_map(read, jobs, args.workers)
    with progress(total=clips, desc=title, unit="clip") as bar, closing(groups):
        for arrays, bad in groups:
            if bad and args.strict:
                raise UserError(str(bad[0]))
            skipped += bad
            bar.update(len(arrays["names"]) + len(bad))
            yield arrays


def report_skipped(skipped, table):
    """Writes `table`, a ...skipped.csv, and prints the first of the [Skipped]. Returns the exit code: 3, or 0 if there
    are none; then a table of an earlier run is removed."""
    if not skipped:
        table.unlink(missing_ok=True)
        return 0
    skipped = sorted(skipped, key=lambda row: row.file)
    with atomic_write(table) as part, open(part, "w", newline="", **UTF8) as file:
        csv.writer(file).writerows([Skipped._fields, *skipped])
    print(f"\n{len(skipped):,} skipped (all of them: {table})")
    for row in skipped[:20]:
        print(f"  {row}")
    return 3
