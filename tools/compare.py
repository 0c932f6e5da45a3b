"""Accuracy against size: the published figures, this network, and the results that our own logs state."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

import _path

from charts import COLOURS, GREY
from logs import figures_of, read_log, trained_on
from model import SGN
from util import UserError

ON, OURS = "NTU60 CS", "SGN"  # the data set of the first panel, and the row that is this network


def read_published(path):
    """results/published.csv: a list of rows {dataset, method, parameters (millions, or None), top1 (%), source}."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        for row in rows:
            row["parameters"] = float(row["parameters"]) if row["parameters"] else None
            row["top1"] = float(row["top1"])
            if not 0 <= row["top1"] <= 100 or not 0 < (row["parameters"] or 1) < 1e6 or not row["source"]:
                raise ValueError
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not rows of dataset,method,parameters,top1,source") from None
    if not any((row["dataset"], row["method"]) == (ON, OURS) for row in rows):
        raise UserError(f"{path}: no row for {OURS} on {ON}, to which ours is compared")
    return rows


def parameters_of(classes=60):
    """Counted in the network itself."""
    return sum(p.numel() for p in SGN(classes).parameters())


def parameters_figure(rows, groups=None):
    """Figure 1 of the paper, later models beside it; with groups ({label: [logs]}), a second panel of their results."""
    fig = Figure(figsize=(10.5 if groups else 6.5, 4.3), layout="constrained")
    ax, ours = fig.subplots(1, 2, width_ratios=(3, 2)) if groups else (fig.subplots(), None)
    _against_size(ax, [row for row in rows if row["dataset"] == ON])
    if groups:
        _own_runs(ours, rows, groups)
    return fig


def _against_size(ax, rows):
    count = parameters_of()
    sizes = [row["parameters"] for row in rows if row["parameters"]]
    margin = 6 * max(sizes)  # where those of unknown size stand
    points = []
    for row in rows:
        here = row["method"] == OURS
        x = count / 1e6 if here else row["parameters"] or margin
        colour = COLOURS[1] if here else COLOURS[0] if row["source"] == "paper" else COLOURS[2]
        marker = "*" if here else "o" if row["source"] == "paper" else "s"
        ax.scatter(x, row["top1"], s=160 if here else 28, color=colour, marker=marker, zorder=3)
        points.append((x, row["top1"], row["method"], colour))
    ax.set_xscale("log")
    ax.set(xlim=(min(sizes) / 2, margin * 3), ylim=(min(p[1] for p in points) - 1, max(p[1] for p in points) + 1))
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if min(sizes) / 2 < t < margin / 3]
    ax.xaxis.set(major_locator=FixedLocator([*ticks, margin]), minor_locator=NullLocator())
    ax.set_xticklabels([*(f"{tick:g}" for tick in ticks), "not\nstated"])
    ax.axvline(margin / 2.2, color=GREY, lw=0.8, ls=":")
    for source, colour, marker in (("paper", COLOURS[0], "o"), ("later", COLOURS[2], "s")):
        label = {"paper": "as in figure 1 of the paper", "later": "later models, one stream"}[source]
        ax.scatter([], [], color=colour, marker=marker, s=28, label=label)
    ax.scatter(
        [], [], color=COLOURS[1], marker="*", s=100, label=f"SGN: {count:,} parameters\ncounted here, top-1 the paper's"
    )
    ax.legend(loc="lower left", fontsize=8)
    ax.set(title=f"Published top-1 on {ON}", xlabel="parameters (millions)", ylabel="top-1 (%)")
    ax.grid(alpha=0.25)
    ax.set_axisbelow(True)
    place_labels(ax, points)


def place_labels(ax, points):
    """Writes each (x, y, text, colour) beside its point, on the first side where it hides nothing."""
    fig = ax.figure
    fig.draw_without_rendering()
    fig.set_layout_engine("none")  # as laid out now: what is measured is what is drawn
    taken = [(*(at - 12), *(at + 12)) for at in (ax.transData.transform(p[:2]) for p in points)]
    inside = ax.get_window_extent()
    if legend := ax.get_legend():
        taken.append(legend.get_window_extent().extents)
    # fmt: off
    sides = ((7, 0, "left", "center"), (0, 7, "center", "bottom"), (0, -7, "center", "top"), (-7, 0, "right", "center"),
             (6, 6, "left", "bottom"), (6, -6, "left", "top"), (-6, 6, "right", "bottom"), (-6, -6, "right", "top"))
    # fmt: on
    for x, y, text, colour in sorted(points, key=lambda point: -point[1]):
        best = None
        for dx, dy, ha, va in sides:
            note = ax.annotate(
                text, (x, y), (dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=8, color=colour
            )
            x0, y0, x1, y1 = box = note.get_window_extent().extents
            hidden = sum(x0 < b[2] and b[0] < x1 and y0 < b[3] and b[1] < y1 for b in taken)
            hidden += 2 * (x0 < inside.x0 or x1 > inside.x1 or y0 < inside.y0 or y1 > inside.y1)
            if best is None or hidden < best[0]:
                if best:
                    best[1].remove()
                best = hidden, note, box
            else:
                note.remove()
            if not hidden:
                break
        taken.append(best[2])


def _own_runs(ax, rows, groups):
    colours, names = (COLOURS[0], COLOURS[1]), []
    for y, (label, paths) in enumerate(groups.items()):
        figures = [figures_of(path) for path in paths]
        names.append(label)
        for k, column in enumerate((1, 2)):
            values = np.array([figure[column] for figure in figures])
            spread = values.std(ddof=1) if len(values) > 1 else 0
            at = y + (k - 0.5) * 0.36
            ax.scatter(values, np.full(len(values), at), s=14, color=colours[k], alpha=0.5, lw=0)
            ax.errorbar(values.mean(), at, xerr=spread, fmt="D", color=colours[k], ms=6, capsize=3)
            text = f"{values.mean():.2f} ± {spread:.2f}" if len(values) > 1 else f"{values.mean():.2f}"
            ax.annotate(text, (values.mean(), at), (0, 7), textcoords="offset points", ha="center", fontsize=8)
    how = {figures_of(path)[0] for paths in groups.values() for path in paths}
    for k, label in enumerate((" / ".join(sorted(how)), "last epoch")):
        ax.scatter([], [], color=colours[k], marker="D", s=30, label=label)
    on = {trained_on(read_log(path)[0]) for paths in groups.values() for path in paths}
    for row in rows:
        if {row["dataset"]} == on:
            ax.axvline(row["top1"], color=GREY, ls="--", lw=1, label=f"{row['method']}: {row['top1']:g} (published)")
    ax.legend(loc="lower left", fontsize=8)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(1.35 * len(names) - 0.4, -0.6)  # room for the legend below them
    ax.margins(x=0.15)
    runs = sum(map(len, groups.values()))
    ax.set(title=f"Our {runs} runs on {', '.join(sorted(map(str, on)))}, five draws", xlabel="top-1 (%)")
    ax.grid(axis="x", alpha=0.25)
