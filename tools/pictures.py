"""What the programs that draw share: colours, flags, and files of pictures (matplotlib, or Pillow for a GIF)."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from data import Clips
from engine import distributed
from engine.checkpoint import find_checkpoint, load_checkpoint
from engine.datasets import DATASETS, find_h5
from safe import arguments
from util import UserError

try:
    from matplotlib import style
    from matplotlib.figure import Figure
except ModuleNotFoundError:
    Figure = None

# Okabe and Ito's colours, which people with any colour vision can tell apart; their yellow is too light for lines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#777777"
STYLE = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False}
STYLE |= {"legend.frameon": False, "svg.hashsalt": "sgn"}


def picture(kinds):
    """An argparse type: a path that ends in one of these."""

    def parse(text):
        path = Path(text)
        if path.suffix.lower() not in kinds or path.is_dir():
            raise ValueError(f"{text}: not a file that ends in {', '.join(kinds)}")
        return path

    return arguments.argument_type(parse)


def add_command(commands, function, what, kinds=(".png", ".svg", ".pdf")):
    """Adds the command of a picture; `function` takes the arguments and returns what is to be saved."""
    command = commands.add_parser(function.__name__, help=what, description=what)
    command.set_defaults(draw=function)
    command.add_argument("--out", type=picture(kinds), required=True, help=f"file to write ({', '.join(kinds)})")
    command.add_argument("--dpi", type=arguments.dpi, help="dots an inch of a .png (150) or .gif (100)")
    return command


def add_data(command):
    """Adds the flags that `open_data` and `open_checkpoint` read."""
    add = command.add_argument
    add("--dataset", required=True, help=f"{', '.join(DATASETS)}, or the path of an .h5")
    add("--case", type=int, default=0, help="protocol, as in main.py (%(default)s)")
    add("--data", type=Path, help="folder of the h5 (the data set's own below data/)")
    add("--results", type=Path, default=util.ROOT / "results", help="folder of the runs (results/)")
    add("--checkpoint", type=Path, help="checkpoint (that of the run in --results, else the one in pretrained/)")
    add("--device", help="cpu, cuda, ... (cuda if there is a GPU, else cpu)")
    add("--seed", type=arguments.seed, help="of the samples (the checkpoint's)")


def open_data(args):
    """The data set of the flags: (path of its h5, its name, its Clips)."""
    path, name = find_h5(args.dataset, args.case, args.data)
    return path, name, Clips.read(path).to(distributed.pick_device(args.device))


def open_checkpoint(args, name, clips, optional=False):
    """The Checkpoint of the flags, which must fit the clips. optional: None if there is no file, and none is named."""
    path = args.checkpoint or find_checkpoint(args.results, name, "SGN", args.case)
    if optional and not args.checkpoint and not path.is_file():
        return None
    checkpoint = load_checkpoint(path)
    checkpoint.check_fits(clips.joints, len(clips.class_names))
    return checkpoint


def run(args):
    """Draws the picture of a command and writes it."""
    if Figure is None:
        raise UserError("matplotlib is missing: pip install -r requirements-extra.txt")
    with style.context(["default", STYLE]):  # whatever the user's matplotlibrc says
        save(args.draw(args), args.out, args.dpi)
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")


def save(drawn, out, dpi=None):
    """Writes a Figure, or (RGB images, frames a second) as an animated GIF."""
    from PIL import Image

    kind = out.suffix[1:].lower()
    with util.atomic_write(out) as part:
        if kind == "gif":
            images, fps = [*drawn[0]], drawn[1]
            # One palette for all: what changes from image to image is then half as much
            some = Image.fromarray(np.concatenate(images[:: len(images) // 8 + 1]))
            palette, dither = some.quantize(32, Image.Quantize.MAXCOVERAGE), Image.Dither.NONE
            first, *rest = (Image.fromarray(image).quantize(palette=palette, dither=dither) for image in images)
            # Milliseconds; viewers show a frame for 20 at least
            first.save(part, "GIF", save_all=True, append_images=rest, duration=max(20, 1000 / fps), loop=0)
        else:
            options = {"pil_kwargs": {"optimize": True}} if kind == "png" else {}
            drawn.savefig(part, format=kind, dpi=dpi or 150, **options)
