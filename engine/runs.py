"""The runs of a command line, one after another or side by side, and what each leaves on the disk."""

import math
import os
import time
from contextlib import ExitStack, closing, suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from clips import checks
from data import Clips
from engine import logs
from engine.checkpoint import Checkpoint, load_checkpoint
from engine.config import DATASETS, Config, sample_people
from engine.device import keep_freed_memory, use_tf32
from safe.files import exclusive_lock, remove_stale_parts, state_of
from safe.pickles import check_schema
from safe.program import note
from safe.torch_files import copy_tensors, read_torch_file, save_torch_file
from util import UserError, readable, shorten


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

    device: torch.device
    command: str
    resume: bool
    print_freq: int
    tensorboard: bool


def read_clips(h5, device):
    """The Clips of an h5 on a device. Those of the last call are kept: several runs of a process have the same."""
    return _read_clips(h5, state_of(h5), device)


@lru_cache(maxsize=1)
def _read_clips(h5, _, device):
    return Clips.read(h5).to(device)


def prepare(config):
    """Settings of the process that a run needs."""
    if config.deterministic:  # read at the first matrix product on a GPU
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != config.deterministic:
        torch.use_deterministic_algorithms(config.deterministic)
    use_tf32(config.tf32)
    keep_freed_memory()


def run_all(runs, options, work, jobs=1, out=None):
    """Carries out the runs by `work`, such as train.train_and_test, `jobs` at a time.

    Yields the results of each, in their order, and prints them. Each of several at a time has a process and its share
    of the cores; on a GPU they share it. Raises UserError if another program is writing to one of the folders.
    """
    jobs, finished = min(jobs, len(runs)), 0
    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(exclusive_lock(run.folder / f".{run.config.case}_lock"))
            remove_stale_parts(run.folder, f"{run.config.case}_")  # of a run that was killed
        if jobs == 1:
            done = (work(run, options) for run in runs)
        else:
            done = stack.enter_context(closing(_side_by_side(runs, options, work, jobs)))
        try:
            for run, (results, lines) in zip(runs, done, strict=True):
                finished += 1
                for line in [f"{run.title}:"] * bool(run.title) + lines:
                    tqdm.write(line, file=out)
                yield results
        except KeyboardInterrupt as interrupt:
            if jobs == 1:
                raise
            message = f"{finished} of {len(runs)} runs are finished; the same command with --resume continues"
            raise type(interrupt)(message) from None


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


# ---- a run on the disk

FILES = ("best.pth", "log.csv", "lable.txt", "pred.txt")  # of a run, that belong together
TENSORS = {str: torch.Tensor}
SCHEMA = {"settings": {str: object}, "about": {str: str}, "log": [{str: float}], "best": float}  # of <case>_state.pth
SCHEMA |= {"results": {str: object}, "net": TENSORS, "optimizer": {int: TENSORS}}
FINISHED = {"epoch": float, "selected": str, "top1": float, "last_top1": float}  # results, and perhaps further figures
CLASSES = [{"class": str, "clips": int, "top1": object}]


