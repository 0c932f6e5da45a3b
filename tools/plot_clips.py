"""A clip of a data set as an animated GIF (matplotlib: pip install -r requirements-extra.txt).

    python tools/plot_clips.py --dataset DEMO --class handshaking --out clip.gif

If there is a checkpoint, the title has what it predicts. To look at clips, tools/view.py makes a page.
"""

import sys
import textwrap
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from pictures import COLOURS, add_data, open_checkpoint, open_data, read_frames
from safe import arguments, program
from train import predict_logits
from util import UserError

TILT = np.radians(10)  # seen a little from above, so that a step towards the camera shows
FPS = 30


def project(points, is_2d=False):
    """Metres (..., joints, 3) -> what a viewer sees, (..., joints, 2), across and up.

    x points to the left, as in a Kinect's axes; is_2d: of pictures, x to the right, y down. NaN for absent persons, and
    in 2D data for joints that were not seen.
    """
    present = points.any(axis=-1 if is_2d else (-2, -1), keepdims=True)
    x, y, z = np.moveaxis(np.where(present, points, np.nan), -1, 0)
    return np.stack([x, -y] if is_2d else [-x, y * np.cos(TILT) + z * np.sin(TILT)], axis=-1)


def class_number(text, names):
    """The class of a name or of a number from 0. Raises UserError."""
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    known = ", ".join(f"{i} {name}" for i, name in enumerate(names))
    raise UserError(f"--class {text}: not one of {known}{arguments.did_you_mean(text, names)}")


def read_clip(args):
    """The first test clip of a class: its points for a viewer, (frames, persons, joints, 2), Skeleton and title."""
    path, name, clips = open_data(args)
    checkpoint = open_checkpoint(args, name, clips, optional=True)
    clips = clips.resplit(checkpoint.split) if checkpoint else clips
    label, ids = class_number(args.class_, clips.class_names), clips.ids("test")
    of_class = (clips.label[ids] == label).nonzero().flatten()
    if not len(of_class):
        raise UserError(f"--class {args.class_}: no test clip of it")
    i = ids[of_class[:1]]
    lines = [f"true: {clips.class_names[label]}", f"{name} case {args.case}, test clip {of_class[0]}"]
    if checkpoint:
        seed = checkpoint.seed if args.seed is None else args.seed
        logits = predict_logits(checkpoint.net.to(i.device), clips, i, checkpoint.recipe, seed)
        probability, predicted = logits[0].softmax(dim=0).max(dim=0)
        lines.insert(0, f"predicted: {clips.class_names[predicted]} ({probability:.2f})")
    title = "\n".join(textwrap.shorten(line, 50, placeholder="…") for line in lines)
    return project(read_frames(path, clips, i.item()), not clips.spatial), clips.skeleton, title


def animate(points, skeleton, title, dpi):
    """Yields an RGB image (height, width, 3) uint8 for each frame of a clip, (frames, persons, joints, 2)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    fig, bones = Figure(figsize=(3.2, 3.6), dpi=dpi), skeleton.bones()
    canvas = FigureCanvasAgg(fig)
    fig.suptitle(title, fontsize=9, y=0.99)
    ax = fig.add_axes((0.02, 0.06, 0.96, 0.79))
    flat = points.reshape(-1, 2)
    low, high = np.nanmin(flat, axis=0) - 0.08, np.nanmax(flat, axis=0) + 0.08
    for i, persons in enumerate(points):
        ax.clear()
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        ax.axis("off")
        for person, colour in zip(persons, COLOURS * len(persons), strict=False):
            ax.add_collection(LineCollection(person[bones], colors=colour, lw=3, capstyle="round"), autolim=False)
            ax.scatter(*person.T, s=11 if len(bones) else 36, color=colour, lw=0, zorder=2)
        of = f"frame {i + 1} of {len(points)}"
        ax.text(0.5, -0.02, of, transform=ax.transAxes, ha="center", va="top", fontsize=8)
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save(images, out):
    """Writes RGB images as a GIF of one palette: what changes from image to image is then half as much."""
    from PIL import Image

    some = Image.fromarray(np.concatenate(images[:: len(images) // 8 + 1]))
    palette, dither = some.quantize(32, Image.Quantize.MAXCOVERAGE), Image.Dither.NONE
    first, *rest = (Image.fromarray(image).quantize(palette=palette, dither=dither) for image in images)
    with util.atomic_write(out) as part:
        first.save(part, "GIF", save_all=True, append_images=rest, duration=1000 / FPS, loop=0)


def parse_args(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    parser = arguments.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="file to write (.gif)")
    add("--class", dest="class_", default="0", metavar="CLASS", help="name, or number from 0, of its first test clip")
    add("--dpi", type=arguments.positive_int, default=100, help="dots an inch (%(default)s)")
    add_data(parser)
    if argv[:1] == ["clip"]:
        parser.error("`clip` is left out now: it draws nothing else")
    args = parser.parse_args(argv)
    if args.out.suffix != ".gif":
        parser.error(f"--out {args.out}: must end in .gif; tools/view.py makes a page of clips")
    return args


def main(argv=None):
    args = parse_args(argv)
    points, skeleton, title = read_clip(args)
    try:
        save([*animate(points, skeleton, title, args.dpi)], args.out)
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is missing: pip install -r requirements-extra.txt") from None
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    with program.exit_on_error():
        main()
