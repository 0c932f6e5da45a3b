"""The runs of a command line: one, or one for each seed or split, one after another or several side by side."""

import os
import statistics
from contextlib import ExitStack, closing
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from data import Clips
from engine import distributed
from engine.cache import read_cached, state_of
from engine.checkpoint import Checkpoint
from engine.config import Config
from engine.distributed import warn_once
from safe.files import exclusive_lock
from safe.workers import available_cores, parallel_map
from util import readable


class Run(NamedTuple):
    """A run that trains and tests."""

    title: str  # "seed3", "one-gcn seed3"; empty if it is the only one
    config: Config
    folder: Path  # of its results
    h5: Path
    data_sha256: str  # of its clips: runs of one command have the same
    init: Checkpoint | None = None  # what it starts from
    command: str = ""  # of main.py that trains it, if that is not the program's own


class Options(NamedTuple):
    """What does not change the result of a run."""

    cache: bool
    device: torch.device
    command: str
    resume: bool
    print_freq: int
    tensorboard: bool


def read_clips(h5, cache, device):
    """The Clips of an h5 on a device. Those of the last call are kept: several runs of a process have the same."""
    return _read_clips(h5, state_of(h5), cache, device)


@lru_cache(maxsize=1)
def _read_clips(h5, _, cache, device):
    return (read_cached(h5) if cache else Clips.read(h5)).to(device)


def prepare(config):
    """Settings of the process that a run needs."""
    if config.deterministic:  # read at the first matrix product on a GPU
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != config.deterministic:
        torch.use_deterministic_algorithms(config.deterministic)
    distributed.use_tf32(config.tf32)
    distributed.keep_freed_memory()


def run_all(runs, options, work, jobs=1, out=None):
    """Carries out the runs by `work`, such as train.train_and_test, `jobs` at a time.

    Yields the results of each, in their order, and prints them. Each of several at a time has a process and its share
    of the cores; on a GPU they share it. Raises UserError if another program is writing to one of the folders.
    """
    with ExitStack() as locks:

        def lock():
            for run in runs:
                locks.enter_context(exclusive_lock(run.folder / f".{run.config.case}_lock"))

        distributed.run_on_main(lock)
        jobs = min(jobs, len(runs))
        if jobs == 1:
            done = (work(run, options) for run in runs)
        else:
            done = locks.enter_context(closing(_side_by_side(runs, options, work, jobs)))
        finished = 0
        try:
            for run, (results, lines) in zip(runs, done, strict=True):
                finished += 1
                for line in [f"{run.title}:"] * bool(run.title) + lines:
                    _print(line, out)
                yield results
        except KeyboardInterrupt as interrupt:
            if jobs == 1:
                raise
            done = f"{finished} of {len(runs)} runs are finished"
            raise type(interrupt)(f"{done}; the same command with --resume continues") from None


def _side_by_side(runs, options, work, jobs):
    threads = max(1, available_cores() // jobs)
    # Read when a worker imports torch: without it, the threads of all would be as many as cores
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    todo = [(work, run, options, threads, i) for i, run in enumerate(runs)]
    yield from parallel_map(_in_worker, todo, jobs)


def _in_worker(work, run, options, threads, position):
    torch.set_num_threads(threads)
    return work(run, options, position)


def _print(line, out):
    """A line above the progress bars; notes go to standard error."""
    if not distributed.is_main_process():
        return
    if line.startswith("note: "):
        warn_once(line.removeprefix("note: "))
    else:
        tqdm.write(readable(line), file=out)


def summarize(results, several, out):
    """Mean and standard deviation over the results of several runs ("seeds" or "splits"), a dict, printed too."""
    summary = {}
    for key, what in (("top1", "selected epoch"), ("last_top1", "last epoch")):
        if key in results[0]:
            mean, std = mean_and_std([result[key] for result in results])
            summary |= {f"{key}_mean": mean, f"{key}_std": std}
            distributed.print_once(f"{what}: top-1 {mean:.2f} +- {std:.2f}% over {len(results)} {several}", file=out)
    return summary


def mean_and_std(values):
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0
