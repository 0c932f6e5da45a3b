"""How the scripts of this folder work at any size: block by block, in parallel, and on from where they were stopped.

A block is an h5 with the clips of one setup, camera and performer (120 of them in NTU RGB+D), in name order. A worker
makes it whole from its own input and renames it into place, so nothing but its name passes between processes, memory
is bounded by a block, and a kill at any moment costs the blocks at work. A block says what it was made from: a digest
of the input's names, sizes and times (or of the input block's digest) and of the program's version. A block is made
again when that differs, and only then. Once all blocks are there, `<dataset>.json` beside them lists them: the next
script starts from this list.
"""

import argparse
import csv
import hashlib
import io
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import h5py
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
import protocols  # noqa: E402

import util  # noqa: E402

EXIT_CODES = """exit codes:
  0  done
  2  wrong or missing input, one line says which; or, with --strict, a file that would be skipped
  3  done, but files were skipped: they are listed at the end and in skipped.csv
  130, 143  interrupted or terminated; the same command goes on from there
"""


AHEAD = 8


class BadFile(Exception):
    """A file that is left out. args: line (from 1; None if no line is to blame), reason."""


class Skipped(NamedTuple):
    """A row of skipped.csv."""

    file: str
    line: int | None
    reason: str

    def __str__(self):
        return f"{self.file}{'' if self.line is None else f', line {self.line}'}: {self.reason}"


class Task(NamedTuple):
    """A block to be made: `key`.h5, with `clips` clips to be looked at, from `source`, which the script understands."""

    key: str
    made_from: str
    clips: int
    source: Any


class Record(NamedTuple):
    """What is known of a finished block."""

    key: str
    made_from: str
    clips: int  # that are in it
    skipped: tuple[Skipped, ...]


def digest(*parts):
    """What something was made from, in 32 characters; the program's version is part of it."""
    return hashlib.sha256(json.dumps([util.__version__, *parts]).encode()).hexdigest()[:32]


def read_record(folder, key):
    """The Record of a block, or None if it is not there or not whole."""
    try:
        with h5py.File(folder / f"{key}.h5") as file:
            skipped = tuple(Skipped(*row) for row in json.loads(file["skipped"][()]))
            return Record(key, str(file.attrs["made_from"]), len(file["names"]), skipped)
    except (OSError, KeyError, ValueError, TypeError):
        return None


def make(work, task, folder, strict):
    """Makes one block (in a worker) and returns its Record.

    work(source, skip) returns {name: array}, with "names" among them, and calls skip(file, BadFile) for what it leaves
    out. A file that the system could not read is tried again by the next run, as nothing in its name, size and time
    will tell that it can be read by then.
    """
    skipped, made_from = [], task.made_from

    def skip(file, error):
        nonlocal made_from
        if isinstance(error, OSError):
            made_from = f"{task.made_from} unread"
            error = BadFile(None, f"cannot be read: {error.strerror or error}")
        skipped.append(Skipped(file, *error.args))
        if strict:
            raise util.UserError(str(skipped[0]))

    arrays = work(task.source, skip)
    content = io.BytesIO()  # HDF5 itself would not survive a full disk
    with h5py.File(content, "w") as file:
        file.attrs["made_from"] = made_from
        file["skipped"] = json.dumps(skipped)
        for name, array in arrays.items():
            file[name] = array
    with util.replacing(folder / f"{task.key}.h5") as part:
        part.write_bytes(content.getbuffer())
    return Record(task.key, made_from, len(arrays["names"]), tuple(skipped))


def run(tasks, work, folder, dataset, *, workers, strict, title):
    """Makes those of the tasks' blocks in `folder` that are not there yet, then lists all. Returns Records, in order.

    Raises UserError with `strict` for the first file that is skipped, in this run or an earlier one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    util.sweep(folder)
    records = {task.key: read_record(folder, task.key) for task in tasks}
    todo = [task for task in tasks if records[task.key] is None or records[task.key].made_from != task.made_from]
    for task in todo:
        del records[task.key]
        (folder / f"{dataset}.json").unlink(missing_ok=True)  # from here on, and until the end, this is unfinished
    if strict and (known := [row for record in records.values() for row in record.skipped]):
        raise util.UserError(str(known[0]))
    total = sum(task.clips for task in tasks)
    done = total - sum(task.clips for task in todo)
    jobs = [(work, task, folder, strict) for task in todo]
    bar = tqdm(total=total, initial=done, desc=title, unit="clip", disable=not todo)
    with bar, written(make, jobs, workers, folder) as made:
        for task, record in zip(todo, made, strict=True):
            records[task.key] = record
            bar.update(task.clips)
    records = [records[task.key] for task in tasks]
    write_index(folder, dataset, records)
    return records


def processes(workers):
    """A ProcessPoolExecutor whose workers end with this process, leave Ctrl-C to it, and share its progress bars."""
    context = multiprocessing.get_context("spawn")  # the same on every system, and no thread is forked
    tqdm.set_lock(context.RLock())
    return ProcessPoolExecutor(workers, context, _start_worker, (tqdm.get_lock(),))


def parallel(function, jobs, workers):
    """Yields function(*job) for each job, in order, made by that many processes; by this one if one is enough.

    At most AHEAD results for each process wait to be taken.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from (function(*job) for job in jobs)
        return
    with processes(workers) as pool:
        try:
            jobs = iter(jobs)
            futures = deque(submit(pool, function, *job) for job in islice(jobs, AHEAD * workers))
            while futures:
                yield futures.popleft().result()
                futures.extend(submit(pool, function, *job) for job in islice(jobs, 1))
        except BrokenProcessPool:
            raise util.UserError(
                "a worker was killed, perhaps for want of memory; the same command with fewer --workers goes on"
            ) from None
        except KeyboardInterrupt:
            for worker in multiprocessing.active_children():  # outright: an exception may be lost in whatever it does
                worker.kill()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def written(function, jobs, workers, folder):
    """`parallel`, for jobs that write into `folder`: at the end those processes are gone, and what they left."""
    try:
        with closing(parallel(function, jobs, workers)) as made:
            yield made
    finally:
        util.sweep(folder)  # what a run killed before left, too: its workers may still have been there at the start


