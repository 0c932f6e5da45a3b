"""The first test clip of a class as an animated GIF (Pillow, in requirements-extra.txt).

    python tools/plot_clips.py --dataset DEMO --class handshaking --out clip.gif

If there is a checkpoint, the title has what it predicts. To look at clips, tools/view.py makes a page.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from safe import program
from tools.common import path_of
from util import UserError, shorten
from view import add_data, open_data, predict, read_frames

TILT = np.radians(10)  # seen a little from above, so that a step towards the camera shows
COLOURS = ("#0072B2", "#D55E00")
WIDTH, HEIGHT, TOP, BOTTOM = 256, 288, 46, 22  # pixels; of the title, and of the line below
FINE = 4  # drawn so many times as large
FPS = 30


def project(points, is_2d=False):
    """Metres (..., joints, 3) -> what a viewer sees, (..., joints, 2), to the right and down; NaN for what is absent.

    x points to the left, as in a Kinect's axes, but of pictures to the right.
    """
    present = points.any(axis=-1 if is_2d else (-2, -1), keepdims=True)
    x, y, z = np.moveaxis(np.where(present, points, np.nan), -1, 0)
    return np.stack([x, y] if is_2d else [-x, -y * np.cos(TILT) - z * np.sin(TILT)], axis=-1)


def read_clip(args):
    """(frames, persons, joints, 2) as from `project`, the Skeleton, and the lines of the title."""
    path, name, clips, checkpoint = open_data(args)
    if args.class_ not in clips.class_names:
        raise UserError(f"--class {args.class_}: not one of {', '.join(clips.class_names)}")
    label, ids = clips.class_names.index(args.class_), clips.ids("test")
    of_class = (clips.label[ids] == label).nonzero().flatten().tolist()
    if not of_class:
        raise UserError(f"--class {args.class_}: no test clip of it")
    i = ids[of_class[:1]]
    lines = [f"true: {args.class_}", f"{name} case {args.case}, test clip {of_class[0]}"]
    if checkpoint:
        probability, predicted = predict(checkpoint, clips, i, args.seed)[0][0].softmax(dim=0).max(dim=0)
        lines.insert(0, f"predicted: {clips.class_names[predicted]} ({probability:.2f})")
    return project(read_frames(path, clips, i.item()), not clips.spatial), clips.skeleton, lines


def draw(points, skeleton, lines):
    """An RGB image for each frame of a clip, (frames, persons, joints, 2)."""
    from PIL import Image, ImageDraw, ImageFont

    low, high = np.nanmin(points, axis=(0, 1, 2)), np.nanmax(points, axis=(0, 1, 2))
    box = np.array([WIDTH - 20, HEIGHT - TOP - BOTTOM - 20])
    points = (points - (low + high) / 2) * (box / (high - low)).min() + [WIDTH / 2, TOP + 10 + box[1] / 2]
    font, images, title = ImageFont.load_default(11), [], "\n".join(shorten(line, 44) for line in lines)
    for i, persons in enumerate(points * FINE):
        large = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), "white")
        pen = ImageDraw.Draw(large)
        for person, colour in zip(persons, COLOURS * len(persons), strict=False):
            for bone in skeleton.bones():
                if np.isfinite(person[bone]).all():
                    pen.line(person[bone].ravel().tolist(), colour, 3 * FINE)
            for joint in person[np.isfinite(person).all(axis=1)]:
                pen.circle(joint.tolist(), 1.8 * FINE, colour)
        images.append(large.resize((WIDTH, HEIGHT), Image.Resampling.BOX))
        pen = ImageDraw.Draw(images[-1])
        pen.multiline_text((WIDTH / 2, 4), title, 0, font, "ma", align="center")
        pen.text((WIDTH / 2, HEIGHT - 6), f"frame {i + 1} of {len(points)}", 0, font, "mb")
    return images


def parse_args(argv=None):
    parser = program.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=path_of(".gif"), required=True, help="file to write (.gif)")
    parser.add_argument("--class", dest="class_", required=True, metavar="CLASS", help="its name")
    add_data(parser, required=True)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise UserError("Pillow is missing: pip install -r requirements-extra.txt") from None
    images = draw(*read_clip(args))
    # One palette for all: what changes from image to image is then half as much
    some = Image.fromarray(np.concatenate([np.asarray(image) for image in images[:: len(images) // 8 + 1]]))
    palette, dither = some.quantize(32, Image.Quantize.MAXCOVERAGE), Image.Dither.NONE
    first, *rest = (image.quantize(palette=palette, dither=dither) for image in images)
    with util.atomic_write(args.out) as part:
        first.save(part, "GIF", save_all=True, append_images=rest, duration=1000 / FPS, loop=0)
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    with program.exit_on_error():
        main()
