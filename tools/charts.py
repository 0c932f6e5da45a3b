"""Charts of runs and predictions, and the numbers behind them. tools/plot.py is their command line.

Every function that draws returns a matplotlib Figure; the others return plain numbers, in percent where it says so.
"""

import os
import re
import textwrap
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure

import _path

from logs import read_log, said, trained_on
from util import UserError

# Okabe and Ito's colours, which people with any colour vision tell apart; yellow is too light for lines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#777777"
STYLE = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False}
STYLE |= {"legend.frameon": False, "svg.hashsalt": "sgn"}
CELLS = 20  # classes up to which a confusion matrix has room for numbers and for names on both sides


def styled():
    """A context in which to draw and save: our style on matplotlib's own, whatever the user's matplotlibrc says."""
    return style.context(["default", STYLE])


def find_logs(sources, case):
    """The runs of each setting: {label: [log files]}. Runs whose paths differ in `seed<n>` or `split<n>` alone are one.

    sources: logs, or folders of runs: those in seed<n>/, or else in split<n>/, or else the folder's own <case>_log.csv.
    """
    groups = {}
    for source in map(Path, sources):
        paths = [source]
        if source.is_dir():
            found = [*source.glob(f"seed*/{case}_log.csv")] or [*source.glob(f"split*/{case}_log.csv")]
            paths = sorted(found, key=lambda path: (len(path.parent.name), path)) or [source / f"{case}_log.csv"]
        for path in paths:
            if not path.is_file():
                raise UserError(f"{path}: no such log; main.py writes one when it trains")
            key = re.sub(r"[_/.-]?(seed|split)\d+", "", path.absolute().with_suffix("").as_posix())
            group = groups.setdefault(key, [])
            group += [path] if path not in group else []
    if len(groups) > len(COLOURS):
        raise UserError(f"{len(groups)} settings: a picture takes at most {len(COLOURS)}")
    parts = [key.split("/") for key in groups]
    if len(parts) > 1:  # what tells the paths apart
        first = len(os.path.commonprefix(parts))
        last = len(os.path.commonprefix([part[first:][::-1] for part in parts]))
        parts = [part[first : len(part) - last] or part[-1:] for part in parts]
    else:
        parts = [part[-3:-1] if part[-1].endswith("_log") else part[-1:] for part in parts]
    return dict(zip(("/".join(part) for part in parts), groups.values(), strict=True))


def mean_spread(logs, column):
    """Over the runs: mean and sample standard deviation (0 for one run), both (epochs,), to the shortest run's end."""
    epochs = min(len(log[column]) for log in logs)
    values = np.stack([log[column][:epochs] for log in logs])
    return values.mean(axis=0), values.std(axis=0, ddof=1) if len(logs) > 1 else np.zeros(epochs)


def curves(groups):
    """Top-1 and loss over the epochs, a colour a setting, mean and a band of one standard deviation over its runs."""
    read = {label: [read_log(path) for path in paths] for label, paths in groups.items()}
    comments = [lines for runs in read.values() for lines, _ in runs]
    watched = {said(lines, r"select:? (\w+)") == "val" for lines in comments}
    watched = {(False,): "test", (True,): "held out"}.get(tuple(watched), "watched")
    fig = Figure(figsize=(9, 3.8), layout="constrained")
    axes = fig.subplots(1, 2)
    for colour, (label, runs) in zip(COLOURS, read.items(), strict=False):
        logs = [log for _, log in runs]
        for ax, learn, watch in ((axes[0], "acc", "val_acc"), (axes[1], "loss", "val_loss")):
            for column, dashes in ((learn, (4, 2)), (watch, ())):
                mean, spread = mean_spread(logs, column)
                epochs = np.arange(1, len(mean) + 1)
                ax.plot(epochs, mean, color=colour, dashes=dashes, lw=1.2)
                ax.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
        several = f" ({len(logs)} runs)" if len(logs) > 1 else ""
        axes[0].plot([], [], color=colour, lw=3, label=f"{label}{several}")
    axes[0].plot([], [], color=GREY, dashes=(4, 2), lw=1.2, label="training")
    axes[0].plot([], [], color=GREY, lw=1.2, label=f"{watched}, one draw a clip")
    axes[0].set(title="top-1", ylabel="top-1 (%)", xlabel="epoch")
    axes[1].set(title="loss (cross entropy, smoothed labels)", ylabel="loss", xlabel="epoch")
    axes[0].set_ylim(top=101)
    axes[0].legend(loc="lower right")
    for ax in axes:
        ax.grid(alpha=0.25)
        ax.margins(x=0.01)
    names = ", ".join(sorted({trained_on(lines) for lines in comments} - {None}))
    band = "; mean and standard deviation over runs" if any(len(runs) > 1 for runs in read.values()) else ""
    fig.suptitle(f"SGN{f' on {names}' if names else ''}: training{band}")
    return fig


