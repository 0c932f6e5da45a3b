"""Trains SGN and its ablations (section 4 of the paper), and writes a table of their results.

    python tools/ablate.py --dataset NUCLA                              # SGN and 11 variants, three seeds each
    python tools/ablate.py --dataset NUCLA --only joint-type,joint-type+frame-index --seeds 5 --amp

A variant is a name of `main.py --ablate`, or several joined with +. All other flags are main.py's. The runs are those
of `main.py --ablate ... --seeds 3 --resume`, in the same folders: what is trained already is not trained again, and
after an interruption the same command continues. After each variant the table is written, to
results/<dataset>/<case>_ablations.csv and .md: top-1 in percent of the selected and of the last epoch, mean and
standard deviation over the seeds, and the difference to the whole network.
"""

import csv
import shlex
import statistics
import sys

import _path

import distributed
import main as sgn
import util
from checkpoint import load_checkpoint, read_torch_file
from data import Clips, find_h5
from model import ABLATIONS, parse_ablations
from recipes import PAPER
from util import UserError

WHOLE = "whole"
VARIANTS = [*ABLATIONS, "joint-type+frame-index"]  # the last has none of the semantics
RESULTS = ("top1", "last_top1")  # of a run, by their names in its state


def parse_variants(text):
    """An argparse type: "one-gcn,joint-type+frame-index" -> a list of variants, the names in each in one order."""
    names = ["+".join(parse_ablations(name.split("+"))) for name in text.split(",") if name != WHOLE]
    return list(dict.fromkeys(names))


def parse_args(argv):
    """The variants of --only, or None; and the flags for main.py."""
    parser = util.ArgumentParser(description=__doc__)
    variants = util.argument_type(parse_variants)
    parser.add_argument("--only", type=variants, metavar="VARIANT[,VARIANT]", help="beside the whole network (all)")
    args, passed_on = parser.parse_known_args(argv)
    flags = ["--resume", "--seeds", "3", *passed_on]
    if sgn.parse_args(flags).ablate:
        raise UserError("--ablate: give the variants to --only")
    return args.only, flags


def make_row(variant, seeds, case, folder):
    """A row of the table, from the finished runs in `folder`."""
    states = [read_torch_file(folder / f"seed{seed}" / f"{case}_state.pth") for seed in seeds]
    net = load_checkpoint(folder / f"seed{seeds[0]}" / f"{case}_best.pth").net
    row = {"variant": variant, "parameters": sum(p.numel() for p in net.parameters()), "seeds": len(seeds)}
    for key in RESULTS:
        values = [state["results"][key] for state in states]
        row[key] = statistics.mean(values)
        row[f"{key}_std"] = statistics.stdev(values) if len(values) > 1 else 0.0
    return row


def write_table(path, rows, comments):
    """Writes the rows, with their differences to the first, to path.csv and path.md. Returns the text of the second."""
    rows = [row | {f"{key}_difference": row[key] - rows[0][key] for key in RESULTS} for row in rows]
    with util.atomic_write(f"{path}.csv") as part, open(part, "w", newline="", **util.UTF8) as file:
        file.writelines(f"# {line}\n" for line in comments)
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.6g}" if type(value) is float else value for key, value in row.items()})
    lines = ["| variant | parameters | seeds | selected epoch | last epoch |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        cells = [f"{row[key]:.2f} ± {row[f'{key}_std']:.2f}" for key in RESULTS]
        if row is not rows[0]:
            cells = [f"{cell} ({row[f'{key}_difference']:+.2f})" for cell, key in zip(cells, RESULTS, strict=True)]
        lines.append(f"| {row['variant']} | {row['parameters']:,} | {row['seeds']} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    with util.atomic_write(f"{path}.md") as part:
        part.write_text(text, **util.UTF8)
    return text


def main(argv=None):
    only, flags = parse_args(argv)
    args = sgn.parse_args(flags)
    h5, name, _ = find_h5(args.dataset, args.case, args.data)
    if only is None:
        only = VARIANTS.copy()
        try:
            Clips.read(h5, args.cache).bones()
        except UserError as error:
            only.remove("skeleton-graph")
            print(f"without skeleton-graph: {error}")
    command = shlex.join(["tools/ablate.py", *(sys.argv[1:] if argv is None else argv)])
    about = util.provenance(command, distributed.pick_device(args.device))
    comments = [f"{key}: {value}" for key, value in about.items()]
    recipe = "" if args.recipe == PAPER else f"-{args.recipe.name}"
    rows, path = [], args.results / name / f"{args.case}_ablations{recipe}"
    for variant in [WHOLE, *only]:
        print(f"\n{variant} ({len(rows) + 1} of {len(only) + 1})")
        words = flags if variant == WHOLE else [*flags, "--ablate", variant.replace("+", ",")]
        try:
            sgn.main(words)
        except KeyboardInterrupt as interrupt:
            done = f"{len(rows)} of {len(only) + 1} variants are trained"
            raise type(interrupt)(f"{done}; the same command continues") from None
        config = sgn.make_config(sgn.parse_args(words))
        rows.append(make_row(variant, args.seeds, args.case, args.results / name / config.folder))
        text = write_table(path, rows, comments)
    print(f"\n{text}", end="")


if __name__ == "__main__":
    with util.exit_on_error("--batch-size"):
        main()
