"""A picture of a clip: an animation, or its poses in a row (matplotlib: pip install -r requirements-extra.txt).

    python tools/plot_clips.py clip --dataset DEMO --class handshaking --out clip.gif
    python tools/plot_clips.py clip --dataset DEMO --clip 3 --out clip.png

The end of --out decides the format: .gif, .png, .svg or .pdf. If there is a checkpoint, the title has what it predicts.
In the arrays here a pose is (joints, 3) in metres as in the h5, x across, y up and z away from the camera, and all
zeros for an absent person.
"""

import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from clips.h5 import SPLITS
from pictures import COLOURS, Figure, add_command, add_data, open_checkpoint, open_data, run
from safe import arguments, program
from safe.h5 import open_h5
from train import predict_logits
from util import UserError

with suppress(ModuleNotFoundError):  # `run` says so
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection

TILT = np.radians(10)  # seen a little from above, so that a step towards the camera shows
POSES = 8  # in a row
FPS = 30  # of an animation


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


def project(points, is_2d=False):
    """Metres (..., joints, 3) -> what a viewer sees, (..., joints, 2), across and up.

    is_2d: of pictures, y down. NaN for absent persons, and in 2D data for joints that were not seen.
    """
    present = points.any(axis=-1 if is_2d else (-2, -1), keepdims=True)
    x, y, z = np.moveaxis(np.where(present, points, np.nan), -1, 0)
    return np.stack([x, -y if is_2d else y * np.cos(TILT) + z * np.sin(TILT)], axis=-1)


def draw_pose(ax, flat, skeleton, colour, size):
    """Adds one person, (joints, 2), to the axes."""
    bones = skeleton.bones()
    ax.add_collection(LineCollection(flat[bones], colors=colour, lw=size, capstyle="round"), autolim=False)
    ax.scatter(*flat.T, s=size**2 * (1.2 if len(bones) else 4), color=colour, lw=0, zorder=2)


def set_limits(ax, flat, pad=0.08):
    """Makes room for all of flat, (..., 2), to one scale. Returns its width and height in metres."""
    low, high = np.nanmin(flat.reshape(-1, 2), axis=0) - pad, np.nanmax(flat.reshape(-1, 2), axis=0) + pad
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.axis("off")
    return high - low


def class_number(text, names):
    """The class of a name or of a number from 0. Raises UserError."""
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    known = ", ".join(f"{i} {name}" for i, name in enumerate(names))
    raise UserError(f"--class {text}: not one of {known}{arguments.did_you_mean(text, names)}")


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
    unknown = "" if len(clips.skeleton.bones()) else ", bones unknown"
    lines = [f"true: {clips.class_names[clips.label[ids[i]].item()]}"]
    lines.append(f"{name} case {args.case}{unknown}, {args.split} clip {i}")
    if checkpoint:
        seed = checkpoint.seed if args.seed is None else args.seed
        logits = predict_logits(checkpoint.net.to(ids.device), clips, ids[i : i + 1], checkpoint.recipe, seed)
        probability, predicted = logits[0].softmax(dim=0).max(dim=0)
        lines.insert(0, f"predicted: {clips.class_names[predicted]} ({probability:.2f})")
    points = project(frames, not clips.spatial)
    if args.out.suffix.lower() == ".gif":
        return animate(points, clips.skeleton, lines, args.dpi or 100), FPS
    return draw_row(points, clips.skeleton, lines)


def draw_row(points, skeleton, lines):
    """A Figure of POSES poses, evenly spaced over a clip, (frames, persons, joints, 2). lines: the title's."""
    low, high = np.nanmin(points, axis=(0, 1, 2)), np.nanmax(points, axis=(0, 1, 2))
    chosen = np.unique(np.linspace(0, len(points) - 1, POSES).round().astype(int))
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


def parse_args(argv=None):
    parser = arguments.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="picture")
    command = add_command(commands, clip, "a row of poses, or with .gif an animation", (".png", ".svg", ".pdf", ".gif"))
    command.add_argument("--class", dest="class_", metavar="CLASS", help="the first clip of a class: name, or number")
    command.add_argument("--clip", type=int, help="or a clip's number in the split, from 0")
    command.add_argument("--split", choices=("train", "valid", "test"), default="test", help="(%(default)s)")
    add_data(command)
    return parser.parse_args(argv)


if __name__ == "__main__":
    with program.exit_on_error():
        run(parse_args())
