"""Training logs, <case>_log.csv."""

import csv
import re

from util import UTF8, UserError, atomic_write, regular

# The columns of logs from before version 0.2, which did not say on which clips the epoch was selected
OLD_COLUMNS = {"loss": "train_loss", "acc": "train_acc", "val_loss": "eval_loss", "val_acc": "eval_acc"}


def write_log(path, comments, rows):
    """Writes a training log: comment lines that start with #, then a csv of dicts with the same keys."""
    lines = [f"# {line}" for line in comments] + [",".join(rows[0])]
    lines += [",".join(f"{value:.6g}" for value in row.values()) for row in rows]
    with atomic_write(path) as part:
        part.write_text("\n".join(lines) + "\n", **UTF8)


def read_log(path):
    """A <case>_log.csv: (its comments, {column: [float] of the epochs}). Raises UserError.

    Columns: train_loss, train_acc, lr, and eval_loss, eval_acc for those of the clips on which the epoch is selected
    (test_… or valid_… in the file). Older logs have no epochs in them and other names.
    """
    try:
        lines = regular(path).read_text(encoding="utf-8").splitlines()
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        names = {name: OLD_COLUMNS.get(name, re.sub("^(test|valid)_", "eval_", name)) for name in rows[0]}
        log = {new: [float(row[old]) for row in rows] for old, new in names.items()}
        if not set(OLD_COLUMNS.values()) <= log.keys():
            raise ValueError
    except (IndexError, KeyError, TypeError, ValueError, csv.Error):
        raise UserError(f"{path}: not a training log of main.py") from None
    return [line[1:].strip() for line in lines if line.startswith("#")], log
