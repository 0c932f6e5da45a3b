"""Compares what results/README.md claims with the files beside it.

    python tools/verify.py                       # every row of the table
    python tools/verify.py --data FOLDER         # where the h5 files lie, if not below data/

A row with logs: the mean and spread of their figures must be those of the row, and so must the seeds and the settings
that they say they were run with. A row with a checkpoint: its SHA-256 must be, and where the data are present it is
tested, with its recipe's draws, and its top-1 must be the row's to a clip, which another machine's rounding may move.
Prints a line for each; exit code 1 if one differs, 2 for bad input.
"""

import argparse
import hashlib
import shlex
import statistics
import sys
from pathlib import Path

import _path

import util
from checkpoint import load_checkpoint
from data import ROOT, Clips, find
from evaluate import accuracy, as_trained, test
from logs import figures_of, read_log, said
from main import parse_args
from recipes import named
from train import material

CLAIMS = ROOT / "results" / "README.md"


def claims(path=CLAIMS):
    """The rows of the table, as dicts of its heads."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in rows]


def stated(figures):
    """How a row says the figures of several runs, or of one."""
    if len(figures) == 1:
        return f"{figures[0]:.2f}"
    return f"{statistics.mean(figures):.2f} ± {statistics.stdev(figures):.2f}"


def of_logs(row, root):
    """What is wrong with a row, by its logs: a few words, or None."""
    logs = sorted((root / "results").glob(row["logs"]))
    if not logs:
        return f"there is no {row['logs']}"
    try:
        figures = [figures_of(log) for log in logs]
    except util.UserError:
        return "a log without its two results"
    _, best, last = zip(*figures, strict=True)
    found = f"{stated(best)} / {stated(last)}"
    if found != row["top-1, best / last"]:
        return f"the logs say {found}"
    heads = [read_log(log)[0] for log in logs]
    seeds = ", ".join(map(str, sorted(int(said(head, r"^seed:? (\d+)")) for head in heads)))
    if seeds != row["seeds"]:
        return f"the logs are of the seeds {seeds}"
    claimed = of_command(row["command"])
    differ = {key for head in heads for key, value in of_head(head).items() if value != claimed[key]}
    return f"the logs were run with other {', '.join(sorted(differ))}" if differ else None


def of_command(command):
    """What a command says that makes a difference to what comes out, besides the seed."""
    settings = material(parse_args(shlex.split(command)[1:]))
    del settings["seed"]
    return settings


def of_head(head):
    """The same of a log's run; its recipe by values, whatever now has the name."""
    recipe = said(head, r"^recipe: (.*)$")
    return of_command(said(head, r"^(?:command: )?(main\.py .*)$")) | ({"recipe": named(recipe)} if recipe else {})


def of_checkpoint(row, root, data):
    """What is wrong with a row, by its checkpoint, or None; and in a few words what was done to see it."""
    path = root / "results" / row["checkpoint"]
    if not path.is_file():
        return "it is not there", "looked for"
    if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
        return "its SHA-256 is another", "digest"
    dataset, case = path.parts[-3], int(path.name.split("_")[0])
    try:
        h5, *_ = find(dataset, case, data, make=False)
    except util.UserError:
        return None, "digest only, the data are not here"
    net, checkpoint = util.opened(load_checkpoint, path)
    clips = as_trained(path, Clips.read(h5), checkpoint)
    ids = clips.ids("test_")
    top1 = accuracy(test(net, clips, ids, checkpoint.get("seed", 1)), clips.label[ids])
    best = float(row["top-1, best / last"].split(" / ")[0])
    wrong = None if abs(top1 - best) <= 100 / len(ids) + 0.005 else f"it gives {top1:.2f}"
    return wrong, f"digest, and tested: {top1:.2f}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that holds the h5 files (the data sets' own below data/)")
    args = parser.parse_args(argv)
    differing = 0
    for row in claims():
        checks = []
        if row["logs"]:
            checks.append((of_logs(row, ROOT), f"logs {row['logs']}"))
        if row["checkpoint"]:
            checks.append(of_checkpoint(row, ROOT, args.data))
        wrong = "; ".join(text for text, _ in checks if text)
        differing += bool(wrong)
        print(f"{'DIFFERS' if wrong else 'ok':8}{row['claim']}: {wrong or ', '.join(how for _, how in checks)}")
    return 1 if differing else 0


if __name__ == "__main__":
    with util.exit_on_error():
        sys.exit(main())
