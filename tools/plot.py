"""Pictures of data, runs and what the network looks at (matplotlib; pip install -r requirements-extra.txt).

    python tools/plot.py curves results/NUCLA/logs/*.csv --out curves.png        # seed<n>, split<n> apart: one curve
    python tools/plot.py confusion --dataset NUCLA --out confusion.png           # tests the checkpoint of results/
    python tools/plot.py confusion --pred results/NUCLA/SGN --out confusion.png  # or reads what main.py's test wrote
    python tools/plot.py classes --dataset NUCLA --out classes.png               # accuracy of each, and who is confused
    python tools/plot.py clip --dataset DEMO --class handshaking --out clip.gif  # animated; .png: a row of poses
    python tools/plot.py graph --dataset DEMO --class clapping --out graph.png   # the learned graph G on a pose
    python tools/plot.py joints --dataset DEMO --class clapping --out joints.png  # what spatial max pooling picks
    python tools/plot.py parameters results/NUCLA/logs/*.csv --out parameters.png  # accuracy against size, and our runs

The file is what --out ends in: .png (150 dots an inch), .svg or .pdf; written whole or not at all.
"""

import argparse
from math import radians
from pathlib import Path
from types import SimpleNamespace

import torch

import _path

try:
    import charts
    import compare
    import poses
except ModuleNotFoundError as missing:
    if missing.name.split(".")[0] not in ("matplotlib", "PIL"):
        raise
    charts = None
import util
from checkpoint import load_checkpoint
from data import DATASETS, ROOT, Clips, find
from evaluate import as_trained, must_fit, test
from skeletons import skeleton_of
from util import UserError, atomic_write, exit_on_error

DPI = 150


def picture(kinds):
    """An argparse type: a path that ends in one of these."""

    def parse(text):
        path = Path(text)
        if path.suffix.lower() not in kinds or path.is_dir():
            raise argparse.ArgumentTypeError(f"{text}: not a file that ends in {', '.join(kinds)}")
        return path

    return parse


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="picture")

    def command(function, help, kinds=(".png", ".svg", ".pdf")):
        one = commands.add_parser(function.__name__, help=help, description=help, allow_abbrev=False)
        one.set_defaults(draw=function)
        one.add_argument("--out", type=picture(kinds), required=True, help=f"file to write ({', '.join(kinds)})")
        one.add_argument("--case", type=int, default=0, help="protocol, as in main.py (%(default)s)")
        return one

    def takes_data(one):
        source = one.add_mutually_exclusive_group(required=True)
        source.add_argument("--dataset", help=f"{', '.join(DATASETS)}, or a path to an .h5")
        one.add_argument("--data", type=Path, help="folder that holds the h5 (the data set's own below data/)")
        one.add_argument("--cache", action="store_true", help="as in main.py: keep the packed clips beside the h5")
        one.add_argument("--results", type=Path, default=ROOT / "results", help="folder of the checkpoint (results/)")
        one.add_argument("--checkpoint", type=Path, help="or the checkpoint itself")
        one.add_argument("--device", help="cpu, cuda, ... (cuda where there is one, else cpu)")
        one.add_argument("--seed", type=util.seed, help="of the frames drawn (the checkpoint's)")
        return source

    def takes_predictions(one):
        source = takes_data(one)
        source.add_argument("--pred", type=Path, help="folder of <case>_lable.txt and <case>_pred.txt, instead")
        one.add_argument("--names", type=Path, help="with --pred: class names, a line each (by default numbers)")

    def takes_pose(one):
        one.add_argument("--turn", type=float, default=0, help="degrees to go round the person (%(default)s)")
        one.add_argument(
            "--class", dest="classes", action="append", default=[], help="name of the class, or its number"
        )

    one = command(curves, "training curves of runs: mean and spread over seeds")
    one.add_argument("runs", nargs="+", help="logs, or folders of runs; those seed<n> or split<n> apart go together")
    one.add_argument("--label", action="append", help="name of a curve, in their order (what tells the paths apart)")
    takes_predictions(command(confusion, "confusion matrix of the test clips"))
    one = command(classes, "accuracy of each class, and the most confused pairs")
    takes_predictions(one)
    one.add_argument("--pairs", type=positive_int, help="pairs to show (as many as classes)")
    one = command(clip, "a clip: a row of poses, or with .gif animated", (".png", ".svg", ".pdf", ".gif"))
    takes_data(one)
    takes_pose(one)
    one.add_argument("--clip", type=int, help="number in the split, from 0 (the first, or the first of --class)")
    one.add_argument("--split", choices=("train", "valid", "test"), default="test", help="(%(default)s)")
    one.add_argument("--poses", type=positive_int, default=8, help="in the row (%(default)s)")
    one.add_argument("--fps", type=util.positive_float, default=30, help="of a .gif, at most 50 (%(default)s)")
    for function, help in ((graph, "the learned graph G on a pose"), (joints, "joints that spatial max pooling picks")):
        one = command(function, f"{help}, averaged over a class's test clips")
        takes_data(one)
        takes_pose(one)
        if function is graph:
            one.add_argument("--edges", type=positive_int, default=30, help="heaviest edges to draw (%(default)s)")
    one = command(parameters, "accuracy against parameters, published and here; and our runs, from their logs")
    one.add_argument("runs", nargs="*", help="logs or folders of finished runs, for a second panel")
    one.add_argument("--label", action="append", help="name of a row, in their order (what tells the paths apart)")
    published = ROOT / "results/published.csv"
    one.add_argument("--table", type=Path, default=published, help="the published figures (results/published.csv)")
    return parser.parse_args(argv)


