"""Draws the GIF of the README: a test clip of the demo set, and what the network in pretrained/ says of it.

    python tools/plot_clips.py --out clip.gif      # needs Pillow, of requirements-extra.txt

To look at clips, tools/view.py makes a page.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from safe.program import ArgumentParser, exit_on_error
from tools.common import path_of
from util import ROOT, UserError, atomic_write
from view import open_data, predict, read_frames

CLASS = "handshaking"
TILT = np.radians(10)  # seen a little from above, so that a step towards the camera shows
COLOURS = ("#0072B2", "#D55E00")
WIDTH, HEIGHT, TOP, BOTTOM = 256, 288, 46, 22  # pixels; of the title, and of the line below
FINE = 4  # drawn so many times as large
FPS = 30


def project(points):
    """Metres in a Kinect's axes, (..., joints, 3) -> what a viewer sees, (..., joints, 2), to the right and down; NaN
    for an absent person."""
    x, y, z = np.moveaxis(np.where(points.any(axis=(-2, -1), keepdims=True), points, np.nan), -1, 0)
    return np.stack([-x, -y * np.cos(TILT) - z * np.sin(TILT)], axis=-1)


def draw(points, skeleton, title):
    """An RGB image for each frame of a clip, (frames, persons, joints, 2) as from `project`."""
    from PIL import Image, ImageDraw, ImageFont

    low, high = np.nanmin(points, axis=(0, 1, 2)), np.nanmax(points, axis=(0, 1, 2))
    box = np.array([WIDTH - 20, HEIGHT - TOP - BOTTOM - 20])
    points = (points - (low + high) / 2) * (box / (high - low)).min() + [WIDTH / 2, TOP + 10 + box[1] / 2]
    font, images = ImageFont.load_default(11), []
    for i, persons in enumerate(points * FINE):
        large = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), "white")
        pen = ImageDraw.Draw(large)
        for person, colour in zip(persons, COLOURS, strict=True):
            if np.isnan(person).any():
                continue
            for bone in skeleton.bones():
                pen.line(person[bone].ravel().tolist(), colour, 3 * FINE)
            for joint in person:
                pen.circle(joint.tolist(), 1.8 * FINE, colour)
        images.append(large.resize((WIDTH, HEIGHT), Image.Resampling.BOX))
        pen = ImageDraw.Draw(images[-1])
        pen.multiline_text((WIDTH / 2, 4), title, 0, font, "ma", align="center")
        pen.text((WIDTH / 2, HEIGHT - 6), f"frame {i + 1} of {len(points)}", 0, font, "mb")
    return images


def main(argv=None):
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=path_of(".gif"), required=True, help="file to write (.gif)")
    out = parser.parse_args(argv).out
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise UserError("Pillow is missing: pip install -r requirements-extra.txt") from None
    h5, _, clips, checkpoint = open_data("DEMO", checkpoint=ROOT / "pretrained/DEMO/SGN/0_best.pth")
    tests = clips.ids("test")
    number = clips.label[tests].tolist().index(clips.class_names.index(CLASS))  # the first of the class
    ids = tests[[number]]
    probability, label = predict(checkpoint, clips, ids)[0][0].softmax(dim=0).max(dim=0)
    title = f"predicted: {clips.class_names[label]} ({probability:.2f})\ntrue: {CLASS}"
    title += f"\nDEMO case 0, test clip {number}"
    images = draw(project(read_frames(h5, clips, ids.item())), clips.skeleton, title)
    # One palette for all: what changes from image to image is then half as much
    some = Image.fromarray(np.concatenate([np.asarray(image) for image in images[:: len(images) // 8 + 1]]))
    palette, dither = some.quantize(32, Image.Quantize.MAXCOVERAGE), Image.Dither.NONE
    first, *rest = (image.quantize(palette=palette, dither=dither) for image in images)
    with atomic_write(out) as part:
        first.save(part, "GIF", save_all=True, append_images=rest, duration=1000 / FPS, loop=0)
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    with exit_on_error():
        main()
