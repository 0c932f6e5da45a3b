"""A run on the disk: its checkpoint, its log, and the state from which --resume continues."""

import math
import os
import time

import torch

import util
from clips import units
from engine import answers, distributed, logs
from engine.checkpoint import load_checkpoint
from engine.config import Config
from engine.datasets import DATASETS, sample_people
from safe.progress import note
from safe.schema import check_schema
from safe.torch_files import copy_tensors, read_torch_file, save_torch_file
from util import UserError, readable

RESULTS = ("best.pth", "log.csv", "lable.txt", "pred.txt")  # the files of a run that belong together
TENSORS = {str: torch.Tensor}
SCHEMA = {
    "settings": {str: object},
    "about": {str: str},
    "log": [{str: float}],
    "best": float,
    "results": {str: object},
    "net": TENSORS,
    "optimizer": {int: TENSORS},
}
FINISHED = {"epoch": float, "selected": str, "top1": float, "last_top1": float}  # results, and perhaps further figures
CLASSES = [{"class": str, "clips": int, "top1": object}]


class RunState:
    """What is known of a run, and its files in `folder`: <case>_best.pth, <case>_log.csv and <case>_state.pth.

    log: a row for each epoch; best: the figure of the selected epoch; results: of the finished run, {"epoch",
    "selected"}, its answers.score, and "last_top1", ... of the last epoch, else {}. Randomness has no state: the seed
    and the epoch seed every generator.
    """

    def __init__(self, config, clips, folder, command=""):
        self.config, self.clips, self.folder = config, clips, folder
        device = clips.frames.device
        self.settings = config.settings() | {"data_sha256": clips.sha256, "device": device.type}
        self.settings["processes"] = distributed.world_size()
        self.about = logs.provenance(command, device, **self.settings, protocol=clips.protocol)
        if clips.spatial:
            self.about |= units.of_people(sample_people(clips), clips.skeleton)
        self.eval_split = "valid" if config.select == "val" else "test"
        self.log, self.best, self.results = [], math.inf, {}

    def file(self, suffix):
        return self.folder / f"{self.config.case}_{suffix}"

    # ---- writing

    def add_epoch(self, net, optimizer, train_loss, train_acc, eval_loss, eval_acc, lr):
        """Adds a row to the log, whose columns say on which clips the epoch is selected, and saves what is new."""
        config, split = self.config, self.eval_split
        row = {"epoch": len(self.log) + 1, "train_loss": train_loss, "train_acc": train_acc}
        self.log.append(row | {f"{split}_loss": eval_loss, f"{split}_acc": eval_acc, "lr": lr})
        figure = eval_loss if config.monitor == "val_loss" else eval_acc
        value = figure if config.monitor == "val_loss" else -figure
        if value < self.best or config.select == "last":
            self.best = value
            distributed.run_on_main(lambda: self.save_checkpoint(net, figure))
        distributed.run_on_main(lambda: self.save(net, optimizer))

    def save_checkpoint(self, net, figure):
        config, clips = self.config, self.clips
        content = {
            "epoch": len(self.log),
            "best": figure,
            "monitor": config.monitor,
            # Runs of equal settings and seed write equal bytes, whatever their commands, which the log keeps
            "about": {key: value for key, value in self.about.items() if key != "command"},
            "seed": config.seed,
            "select": config.select,
            "recipe": str(config.recipe),
            "seg": config.seg,
            "ablate": config.ablate,
            "variant": config.variant,
            "stream": config.stream,
            "class_names": list(clips.class_names),
            "skeleton": clips.skeleton.to_attributes(),
            "origin": clips.origin,
            "state_dict": dict(net.state_dict()),
        }
        save_torch_file(content, self.file("best.pth"))

    def save(self, net, optimizer):
        """Writes the log, then the state: a run that is stopped between them repeats the epoch, to the same end."""
        defaults = {key: readable(str(value)) for key, value in Config().settings().items()}
        comments = logs.join(self.about, defaults) + self.summary()
        logs.write_log(self.file("log.csv"), comments, self.log)
        content = {name: getattr(self, name) for name in SCHEMA if name not in ("net", "optimizer")}
        content |= {"net": dict(net.state_dict()), "optimizer": optimizer.state_dict()["state"]}
        save_torch_file(content, self.file("state.pth"))

    def finish(self, net, optimizer, results):
        """Saves the results of a finished run; the files of the run before it go."""
        self.results = results

        def write():
            self.save(net, optimizer)
            for name in RESULTS:
                self._previous(name).unlink(missing_ok=True)

        distributed.run_on_main(write)

    def summary(self):
        """The lines that say what came out of a finished run; else none."""
        if not self.results:
            return []
        config, results = self.config, self.results
        return [
            f"last epoch {config.epochs}: {answers.in_words(results, 'last_')}",
            f"epoch {results['epoch']} ({results['selected']}): {answers.in_words(results)}, "
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
            other = self._check_replaced(best)
            finished = self._result_before()
            date = time.strftime("%Y-%m-%d", time.localtime(best.stat().st_mtime))
            kept = f"; it is {self._previous('best.pth').name} until this run ends" if finished else ""
            what = f"{finished or 'an unfinished run'}{other}, {date}"
            note(f"{best} is replaced ({what}){kept}")
        for name in RESULTS:
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
        if trained_on == self.clips.sha256:
            return ""
        if self.config.dataset not in DATASETS:
            raise UserError(f"{best}: trained on another h5 of this name; move it, or choose other --results")
        return " on another h5"

    def _previous(self, name):
        stem, suffix = name.split(".")
        return self.file(f"{stem}.previous.{suffix}")

    def _result_before(self):
        """What came out of the finished run whose log is there, in words; None if it did not finish."""
        try:
            comments, _ = logs.read_log(self.file("log.csv"))
        except (UserError, OSError):
            return None
        return next((line for line in comments if line.startswith("last epoch ")), None)

    # ---- resuming

    def resume(self, net, optimizer):
        """Continues from <case>_state.pth. Returns False if there is none.

        Raises UserError if it was started with other settings, or is not the state of such a run.
        """
        path = self.file("state.pth")
        state = distributed.run_on_main(lambda: read_torch_file(path) if path.exists() else None)
        if state is None:
            return False
        try:
            check_schema(state, SCHEMA, "it")
            self._check(state)
            start_optimizer(optimizer)
            copy_tensors(dict(net.state_dict()), state["net"], "net")
            copy_tensors(optimizer.state_dict()["state"], state["optimizer"], "optimizer")
        except ValueError as error:
            what = error if isinstance(error, UserError) else f"not the state of a run ({util.shorten(error, 150)})"
            raise UserError(f"{path}: {what}") from None
        if not distributed.run_on_main(self.file("best.pth").is_file):
            raise UserError(f"{self.file('best.pth')}: missing, but {path.name} needs it; leave out --resume")
        self.log, self.best, self.results = state["log"], float(state["best"]), state["results"]
        pairs = [(self.about.get(key), state["about"].get(key)) for key in ("versions", "hardware")]
        changed = [f"{now}, not {util.shorten(then, 200)}" for now, then in pairs if now != then]
        self.about = state["about"]
        if changed and not self.results:
            self.about[f"from epoch {len(self.log) + 1} on"] = "; ".join(changed)
            distributed.warn_once(f"continuing with {'; '.join(changed)}: the bits may differ")
        return True

    def _check(self, state):
        """Raises UserError for other settings, ValueError for what no such run has written."""
        settings = Config().settings() | state["settings"]
        different = [
            f"{key} {util.shorten(settings.get(key), 120)} -> {value}"
            for key, value in self.settings.items()
            if type(settings.get(key)) is not type(value) or settings[key] != value
        ]
        if different:
            changes = ", ".join(different)
            raise UserError(f"started with other settings: {changes}. Use those, or leave out --resume to start anew")
        columns = ["epoch", "train_loss", "train_acc", f"{self.eval_split}_loss", f"{self.eval_split}_acc", "lr"]
        if not 1 <= len(state["log"]) <= self.config.epochs or any([*row] != columns for row in state["log"]):
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
