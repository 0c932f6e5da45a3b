"""Pictures of clips, and of what the network makes of them (matplotlib: pip install -r requirements-extra.txt).

    python tools/plot_clips.py clip --dataset DEMO --class handshaking --out clip.gif    # .png: poses in a row
    python tools/plot_clips.py graph --dataset DEMO --class clapping --out graph.png     # the learned graph G
    python tools/plot_clips.py joints --dataset DEMO --class clapping --out joints.png   # joints that max pooling picks

The end of --out decides the format: .png, .svg, .pdf, or for a clip .gif. In the arrays here a pose is (joints, 3) in
metres as in the h5, x across, y up and z away from the camera, and all zeros for an absent person.
"""

import sys
import textwrap
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from clips.h5 import SPLITS
from pictures import COLOURS, GREY, Figure, add_command, add_data, open_checkpoint, open_data, run
from safe import program
from safe.h5 import open_h5
from train import test_logits
from util import UserError

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize
except ModuleNotFoundError:
    pass  # `run` says so

TILT = np.radians(10)  # seen a little from above, so that a step towards the camera shows
MAP = "viridis_r"  # even in grey, and the same to any colour vision
BATCH = 64  # clips
LARGEST = 6  # joints that are listed


# ---- poses


def read_frames(path, clips, i):
    """A clip as the h5 has it, between its first and last frame with a person: (frames, persons, joints, 3) float32.

    clips: the Clips of that h5, in any split; i: the clip's number among them. Raises UserError for an empty clip.
    """
    k = (clips.start + clips.length <= clips.start[i]).sum().item()  # so many clips come before it in the h5
    with open_h5(path) as file:
        for split in SPLITS:
            if k < len(file[f"{split}x"]):
                break
            k -= len(file[f"{split}x"])
        if not clips.length[i]:
            raise UserError(f"{path}: {split}x: clip {k} is empty; tools/check_h5.py lists such clips")
        dense = file[f"{split}x"][k].reshape(-1, clips.persons, clips.joints, 3)
    present = np.flatnonzero(dense.any(axis=(1, 2, 3)))
    return dense[present[0] : present[-1] + 1]


def project(points, is_2d=False, turn=0.0):
    """Metres (..., joints, 3) -> what a viewer sees, (..., joints, 2), across and up.

    is_2d: of pictures, y down. turn: radians about the vertical, from the camera's place. NaN for absent persons, and
    in 2D data for joints that were not seen.
    """
    if is_2d:
        return np.where((points != 0).any(axis=-1, keepdims=True), points, np.nan)[..., :2] * [1, -1]
    present = points.any(axis=(-2, -1), keepdims=True)
    x, y, z = np.moveaxis(np.where(present, points, np.nan), -1, 0)
    across, away = x * np.cos(turn) + z * np.sin(turn), z * np.cos(turn) - x * np.sin(turn)
    return np.stack([across, y * np.cos(TILT) + away * np.sin(TILT)], axis=-1)


def draw_pose(ax, flat, skeleton, colour, size=2.0, alpha=1.0):
    """Adds one person, (joints, 2), to the axes."""
    bones = skeleton.bones()
    ax.add_collection(LineCollection(flat[bones], colors=colour, lw=size, alpha=alpha, capstyle="round"), autolim=False)
    ax.scatter(*flat.T, s=size**2 * (1.2 if len(bones) else 4), color=colour, alpha=alpha, lw=0, zorder=2)


def set_limits(ax, flat, pad=0.08):
    """Makes room for all of flat, (..., 2), to one scale. Returns its width and height in metres."""
    low, high = np.nanmin(flat.reshape(-1, 2), axis=0) - pad, np.nanmax(flat.reshape(-1, 2), axis=0) + pad
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.axis("off")
    return high - low


def skeleton_note(skeleton):
    return "" if len(skeleton.bones()) else ", bones unknown"


def class_number(text, names):
    """The class of a name or of a number from 0. Raises UserError."""
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    known = ", ".join(f"{i} {name}" for i, name in enumerate(names))
    raise UserError(f"--class {text}: not one of {known}{util.did_you_mean(text, names)}")


# ---- a clip


