"""Poses drawn: a clip as a row or an animation, and on a pose what the network makes of its joints.

A pose is (joints, 3) in metres as in the h5: x across, y up, z away from the camera. Whoever is not there is all
zeros. tools/plot.py is the command line.
"""

import textwrap

import h5py
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

import _path

from charts import COLOURS, GREY
from layout import SPLITS
from skeletons import skeleton_of
from util import UserError

TILT = np.radians(10)  # looked down on, so that a step towards the camera shows
MAP = colormaps["viridis_r"]  # even in grey, and the same to any colour vision
BATCH = 64  # clips at a time through the network's inside: 64 of 20 frames and 25 joints are 33 MB a layer


def read_frames(path, clips, i):
    """A clip as the h5 has it: (frames, persons, joints, 3) float32, from its first to its last frame with somebody.

    clips: the data.Clips of that h5, in whatever split; i: the clip's number among them. Raises UserError.
    """
    at = (clips.start + clips.length <= clips.start[i]).sum().item()  # so many clips come before it in the h5
    with h5py.File(path) as file:
        for split in SPLITS:
            if at < len(file[f"{split}x"]):
                break
            at -= len(file[f"{split}x"])
        if not clips.length[i]:
            raise UserError(f"{path}: {split}x: clip {at} is empty; tools/check_h5.py lists such clips")
        dense = file[f"{split}x"][at].reshape(-1, clips.persons, clips.joints, 3)
    there = np.flatnonzero(dense.any(axis=(1, 2, 3)))
    return dense[there[0] : there[-1] + 1]


def view(points, turn=0.0):
    """What a viewer sees: (..., joints, 3) metres -> (..., joints, 2), across and up.

    turn: radians about the vertical, from the camera's own place. NaN for persons, and in pictures for joints, that
    are not there.
    """
    skeleton = skeleton_of(points.shape[-2])
    if skeleton.flat:
        seen = np.where((points != 0).any(axis=-1, keepdims=True), points, np.nan)
        return seen[..., :2] * [1, -1]
    there = points.any(axis=(-2, -1), keepdims=True)
    x, y, z = np.moveaxis(np.where(there, points, np.nan), -1, 0)
    across, away = x * np.cos(turn) + z * np.sin(turn), z * np.cos(turn) - x * np.sin(turn)
    return np.stack([across, y * np.cos(TILT) + away * np.sin(TILT)], axis=-1)


def _add_pose(ax, flat, colour, size=2.0, alpha=1.0):
    """Adds one person, (joints, 2), to the axes."""
    bones = skeleton_of(len(flat)).bones()
    ax.add_collection(LineCollection(flat[bones], colors=colour, lw=size, alpha=alpha, capstyle="round"), autolim=False)
    ax.scatter(*flat.T, s=size**2 * (1.2 if len(bones) else 4), color=colour, alpha=alpha, lw=0, zorder=2)


def _limits(ax, flat, pad=0.08):
    """Fits the axes to all of flat (..., 2), as wide as high in metres. Returns width and height in metres."""
    low, high = np.nanmin(flat.reshape(-1, 2), axis=0) - pad, np.nanmax(flat.reshape(-1, 2), axis=0) + pad
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.axis("off")
    return high - low


def row_figure(frames, lines, poses=8, turn=0.0):
    """A clip as a row of `poses` poses, evenly spaced over its (frames, persons, joints, 3). lines: the title's."""
    seen = view(frames, turn)
    low, high = (f(seen, axis=(0, 1, 2)) for f in (np.nanmin, np.nanmax))
    chosen = np.unique(np.linspace(0, len(frames) - 1, poses).round().astype(int))
    gap = 0.07 * (high[1] - low[1])
    step = high[0] - low[0] + gap
    fig = Figure(layout="constrained")
    ax = fig.subplots()
    for k, i in enumerate(chosen):
        for person, colour in zip(seen[i], COLOURS * len(seen[i]), strict=False):
            _add_pose(ax, person + [k * step, 0], colour, size=1.6)
        ax.text(k * step + (low[0] + high[0]) / 2, low[1] - gap, f"frame {i + 1}", ha="center", va="top", fontsize=8)
    corners = np.array([[low[0], low[1] - 2.2 * gap], [high[0] + step * (len(chosen) - 1), high[1]]])
    width, up = _limits(ax, corners, pad=0.02)
    fig.set_size_inches(10, np.clip(9.8 * up / width, 1.6, 6) + 0.6)
    fig.suptitle(f"{', '.join(lines[:-1])}\n{lines[-1]}")
    return fig


def animation(frames, lines, turn=0.0):
    """The clip's frames one by one: yields RGB images (height, width, 3) uint8."""
    seen = view(frames, turn)
    fig = Figure(figsize=(3.2, 3.6), dpi=100)
    canvas = FigureCanvasAgg(fig)
    fig.suptitle("\n".join(textwrap.shorten(line, 50, placeholder="…") for line in lines), fontsize=9, y=0.99)
    ax = fig.add_axes((0.02, 0.06, 0.96, 0.79))
    _limits(ax, seen)
    for i, persons in enumerate(seen):
        for old in (*ax.collections, *ax.texts):
            old.remove()
        for person, colour in zip(persons, COLOURS * len(persons), strict=False):
            _add_pose(ax, person, colour, size=3)
        ax.text(0.5, -0.02, f"frame {i + 1} of {len(seen)}", transform=ax.transAxes, ha="center", va="top", fontsize=8)
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


