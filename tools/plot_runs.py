"""Training curves (matplotlib: pip install -r requirements-extra.txt).

    python tools/plot_runs.py curves pretrained/NUCLA/logs/plus_seed*.csv --out curves.png   # mean over seeds

The end of --out decides the format: .png, .svg or .pdf.
"""

import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from engine.logs import read_log
from safe import arguments, program
from util import UserError

try:
    from matplotlib import style
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ModuleNotFoundError:  # `main` says so
    Figure = None

KINDS = (".png", ".svg", ".pdf")
# Okabe and Ito's colours, which people with any colour vision can tell apart; their yellow is too light for lines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#777777"
STYLE = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False}
STYLE |= {"legend.frameon": False, "svg.hashsalt": "sgn"}


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
            group = groups.setdefault(setting, [])
            if path not in group:
                group.append(path)
    if len(groups) > len(COLOURS):
        raise UserError(f"{len(groups)} settings; a picture has room for {len(COLOURS)}")
    short = []
    for setting in groups:  # .../NUCLA/SGN/0_log: NUCLA/SGN; .../logs/batch16: batch16
        *folders, name = setting.split("/")
        short.append("/".join(folders[-2:]) if name == f"{case}_log" else name)
    return dict(zip(short if len(set(short)) == len(short) else groups, groups.values(), strict=True))


def mean_std(logs, column):
    """Mean and sample standard deviation over runs, both (epochs,), up to the shortest run's last epoch."""
    epochs = min(len(log[column]) for log in logs)
    values = np.array([log[column][:epochs] for log in logs])
    return values.mean(axis=0), values.std(axis=0, ddof=1) if len(logs) > 1 else np.zeros(epochs)


def curves(args):
    groups = find_logs(args.runs, args.case)
    if args.label and len(set(args.label)) != len(groups):
        raise UserError(f"--label: {len(args.label)} of them for {len(groups)} settings ({', '.join(groups)})")
    fig = Figure(figsize=(9, 4.1), layout="constrained")
    axes = fig.subplots(1, 2)
    evaluated = set()
    for colour, label, paths in zip(COLOURS, args.label or groups, groups.values(), strict=False):
        read = [read_log(path) for path in paths]
        evaluated |= {"validation" if "select: val" in comments else "test" for comments, _ in read}
        for ax, what in zip(axes, ("acc", "loss"), strict=True):
            for column, dashes in ((f"train_{what}", (4, 2)), (f"eval_{what}", ())):
                mean, std = mean_std([log for _, log in read], column)
                epochs = np.arange(1, len(mean) + 1)
                ax.plot(epochs, mean, color=colour, dashes=dashes, lw=1.2, marker="." if len(mean) == 1 else None)
                ax.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.2, lw=0)
        axes[0].plot([], [], color=colour, lw=3, label=f"{label} ({len(paths)} runs)" if len(paths) > 1 else label)
    axes[0].plot([], [], color=GREY, dashes=(4, 2), lw=1.2, label="training clips")
    axes[0].plot([], [], color=GREY, lw=1.2, label=f"{' or '.join(sorted(evaluated))} clips, one sample each")
    axes[0].set(title="top-1", ylabel="top-1 (%)", xlabel="epoch")
    axes[1].set(title="loss (cross entropy, smoothed labels)", ylabel="loss", xlabel="epoch")
    for ax in axes:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.25)
        ax.margins(x=0.01)
    fig.legend(loc="outside lower center", ncols=min(5, len(groups) + 2))
    band = "; mean and standard deviation over runs" if max(map(len, groups.values())) > 1 else ""
    fig.suptitle(f"Training curves{band}")
    return fig


def parse_args(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments.ArgumentParser(description=__doc__)
    if argv[:1] in (["confusion"], ["classes"]):
        parser.error(f"{argv[0]}: tools/view.py --dataset shows the matrix, each class's accuracy, and the clips")
    add = parser.add_argument
    add("command", choices=["curves"], help="mean and spread over the seeds of each setting")
    add("runs", nargs="+", help="logs, or folders of runs; those that differ in the seed go together")
    add("--case", type=int, default=0, help="protocol, as in main.py (%(default)s)")
    add("--label", action="append", help="name of a setting, one for each in their order")
    add("--out", type=Path, required=True, help=f"file to write ({', '.join(KINDS)})")
    args = parser.parse_args(argv)
    if args.out.suffix not in KINDS:
        parser.error(f"--out {args.out}: must end in {', '.join(KINDS)}")
    return args


def main(argv=None):
    args = parse_args(argv)
    if Figure is None:
        raise UserError("matplotlib is missing: pip install -r requirements-extra.txt")
    with style.context(["default", STYLE]):  # whatever the user's matplotlibrc says
        figure = curves(args)
        with util.atomic_write(args.out) as part:
            options = {"pil_kwargs": {"optimize": True}} if args.out.suffix == ".png" else {}
            figure.savefig(part, format=args.out.suffix[1:], dpi=150, **options)
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    with program.exit_on_error():
        main()
