"""Compares the table of pretrained/README.md with the logs and checkpoints that it names.

    python tools/verify.py                       # every row
    python tools/verify.py --data FOLDER         # where the h5 files are, if not in the data sets' own folders

A row with logs must have the mean and standard deviation of their results, their seeds, and the settings that they were
run with. A row with a checkpoint must have its SHA-256, and if the data are there, the checkpoint is tested and must
have the row's top-1, give or take one clip, for rounding on another machine. Prints a line for each row. Exit code 1 if
a row is wrong, 2 for bad input.
"""

import hashlib
import re
import shlex
import statistics
import sys
from dataclasses import fields, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from data import Clips
from engine.checkpoint import load_checkpoint
from engine.config import parse_recipe
from engine.datasets import find_h5
from engine.logs import read_log
from main import make_config, parse_args
from safe import program
from train import accuracy, evaluate
from util import UserError

FOLDER = util.ROOT / "pretrained"
RESULT = "top-1, selected / last"


def read_table(path=FOLDER / "README.md"):
    """The rows of the page's table: [{column: text}]. Raises UserError."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    if wrong := [row for row in rows if len(row) != len(head)]:
        raise UserError(f"{path}: the row {wrong[0][0]!r} has {len(wrong[0])} cells, not {len(head)}")
    return [dict(zip(head, row, strict=True)) for row in rows]


def search(comments, pattern):
    """The first group of the first comment of a log that matches, or None."""
    return next((match[1] for line in comments if (match := re.search(pattern, line))), None)


def figures_of(comments):
    """The results in a finished run's log: top-1 in percent of the selected and of the last epoch. Raises UserError."""
    last = search(comments, r"^last epoch \d+: top-1 ([\d.]+)%")
    selected = search(comments, r"^epoch \d+ \(.*?\): top-1 ([\d.]+)%")
    if last is None or selected is None:
        raise UserError("without results: the run was not finished")
    return float(selected), float(last)


def mean_and_std(values):
    """As in the table: "90.45 ± 0.33" of several runs, "90.73" of one."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def config_of_command(command):
    """The Config of a command line of main.py, without its seed."""
    return replace(make_config(parse_args(shlex.split(command)[1:])), seed=1)


def config_of_log(comments):
    """The Config of a log's run, without its seed. The recipe is that of its values, which a name once had. Raises
    UserError."""
    command = search(comments, r"^(?:command: )?(main\.py .*)$")
    if command is None:
        raise UserError("without the command of main.py that trained it")
    config = config_of_command(command)
    recipe = search(comments, r"^recipe: (.*)$")
    return replace(config, recipe=parse_recipe(recipe)) if recipe else config


def check_logs(row, folder):
    """Raises UserError if a row is not what its logs say. Returns what was checked."""
    paths = sorted(folder.glob(row["logs"]))
    if not paths:
        raise UserError(f"no {row['logs']}")
    logs = []
    for path in paths:
        comments, _ = read_log(path)
        try:
            logs.append((comments, figures_of(comments)))
        except UserError as error:
            raise UserError(f"{path.name}: {error}") from None
    results = " / ".join(mean_and_std(values) for values in zip(*(figures for _, figures in logs), strict=True))
    if results != row[RESULT]:
        raise UserError(f"its logs have {results}")
    seeds = ", ".join(map(str, sorted(int(search(comments, r"^seed:? (\d+)")) for comments, _ in logs)))
    if seeds != row["seeds"]:
        raise UserError(f"its logs have the seeds {seeds}")
    claimed = config_of_command(row["command"])
    for (comments, _), path in zip(logs, paths, strict=True):
        config = config_of_log(comments)
        names = [field.name for field in fields(config)]
        if different := [name for name in names if getattr(config, name) != getattr(claimed, name)]:
            raise UserError(f"{path.name} was run with another {', '.join(different)}")
    return f"{len(logs)} log{'s' if len(logs) > 1 else ''}"


def check_checkpoint(row, folder, data):
    """Raises UserError if a row is not what its checkpoint gives. Returns what was checked."""
    path = folder / row["checkpoint"]
    if not path.is_file():
        raise UserError(f"no {row['checkpoint']}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
        raise UserError(f"{row['checkpoint']} has another SHA-256")
    dataset, case = path.parts[-3], int(path.name.split("_")[0])
    try:
        h5, _ = find_h5(dataset, case, data, make_demo=False)
    except UserError:
        return "checkpoint's SHA-256 (the data are not here)"
    checkpoint, clips = load_checkpoint(path), Clips.read(h5)
    if checkpoint.about.get("data_sha256", clips.sha256) != clips.sha256:
        return "checkpoint's SHA-256 (trained on other data than are here)"
    logits, label = evaluate(checkpoint, clips)
    top1 = accuracy(logits, label)
    if abs(top1 - float(row[RESULT].split(" / ")[0])) > 100 / len(label) + 0.005:
        raise UserError(f"{row['checkpoint']} has top-1 {top1:.2f}")
    return f"checkpoint, tested: {top1:.2f}"


def main(argv=None):
    """Prints a line for each row. Returns the exit code."""
    parser = util.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of all h5 files (the data sets' own below data/)")
    args = parser.parse_args(argv)
    wrong = 0
    for row in read_table():
        try:
            checked = [check_logs(row, FOLDER)] if row["logs"] else []
            checked += [check_checkpoint(row, FOLDER, args.data)] if row["checkpoint"] else []
            print(f"ok      {row['claim']}: {', '.join(checked)}")
        except UserError as error:
            wrong += 1
            print(f"WRONG   {row['claim']}: {error}")
    return 1 if wrong else 0


if __name__ == "__main__":
    with program.exit_on_error():
        sys.exit(main())
