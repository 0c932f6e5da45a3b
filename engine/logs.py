"""How a run goes, what comes of it, and where it came from: progress, the log <case>_log.csv, results, provenance."""

import csv
import importlib.util
import json
import os
import platform
import re
import statistics
import subprocess
import time
from contextlib import suppress

import numpy
import torch
from tqdm import tqdm

from safe.program import print_above_bars, progress
from util import ROOT, UTF8, UserError, __version__, atomic_write, readable, regular

DEFAULTS = "by default: "  # how the line of settings that have the default begins
COLUMNS = {"train_loss", "train_acc", "eval_loss", "eval_acc"}


class Progress:
    """For a with statement: a bar on a terminal, lines of epochs, and TensorBoard's curves.

    state: the RunState; steps: of an epoch; title, position: of the run among several; file: for the lines.
    """

    def __init__(self, state, steps, title="", position=None, tensorboard=False, file=None):
        self.epochs, self.title, self.file = state.config.epochs, f"{title} " if title else "", file
        done = len(state.log)
        about = {"total": self.epochs * steps, "initial": done * steps, "desc": title or None, "position": position}
        self.bar = progress(smoothing=0.05, unit="step", **about)
        self.times = [time.perf_counter()]  # when training began, and when each epoch ended
        self.writer = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            # Removes what an earlier run wrote for the epochs to come
            self.writer = SummaryWriter(state.file("tensorboard"), purge_step=done + 1)

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        self.bar.close()
        if not failed:
            took = f"{(time.perf_counter() - self.times[0]) / 60:.1f} minutes in this run"
            self.say(f"note: {self.title}trained {self.epochs} epochs, {took}")
        if self.writer:
            self.writer.close()

    def say(self, line):
        print_above_bars(line, self.file)

    def step(self):
        self.bar.update()

    def show(self, epoch, loss, acc):
        self.bar.set_postfix(epoch=f"{epoch}/{self.epochs}", loss=f"{loss:.3f}", acc=f"{acc:.1f}")

    def end_epoch(self, state):
        """A line: the last row of the log, the epoch's seconds, the best so far, and the time left.

        Every tenth of the run above the progress bar; every epoch where there is none.
        """
        self.times.append(time.perf_counter())
        row = dict(state.log[-1])
        epoch = row.pop("epoch")
        if self.writer:
            for name, value in state.log[-1].items():
                self.writer.add_scalar(name, value, epoch)
            self.writer.flush()
        if not self.bar.disable and epoch % max(1, self.epochs // 10):
            return
        what, choose = ("loss", min) if state.config.monitor == "val_loss" else ("acc", max)
        key = f"{state.eval_split}_{what}"
        best = choose(state.log, key=lambda row: row[key])
        left = (self.times[-1] - self.times[0]) / (len(self.times) - 1) * (self.epochs - epoch)
        words = [f"{name} {value:.4g}" for name, value in row.items()] + [f"{self.times[-1] - self.times[-2]:.1f} s"]
        words += [f"best {key} {best[key]:.4g} in epoch {best['epoch']}", f"{tqdm.format_interval(left)} left"]
        self.say(f"{self.title}epoch {epoch}/{self.epochs}: {', '.join(words)}")


def check_tensorboard():
    """Raises UserError if it is missing: before a run makes way for itself."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError("--tensorboard: not installed; pip install -r requirements-extra.txt")


def join(about, defaults):
    """A run's {str: str} as comments of its log: the command, where it ran, the settings, and those left alone."""
    first, where = ("command",), ("versions", "hardware", "commit")
    usual = [key for key, value in defaults.items() if about.get(key) == value]
    changed = [key for key in about if key not in (*first, *where, *usual)]
    lines = ["; ".join(f"{key}: {about[key]}" for key in keys if key in about) for keys in (first, where, changed)]
    return [*lines, DEFAULTS + "; ".join(f"{key}: {about[key]}" for key in usual)]


def write_log(path, comments, rows):
    """Writes a training log: comment lines that start with #, then a csv of dicts with the same keys."""
    lines = [f"# {line}" for line in comments] + [",".join(rows[0])]
    lines += [",".join(f"{value:.6g}" for value in row.values()) for row in rows]
    with atomic_write(path) as part:
        part.write_text("\n".join(lines) + "\n", **UTF8)


def read_log(path):
    """A <case>_log.csv: (its comments, {column: [float] of the epochs}). Raises UserError.

    Comments: "command: main.py ...", "seed: 1", ..., in older logs on lines of their own, and the results. Columns:
    train_loss, ..., and eval_loss, eval_acc for those of the clips that select the epoch: test_... or valid_... there.
    """
    try:
        lines = regular(path).read_text(encoding="utf-8").splitlines()
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        log = {re.sub("^(test|valid)_", "eval_", name): [float(row[name]) for row in rows] for name in rows[0]}
        if not log.keys() >= COLUMNS:
            raise ValueError
    except (IndexError, KeyError, TypeError, ValueError, csv.Error):
        raise UserError(f"{path}: not a training log of main.py") from None
    comments = [line[1:].strip() for line in lines if line.startswith("#")]
    parts = ([text] if text.startswith("command: ") else text.removeprefix(DEFAULTS).split("; ") for text in comments)
    return [part for text in parts for part in text], log


def provenance(command, device, /, **settings):
    """What is needed to repeat a run, {str: str}: command line, versions, hardware, git commit, and the settings."""
    versions = f"sgn {__version__}, torch {torch.__version__}, numpy {numpy.__version__}"
    versions += f", python {platform.python_version()}"
    hardware = f"CPU, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    if device.type in ("cuda", "mps"):
        hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else "Apple GPU (MPS; untried)"
    about = {"command": command, "versions": versions, "hardware": hardware, "commit": _git_commit()}
    return {key: readable(str(value)) for key, value in (about | settings).items()}


def _git_commit():
    """The commit of this folder's own repository, or "none": not that of a repository around a copy of it."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(ROOT.parent)}
    with suppress(OSError):
        return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip() or "none"
    return "none"


# ---- what testing says of a network

FIGURES = {"top1": "top-1", "top5": "top-5", "mean_class": "mean-class"}


def accuracy(logits, label):
    """Top-1 in percent."""
    return 100 * (logits.argmax(dim=1) == label).sum().item() / len(label)


def score(logits, label, class_names):
    """{"top1", "top5", "mean_class", "classes": [{"class", "clips", "top1"}]} of logits (n, classes) and labels (n,).

    mean_class is the mean of the classes' top-1; a class without clips has none (None), and is left out. Of five
    classes or fewer there is no top-5.
    """
    right = label[logits.argmax(dim=1) == label]
    counts = (of.bincount(minlength=len(class_names)).cpu().tolist() for of in (label, right))
    rows = zip(class_names, *counts, strict=True)
    classes = [{"class": name, "clips": n, "top1": 100 * k / n if n else None} for name, n, k in rows]
    scores = {"top1": accuracy(logits, label)}
    if len(class_names) > 5:
        scores["top5"] = 100 * (logits.topk(5).indices == label[:, None]).sum().item() / len(label)
    scores["mean_class"] = statistics.mean(one["top1"] for one in classes if one["clips"])
    return scores | {"classes": classes}


def in_words(scores, which=""):
    """ "top-1 91.38%, top-5 99.57%, mean-class 91.20%", as far as they are known. which: "last_" of a run's results."""
    words = [f"{name} {scores[which + key]:.2f}%" for key, name in FIGURES.items() if which + key in scores]
    classes = scores.get("classes", [])
    if (tested := sum(one["clips"] > 0 for one in classes)) < len(classes):
        words[-1] += f" (of the {tested} of {len(classes)} classes that have test clips)"
    return ", ".join(words)


def summarize(results, several, out):
    """Mean and standard deviation over the results of several runs ("seeds" or "splits"), a dict, printed too."""
    summary, over = {}, several if len(results) > 1 else several[:-1]
    for which, what in (("", "selected epoch"), ("last_", "last epoch")):
        words = []
        for key, name in ((which + key, name) for key, name in FIGURES.items()):
            if not all(key in result for result in results):
                continue
            mean, std = mean_and_std([result[key] for result in results])
            summary |= {f"{key}_mean": mean} | ({} if std is None else {f"{key}_std": std})
            words.append(f"{name} {with_spread(mean, std, '+-')}%")
        if words:
            print(f"{what}: {', '.join(words)} over {len(results)} {over}", file=out)
    return summary


def write_json(content, path):
    """Writes a dict as JSON to a file, or, where path is "-", to standard output."""
    if path == "-":
        print(json.dumps(content))
        return
    with atomic_write(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", **UTF8)


def mean_and_std(values):
    """Of one value there is no standard deviation: None."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def with_spread(mean, std, sign="±"):
    return f"{mean:.2f}" if std is None else f"{mean:.2f} {sign} {std:.2f}"
