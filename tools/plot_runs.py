"""Pictures of training runs and of test results (matplotlib: pip install -r requirements-extra.txt).

    python tools/plot_runs.py curves pretrained/NUCLA/logs/plus_seed*.csv --out curves.png   # mean over seeds
    python tools/plot_runs.py confusion --dataset NUCLA --out confusion.png                  # tests the checkpoint
    python tools/plot_runs.py classes --dataset NUCLA --out classes.png                      # accuracy of each class

The end of --out decides the format: .png, .svg or .pdf.
"""

import re
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from engine.logs import read_log
from pictures import COLOURS, GREY, Figure, add_command, add_data, open_checkpoint, open_data, run
from safe import arguments, program
from train import test_checkpoint
from util import UserError

with suppress(ModuleNotFoundError):  # `run` says so
    from matplotlib.ticker import MaxNLocator

FEW = 20  # classes: a confusion matrix of more has no room for numbers in its cells


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


def confusion_counts(label, logits):
    """How many clips of class i (row) were classified as j (column): (classes, classes) int64."""
    n = logits.shape[1]
    return np.bincount(label * n + logits.argmax(axis=1), minlength=n * n).reshape(n, n)


def percent_of_rows(counts):
    return 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def confused_pairs(counts):
    """The errors: [(true class, predicted class, clips, percent of the true class's clips)], most frequent first."""
    percent = percent_of_rows(counts)
    pairs = [(i, j, int(counts[i, j]), float(percent[i, j])) for i, j in zip(*counts.nonzero(), strict=True) if i != j]
    return sorted(pairs, key=lambda pair: (-pair[3], -pair[2], pair[:2]))


def shorten_names(names, longest):
    return [textwrap.shorten(name, longest, placeholder="…") for name in names]


def confusion(args):
    counts, names, title = read_test(args)
    n, few = len(counts), len(counts) <= FEW
    side = 0.36 * n if few else 0.15 * n
    fig = Figure(figsize=(max(5, side + 3.2), max(4.2, side + (2.2 if few else 0.9))), layout="compressed")
    ax = fig.subplots()
    percent, names = percent_of_rows(counts), shorten_names(names, 34)
    image = ax.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    if few:
        ax.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
        ax.set_yticks(range(n), names, fontsize=8)
        for i, j in zip(*counts.nonzero(), strict=True):
            colour = "white" if percent[i, j] > 55 else "black"
            ax.text(j, i, counts[i, j], ha="center", va="center", fontsize=7, color=colour)
    else:
        ax.set_xticks(range(n), range(n), rotation=90, fontsize=6)
        ax.set_yticks(range(n), [f"{name}  {i}" for i, name in enumerate(names)], fontsize=6)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set(xlabel="predicted class", ylabel="true class")
    fig.colorbar(image, shrink=0.6, label="% of the true class's clips")
    fig.suptitle(title)
    return fig


def classes(args):
    counts, names, title = read_test(args)
    clips, percent = counts.sum(axis=1), percent_of_rows(counts).diagonal()
    order = [i for i in np.argsort(percent, kind="stable") if clips[i]]
    pairs = confused_pairs(counts)[: len(order)]
    of_class = shorten_names([names[i] for i in order], 40)
    of_pair = [" → ".join(shorten_names([names[i], names[j]], 28)) for i, j, *_ in pairs]
    rows = max(len(order), len(pairs))
    width = 6 + 0.07 * (max(map(len, of_class)) + max(map(len, of_pair), default=0))
    fig = Figure(figsize=(width, max(3, 0.21 * rows + 1.3)), layout="constrained")
    left, right = fig.subplots(1, 2)
    total = 100 * counts.trace() / clips.sum()
    notes = [f"{percent[i]:.0f}% of {clips[i]}" for i in order]
    _draw_bars(left, percent[order], of_class, notes, COLOURS[0], rows, 100)
    left.axvline(total, color=GREY, lw=1, ls="--")
    left.set(title=f"accuracy of each class (all: {total:.1f}%, dashed)", xlabel="top-1 of the class's clips (%)")
    notes = [f"{share:.0f}% ({n} of {clips[i]})" for i, _, n, share in pairs]
    longest = max([pair[3] for pair in pairs], default=1)
    _draw_bars(right, [pair[3] for pair in pairs], of_pair, notes, COLOURS[1], rows, longest)
    right.set(title="most frequent errors: true → predicted", xlabel="of the true class's clips (%)")
    if not pairs:
        right.text(0.5, 0.5, "no errors", transform=right.transAxes, ha="center")
    fig.suptitle(title)
    return fig


def _draw_bars(ax, values, names, notes, colour, rows, longest):
    """Horizontal bars, from the top down and as high as if there were `rows` of them, with notes to their right."""
    ax.barh(range(len(values)), values, color=colour, height=0.7)
    for y, note in enumerate(notes):
        ax.text(1.04 * longest, y, note, va="center", fontsize=7)
    ax.set_yticks(range(len(values)), names, fontsize=8)
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, 1.35 * longest), ylim=(rows - 0.4, -0.6))
    ax.set_xticks([tick for tick in MaxNLocator(5).tick_values(0, longest) if tick <= longest])


def parse_args(argv=None):
    parser = arguments.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="picture")
    command = add_command(commands, curves, "training curves: mean and spread over the seeds of each setting")
    command.add_argument("runs", nargs="+", help="logs, or folders of runs; those that differ in the seed go together")
    command.add_argument("--case", type=int, default=0, help="protocol, as in main.py (%(default)s)")
    command.add_argument("--label", action="append", help="name of a setting, one for each in their order")
    for function, what in (
        (confusion, "confusion matrix of the test clips"),
        (classes, "accuracy of each class, and the most frequent errors"),
    ):
        add_data(add_command(commands, function, what))
    return parser.parse_args(argv)


if __name__ == "__main__":
    with program.exit_on_error():
        run(parse_args())
