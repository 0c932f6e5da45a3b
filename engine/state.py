"""The state of a run on the disk: its log, and what --resume continues from."""

import math
import os
import sys
import time

import torch

import util
from engine import distributed, logs
from engine.checkpoint import load_checkpoint
from engine.config import Config
from engine.datasets import DATASETS
from safe.torch_files import copy_tensors, read_torch_file, save_torch_file
from util import UserError

RESULTS = ("best.pth", "log.csv", "lable.txt", "pred.txt")  # the files of a run that belong together


class RunState:
    """A run and its files in `folder`: <case>_best.pth, <case>_log.csv and <case>_state.pth.

    `net` and `optimizer` are set by train.Trainer. Randomness has no state: the generators of every epoch are seeded
    from the seed and the epoch.
    """

    def __init__(self, config, clips, folder, command=""):
        self.config, self.clips, self.folder = config, clips, folder
        self.device = clips.frames.device
        self.settings = config.settings() | {"data_sha256": clips.sha256, "device": self.device.type}
        self.settings["processes"] = distributed.world_size()
        self.about = util.provenance(command, self.device, **self.settings)
        self.eval_split = "valid" if config.select == "val" else "test"
        self.log = []  # a row for each epoch
        self.best = math.inf  # of the selected epoch
        self.results = {}  # of the finished run: {"epoch": selected, "top1": float, "last_top1": float}

    def file(self, suffix):
        return self.folder / f"{self.config.case}_{suffix}"

    def row(self, epoch, train_loss, train_acc, eval_loss, eval_acc, lr):
        """A row of the log, whose columns say on which clips the epoch is selected."""
        row = {"epoch": epoch, "train_loss": train_loss, "train_acc": train_acc}
        return row | {f"{self.eval_split}_loss": eval_loss, f"{self.eval_split}_acc": eval_acc, "lr": lr}

    def save_epoch(self, eval_loss, eval_acc):
        config = self.config
        value = eval_loss if config.monitor == "val_loss" else -eval_acc
        if value < self.best or config.select == "last":
            self.best = value
            content = {
                "epoch": len(self.log),
                "best": eval_loss if config.monitor == "val_loss" else eval_acc,
                "monitor": config.monitor,
                # Runs of equal settings and seed write equal bytes, whatever their commands, which the log keeps
                "about": {key: value for key, value in self.about.items() if key != "command"},
                "seed": config.seed,
                "select": config.select,
                "recipe": str(config.recipe),
                "seg": config.seg,
                "ablate": config.ablate,
                "stream": config.stream,
                "class_names": list(self.clips.class_names),
                "skeleton": self.clips.skeleton.to_attributes(),
                "origin": self.clips.origin,
                "state_dict": dict(self.net.state_dict()),
            }
            save_torch_file(content, self.file("best.pth"))
        self.save()

    def state(self):
        return {
            "settings": self.settings,
            "about": self.about,
            "log": self.log,
            "best": self.best,
            "results": self.results,
            "net": dict(self.net.state_dict()),
            "optimizer": self.optimizer.state_dict()["state"],
        }

    def save(self):
        """Writes the log, then the state: a run that is stopped between them repeats the epoch, to the same end."""
        comments = [f"{key}: {value}" for key, value in self.about.items()] + self.summary()
        logs.write_log(self.file("log.csv"), comments, self.log)
        save_torch_file(self.state(), self.file("state.pth"))

    def summary(self):
        """The lines that say what came out of a finished run; else none."""
        if not self.results:
            return []
        config, results = self.config, self.results
        return [
            f"last epoch {config.epochs}: top-1 {results['last_top1']:.2f}%",
            f"epoch {results['epoch']} ({results['selected']}): top-1 {results['top1']:.2f}%, "
            f"{config.recipe.test_samples} samples of each of the {len(self.clips.splits['test'])} test clips",
        ]

    def start_anew(self):
        """Makes way for a run from its start, and says in a line for what it does.

        The files of a finished run are kept as <case>_best.previous.pth, ... until this one ends. Raises UserError if
        the checkpoint there is not main.py's, or was trained on other data.
        """
        best = self.file("best.pth")
        finished = False
        if best.is_file():
            try:
                trained_on = load_checkpoint(best).about.get("data_sha256")
            except UserError:
                trained_on = None
            if trained_on is None:
                raise UserError(f"{best}: not by main.py, and this run would replace it; move it to pretrained/")
            if trained_on != self.clips.sha256 and self.config.dataset not in DATASETS:
                raise UserError(f"{best}: trained on another h5 of this name; move it, or choose other --results")
            other = "" if trained_on == self.clips.sha256 else " on another h5"
            result = self._result_before()
            finished = result is not None
            date = time.strftime("%Y-%m-%d", time.localtime(best.stat().st_mtime))
            kept = f"; it is {self._previous('best.pth').name} until this run ends" if finished else ""
            what = f"{result}{other}, {date}" if finished else f"an unfinished run{other}, {date}"
            print(f"note: {best} is replaced ({what}){kept}", file=sys.stderr)
        for name in RESULTS:
            if finished and self.file(name).exists():
                os.replace(self.file(name), self._previous(name))
            self.file(name).unlink(missing_ok=True)
        self.file("state.pth").unlink(missing_ok=True)

    def finish(self):
        """Saves the results of a finished run; the files of the run before it go."""
        self.save()
        for name in RESULTS:
            self._previous(name).unlink(missing_ok=True)

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

    def resume(self):
        """Continues from <case>_state.pth, if there is one.

        Raises UserError if it was started with other settings, or is not the state of such a run.
        """
        path = self.file("state.pth")
        state = distributed.run_on_main(lambda: read_torch_file(path) if path.exists() else None)
        if state is None:
            distributed.run_on_main(self.start_anew)
            return
        try:
            self.load_state(state)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise UserError(f"{path}: not the state of a run ({util.shorten(error, 150)})") from None
        if not distributed.run_on_main(self.file("best.pth").is_file):
            raise UserError(f"{self.file('best.pth')}: missing, but {path.name} needs it; leave out --resume")

    def load_state(self, state):
        if not isinstance(state, dict):
            raise TypeError(f"a {type(state).__name__} in place of a dict")
        settings = Config().settings() | dict(state["settings"])
        different = [
            f"{key} {util.shorten(settings.get(key), 120)} -> {value}"
            for key, value in self.settings.items()
            if type(settings.get(key)) is not type(value) or settings[key] != value
        ]
        if different:
            changes = ", ".join(different)
            raise UserError(f"started with other settings: {changes}. Use those, or leave out --resume to start anew")
        log, about, results = list(state["log"]), dict(state["about"]), dict(state["results"])
        columns = self.row(0, 0.0, 0.0, 0.0, 0.0, 0.0).keys()
        numbers = [value for row in log for value in row.values()] + [state["best"]]
        texts = list(about.values())
        if results:
            numbers += [results["epoch"], results["top1"], results["last_top1"]]
            texts.append(results["selected"])
        if not 1 <= len(log) <= self.config.epochs or any(row.keys() != columns for row in log):
            raise ValueError("its log has other rows")
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in numbers):
            raise ValueError("it has other things in place of numbers")
        if not all(isinstance(value, str) for value in texts):
            raise ValueError("it has other things in place of text")
        # A step creates the optimizer's tensors; all values are loaded below
        for parameter in (p for group in self.optimizer.param_groups for p in group["params"]):
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        copy_tensors(dict(self.net.state_dict()), state["net"], "net")
        copy_tensors(self.optimizer.state_dict()["state"], state["optimizer"], "optimizer")
        self.log, self.best, self.results = log, float(state["best"]), results
        pairs = [(self.about[key], about.get(key)) for key in ("versions", "hardware")]
        changed = [f"{now}, not {then}" for now, then in pairs if now != then]
        self.about = about
        if changed and not results:
            self.about[f"from epoch {len(log) + 1} on"] = "; ".join(changed)
            distributed.warn_once(f"continuing with {'; '.join(changed)}: the bits may differ")
