"""Preprocessing in blocks: in parallel, in little memory, and resumed after an interruption.

A block is an h5 with some of the clips (in NTU RGB+D, those of one setup, camera and performer). A worker makes it from
its own input and renames it into place, so that processes exchange only names, memory holds one block for each worker,
and an interruption loses only the blocks being made. The attribute `made_from` of a block is a digest of its input and
of the program's version; a block is made again only if that differs. `<dataset>.json` beside the blocks lists those of
a data set, and says whether all are made; the next script reads it.
"""

import csv
import hashlib
import io
import json
import re
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import h5py
import numpy as np

import util
from clips.skipped import EXIT_CODES, BadFile, Skipped  # noqa: F401
from safe.h5 import Unreadable, open_h5, unreadable
from safe.workers import available_cores, parallel_map


class Task(NamedTuple):
    """A block to be made, `key`.h5, from `clips` clips in `source`, which the script understands."""

    key: str
    made_from: str
    clips: int
    source: Any


class Record(NamedTuple):
    """A block that is made."""

    key: str
    made_from: str
    clips: int
    skipped: tuple[Skipped, ...]


def digest(*parts):
    """What something is made from, in 32 characters. The program's version is part of it."""
    return hashlib.sha256(json.dumps([util.__version__, *parts]).encode()).hexdigest()[:32]


def add_arguments(parser, skips=True):
    """Adds --workers to a script's arguments, and --strict if it may skip files."""
    parser.add_argument(
        "--workers", type=util.positive_int, default=available_cores(), help="processes (all cores: %(default)s)"
    )
    if skips:
        parser.add_argument("--strict", action="store_true", help="stop at the first file that would be skipped")


def file_state(entry):
    """(path, size, time of change) of a directory entry."""
    try:
        stat = entry.stat()
        return entry.path, stat.st_size, stat.st_mtime_ns
    except OSError:  # a broken link: reading it gives the error
        return entry.path, -1, -1


def file_task(key, script, names, files):
    """The Task of a block that is read from some of the files: {name: file_state}. Its source is [(name, path)]."""
    states = [(name, *files[name][1:]) for name in names]
    return Task(key, digest(script, states), len(names), [(name, files[name][0]) for name in names])


# ---- blocks


def make_blocks(tasks, work, folder, dataset, *, workers, strict, title):
    """Makes the blocks that are missing in `folder`, then lists all. Returns their Records, in the order of the tasks.

    work(source, skip), called in a worker, returns {name: array}, one of them "names", and calls
    skip(file, BadFile or OSError) for each file that it skips. Blocks of this data set that are no longer needed are
    removed.
    Raises UserError if another run is writing in the folder, and with `strict` for the first skipped file, of this run
    or an earlier one.
    """
    with util.exclusive_lock(folder / ".lock"):
        util.remove_stale_parts(folder)
        records = {task.key: _read_record(folder, task.key) for task in tasks}
        todo = [task for task in tasks if records[task.key] is None or records[task.key].made_from != task.made_from]
        for task in todo:
            del records[task.key]
        if strict and (skipped := [row for record in records.values() for row in record.skipped]):
            raise util.UserError(str(skipped[0]))
        _, before = _load_index(folder, dataset)
        if todo:
            rows = {row[0]: row for row in (*before, *(task[:3] for task in tasks))}
            _write_index(folder, dataset, False, list(rows.values()))
        total = sum(task.clips for task in tasks)
        done = total - sum(task.clips for task in todo)
        jobs = [(work, task, folder, strict) for task in todo]
        bar = util.progress(total=total, initial=done, desc=title, unit="clip", disable=not todo)
        with bar, closing(parallel_map(_make_block, jobs, workers, folder)) as made:
            for task, record in zip(todo, made, strict=True):
                records[task.key] = record
                bar.update(task.clips)
        _remove_blocks(folder, dataset, {key for key, *_ in before} - records.keys())
        records = [records[task.key] for task in tasks]
        _write_index(folder, dataset, True, [record[:3] for record in records])
    return records