def submit(pool, function, *job):
    """pool.submit, where a worker that begins inherits that interrupts are held: none is interrupted as it imports."""
    _hold_interrupts(True)
    try:
        return pool.submit(function, *job)
    finally:
        _hold_interrupts(False)


def _hold_interrupts(held):
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK if held else signal.SIG_UNBLOCK, [signal.SIGINT])


def _start_worker(lock):
    """A worker does not outlive its parent when that is killed, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _hold_interrupts(False)
    tqdm.set_lock(lock)

    def follow(parent):
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, args=(multiprocessing.parent_process(),), daemon=True).start()


# ---- the list of finished blocks, which the next script starts from


def write_index(folder, dataset, records):
    """Lists the finished blocks, and removes blocks that no data set's list has."""
    with util.replacing(folder / f"{dataset}.json") as part:
        part.write_text(json.dumps([record[:3] for record in records]))
    lists = [read_index(folder, index.stem, Path(sys.argv[0]).name) for index in folder.glob("*.json")]
    listed = {key for rows in lists for key, *_ in rows}
    for block in folder.glob("*.h5"):
        if block.stem not in listed:
            block.unlink()


def read_index(folder, dataset, script):
    """[(key, made_from, clips)] of the blocks that `script` has finished; UserError if it has not."""
    try:
        return [tuple(row) for row in json.loads((folder / f"{dataset}.json").read_text())]
    except FileNotFoundError:
        raise unfinished(folder, dataset, script) from None
    except (ValueError, TypeError):
        raise util.UserError(f"{folder / dataset}.json is damaged: run {script} --dataset {dataset} again") from None


def open_block(folder, dataset, key, made_from, script):
    """Opens a block that the list names; UserError if it is not that block."""
    try:
        file = h5py.File(folder / f"{key}.h5")
    except OSError:
        file = None
    if file is None or file.attrs.get("made_from") != made_from:
        raise unfinished(folder, dataset, script)
    return file


def unfinished(folder, dataset, script):
    return util.UserError(f"{folder} is not there or not finished: first run {script} --dataset {dataset}")


# ---- what the scripts say and take


def cores():
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def arguments(text, argv=None, skips=True):
    """The command line of the three scripts; `text` is the script's docstring, `skips` whether it may skip files."""
    parser = argparse.ArgumentParser(
        description=text, epilog=EXIT_CODES if skips else None, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", type=Path, default=HERE, help="holds nturgb+d_skeletons/, gets the results (%(default)s)"
    )
    parser.add_argument("--dataset", choices=protocols.NAMES, default="NTU", help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=cores(), help="processes (all cores: %(default)s)")
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first file that would be skipped, exit code 2"
    )
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error(f"--workers {args.workers}: at least 1")
    if not args.root.is_dir():
        raise util.UserError(f"--root {args.root}: no such folder")
    return args


def report(skipped, table):
    """Writes the skipped files to `table` and shows the first of them. Returns the exit code: 3 if there are any."""
    skipped = sorted(skipped, key=lambda row: row.file)
    with util.replacing(table) as part, open(part, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([Skipped._fields, *skipped])
    if not skipped:
        return 0
    shown = skipped[:20]
    width = max(len(row.file) for row in shown)
    print(f"\n{len(skipped):,} skipped (all of them: {table})")
    for row in shown:
        print(f"  {row.file:{width}}  {'' if row.line is None else f'line {row.line}':>10}  {row.reason}")
    return 3


def full_or_not(dataset, clips):
    """One line: whether these are all clips of the data set."""
    if dataset.full is None:
        return f"{clips:,} clips"
    known = {"NTU": "NTU60", "NTU120": "NTU120"}[dataset.name]
    if clips == dataset.full:
        return f"{clips:,} clips: the full {known}"
    return f"{clips:,} clips: not the full {known}, which has {dataset.full:,}"


def left_out(counts: Counter):
    """Lines that say how many files were left out before anything was read, and why."""
    return "".join(f"{n:,} left out: {why}\n" for why, n in counts.items() if n)