def labelled(args):
    """The logs of each setting, {label: [paths]}, from --label where it is given."""
    groups = charts.find_logs(args.runs, args.case)
    if args.label and len(set(args.label)) != len(groups):
        raise UserError(f"--label: {len(args.label)} of them for {len(groups)} settings ({', '.join(groups)})")
    return dict(zip(args.label or groups, groups.values(), strict=True))


def opened(args, optional=False):
    """A SimpleNamespace: the `checkpoint`, its `net` and the data set's `clips`, on the device, the `seed` of draws,
    the `path` of the h5 and the data's name. optional: without net and seed where results/ has no checkpoint."""
    device = util.pick_device(args.device)
    h5, name, _ = find(args.dataset, args.case, args.data)
    clips = Clips.read(h5, args.cache).to(device)
    have = SimpleNamespace(clips=clips, path=h5, name=f"{name} case {args.case}", net=None, seed=None)
    path = args.checkpoint or args.results / name / "SGN" / f"{args.case}_best.pth"
    if optional and not args.checkpoint and not path.is_file():
        return have
    net, checkpoint = util.opened(load_checkpoint, path)
    must_fit(path, net, clips.joints, len(clips.class_names))
    have.checkpoint, have.net, have.clips = checkpoint, net.to(device), as_trained(path, clips, checkpoint)
    have.seed = checkpoint.get("seed", 1) if args.seed is None else args.seed
    return have


def class_of(text, names):
    """The index of a class by its name, or by its number from 1 on."""
    if text in names:
        return names.index(text)
    if text.isdecimal() and 1 <= int(text) <= len(names):
        return int(text) - 1
    raise UserError(f"--class {text}: not one of {', '.join(f'{i} {name}' for i, name in enumerate(names, 1))}")


def tested(args):
    """Confusion counts, class names and a title, by testing a checkpoint or from a test's two files."""
    if args.names and not args.pred:
        raise UserError("--names goes with --pred: the h5 has the names of its classes")
    if args.dataset:
        have = opened(args)
        ids = have.clips.ids("test_")
        labels, logits = have.clips.label[ids].cpu().numpy(), test(have.net, have.clips, ids, have.seed).cpu().numpy()
        names, on = have.clips.class_names, have.name
    else:
        labels, logits = charts.read_predictions(args.pred, args.case)
        names, on = (
            [str(i) for i in range(1, logits.shape[1] + 1)],
            f"{'/'.join(args.pred.absolute().parts[-2:])} case {args.case}",
        )
        if args.names:
            try:
                names = args.names.read_text(encoding="utf-8").splitlines()
            except ValueError:
                raise UserError(f"{args.names}: not text") from None
            if len(names) != logits.shape[1]:
                raise UserError(f"{args.names}: {len(names)} names, but the logits have {logits.shape[1]} classes")
    return charts.confusion(labels, logits), names, f"SGN on {on}, {len(labels)} test clips"


def curves(args):
    return charts.curves(labelled(args))


def confusion(args):
    counts, names, on = tested(args)
    return charts.confusion_figure(counts, names, f"{on}\ntop-1 {100 * counts.trace() / counts.sum():.2f}%")


def classes(args):
    counts, names, on = tested(args)
    return charts.classes_figure(counts, names, on, args.pairs)


