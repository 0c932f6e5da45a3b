"""Files that a script skips because they cannot be read: why, and how it reports them."""

import csv
from contextlib import closing
from typing import NamedTuple

import util
from safe import arguments, progress
from safe.workers import available_cores, parallel_map

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
        return (
            cls(file, *error.args)
            if isinstance(error, BadFile)
            else cls(file, None, f"cannot be read: {error.strerror or error}")
        )

    def __str__(self):
        return util.readable(f"{self.file}{'' if self.line is None else f', line {self.line}'}: {self.reason}")


def add_arguments(parser, skips=True):
    """Adds --workers to a script's arguments, and --strict if it may skip files."""
    parser.add_argument(
        "--workers", type=arguments.positive_int, default=available_cores(), help="processes (all cores: %(default)s)"
    )
    if skips:
        parser.add_argument("--strict", action="store_true", help="stop at the first file that would be skipped")


def read_groups(read, jobs, args, skipped, title, clips):
    """Yields what `read`, called in --workers processes, makes of each group of clips, in the order of the jobs.

    read(*job) returns ({name: array}, one of them "names", of the clips; [Skipped]), and the latter are added to
    `skipped`. clips: how many there are in all. Raises UserError for the first skipped one with --strict.
    """
    with (
        progress.progress(total=clips, desc=title, unit="clip") as bar,
        closing(parallel_map(read, jobs, args.workers)) as groups,
    ):
        for arrays, bad in groups:
            if bad and args.strict:
                raise util.UserError(str(bad[0]))
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
    with util.atomic_write(table) as part, open(part, "w", newline="", **util.UTF8) as file:
        csv.writer(file).writerows([Skipped._fields, *skipped])
    shown = [row._replace(file=util.readable(row.file), reason=util.readable(row.reason)) for row in skipped[:20]]
    width = max(len(row.file) for row in shown)
    print(f"\n{len(skipped):,} skipped (all of them: {table})")
    for row in shown:
        print(f"  {row.file:{width}}  {'' if row.line is None else f'line {row.line}':>10}  {row.reason}")
    return 3