def clip(args):
    path, name, clips = open_data(args)
    checkpoint = open_checkpoint(args, name, clips, optional=True)
    if checkpoint:
        clips = clips.resplit(checkpoint.split)
    ids, i = clips.ids(args.split), args.clip or 0
    if args.class_ and args.clip is not None:
        raise UserError("--class and --clip: take one of them")
    if args.class_:
        of_class = (clips.label[ids] == class_number(args.class_, clips.class_names)).nonzero()
        if not len(of_class):
            raise UserError(f"--class {args.class_}: no {args.split} clip of it")
        i = of_class[0].item()
    if not 0 <= i < len(ids):
        raise UserError(f"--clip {i}: the {args.split} split has {len(ids)} clips, numbered from 0")
    frames = read_frames(path, clips, ids[i].item())
    lines = [f"true: {clips.class_names[clips.label[ids[i]].item()]}"]
    lines.append(f"{name} case {args.case}{skeleton_note(clips.skeleton)}, {args.split} clip {i}")
    if checkpoint:
        seed = checkpoint.seed if args.seed is None else args.seed
        logits = test_logits(checkpoint.net.to(ids.device), clips, ids[i : i + 1], checkpoint.recipe, seed)
        probability, predicted = logits[0].softmax(dim=0).max(dim=0)
        lines.insert(0, f"predicted: {clips.class_names[predicted]} ({probability:.2f})")
    points = project(frames, not clips.spatial, np.radians(args.turn))
    if args.out.suffix.lower() == ".gif":
        return animate(points, clips.skeleton, lines, args.dpi or 100), args.fps
    return draw_row(points, clips.skeleton, lines, args.poses)


def draw_row(points, skeleton, lines, poses=8):
    """A Figure of `poses` poses, evenly spaced over a clip, (frames, persons, joints, 2). lines: the title's."""
    low, high = np.nanmin(points, axis=(0, 1, 2)), np.nanmax(points, axis=(0, 1, 2))
    chosen = np.unique(np.linspace(0, len(points) - 1, poses).round().astype(int))
    gap = 0.07 * (high[1] - low[1])
    step = high[0] - low[0] + gap
    fig = Figure(layout="constrained")
    ax = fig.subplots()
    for k, i in enumerate(chosen):
        for person, colour in zip(points[i], COLOURS * len(points[i]), strict=False):
            draw_pose(ax, person + [k * step, 0], skeleton, colour, size=1.6)
        ax.text(k * step + (low[0] + high[0]) / 2, low[1] - gap, f"frame {i + 1}", ha="center", va="top", fontsize=8)
    corners = np.array([[low[0], low[1] - 2.2 * gap], [high[0] + step * (len(chosen) - 1), high[1]]])
    width, height = set_limits(ax, corners, pad=0.02)
    fig.set_size_inches(10, np.clip(9.8 * height / width, 1.6, 6) + 0.6)
    fig.suptitle(", ".join(lines))
    return fig


def animate(points, skeleton, lines, dpi):
    """Yields an RGB image (height, width, 3) uint8 for each frame of a clip, (frames, persons, joints, 2)."""
    fig = Figure(figsize=(3.2, 3.6), dpi=dpi)
    canvas = FigureCanvasAgg(fig)
    fig.suptitle("\n".join(textwrap.shorten(line, 50, placeholder="…") for line in lines), fontsize=9, y=0.99)
    ax = fig.add_axes((0.02, 0.06, 0.96, 0.79))
    set_limits(ax, points)
    for i, persons in enumerate(points):
        for old in (*ax.collections, *ax.texts):
            old.remove()
        for person, colour in zip(persons, COLOURS * len(persons), strict=False):
            draw_pose(ax, person, skeleton, colour, size=3)
        ax.text(
            0.5, -0.02, f"frame {i + 1} of {len(points)}", transform=ax.transAxes, ha="center", va="top", fontsize=8
        )
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


# ---- the joint-level module


