"""Pictures of training runs and of a test (matplotlib: pip install -r requirements-extra.txt).

    python tools/plot_runs.py curves pretrained/NUCLA/logs/plus_seed*.csv --out curves.png   # mean over seeds
    python tools/plot_runs.py confusion --dataset NUCLA --out confusion.png                  # tests the checkpoint

The end of --out decides the format: .png, .svg or .pdf.
"""

import re
import sys
import textwrap
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from engine.logs import read_log
from pictures import COLOURS, add_data, confusion_counts, open_checkpoint, open_data
from safe import arguments, program
from train import test_checkpoint
from util import UserError

try:
    from matplotlib import style
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ModuleNotFoundError:  # `main` says so
    Figure = None

KINDS = (".png", ".svg", ".pdf")
GREY = "#777777"
STYLE = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False}
STYLE |= {"legend.frameon": False, "svg.hashsalt": "sgn"}


# ---- training curves


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


# ---- test results


def read_test(args):
    """Confusion counts, class names and a title, from a test of the checkpoint."""
    _, name, clips = open_data(args)
    logits, label = test_checkpoint(open_checkpoint(args, name, clips), clips, args.seed)
    counts = confusion_counts(label.cpu().numpy(), logits.cpu().numpy())
    title = f"{name} case {args.case}: top-1 {100 * counts.trace() / len(label):.2f}% of {len(label)} clips"
    return counts, clips.class_names, title


def confusion(args):
    counts, names, title = read_test(args)
    n, names = len(counts), [textwrap.shorten(name, 34, placeholder="…") for name in names]
    side, size = (0.36 * n, 8) if n <= 20 else (0.15 * n, 5)  # inches, points
    fig = Figure(figsize=(max(5, side + 3.2), max(4.2, side + 2.2)), layout="compressed")
    ax = fig.subplots()
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    ax.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    ax.set_yticks(range(n), names, fontsize=size)
    for i, j in zip(*counts.nonzero(), strict=True):
        colour = "white" if percent[i, j] > 55 else "black"
        ax.text(j, i, counts[i, j], ha="center", va="center", fontsize=size - 1, color=colour)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set(xlabel="predicted class", ylabel="true class")
    fig.colorbar(image, shrink=0.6, label="% of the true class's clips")
    fig.suptitle(title)
    return fig


def parse_args(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments.ArgumentParser(description=__doc__)
    if argv[:1] == ["classes"]:
        parser.error("classes: tools/view.py shows each class's accuracy and errors, and their clips")
    commands = parser.add_subparsers(required=True, metavar="picture")
    command = commands.add_parser("curves", help="training curves: mean and spread over the seeds of each setting")
    command.set_defaults(draw=curves)
    command.add_argument("runs", nargs="+", help="logs, or folders of runs; those that differ in the seed go together")
    command.add_argument("--case", type=int, default=0, help="protocol, as in main.py (%(default)s)")
    command.add_argument("--label", action="append", help="name of a setting, one for each in their order")
    matrix = commands.add_parser("confusion", help="confusion matrix of the test clips")
    matrix.set_defaults(draw=confusion)
    add_data(matrix)
    for add in (command.add_argument, matrix.add_argument):
        add("--out", type=Path, required=True, help=f"file to write ({', '.join(KINDS)})")
    args = parser.parse_args(argv)
    if args.out.suffix.lower() not in KINDS:
        parser.error(f"--out {args.out}: not a file that ends in {', '.join(KINDS)}")
    return args


def main(argv=None):
    args = parse_args(argv)
    if Figure is None:
        raise UserError("matplotlib is missing: pip install -r requirements-extra.txt")
    kind = args.out.suffix[1:].lower()
    with style.context(["default", STYLE]):  # whatever the user's matplotlibrc says
        figure = args.draw(args)
        with util.atomic_write(args.out) as part:
            figure.savefig(part, format=kind, dpi=150, pil_kwargs={"optimize": True} if kind == "png" else None)
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    with program.exit_on_error():
        main()
