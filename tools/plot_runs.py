"""Training curves (matplotlib: pip install -r requirements-extra.txt).

    python tools/plot_runs.py curves pretrained/NUCLA/logs/plus_seed*.csv --out curves.png   # mean over seeds

The end of --out decides the format: .png, .svg or .pdf. Confusion matrices are in the pages of tools/view.py.
"""

import os
import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from engine.logs import read_log
from safe import program
from tools.common import path_of
from util import UserError

KINDS = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, which people with any colour vision can tell apart; their yellow is too light for lines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#777777"
STYLE = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False}
STYLE |= {"axes.grid": True, "grid.alpha": 0.25, "axes.xmargin": 0.01, "axes.ymargin": 0.01}
STYLE |= {"legend.frameon": False, "svg.hashsalt": "sgn", "lines.linewidth": 1.2}


def find_logs(sources, case):
    """The logs of each setting: {label: [paths]}. Paths that differ only in `seed<n>` or `split<n>` are one setting.

    sources: logs, or folders of runs, with <case>_log.csv in them or in their seed<n>/ or split<n>/.
    """
    groups = {}
    for source in map(Path, sources):
        paths = [source]
        if source.is_dir():
            found = [path for kind in ("seed", "split") for path in source.glob(f"{kind}*/{case}_log.csv")]
            paths = sorted(found, key=lambda path: (len(path.parent.name), path)) or [source / f"{case}_log.csv"]
        for path in paths:
            if not path.exists():
                raise UserError(f"{path}: no such log; main.py writes one when it trains")
            setting = re.sub(r"[_/.-]?(seed|split)\d+", "", path.absolute().with_suffix("").as_posix())
            groups.setdefault(setting.removesuffix(f"/{case}_log"), {})[path] = None
    if len(groups) > len(COLOURS):
        raise UserError(f"{len(groups)} settings; a picture has room for {len(COLOURS)}")
    above = os.path.commonpath([Path(setting).parent for setting in groups])
    return {os.path.relpath(setting, above): [*paths] for setting, paths in groups.items()}


def curves(args):
    from matplotlib.figure import Figure

    groups, evaluated = find_logs(args.runs, args.case), set()
    if args.label and len(set(args.label)) != len(groups):
        raise UserError(f"--label: {len(args.label)} of them for {len(groups)} settings ({', '.join(groups)})")
    fig = Figure(figsize=(9, 4.1), layout="constrained")
    axes = fig.subplots(1, 2)
    for colour, label, paths in zip(COLOURS, args.label or groups, groups.values(), strict=False):
        comments, logs = zip(*map(read_log, paths), strict=True)
        evaluated |= {"validation" if "select: val" in lines else "test" for lines in comments}
        for ax, what in zip(axes, ("acc", "loss"), strict=True):
            for column, dashes in ((f"train_{what}", (4, 2)), (f"eval_{what}", ())):
                values = np.array([*zip(*(log[column] for log in logs), strict=False)])  # to the end of the shortest
                mean, std = values.mean(axis=1), values.std(axis=1, ddof=len(logs) > 1)
                epochs = np.arange(1, len(mean) + 1)
                ax.plot(epochs, mean, color=colour, dashes=dashes, marker="." if len(mean) == 1 else None)
                ax.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.2, lw=0)
        axes[0].plot([], [], color=colour, lw=3, label=f"{label} ({len(paths)} runs)" if len(paths) > 1 else label)
    axes[0].plot([], [], color=GREY, dashes=(4, 2), label="training clips")
    axes[0].plot([], [], color=GREY, label=f"{' or '.join(sorted(evaluated))} clips, one sample each")
    axes[0].set(title="top-1", ylabel="top-1 (%)", xlabel="epoch")
    axes[1].set(title="loss (cross entropy, smoothed labels)", ylabel="loss", xlabel="epoch")
    for ax in axes:
        ax.xaxis.get_major_locator().set_params(integer=True)
    fig.legend(loc="outside lower center", ncols=min(5, len(groups) + 2))
    band = "; mean and standard deviation over runs" if max(map(len, groups.values())) > 1 else ""
    fig.suptitle(f"Training curves{band}")
    return fig


def parse_args(argv=None):
    parser = program.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("command", choices=["curves"], help="mean and spread over the seeds of each setting")
    add("runs", nargs="+", help="logs, or folders of runs; those that differ in the seed go together")
    add("--case", type=int, default=0, help="protocol, as in main.py (%(default)s)")
    add("--label", action="append", help="name of a setting, one for each in their order")
    add("--out", type=path_of(*KINDS), required=True, help=f"file to write ({', '.join(KINDS)})")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    try:
        from matplotlib import style
    except ModuleNotFoundError:
        raise UserError("matplotlib is missing: pip install -r requirements-extra.txt") from None
    with style.context(["default", STYLE]):  # whatever the user's matplotlibrc says
        figure = curves(args)
        with util.atomic_write(args.out) as part:
            options = {"pil_kwargs": {"optimize": True}} if args.out.suffix == ".png" else {}
            figure.savefig(part, format=args.out.suffix[1:], dpi=150, **options)
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    with program.exit_on_error():
        main()
