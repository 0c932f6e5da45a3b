"""Training curves (matplotlib: pip install -r requirements-extra.txt).

    python tools/plot_runs.py pretrained/NUCLA/logs/plus_seed*.csv --out curves.png        # mean over seeds

Logs whose paths differ only in seed<n> or split<n> are runs of one setting. The end of --out decides the format: .png,
.svg or .pdf. Confusion matrices are in the pages of tools/view.py.
"""

import os
import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from engine.logs import read_log
from safe.program import ArgumentParser, exit_on_error
from tools.common import path_of
from util import UserError, atomic_write

# Okabe and Ito's colours, which people with any colour vision can tell apart; their yellow is too light for lines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#777777"
STYLE = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False}
STYLE |= {"axes.grid": True, "grid.alpha": 0.25, "axes.xmargin": 0.01, "axes.ymargin": 0.01}
STYLE |= {"legend.frameon": False, "svg.hashsalt": "sgn", "lines.linewidth": 1.2}


def group_logs(paths):
    """The logs of each setting: {label: [paths]}. The labels are the paths as far as they differ."""
    groups = {}
    for path in paths:
        setting = re.sub(r"[_/.-]?(seed|split)\d+|/\d+_log$", "", path.absolute().with_suffix("").as_posix())
        groups.setdefault(setting, []).append(path)
    if len(groups) > len(COLOURS):
        raise UserError(f"{len(groups)} settings; a picture has room for {len(COLOURS)}")
    above = os.path.commonpath([Path(setting).parent for setting in groups])
    return {os.path.relpath(setting, above): logs for setting, logs in groups.items()}


def draw(groups):
    """The Figure of logs as from `group_logs`: means over the runs of a setting, and bands of a standard deviation."""
    from matplotlib.figure import Figure

    fig, evaluated = Figure(figsize=(9, 4.1), layout="constrained"), set()
    axes = fig.subplots(1, 2)
    for colour, (label, paths) in zip(COLOURS, groups.items(), strict=False):
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
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("logs", nargs="+", type=Path, metavar="LOG", help="<case>_log.csv of a run")
    add("--label", action="append", help="name of a setting, one for each in their order (its path)")
    add("--out", type=path_of(".png", ".svg", ".pdf"), required=True, help="file to write (.png, .svg, .pdf)")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    try:
        from matplotlib import style
    except ModuleNotFoundError:
        raise UserError("matplotlib is missing: pip install -r requirements-extra.txt") from None
    groups = group_logs(args.logs)
    labels = args.label or [*groups]
    if len(set(labels)) != len(groups):
        raise UserError(f"--label: {len(labels)} of them for {len(groups)} settings ({', '.join(groups)})")
    with style.context(["default", STYLE]):  # whatever the user's matplotlibrc says
        figure = draw(dict(zip(labels, groups.values(), strict=True)))
        with atomic_write(args.out) as part:
            options = {"pil_kwargs": {"optimize": True}} if args.out.suffix == ".png" else {}
            figure.savefig(part, format=args.out.suffix[1:], dpi=150, **options)
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    with exit_on_error():
        main()
