"""Asks the paper's questions: trains SGN whole and without its parts, and writes a table.

    python tools/ablate.py --dataset NUCLA                              # the whole and 11 others, three seeds each
    python tools/ablate.py --dataset NUCLA --only joint-type,joint-type+frame-index --seeds 5 --amp

A variant is a name of `main.py --ablate`, or several with + between. All flags but --only are main.py's, and the runs
are those of `main.py --ablate ... --seeds 3 --resume`, in the same folders: what is trained already is taken, and
stopped in any way, the same command goes on. After each variant the table of this command's variants is written anew,
to results/<dataset>/<case>_ablations.csv and .md: top-1 in percent, mean +- standard deviation over the seeds, of the
epoch kept and of the last, and in brackets the difference to the whole network's mean.
"""

import argparse
import csv
import statistics
import sys

import _path

import main as sgn
import util
from checkpoint import load_checkpoint, load_safely
from data import Clips, find
from evaluate import SELECT
from model import ABLATIONS
from recipes import PAPER, spelling
from util import UserError

WHOLE = "whole"
VARIANTS = [*ABLATIONS, "joint-type+frame-index"]  # the last has no semantics at all
FIGURES = ("best", "last")  # of a run, as its state has them


def parse_args(argv):
    """The variants, and main.py's flags without --ablate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--only", type=variants, help="variants, with commas between, beside the whole network (all)")
    args, passed = parser.parse_known_args(argv)
    flags = ["--resume", "--seeds", "3", *passed]
    if sgn.parse_args(flags).ablate:
        raise UserError("--ablate: this trains several variants; --only names them")
    return args.only, flags


def variants(text):
    """An argparse type: names with commas between, each with its parts in the order of its folder's name."""
    names = ["+".join(sgn.ablated(name.replace("+", ","))) for name in text.split(",") if name != WHOLE]
    return list(dict.fromkeys(names))


def of_variant(variant, flags):
    return flags if variant == WHOLE else [*flags, "--ablate", variant.replace("+", ",")]


def row(variant, args, folder):
    """A row of the table, from the finished runs below `folder`."""
    runs = [folder / f"seed{seed}" for seed in args.seeds]
    results = [util.opened(load_safely, run / f"{args.case}_state.pth")["results"] for run in runs]
    net, _ = util.opened(load_checkpoint, runs[0] / f"{args.case}_best.pth")
    found = {"variant": variant, "parameters": sum(p.numel() for p in net.parameters()), "seeds": len(runs)}
    for what in FIGURES:
        values = [result[what] for result in results]
        found[what] = statistics.mean(values)
        found[f"{what}_std"] = statistics.stdev(values) if len(values) > 1 else 0.0
    return found


def write_table(path, rows, args, comments):
    """Writes rows and their differences to the first to path.csv and path.md. Returns the text of the second."""
    rows = [r | {f"{what}_difference": r[what] - rows[0][what] for what in FIGURES} for r in rows]
    with util.atomic_write(path.with_name(f"{path.name}.csv")) as part, open(part, "w", newline="") as file:
        file.writelines(f"# {line}\n" for line in comments)
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in r.items()} for r in rows)
    lines = [f"| variant | parameters | seeds | {SELECT[args.select]} | {SELECT['last']} |", "| --- " * 5 + "|"]
    for r in rows:
        cells = [f"{r[what]:.2f} ± {r[f'{what}_std']:.2f}" for what in FIGURES]
        if r is not rows[0]:
            cells = [f"{cell} ({r[f'{what}_difference']:+.2f})" for cell, what in zip(cells, FIGURES, strict=True)]
        lines.append(f"| {r['variant']} | {r['parameters']:,} | {r['seeds']} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    with util.atomic_write(path.with_name(f"{path.name}.md")) as part:
        part.write_text(text, encoding="utf-8")
    return text


def main(argv=None):
    only, flags = parse_args(argv)
    args = sgn.parse_args(flags)
    path, name, _ = find(args.dataset, args.case, args.data)
    if only is None:
        only, clips = list(VARIANTS), Clips.read(path, args.cache)
        try:
            clips.bones()
        except UserError as error:
            only.remove("skeleton-graph")
            print(f"without skeleton-graph: {error}")
    words = " ".join(sys.argv[1:] if argv is None else argv)
    comments = util.provenance(f"tools/ablate.py {words}", util.pick_device(args.device))
    comments = [f"{key}: {value}" for key, value in comments.items()]
    comments += [f"top-1 in percent, {args.recipe.test_draws} draws"]
    recipe = "" if args.recipe == PAPER else f"-{spelling(args.recipe)}"
    rows, table = [], args.results / name / f"{args.case}_ablations{recipe}"
    for done, variant in enumerate([WHOLE, *only]):
        print(f"\n{variant} ({done + 1} of {len(only) + 1})")
        own = of_variant(variant, flags)
        try:
            sgn.main(own)
        except KeyboardInterrupt as stop:
            raise type(stop)(f"{done} of {len(only) + 1} variants are done; the same command goes on") from None
        rows.append(row(variant, args, sgn.folder_of(sgn.parse_args(own), name)))
        text = write_table(table, rows, args, comments)
    print(f"\n{text}", end="")


if __name__ == "__main__":
    with util.exit_on_error():
        main()
