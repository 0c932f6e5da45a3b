"""The runs of a command line: one, or one for each seed or split, one after another or several side by side."""

import os
import statistics
import time
from contextlib import ExitStack, closing
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

import distributed
import util
from checkpoint import Checkpoint
from data import Clips, state_of
from distributed import warn_once
from evaluate import accuracy, evaluate_and_write, test_logits
from recipes import Config
from train import Trainer
from util import UserError
from workers import available_cores, parallel_map


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
    return Clips.read(h5, cache).to(device)


def prepare(config):
    """Settings of the process that the runs need."""
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    util.keep_freed_memory()


def train_and_test(run, options, position=None):
    """A run from its start, or from where it was stopped, to its results: a dict, and the lines that say it.

    position: the line of its progress bar, of several.
    """
    config, folder = run.config, run.folder
    clips = read_clips(run.h5, options.cache, options.device)
    if clips.sha256 != run.data_sha256:
        raise UserError(f"{run.h5}: it has been replaced since this command started; start it again")
    clips = clips.resplit(config.split)
    command = run.command or options.command
    trainer = Trainer(config, clips, folder, command, options.print_freq, options.tensorboard, run.init)
    trainer.bar |= {"desc": run.title or None, "position": position}
    distributed.run_on_main(lambda: util.remove_stale_parts(folder, f"{config.case}_"))
    if options.resume:
        trainer.resume()
    else:
        distributed.run_on_main(trainer.start_anew)
    best, start, lines = trainer.file("best.pth"), time.perf_counter(), []
    if not trainer.results:
        try:
            trainer.train()
            minutes = (time.perf_counter() - start) / 60
            lines = [f"note: trained {len(trainer.log)} epochs, {minutes:.1f} minutes in this run"]
            checkpoint, top1 = evaluate_and_write(best, config, clips, folder)
            last_top1 = top1
            if checkpoint.epoch != config.epochs:
                ids = clips.ids("test")
                logits = test_logits(trainer.net, clips, ids, config.recipe, config.seed, config.amp)
                last_top1 = accuracy(logits, clips.label[ids])
            trainer.results = {"epoch": checkpoint.epoch, "selected": checkpoint.selected, "top1": top1}
            trainer.results["last_top1"] = last_top1
            distributed.run_on_main(trainer.finish)
        except KeyboardInterrupt as interrupt:
            done = f"{len(trainer.log)} of {config.epochs} epochs are in {folder}"
            raise type(interrupt)(f"{done}; the same command with --resume continues") from None
    return trainer.results | {"seed": config.seed, "checkpoint": str(best)}, lines + trainer.summary()


def train_in_worker(run, options, threads, position):
    """`train_and_test` in a process of its own."""
    prepare(run.config)
    torch.set_num_threads(threads)
    return train_and_test(run, options, position)


def train_all(runs, options, jobs=1, out=None):
    """Trains and tests the runs, `jobs` at a time. Yields the results of each, in their order, and prints them.

    Each of several at a time has a process and its share of the cores; on a GPU they share it. Raises UserError if
    another program is writing to one of the folders.
    """
    with ExitStack() as locks:

        def lock():
            for run in runs:
                locks.enter_context(util.exclusive_lock(run.folder / f".{run.config.case}_lock"))

        distributed.run_on_main(lock)
        jobs = min(jobs, len(runs))
        if jobs == 1:
            done = (train_and_test(run, options) for run in runs)
        else:
            done = locks.enter_context(closing(_side_by_side(runs, options, jobs)))
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


def _side_by_side(runs, options, jobs):
    threads = max(1, available_cores() // jobs)
    # Read when a worker imports torch: without it, the threads of all would be as many as cores
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    work = [(run, options, threads, i) for i, run in enumerate(runs)]
    yield from parallel_map(train_in_worker, work, jobs)


def _print(line, out):
    """A line above the progress bars; notes go to standard error."""
    if not distributed.is_main_process():
        return
    if line.startswith("note: "):
        warn_once(line.removeprefix("note: "))
    else:
        tqdm.write(line, file=out)


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