@torch.inference_mode()
def joint_level_statistics(net, clips, ids, generator, whole_clip=False):
    """The learned graph and the spatial max pooling, over the frames of one sample of each clip.

    Returns G (joints, joints), the mean over frames, whose rows sum to 1 (section 3.2); and the share of each joint,
    (joints,), in the maxima of the 256 channels, which sum to 1. Left out: channels that are 0 at all joints, and
    empty frames.
    """
    net.eval()
    outputs = {}
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: outputs.update({name: output}))
        for name, module in (("g", net.compute_g1), ("x", net.gcn3))
    ]
    g, counts, frames = 0, 0, 0
    try:
        for batch in ids.split(BATCH):
            x = clips.sample(batch, generator, net.seg, whole_clip)
            net(x)
            present = x.any(dim=-1).flatten()
            g = g + outputs["g"][present].sum(dim=0, dtype=torch.float64)
            highest, joint = outputs["x"][present].max(dim=1)
            counts = counts + torch.bincount(joint[highest > 0], minlength=net.num_joint)
            frames += present.sum()
    finally:
        for hook in hooks:
            hook.remove()
    return (g / frames).cpu().numpy(), (counts / counts.sum().clamp(min=1)).double().cpu().numpy()


def moved_pose(frames):
    """The pose of the first person in a clip that is farthest from its first pose: (joints, 3)."""
    first = frames[:, frames.any(axis=(0, 2, 3)).argmax()]
    first = first[first.any(axis=(1, 2))]
    return first[np.linalg.norm(first - first[0], axis=-1).sum(axis=-1).argmax()]


def read_classes(args):
    """For each --class: heading, pose (joints, 2), G, shares; the Skeleton; and the end of the title."""
    path, name, clips = open_data(args)
    checkpoint = open_checkpoint(args, name, clips)
    if checkpoint.net.ablate:
        raise UserError(f"{checkpoint.path}: ablated ({', '.join(checkpoint.net.ablate)}); take a whole network")
    clips = clips.resplit(checkpoint.split)
    if not 1 <= len(args.classes) <= 6:
        raise UserError(f"--class: {len(args.classes)} of them; take 1 to 6")
    net, seed, ids = checkpoint.net.to(clips.label.device), args.seed, clips.ids("test")
    panels = []
    for text in args.classes:
        number = class_number(text, clips.class_names)
        of_class = ids[clips.label[ids] == number]
        if not len(of_class):
            raise UserError(f"--class {text}: no test clip of it")
        generator = torch.Generator(ids.device).manual_seed(checkpoint.seed if seed is None else seed)
        statistics = joint_level_statistics(net, clips, of_class, generator, checkpoint.recipe.whole_clip)
        frames = read_frames(path, clips, of_class[0].item())
        pose = project(moved_pose(frames), not clips.spatial, np.radians(args.turn))
        panels.append((f"{clips.class_names[number]}\n({len(of_class)} clips)", pose, *statistics))
    return (
        panels,
        clips.skeleton,
        f"{name} case {args.case}{skeleton_note(clips.skeleton)}, mean over the test clips of a class",
    )


def graph(args):
    panels, skeleton, title = read_classes(args)
    edges = []
    for _, _, g, _ in panels:
        both = np.triu(np.maximum(g, g.T), 1)
        i, j = np.unravel_index(np.argsort(both, axis=None)[::-1][: args.edges], both.shape)
        edges.append((i, j, both[i, j]))
    scale = Normalize(0, max(weight.max(initial=0) for *_, weight in edges) or 1)
    fig, axes = draw_panels(panels, skeleton, f"Learned graph G\n{title}", scale, "the larger of $G_{ij}$ and $G_{ji}$")
    for ax, (_, flat, g, _), (i, j, weight) in zip(axes[0], panels, edges, strict=True):
        order = weight.argsort()  # the heaviest on top
        lines = LineCollection(np.stack([flat[i], flat[j]], axis=1)[order], lw=0.5 + 3 * scale(weight[order]), zorder=2)
        lines.set(array=weight[order], cmap=MAP, norm=scale)
        ax.add_collection(lines, autolim=False)
        ax.scatter(*flat.T, s=8 + 500 * g.mean(axis=0), color="white", edgecolor="black", lw=0.8, zorder=3)
    note = (
        f"the {args.edges} heaviest edges; the area of joint j is the mean of $G_{{ij}}$ over i, what all take from it"
    )
    fig.supxlabel(note, fontsize=8)
    return fig