def drawn_as(have):
    """The data's name, and what it lacks where no skeleton of so many joints is known."""
    skeleton = skeleton_of(have.clips.joints)
    return have.name if len(skeleton.bones()) else f"{have.name} ({skeleton.name})"


def clip(args):
    have = opened(args, optional=True)
    clips, split = have.clips, {"train": ""}.get(args.split, f"{args.split}_")
    ids, i = clips.ids(split), args.clip
    if len(args.classes) + (i is not None) > 1:
        raise UserError("--class, --clip: one of them, once; a picture shows one clip")
    if args.classes:
        of_class = (clips.label[ids] == class_of(args.classes[0], clips.class_names)).nonzero()
        if not len(of_class):
            raise UserError(f"--class {args.classes[0]}: no clip of it in the {args.split} split")
        i = of_class[0].item()
    if not 0 <= (i := i or 0) < len(ids):
        raise UserError(f"--clip {i}: the {args.split} split has {len(ids)} clips, from 0 on")
    frames = poses.read_frames(have.path, clips, ids[i].item())
    lines = [f"true: {clips.class_names[clips.label[ids[i]].item()]}", f"{drawn_as(have)}, {args.split} clip {i}"]
    if have.net:
        chances = test(have.net, clips, ids[i : i + 1], have.seed)[0].softmax(dim=0)
        guess = chances.argmax().item()
        lines.insert(0, f"predicted: {clips.class_names[guess]} ({chances[guess]:.2f})")
    if args.out.suffix.lower() == ".gif":
        return poses.animation(frames, lines, radians(args.turn)), args.fps
    return poses.row_figure(frames, lines, args.poses, radians(args.turn))


def inside(args):
    """For each class asked for: heading, pose, G and the shares of the joints; and a title's end."""
    have = opened(args)
    clips, panels = have.clips, []
    if have.net.ablate:
        raise UserError(
            f"ablated ({', '.join(have.net.ablate)}): the graph and the joints are of the whole network alone"
        )
    ids = clips.ids("test_")
    if not 1 <= len(args.classes) <= 6:
        raise UserError(f"--class: 1 to 6 of {', '.join(clips.class_names)}; there are {len(args.classes)}")
    for text in args.classes:
        wanted = class_of(text, clips.class_names)
        of_class = (clips.label[ids] == wanted).nonzero().flatten()
        if not len(of_class):
            raise UserError(f"--class {text}: no test clip of it")
        generator = torch.Generator(ids.device).manual_seed(have.seed)
        inside = poses.look_inside(have.net, clips, ids[of_class], generator)
        pose = poses.telling_pose(poses.read_frames(have.path, clips, ids[of_class[0]].item()))
        panels.append((f"{clips.class_names[wanted]}\n({len(of_class)} clips)", pose, *inside))
    return panels, f"SGN on {drawn_as(have)}, mean over a class's test clips"


def graph(args):
    panels, on = inside(args)
    panels = [(heading, pose, g) for heading, pose, g, _ in panels]
    return poses.graph_figure(panels, f"Learned graph G\n{on}", args.edges, radians(args.turn))


def joints(args):
    panels, on = inside(args)
    panels = [(heading, pose, shares) for heading, pose, _, shares in panels]
    return poses.joints_figure(panels, f"Joints picked by spatial max pooling\n{on}", radians(args.turn))


def parameters(args):
    return compare.parameters_figure(compare.read_published(args.table), labelled(args) if args.runs else {})


def save(drawn, out):
    """Writes a Figure, or (images, frames a second) as an animated GIF; whole or not at all."""
    from PIL import Image

    kind = out.suffix[1:].lower()
    if kind != "gif":
        with atomic_write(out) as part:
            drawn.savefig(part, format=kind, dpi=DPI, **({"pil_kwargs": {"optimize": True}} if kind == "png" else {}))
        return
    images, fps = drawn
    images = [Image.fromarray(image).quantize(32, dither=Image.Dither.NONE) for image in images]
    with atomic_write(out) as part:
        # In hundredths of a second, of which viewers take 2 at the least
        images[0].save(part, "GIF", save_all=True, append_images=images[1:], duration=max(20, 1000 / fps), loop=0)


def main(argv=None):
    args = parse_args(argv)
    if charts is None:
        raise UserError("matplotlib is missing, which draws the pictures: pip install -r requirements-extra.txt")
    with charts.styled():
        save(args.draw(args), args.out)
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    with exit_on_error():
        main()