def read_predictions(folder, case):
    """<case>_lable.txt and <case>_pred.txt of a test: labels (n,) int64, logits (n, classes). Raises UserError."""
    read = []
    for suffix, kind, rank in (("lable", np.int64, 1), ("pred", np.float64, 2)):
        path = Path(folder) / f"{case}_{suffix}.txt"
        if not path.is_file():
            raise UserError(f"{path}: no such file; main.py writes it when it tests")
        try:
            read.append(np.loadtxt(path, dtype=kind, ndmin=rank))
        except ValueError as error:
            raise UserError(f"{path}: not what main.py writes ({str(error).splitlines()[0]})") from None
    labels, logits = read
    if labels.ndim != 1 or len(labels) != len(logits) or not len(labels) or not np.isfinite(logits).all():
        raise UserError(f"{folder}: {len(labels)} labels and {len(logits)} lines of logits are not of one test")
    if not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise UserError(
            f"{path.parent}: labels {labels.min()} to {labels.max()}, but logits of {logits.shape[1]} classes"
        )
    return labels, logits


def confusion(labels, logits):
    """How many clips of class i (row) were taken for class j (column): (classes, classes) int64."""
    n = logits.shape[1]
    return np.bincount(labels * n + logits.argmax(axis=1), minlength=n * n).reshape(n, n)


def per_class(counts):
    """Share of each class's clips that were recognised, percent; NaN for a class without clips. (classes,)"""
    clips = counts.sum(axis=1)
    return 100 * np.divide(counts.diagonal(), clips, out=np.full(len(clips), np.nan), where=clips > 0)


def confused_pairs(counts):
    """Who is taken for whom: [(class, taken for, clips, share of the class's clips in percent)], worst first."""
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    pairs = [(i, j, int(counts[i, j]), float(shares[i, j])) for i, j in zip(*counts.nonzero(), strict=True) if i != j]
    return sorted(pairs, key=lambda pair: (-pair[3], -pair[2], pair[:2]))


def confusion_figure(counts, names, title):
    """The matrix in percent of each row, with counts in the cells as long as there is room."""
    n, few = len(counts), len(counts) <= CELLS
    side = 0.36 * n if few else 0.15 * n
    fig = Figure(figsize=(max(5, side + 3.2), max(4.2, side + (2.2 if few else 0.9))), layout="compressed")
    ax = fig.subplots()
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    names = [textwrap.shorten(name, 34, placeholder="…") for name in names]
    size = 8 if few else 6
    if few:
        ax.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
        ax.set_yticks(range(n), names, fontsize=size)
        for i, j in zip(*counts.nonzero(), strict=True):
            ax.text(
                j, i, counts[i, j], ha="center", va="center", fontsize=7, color="white" if shares[i, j] > 55 else "k"
            )
    else:
        ax.set_xticks(range(n), range(1, n + 1), rotation=90, fontsize=size)
        ax.set_yticks(range(n), [f"{name}  {i}" for i, name in enumerate(names, 1)], fontsize=size)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set(xlabel="predicted class", ylabel="true class")
    fig.colorbar(image, shrink=0.6, label="% of the true class's clips")
    fig.suptitle(title)
    return fig


def classes_figure(counts, names, title, pairs=None):
    """Accuracy of each class, worst first, and beside it the worst-confused pairs, `pairs` or as many as classes."""
    rates, clips = per_class(counts), counts.sum(axis=1)
    there = np.flatnonzero(clips)
    order = there[np.argsort(rates[there], kind="stable")]
    worst = confused_pairs(counts)[: pairs or len(order)]
    of_class = [textwrap.shorten(names[i], 40, placeholder="…") for i in order]
    of_pair = [" → ".join(textwrap.shorten(names[k], 28, placeholder="…") for k in pair[:2]) for pair in worst]
    rows = max(len(order), len(worst))
    width = 6 + 0.07 * sum(max(map(len, labels), default=0) for labels in (of_class, of_pair))
    fig = Figure(figsize=(width, max(3, 0.21 * rows + 1.3)), layout="constrained")
    left, right = fig.subplots(1, 2)
    _bars(left, rates[order], of_class, [f"{rates[i]:.0f}% of {clips[i]}" for i in order], COLOURS[0], rows)
    left.set(title="accuracy of each class, worst first", xlabel="top-1 of the class's clips (%)", xlim=(0, 130))
    left.set_xticks(range(0, 101, 20))
    total = 100 * counts.diagonal().sum() / clips.sum()
    left.axvline(total, color=GREY, lw=1, ls="--", zorder=0)
    notes = [f"{share:.0f}% ({n} of {clips[i]})" for i, _, n, share in worst]
    _bars(right, [pair[3] for pair in worst], of_pair, notes, COLOURS[1], rows)
    right.set(title="most confused: true → predicted", xlabel="of the true class's clips (%)")
    right.set_xlim(0, 1.5 * max([pair[3] for pair in worst], default=1))
    if not worst:
        right.text(0.5, 0.5, "no clip is confused", transform=right.transAxes, ha="center")
    fig.suptitle(f"{title}: top-1 {total:.2f}% (dashed)")
    return fig


def _bars(ax, values, names, notes, colour, rows):
    """Bars from the top down, as high as if there were `rows` of them."""
    at = np.arange(len(values))
    ax.barh(at, values, color=colour, height=0.7)
    for y, value, note in zip(at, values, notes, strict=True):
        box = {"color": "white", "pad": 0.8}
        ax.annotate(note, (value, y), (3, 0), textcoords="offset points", va="center", fontsize=7, bbox=box)
    ax.set_yticks(at, names, fontsize=8)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(rows - 0.4, -0.6)
