"""Trains variants of a command of main.py, and writes a table of their results.

    python tools/sweep.py --dataset NUCLA --ablations --amp -b 16 --jobs 2              # section 4 of the paper
    python tools/sweep.py --dataset NUCLA --vary "--ablate one-gcn" --vary "--stream bone" --seeds 5

Each --vary has flags of main.py, and is a variant; all other flags are main.py's, for the whole sweep. The first row is
the command without any variant; the others state their difference to it, over the same seeds (three, unless --seeds
says otherwise). --jobs N trains N runs at a time, of all variants. After an interruption the same command continues,
and what main.py has trained already without a variant is not trained again; variants are in results/sweep/. After each
variant the table is written, to results/<dataset>/<case>_sweep.csv and .md: top-1 in percent, mean and standard
deviation over the seeds, and the loss of the test clips (smoothed labels) in the last epoch.
"""

import csv
import re
import shlex
import sys
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from safe.program import ArgumentParser, exit_on_error, let_threads_sleep
from util import UTF8, UserError, atomic_write

if __name__ == "__main__":
    let_threads_sleep()

import main as sgn
from engine.checkpoint import load_checkpoint
from engine.config import find_h5
from engine.device import check_amp, pick_device
from engine.finetune import read_init
from engine.logs import mean_and_std, provenance, read_log, with_spread
from engine.runs import read_clips, run_all
from model import ABLATIONS
from train import train_and_test

BASE = "as it is"
ABLATED = [f"--ablate {name}" for name in (*ABLATIONS, "joint-type,frame-index")]  # the last has none of the semantics
RESULTS = ("top1", "last_top1")  # of a run, by their names in its state


def parse_args(argv):
    """The variants, and the flags for main.py."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--vary", action="append", default=[], metavar="'FLAGS'", help="a variant: flags of main.py")
    parser.add_argument("--ablations", action="store_true", help=f"{len(ABLATED)} variants: the names of --ablate")
    args, passed_on = parser.parse_known_args(argv)
    variants = ABLATED * args.ablations + args.vary
    if not variants:
        parser.error("give the variants: --vary or --ablations")
    return variants, ["--resume", "--seeds", "3", *passed_on]


def plan(variant, flags):
    """The runs of a variant of these flags, a list of runs.Run; none if it is not possible there, which a line says."""
    try:
        words = [*flags, *shlex.split(variant)]
    except ValueError as error:
        raise UserError(f"--vary {variant}: {error}") from None
    args = sgn.parse_args(words)
    if args.dataset != sgn.parse_args(flags).dataset:
        raise UserError("--vary: a variant is of the same data set")
    h5, name = find_h5(args.dataset, args.case, args.data)
    clips = read_clips(h5, pick_device(args.device))
    init = read_init(args.init) if args.init else (None, None)
    config = sgn.make_config(args, clips, name, *init)
    if variant:
        if "skeleton-graph" in config.ablate and clips.skeleton.name == "unknown":
            print(f"{name}: without {variant}: the h5 does not state its skeleton")
            return []
        args.results = args.results / "sweep" / re.sub(r"[^\w.,=+-]+", "_", variant).strip("-_")
        words += ["--results", str(args.results)]
    runs = sgn.plan(args, config, init[0], h5, clips.sha256)
    command = shlex.join(["main.py", *words])
    return [run._replace(title=f"{variant or BASE} {run.title}", command=command) for run in runs]


def make_row(variant, runs, results, base):
    """A row of the table, from the finished runs of a variant. base: the row without one, None for that itself."""
    case, folders = runs[0].config.case, [run.folder for run in runs]
    net = load_checkpoint(folders[0] / f"{case}_best.pth").net
    row = {"variant": variant or BASE, "parameters": sum(p.numel() for p in net.parameters()), "seeds": len(runs)}
    for key in RESULTS:
        row[key], row[f"{key}_std"] = mean_and_std([result[key] for result in results])
    row["loss"] = mean(read_log(folder / f"{case}_log.csv")[1]["eval_loss"][-1] for folder in folders)
    return row | {f"{key}_difference": row[key] - (base or row)[key] for key in RESULTS}


def write_table(path, rows, comments):
    """Writes the rows to path.csv, and a table for people to path.md. Returns the text of the second."""
    with atomic_write(f"{path}.csv") as part, open(part, "w", newline="", **UTF8) as file:
        file.writelines(f"# {line}\n" for line in comments)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([f"{value:.6g}" if type(value) is float else value for value in row.values()] for row in rows)
    text = f"| variant | parameters | seeds | selected epoch | last epoch | loss |\n{'| --- ' * 6}|\n"
    for row in rows:
        text += f"| {row['variant']} | {row['parameters']:,} | {row['seeds']} |"
        for key in RESULTS:
            difference = f" ({row[f'{key}_difference']:+.2f})" * (row["variant"] != BASE)
            text += f" {with_spread(row[key], row[f'{key}_std'])}{difference} |"
        text += f" {row['loss']:.3f} |\n"
    with atomic_write(f"{path}.md") as part:
        part.write_text(text, **UTF8)
    return text


def main(argv=None):
    variants, flags = parse_args(argv)
    args = sgn.parse_args(flags)
    device = pick_device(args.device)
    command = shlex.join(["tools/sweep.py", *(sys.argv[1:] if argv is None else argv)])
    comments = [f"{key}: {value}" for key, value in provenance(command, device).items()]
    groups, seen = {variant: runs for variant in ["", *variants] if (runs := plan(variant, flags))}, {}
    for variant, (run, *_) in groups.items():
        if run.config in seen:  # perhaps in other words
            raise UserError(f"--vary '{variant}': the same as '{seen[run.config] or BASE}'; leave it out")
        seen[run.config] = variant
    if args.amp:
        check_amp(device)
    todo = [run for runs in groups.values() for run in runs]
    path = args.results / todo[0].config.dataset / f"{args.case}_sweep"
    rows, text, done = [], "", run_all(todo, sgn.make_options(args, device, command), train_and_test, args.jobs)
    for variant, runs in groups.items():
        rows.append(make_row(variant, runs, [next(done) for _ in runs], rows[0] if rows else None))
        text = write_table(path, rows, comments)
    done.close()
    print(f"\n{text}", end="")


if __name__ == "__main__":
    with exit_on_error("--batch-size"):
        main()
