"""pretrained/results.csv, the ledger of runs, says what its logs and checkpoints say."""

import csv
import functools
import hashlib
import re
import shlex

import main
from engine.config import is_cross_view, parse_recipe
from engine.logs import mean_and_std, read_log, with_spread
from util import ROOT

FOLDER = ROOT / "pretrained"
with open(FOLDER / "results.csv", newline="", encoding="utf-8") as file:
    LEDGER = list(csv.DictReader(file))
NO_SETTINGS = {"seed", "seeds", "results", "device", "jobs", "resume", "views"}  # flags that a row need not name


@functools.cache
def settings_of(command, recipe=None):
    """The settings in a command line of main.py, {name: value}. recipe: its values, as a log has them."""
    args = main.parse_args(shlex.split(command)[1:])
    cross_view = args.views == "other" if args.views else is_cross_view(args.dataset, args.case)
    settings = {name: value for name, value in vars(args).items() if name not in NO_SETTINGS}
    return settings | {"recipe": parse_recipe(recipe or str(args.recipe), cross_view)}


def search(comments, pattern):
    """The first group of the first comment of a log that matches, or None."""
    return next((match[1] for line in comments if (match := re.search(pattern, line))), None)


def faults(row):
    """What is wrong with a row: names of columns, and of settings in its command."""
    logs = [read_log(path)[0] for path in FOLDER.glob(row["logs"])]
    if not logs:
        return {"logs"}
    seeds = sorted(int(search(comments, r"^seed:? (\d+)")) for comments in logs)
    right = {"seeds": row["seeds"].split() == list(map(str, seeds))}
    for column, start in (("selected", r"^epoch \d+ \(.*?\)"), ("last", r"^last epoch \d+")):
        top1 = [float(search(comments, rf"{start}: top-1 ([\d.]+)%")) for comments in logs]
        right[column] = row[column] == with_spread(*mean_and_std(top1))
    claimed = settings_of(row["command"])
    for comments in logs:
        command = re.sub(r" --(seed|results) \S+", "", search(comments, r"^(?:command: )?(main\.py .*)$"))
        done = settings_of(command, search(comments, r"^recipe: (.*)$"))
        right |= {name: False for name in done if done[name] != claimed[name]}
    if row["checkpoint"]:
        path = FOLDER / row["checkpoint"]
        right["checkpoint"] = path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"]
    return {name for name, is_right in right.items() if not is_right}


def test_every_row_is_what_its_logs_and_checkpoint_say():
    assert {row["claim"]: found for row in LEDGER if (found := faults(row))} == {}
    row = next(row for row in LEDGER if row["checkpoint"] == "NUCLA/SGN/0_best.pth")
    command = "main.py --dataset NUCLA --recipe paper,flip=1 -b 7"
    assert faults(row | {"selected": "90.74", "command": command}) == {"selected", "recipe", "batch_size"}  # it sees


def test_every_log_and_checkpoint_has_a_row():
    checkpoints = {path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/SGN*/*.pth")}
    assert checkpoints == {row["checkpoint"] for row in LEDGER if row["checkpoint"]}
    assert set(FOLDER.glob("*/*/*.csv")) == {path for row in LEDGER for path in FOLDER.glob(row["logs"])}