@torch.inference_mode()
def look_inside(net, clips, ids, generator):
    """What the joint-level module makes of one draw of each clip, averaged over clips and frames.

    Returns G (joints, joints), rows sum to 1: row i is how joint i gathers from the others (section 3.2); and the
    joints that the spatial max pooling picks, (joints,), which sum to 1: the share of the 256 channels of which each
    joint holds the maximum. A channel that is 0 at all joints picks none and is left out, as are empty frames.
    """
    net.eval()
    seen = {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
        for name, module in (("g", net.compute_g1), ("x", net.gcn3))
    ]
    g, picked, frames = 0, 0, 0
    try:
        for batch in ids.split(BATCH):
            net(x := clips.draw(batch, generator, net.seg))
            there = x.any(dim=-1).flatten()
            g = g + seen["g"][there].sum(dim=0, dtype=torch.float64)
            top, joint = seen["x"][there].max(dim=1)
            picked = picked + torch.bincount(joint[top > 0], minlength=net.num_joint)
            frames += there.sum()
    finally:
        for hook in hooks:
            hook.remove()
    return (g / frames).cpu().numpy(), (picked / picked.sum().clamp(min=1)).double().cpu().numpy()


def telling_pose(frames):
    """The pose to draw weights on, of (frames, persons, joints, 3): the first person's farthest from where it began,
    by the sum of the joints' distances. (joints, 3)"""
    first = frames[:, frames.any(axis=(0, 2, 3)).argmax()]
    first = first[first.any(axis=(1, 2))]
    return first[np.linalg.norm(first - first[0], axis=-1).sum(axis=-1).argmax()]


def graph_figure(panels, title, edges=30, turn=0.0):
    """The learned graph on a pose: its `edges` heaviest edges, and each joint as large as the others gather from it.

    panels: [(heading, pose (joints, 3), G (joints, joints))]. The line between two joints shows the larger of G_ij
    and G_ji; a joint's own share G_ii is not drawn as an edge.
    """
    heaviest = []
    for _, _, g in panels:
        both = np.triu(np.maximum(g, g.T), 1)
        i, j = np.unravel_index(np.argsort(both, axis=None)[::-1][:edges], both.shape)
        heaviest.append((i, j, both[i, j]))
    scale = Normalize(0, max(weight.max(initial=0) for *_, weight in heaviest) or 1)

    def draw(ax, flat, g, k):
        i, j, weight = (values[::-1] for values in heaviest[k])  # the heaviest on top
        lines = LineCollection(np.stack([flat[i], flat[j]], axis=1), lw=0.5 + 3 * scale(weight), zorder=2)
        lines.set(array=weight, cmap=MAP, norm=scale)
        ax.add_collection(lines, autolim=False)
        gathered = g.mean(axis=0)
        ax.scatter(*flat.T, s=8 + 500 * gathered, color="white", edgecolor="black", lw=0.8, zorder=3)

    legend = "weight of an edge, the larger of $G_{ij}$ and $G_{ji}$"
    note = (
        f"the {edges} heaviest edges; a joint j is as large as what all gather from it, the mean of $G_{{ij}}$ over i"
    )
    return _on_poses(panels, title, draw, scale, legend, note, turn)


def joints_figure(panels, title, turn=0.0):
    """The joints that the spatial max pooling picks, on a pose; three are named. panels: heading, pose, (joints,)."""
    scale = Normalize(0, 100 * max(shares.max() for *_, shares in panels))

    def draw(ax, flat, shares, _):
        ax.scatter(
            *flat.T, s=10 + 1500 * shares, c=100 * shares, cmap=MAP, norm=scale, edgecolor="black", lw=0.6, zorder=3
        )
        first = np.argsort(-shares, kind="stable")[:3]
        names = [f"{skeleton_of(len(flat)).joints[i]} {100 * shares[i]:.0f}%" for i in first]
        ax.text(0.5, -0.02, "\n".join(names), transform=ax.transAxes, ha="center", va="top", fontsize=8)

    note = "a joint is as large as its share; below each pose the three joints with the largest"
    return _on_poses(panels, title, draw, scale, "share of the channels that pick the joint (%)", note, turn)


def _on_poses(panels, title, draw, scale, legend, note, turn):
    """A panel for each pose, all to one scale, and a bar for the colours; draw(ax, flat, values, k) fills the k-th."""
    poses = [view(pose, turn) for _, pose, _ in panels]
    middles = [(np.nanmin(flat, axis=0) + np.nanmax(flat, axis=0)) / 2 for flat in poses]
    half = np.max([np.nanmax(flat, axis=0) - middle for flat, middle in zip(poses, middles, strict=True)], axis=0)
    width = min(2.6, max(1.9, 3.4 * half[0] / half[1]))
    fig = Figure(figsize=(max(5, width * len(panels) + 0.9), 4.7))
    fig.set_layout_engine("constrained", h_pad=0.1)
    axes = fig.subplots(1, len(panels), squeeze=False)[0]
    for k, (ax, (heading, _, values)) in enumerate(zip(axes, panels, strict=True)):
        _add_pose(ax, poses[k], GREY, size=5, alpha=0.25)
        draw(ax, poses[k], values, k)
        _limits(ax, np.stack([middles[k] - half, middles[k] + half]))
        ax.set_title(heading, fontsize=9)
    fig.colorbar(ScalarMappable(scale, MAP), ax=axes, shrink=0.7, label=legend, pad=0.01)
    fig.suptitle(title)
    fig.supxlabel(note, fontsize=8)
    return fig
