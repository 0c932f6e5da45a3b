"""Trains variants of a command of main.py, on one data set or several, and writes a table of their results.

    python tools/sweep.py --dataset NUCLA --ablations --amp -b 16 --jobs 2              # section 4 of the paper
    python tools/sweep.py --dataset NUCLA --vary "--ablate one-gcn" --vary "--stream bone" --seeds 5
    python tools/sweep.py --datasets 1_2.h5 2_1.h5 --views other --recipe plus --vary "--recipe plus,noise=0"

Each --vary has flags of main.py, and is a variant; all other flags are main.py's, for the whole sweep. The first row is
the command without any variant; the others state their difference to it, over the same seeds (three, unless --seeds
says otherwise) and data sets. --jobs N trains N runs at a time, of all variants. After an interruption the same command
continues, and what main.py has trained already is not trained again. After each variant the table is written, to
results/<dataset>/<case>_sweep.csv and .md, or, of several data sets, results/sweep/: top-1 in percent, mean and
standard deviation over the seeds, and the loss of the test clips (smoothed labels) in the last epoch.
"""

import csv
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from safe import arguments, program

if __name__ == "__main__":
    program.let_threads_sleep()

import main as sgn
from engine import distributed, finetune
from engine.accelerate import check_amp
from engine.checkpoint import load_checkpoint
from engine.config import find_h5
from engine.logs import mean_and_std, provenance, read_log, with_spread
from engine.runs import read_clips, run_all
from model import ABLATIONS
from train import train_and_test

BASE = "as it is"
ABLATED = [f"--ablate {name}" for name in (*ABLATIONS, "joint-type,frame-index")]  # the last has none of the semantics
RESULTS = ("top1", "last_top1")  # of a run, by their names in its state
NAMING = ("recipe", "ablate", "variant", "stream")  # the fields of Config by which the folders of runs differ,
IMPLIED = ("theta", "lr_factor")  # and those that follow from a recipe


def parse_args(argv):
    """The variants, and for each data set the flags for main.py."""
    parser = arguments.ArgumentParser(description=__doc__)
    parser.add_argument("--vary", action="append", default=[], metavar="'FLAGS'", help="a variant: flags of main.py")
    parser.add_argument("--ablations", action="store_true", help=f"{len(ABLATED)} variants: the names of --ablate")
    parser.add_argument("--datasets", nargs="+", help="several data sets, in place of --dataset")
    args, passed_on = parser.parse_known_args(argv)
    variants = ABLATED * args.ablations + args.vary
    if not variants:
        parser.error("give the variants: --vary or --ablations")
    flags = ["--resume", "--seeds", "3", *passed_on]
    return variants, [[*flags, "--dataset", name] for name in args.datasets] if args.datasets else [flags]


def plan(variant, flags):
    """The runs of a variant of these flags, a list of runs.Run; none if it is not possible there, which a line says."""
    try:
        words = [*flags, *shlex.split(variant)]
    except ValueError as error:
        raise util.UserError(f"--vary {variant}: {error}") from None
    args, unvaried = sgn.parse_args(words), sgn.parse_args(flags)
    if args.dataset != unvaried.dataset:
        raise util.UserError("--vary: a variant is of the same data set; take --datasets")
    h5, name = find_h5(args.dataset, args.case, args.data)
    clips = read_clips(h5, distributed.pick_device(args.device))
    init = finetune.read_init(args.init) if args.init else (None, None)
    config, base = (sgn.make_config(of, clips, name, *init) for of in (args, unvaried))
    if "skeleton-graph" in config.ablate and clips.skeleton.name == "unknown":
        print(f"{name}: without {variant}: the h5 does not state its skeleton")
        return []
    named = NAMING + (IMPLIED if config.recipe != base.recipe else ())
    if replace(config, **{field: getattr(base, field) for field in named}) != base:  # such runs share a folder's name
        args.results = args.results / "sweep" / re.sub(r"[^\w.,=+-]+", "_", variant).strip("-_")
        words += ["--results", str(args.results)]
    title, command = " ".join([variant or BASE, name]), shlex.join(["main.py", *words])
    runs = sgn.plan(args, config, init[0], h5, clips.sha256)
    return [run._replace(title=f"{title} {run.title}", command=command) for run in runs]


def make_row(variant, runs, results, rows):
    """A row of the table, from the finished runs of a variant on a data set. rows: those before, the first of each data
    set without a variant."""
    case, dataset, folders = runs[0].config.case, runs[0].config.dataset, [run.folder for run in runs]
    net = load_checkpoint(folders[0] / f"{case}_best.pth").net
    row = {"variant": variant or BASE, "dataset": dataset}
    row |= {"parameters": sum(p.numel() for p in net.parameters()), "seeds": len(runs)}
    for key in RESULTS:
        row[key], row[f"{key}_std"] = mean_and_std([result[key] for result in results])
    row["loss"] = mean(read_log(folder / f"{case}_log.csv")[1]["eval_loss"][-1] for folder in folders)
    base = next((other for other in rows if other["dataset"] == dataset), row)
    return row | {f"{key}_difference": row[key] - base[key] for key in RESULTS}


def write_table(path, rows, comments):
    """Writes the rows to path.csv, and a table for people to path.md. Returns the text of the second."""
    with util.atomic_write(f"{path}.csv") as part, open(part, "w", newline="", **util.UTF8) as file:
        file.writelines(f"# {line}\n" for line in comments)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([f"{value:.6g}" if type(value) is float else value for value in row.values()] for row in rows)
    text = f"| variant | data set | parameters | seeds | selected epoch | last epoch | loss |\n{'| --- ' * 7}|\n"
    for row in rows:
        text += f"| {row['variant']} | {row['dataset']} | {row['parameters']:,} | {row['seeds']} |"
        for key in RESULTS:
            difference = f" ({row[f'{key}_difference']:+.2f})" * (row["variant"] != BASE)
            text += f" {with_spread(row[key], row[f'{key}_std'])}{difference} |"
        text += f" {row['loss']:.3f} |\n"
    with util.atomic_write(f"{path}.md") as part:
        part.write_text(text, **util.UTF8)
    return text


def main(argv=None):
    variants, commands = parse_args(argv)
    args = sgn.parse_args(commands[0])
    device = distributed.pick_device(args.device)
    command = shlex.join(["tools/sweep.py", *(sys.argv[1:] if argv is None else argv)])
    comments = [f"{key}: {value}" for key, value in provenance(command, device).items()]
    groups = [(variant, plan(variant, flags)) for variant in ["", *variants] for flags in commands]
    groups = [(variant, runs) for variant, runs in groups if runs]
    seen = {}
    for variant, (run, *_) in groups:
        if (key := (run.h5, run.config)) in seen:  # perhaps in other words
            raise util.UserError(f"--vary '{variant}': the same as '{seen[key] or BASE}'; leave it out")
        seen[key] = variant
    if args.amp:
        check_amp(device)
    path = args.results / (groups[0][1][0].config.dataset if len(commands) == 1 else "sweep") / f"{args.case}_sweep"
    todo = [run for _, runs in groups for run in runs]
    rows, text, done = [], "", run_all(todo, sgn.make_options(args, device, command), train_and_test, args.jobs)
    for variant, runs in groups:
        rows.append(make_row(variant, runs, [next(done) for _ in runs], rows))
        text = write_table(path, rows, comments)
    done.close()
    print(f"\n{text}", end="")


if __name__ == "__main__":
    with program.exit_on_error("--batch-size"):
        main()
