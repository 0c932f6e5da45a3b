"""What the logs of runs say: a <case>_log.csv, as main.py writes it and as results/ keeps it."""

import csv
import re
from pathlib import Path

import numpy as np

import _path

from util import UserError

COLUMNS = ("loss", "acc", "val_loss", "val_acc")


def read_log(path):
    """A <case>_log.csv: (its comment lines without the #, {column: (epochs,) float64}). Raises UserError."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        log = {name: np.array([float(row[name]) for row in rows]) for name in COLUMNS}
        if not rows or not all(np.isfinite(values).all() for values in log.values()):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{path}: not a training log ({', '.join(COLUMNS)} in each row), as main.py writes it"
        ) from None
    return [line[1:].strip() for line in lines if line.startswith("#")], log


def said(comments, pattern):
    """What the first comment that matches says, or None."""
    return next((match[1] for line in comments if (match := re.search(pattern, line))), None)


def trained_on(comments):
    name = said(comments, r"dataset:? (\S+)")
    return Path(name).stem if name else None


def figures_of(path):
    """The five-draw top-1 that a finished run's log states: ("best epoch by …", kept, last), percent. UserError."""
    comments, _ = read_log(path)
    last = said(comments, r"last epoch \d+: top-1 ([\d.]+)%")
    how, kept = (said(comments, rf"^epoch \d+ {rest}") for rest in (r"\((.*?)\): top-1", r"\(.*?\): top-1 ([\d.]+)%"))
    if last is None or kept is None:
        raise UserError(f"{path}: states no test result: the run is not finished, or another program wrote it")
    return how, float(kept), float(last)