class RunState:
    """What is known of a run, and its files in `folder`: <case>_best.pth, <case>_log.csv and <case>_state.pth.

    log: a row for each epoch; best: the figure of the selected epoch; results: of the finished run, {"epoch",
    "selected"}, its logs.score, and "last_top1", ... of the last epoch, else {}. Randomness has no state: the seed
    and the epoch seed every generator.
    """

    def __init__(self, config, clips, folder, command=""):
        self.config, self.clips, self.folder = config, clips, folder
        device = clips.frames.device
        self.settings = config.settings() | {"data_sha256": clips.sha256, "device": device.type}
        self.about = logs.provenance(command, device, **self.settings, protocol=clips.protocol)
        if clips.spatial:
            self.about |= checks.of_people(sample_people(clips), clips.skeleton)
        self.eval_split = split = "valid" if config.select == "val" else "test"
        self.columns = ["epoch", "train_loss", "train_acc", f"{split}_loss", f"{split}_acc", "lr"]
        self.log, self.best, self.results = [], math.inf, {}

    def file(self, name):
        return self.folder / f"{self.config.case}_{name}"

    # ---- writing

    def add_epoch(self, net, optimizer, train_loss, train_acc, eval_loss, eval_acc, lr):
        """Adds a row to the log, whose columns say on which clips the epoch is selected, and saves what is new."""
        values = len(self.log) + 1, train_loss, train_acc, eval_loss, eval_acc, lr
        self.log.append(dict(zip(self.columns, values, strict=True)))
        by_loss = self.config.monitor == "val_loss"
        value = eval_loss if by_loss else -eval_acc
        if value < self.best or self.config.select == "last":
            self.best = value
            self._save_checkpoint(net, eval_loss if by_loss else eval_acc)
        self._save(net, optimizer)

    def _save_checkpoint(self, net, figure):
        # Runs of equal settings and seed write equal bytes, whatever their commands, which the log keeps
        about = {key: value for key, value in self.about.items() if key != "command"}
        content = {"epoch": len(self.log), "best": figure, "monitor": self.config.monitor, "about": about}
        settings = ("seed", "select", "recipe", "seg", "ablate", "variant", "stream")
        content |= {key: self.settings[key] for key in settings}
        content |= {"class_names": list(self.clips.class_names), "skeleton": self.clips.skeleton.to_attributes()}
        content |= {"origin": self.clips.origin, "state_dict": dict(net.state_dict())}
        save_torch_file(content, self.file("best.pth"))

    def _save(self, net, optimizer):
        """Writes the log, then the state: a run that is stopped between them repeats the epoch, to the same end."""
        defaults = {key: readable(str(value)) for key, value in Config().settings().items()}
        logs.write_log(self.file("log.csv"), logs.join(self.about, defaults) + self.summary(), self.log)
        content = {name: getattr(self, name) for name in SCHEMA if name not in ("net", "optimizer")}
        content |= {"net": dict(net.state_dict()), "optimizer": optimizer.state_dict()["state"]}
        save_torch_file(content, self.file("state.pth"))

    def finish(self, net, optimizer, results):
        """Saves the results of a finished run; the files of the run before it go."""
        self.results = results
        self._save(net, optimizer)
        for name in FILES:
            self._previous(name).unlink(missing_ok=True)

    def summary(self):
        """The lines that say what came out of a finished run; else none."""
        if not self.results:
            return []
        config, results = self.config, self.results
        return [
            f"last epoch {config.epochs}: {logs.in_words(results, 'last_')}",
            f"epoch {results['epoch']} ({results['selected']}): {logs.in_words(results)}, "
            f"{config.recipe.test_samples} samples of each of the {len(self.clips.splits['test'])} test clips",
        ]

    # ---- starting anew

    def start_anew(self):
        """Makes way for a run from its start, and says in a line for what it does.

        The files of a finished run are kept as <case>_best.previous.pth, ... until this one ends. Raises UserError if
        the checkpoint there is not main.py's, or was trained on other data.
        """
        best, finished = self.file("best.pth"), None
        if best.is_file():
            other, finished = self._check_replaced(best), self._result_before()
            date = time.strftime("%Y-%m-%d", time.localtime(best.stat().st_mtime))
            kept = f"; it is {self._previous('best.pth').name} until this run ends" if finished else ""
            note(f"{best} is replaced ({finished or 'an unfinished run'}{other}, {date}){kept}")
        for name in FILES:
            if finished and self.file(name).exists():
                os.replace(self.file(name), self._previous(name))
            self.file(name).unlink(missing_ok=True)
        self.file("state.pth").unlink(missing_ok=True)

    def _check_replaced(self, best):
        """ " on another h5" or nothing. Raises UserError if a checkpoint must not be replaced."""
        try:
            trained_on = load_checkpoint(best).about.get("data_sha256")
        except UserError:
            trained_on = None
        if trained_on is None:
            raise UserError(f"{best}: not by main.py, and this run would replace it; move it to pretrained/")
        if trained_on != self.clips.sha256 and self.config.dataset not in DATASETS:
            raise UserError(f"{best}: trained on another h5 of this name; move it, or choose other --results")
        return " on another h5" * (trained_on != self.clips.sha256)

    def _previous(self, name):
        return self.file(name.replace(".", ".previous."))

    def _result_before(self):
        """What came out of the finished run whose log is there, in words; None if it did not finish."""
        with suppress(UserError, OSError):
            comments, _ = logs.read_log(self.file("log.csv"))
            return next((line for line in comments if line.startswith("last epoch ")), None)

    # ---- resuming

    def resume(self, net, optimizer):
        """Continues from <case>_state.pth. Returns False if there is none.

        Raises UserError if it was started with other settings, or is not the state of such a run.
        """
        path, best = self.file("state.pth"), self.file("best.pth")
        if not path.exists():
            return False
        state = read_torch_file(path)
        try:
            check_schema(state, SCHEMA, "it")
            self._check(state)
            start_optimizer(optimizer)
            copy_tensors(dict(net.state_dict()), state["net"], "net")
            copy_tensors(optimizer.state_dict()["state"], state["optimizer"], "optimizer")
        except ValueError as error:
            what = error if isinstance(error, UserError) else f"not the state of a run ({shorten(error, 150)})"
            raise UserError(f"{path}: {what}") from None
        if not best.is_file():
            raise UserError(f"{best}: missing, but {path.name} needs it; leave out --resume")
        self.log, self.best, self.results = state["log"], float(state["best"]), state["results"]
        pairs = [(self.about.get(key), state["about"].get(key)) for key in ("versions", "hardware")]
        changed = "; ".join(f"{now}, not {shorten(then, 200)}" for now, then in pairs if now != then)
        self.about = state["about"]
        if changed and not self.results:
            self.about[f"from epoch {len(self.log) + 1} on"] = changed
            note(f"continuing with {changed}: the bits may differ")
        return True

    def _check(self, state):
        """Raises UserError for other settings, ValueError for what no such run has written."""
        settings = Config().settings() | state["settings"]
        different = [
            f"{key} {shorten(settings.get(key), 120)} -> {value}"
            for key, value in self.settings.items()
            if type(settings.get(key)) is not type(value) or settings[key] != value
        ]
        if different:
            changes = ", ".join(different)
            raise UserError(f"started with other settings: {changes}. Use those, or leave out --resume to start anew")
        if not 1 <= len(state["log"]) <= self.config.epochs or any([*row] != self.columns for row in state["log"]):
            raise ValueError("its log has other rows")
        if state["results"]:
            more = {key: CLASSES if key == "classes" else float for key in state["results"]}
            check_schema(state["results"], more | FINISHED, "results")


def start_optimizer(optimizer):
    """Makes the optimizer's tensors, which a step creates, so that values can be loaded into them."""
    for parameter in (p for group in optimizer.param_groups for p in group["params"]):
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