def _make_block(work, task, folder, strict):
    """Makes one block, in a worker."""
    skipped, made_from = [], task.made_from

    def skip(file, error):
        nonlocal made_from
        if isinstance(error, OSError):
            made_from += " unread"  # tried again by the next run: its size and time stay the same once it can be read
            error = BadFile(None, f"cannot be read: {error.strerror or error}")
        skipped.append(Skipped(file, *error.args))
        if strict:
            raise util.UserError(str(skipped[0]))

    arrays = work(task.source, skip)
    content = io.BytesIO()  # in memory: HDF5 can crash on a full disk
    with h5py.File(content, "w") as file:
        file.attrs["made_from"] = made_from
        file["skipped"] = json.dumps(skipped)
        for name, array in arrays.items():
            file[name] = array
    with util.atomic_write(folder / f"{task.key}.h5") as part:
        part.write_bytes(content.getbuffer())
    return Record(task.key, made_from, len(arrays["names"]), tuple(skipped))


def _read_record(folder, key):
    """The Record of a block; None if it is missing or damaged."""
    try:
        with open_h5(folder / f"{key}.h5") as file:
            skipped = tuple(Skipped(*row) for row in json.loads(file["skipped"][()]))
            return Record(key, str(file.attrs["made_from"]), len(file["names"]), skipped)
    except (OSError, KeyError, ValueError, TypeError, RecursionError):
        return None


@contextmanager
def open_block(folder, dataset, key, made_from, script):
    """For a with statement: the open h5 of a block that the index lists. Raises UserError if it is missing, another
    one, or damaged."""
    path = folder / f"{key}.h5"
    try:
        with open_h5(path) as file:
            if file.attrs.get("made_from") != made_from:
                raise _unfinished(folder, dataset, script)
            yield file
    except (OSError, Unreadable) as error:
        if error.filename != str(path):  # of another file that the block reads or writes
            raise
        raise _unfinished(folder, dataset, script) from None


def read_columns(file, *names):
    """Arrays of an open block, which are as long as each other. Raises Unreadable."""
    columns = [file[name][()] for name in names]
    if len({np.shape(column)[:1] for column in columns}) > 1 or not np.ndim(columns[0]):
        raise unreadable(file.filename, f"{', '.join(names)} are not as long as each other")
    return columns


# ---- the index of a data set: {"finished": bool, "blocks": [[key, made_from, clips], ...]}


def read_index(folder, dataset, script):
    """[(key, made_from, clips)] of the blocks that `script` has made. Raises UserError if it has not finished."""
    finished, rows = _load_index(folder, dataset)
    if not finished:
        raise _unfinished(folder, dataset, script)
    return rows


def _unfinished(folder, dataset, script):
    return util.UserError(f"{folder}: missing, unfinished or damaged: first run {script} --dataset {dataset}")


def _load_index(folder, dataset):
    """(finished, rows); (False, []) if the index is missing or damaged."""
    try:
        index = json.loads(util.regular(folder / f"{dataset}.json").read_text(encoding="utf-8"))
        rows = [(key, str(made_from), clips) for key, made_from, clips in index["blocks"]]
        if not all(
            re.fullmatch(r"[\w-]+", key, re.ASCII) and type(clips) is int and clips >= 0 for key, _, clips in rows
        ):
            raise ValueError
        return index["finished"] is True and len(rows) > 0, rows
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
        return False, []


def _write_index(folder, dataset, finished, rows):
    with util.atomic_write(folder / f"{dataset}.json") as part:
        part.write_text(json.dumps({"finished": finished, "blocks": rows}), encoding="utf-8")


def _remove_blocks(folder, dataset, keys):
    """Removes these blocks of a data set, except those that another one lists: data sets can share blocks."""
    others = [path.stem for path in folder.glob("*.json") if path.stem != dataset]
    shared = {key for other in others for key, *_ in _load_index(folder, other)[1]}
    for path in folder.glob("*.h5"):
        if path.stem in keys - shared:
            path.unlink()


# ---- skipped files


def report_skipped(records, table):
    """Writes `table`, a skipped.csv, and prints the first of the skipped files. Returns the exit code: 3 if there are
    any, else 0.

    Empty if none is skipped, so that it never tells of an earlier run.
    """
    skipped = sorted((row for record in records for row in record.skipped), key=lambda row: row.file)
    with util.atomic_write(table) as part, open(part, "w", newline="", **util.UTF8) as file:
        csv.writer(file).writerows([Skipped._fields, *skipped])
    if not skipped:
        return 0
    shown = skipped[:20]
    width = max(len(row.file) for row in shown)
    print(f"\n{len(skipped):,} skipped (all of them: {table})")
    for row in shown:
        print(f"  {row.file:{width}}  {'' if row.line is None else f'line {row.line}':>10}  {row.reason}")
    return 3
