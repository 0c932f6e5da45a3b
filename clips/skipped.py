"""What the scripts share that skip files which cannot be read: their flags, workers and reports."""

import csv
from contextlib import closing

import util
from clips.bad_files import BadFile, Skipped
from safe.program import positive_int, progress
from safe.workers import available_cores, parallel_map

__all__ = ["EXIT_CODES", "BadFile", "Skipped", "add_arguments", "read_groups", "report_skipped"]
EXIT_CODES = """exit codes:
  0  done
  2  wrong or missing input, one line says which; or, with --strict, a file that would be skipped
  3  done, but files were skipped: they are listed at the end and in a ...skipped.csv
  130, 143  interrupted or terminated; run the same command again
"""


def add_arguments(parser, skips=True):
    """Adds --workers to a script's arguments, and --strict if it may skip files."""
    add = parser.add_argument
    add("--workers", type=positive_int, default=available_cores(), help="processes (all cores: %(default)s)")
    if skips:
        add("--strict", action="store_true", help="stop at the first file that would be skipped")


def read_groups(read, jobs, args, skipped, title, clips):
    """Yields what `read`, called in --workers processes, makes of each group of clips, in the order of the jobs.

    read(*job) returns ({name: array}, one of them "names", of the clips; [Skipped]), and the latter are added to
    `skipped`. clips: how many there are in all. Raises UserError for the first skipped one with --strict.
    """
    with (
        progress(total=clips, desc=title, unit="clip") as bar,
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
    print(f"\n{len(skipped):,} skipped (all of them: {table})")
    for row in skipped[:20]:
        print(f"  {row}")
    return 3