def joints(args):
    panels, skeleton, title = read_classes(args)
    scale = Normalize(0, 100 * max(shares.max() for *_, shares in panels))
    title = f"Joints that the spatial max pooling picks\n{title}"
    fig, axes = draw_panels(panels, skeleton, title, scale, "% of the channels", rows=2)
    for ax, bars, (_, flat, _, shares) in zip(*axes, panels, strict=True):
        order = np.argsort(-shares, kind="stable")  # the smaller on top of the larger, which are see-through
        points = {"s": 8 + 1100 * shares[order], "c": 100 * shares[order], "cmap": MAP, "norm": scale}
        ax.scatter(*flat[order].T, **points, alpha=0.75, edgecolor="black", lw=0.6, zorder=3)
        largest = order[:LARGEST]
        colours = ScalarMappable(scale, MAP).to_rgba(100 * shares[largest])
        bars.barh(range(len(largest)), 100 * shares[largest], color=colours, edgecolor="black", lw=0.6)
        bars.set_yticks(range(len(largest)), [skeleton.joints[i] for i in largest], fontsize=8)
        bars.set(xlim=(0, 1.05 * scale.vmax), ylim=(LARGEST - 0.4, -0.6), xlabel="% of the channels")
        bars.tick_params(axis="y", length=0)
    return fig


def draw_panels(panels, skeleton, title, scale, legend, rows=1):
    """A Figure with a column for each panel, all poses to one scale, and a colour bar; and its axes, (rows, panels)."""
    poses = [flat for _, flat, *_ in panels]
    middles = [(np.nanmin(flat, axis=0) + np.nanmax(flat, axis=0)) / 2 for flat in poses]
    half = np.max([np.nanmax(flat, axis=0) - middle for flat, middle in zip(poses, middles, strict=True)], axis=0)
    width = max(2.4, min(3, 4 * half[0] / half[1]))
    fig = Figure(figsize=(max(5, width * len(panels) + 0.9), 4.6 + (rows - 1)), layout="constrained")
    fig.get_layout_engine().set(h_pad=0.08)
    axes = fig.subplots(rows, len(panels), squeeze=False, height_ratios=(3, 1)[:rows])
    for ax, (heading, flat, *_), middle in zip(axes[0], panels, middles, strict=True):
        draw_pose(ax, flat, skeleton, GREY, size=5, alpha=0.25)
        set_limits(ax, np.stack([middle - half, middle + half]))
        ax.set_title(heading, fontsize=9)
    fig.colorbar(ScalarMappable(scale, MAP), ax=axes[0], shrink=0.8, label=legend, pad=0.01)
    fig.suptitle(title)
    return fig, axes


def parse_args(argv=None):
    parser = util.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="picture")
    what = "name of the class, or its number from 0"
    command = add_command(commands, clip, "a row of poses, or with .gif an animation", (".png", ".svg", ".pdf", ".gif"))
    command.add_argument("--class", dest="class_", metavar="CLASS", help=f"the first clip of a class: {what}")
    command.add_argument("--clip", type=int, help="or a clip's number in the split, from 0")
    command.add_argument("--split", choices=("train", "valid", "test"), default="test", help="(%(default)s)")
    command.add_argument("--poses", type=util.positive_int, default=8, help="in the row (%(default)s)")
    command.add_argument("--fps", type=util.positive_float, default=30, help="of a .gif, at most 50 (%(default)s)")
    several = [command]
    for function, help in ((graph, "the learned graph G"), (joints, "joints that the spatial max pooling picks")):
        command = add_command(commands, function, f"{help}, mean over the test clips of a class")
        command.add_argument("--class", dest="classes", metavar="CLASS", action="append", default=[], help=what)
        if function is graph:
            command.add_argument("--edges", type=util.positive_int, default=30, help="to be drawn (%(default)s)")
        several.append(command)
    for command in several:
        add_data(command)
        command.add_argument("--turn", type=float, default=0, help="degrees to walk around the person (%(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    with program.exit_on_error():
        run(parse_args())
