"""The runs of a command line: one, or one for each seed or split, one after another or several side by side."""

import os
from contextlib import ExitStack, closing
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from data import Clips
from engine import distributed
from engine.checkpoint import Checkpoint
from engine.config import Config
from safe.files import exclusive_lock, remove_stale_parts, state_of


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
    if not cache:
        return Clips.read(h5).to(device)
    from engine.cache import read_cached

    return read_cached(h5).to(device)


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
                remove_stale_parts(run.folder, f"{run.config.case}_")  # of a run that was killed

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
                for line in [f"{run.title}:"] * bool(run.title) + lines if distributed.is_main_process() else ():
                    tqdm.write(line, file=out)
                yield results
        except KeyboardInterrupt as interrupt:
            if jobs == 1:
                raise
            done = f"{finished} of {len(runs)} runs are finished"
            raise type(interrupt)(f"{done}; the same command with --resume continues") from None


def _side_by_side(runs, options, work, jobs):
    from safe.workers import available_cores, parallel_map

    threads = max(1, available_cores() // jobs)
    # Read when a worker imports torch: without it, the threads of all would be as many as cores
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    todo = [(work, run, options, threads, i) for i, run in enumerate(runs)]
    yield from parallel_map(_in_worker, todo, jobs, "with --resume, and with fewer --jobs")


def _in_worker(work, run, options, threads, position):
    torch.set_num_threads(threads)
    return work(run, options, position)
