"""A page to look at: skeletons that turn, the classes over time, and a test set's confusion matrix.

    python tools/view.py clip.skeleton --out view.html
    python tools/view.py recordings/ --checkpoint results/NTU/SGN/0_best.pth --out view.html
    python tools/view.py --dataset NUCLA --out view.html          # the test clips, and the checkpoint's test of them

Recordings are what tools/predict.py reads. The page is one file that needs no network. With a checkpoint it has the
probabilities of the likeliest classes: of the whole recording as predict.py gives them for this seed, and over time, of
the frames around each moment; and marks the frames of the first sample. Of a data set, whose clips may be many, it
holds --clips: of each cell of the confusion matrix the first, then of each the second, and so on, errors first.
"""

import base64
import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from clips.h5 import AXES_2D
from clips.poses import Poses, picture_size
from clips.recordings import UP, find_recordings, read_any
from clips.skeletons import SKELETONS, unknown_skeleton
from data import Clips
from engine.classifier import Classifier
from pictures import add_data, confusion_counts, open_checkpoint, open_data, read_frames
from safe import arguments, program, progress
from train import predict_logits
from util import UserError, readable

LINES = 5  # classes over time
POINTS = 40  # of a line
ABSENT = -(2**15)  # in place of coordinates


# ---- what the page holds of a clip


def pack(clip, is_2d):
    """Coordinates, (frames, persons, joints, 3), as 16 bits each: {"offset": (3,), "unit": metres, "xyz": base64}."""
    points = clip.astype(np.float64)
    present = np.broadcast_to(clip.any(axis=-1 if is_2d else (-2, -1), keepdims=True), clip.shape)
    if is_2d:
        points[..., 2] = 0
    there = points[present].reshape(-1, 3)
    low, high = there.min(axis=0), there.max(axis=0)
    offset, unit = (low + high) / 2, max(high - low) / 2 / -(ABSENT + 1) or 1
    values = np.where(present, np.rint((points - offset) / unit), ABSENT).astype("<i2")
    return {"offset": offset.tolist(), "unit": unit, "xyz": base64.b64encode(values.tobytes()).decode()}


def without_absent(poses):
    """Poses without persons who are in no frame."""
    return poses._replace(clip=poses.clip[:, poses.clip.any(axis=(0, 2, 3))])


def shown(path):
    """How a page that others may get names a file."""
    return path.relative_to(util.ROOT) if path.is_relative_to(util.ROOT) else path


def describe(skeleton):
    """A Skeleton for the page. side: of each joint 0 in the middle, 1 left, 2 right."""
    names = [joint.lower() for joint in skeleton.joints]
    side, sides = [1 if "left" in name else 2 if "right" in name else 0 for name in names], ["left", "right"]
    if not any(side) and skeleton.pairs:  # which side is which is not known
        side, sides = [(i < j) + 2 * (i > j) for i, j in enumerate(skeleton.pairs)], ["one side", "the other"]
    about = {"name": skeleton.name, "joints": [*map(readable, skeleton.joints)], "bones": skeleton.bones().tolist()}
    return about | {"side": side, "sides": sides, "flat": skeleton.is_2d}


def explain(classifier, poses, logits, frames, window, samples):
    """What a network says of a clip, for the page. logits: (classes,). frames: (seg,) of the sample, as Clips have them.

    Over time, a moment's probabilities are those of `samples` of the `window` frames around it, as of a live feed.
    """
    rows = np.argwhere(poses.clip.any(axis=(2, 3)))  # as in Clips
    sampled = rows[frames[frames < len(rows)]]
    at = np.unique(np.linspace(0, len(poses.clip) - 1, POINTS).round().astype(int))
    lines, rng = np.full((len(at), len(logits)), np.nan), torch.Generator().manual_seed(1)
    for line, i in zip(lines, at, strict=True):
        start, stop = max(0, i - window // 2), i + (window + 1) // 2
        part, seg = poses.clip[start:stop], classifier.seg
        whole = len(part) // seg * seg or len(part)  # a sample leaves out what is left over at the end
        part = part[-whole:] if start else part[:whole]
        if part.any(axis=(2, 3)).sum() >= min(seg, len(rows)):
            clip = classifier.adapt(poses._replace(clip=part, centered=False))
            line[:] = classifier.logits(clip, rng, samples).softmax(dim=-1)
    highest = np.fmax.reduce(lines, axis=0)
    likeliest = np.argsort(-np.nan_to_num(highest), kind="stable")[:LINES].tolist()
    top = classifier.top(logits.softmax(dim=-1).numpy(), LINES)
    return {
        "top": [[entry["label"], entry["probability"]] for entry in top],
        "at": at.tolist(),
        "lines": [[i, [None if np.isnan(p) else round(p, 3) for p in lines[:, i].tolist()]] for i in likeliest],
        "sampled": [sampled[sampled[:, 1] == p, 0].tolist() for p in range(poses.clip.shape[1])],
        "note": f"Lines: of the {window} frames around each moment. Ticks: the frames of the first sample.",
    }


class Page:
    """The clips of a page, and what is said of all of them."""

    def __init__(self, args, classifier, names):
        self.args, self.classifier = args, classifier
        self.data = {"classes": [*names], "fps": args.fps, "skeletons": [], "clips": [], "matrix": None}

    def add(self, name, poses, skeleton, truth=None, explained=None):
        about = describe(skeleton)
        if about not in self.data["skeletons"]:
            self.data["skeletons"].append(about)
        frames, persons = poses.clip.shape[:2]
        width, height = self.args.size or (4, 3)
        entry = {"name": readable(name), "skeleton": self.data["skeletons"].index(about), "truth": truth}
        entry |= {"frames": frames, "persons": persons, "aspect": width / height}
        entry |= explained or {"top": [], "at": [], "lines": [], "sampled": [], "note": ""}
        self.data["clips"].append(entry | pack(poses.clip, skeleton.is_2d))

    def write(self, title, about):
        if any(skeleton["flat"] for skeleton in self.data["skeletons"]) and not self.args.size:
            about.append("pictures are taken to be 4:3 (--size says their size)")
        self.data |= {"title": title, "about": "; ".join(about)}
        text = json.dumps(self.data, allow_nan=False).replace("<", "\\u003c")  # no name ends the script
        page = Path(__file__).with_suffix(".html").read_text(encoding="utf-8").replace("$DATA", text)
        with util.atomic_write(self.args.out) as part:
            part.write_text(page, encoding="utf-8")
        print(f"{self.args.out}: {len(page) / 1000:,.0f} kB, clips: {len(self.data['clips'])}")


# ---- recordings


def view_files(args):
    """Returns the exit code."""
    classifier = Classifier(args.checkpoint) if args.checkpoint else None
    page = Page(args, classifier, classifier.names if classifier else ())
    known = classifier.skeleton.name if classifier and not args.skeleton else args.skeleton or "unknown"
    files = [(path, source) for source in args.files for path in find_recordings(source)]
    taken = files[: args.clips]
    for path, source in progress.progress(taken, unit="file", leave=False, disable=len(taken) < 2):
        try:
            poses = without_absent(read_any(path, known, args.size, args.persons, args.up, args.scale))
            explained = explain_file(classifier, poses, args) if classifier else None
        except (UserError, OSError) as error:
            if len(files) == 1:
                raise
            print(f"skipped: {error}", file=sys.stderr)
            continue
        skeleton = SKELETONS.get(poses.skeleton) or unknown_skeleton(poses.clip.shape[2])
        if classifier and poses.skeleton == classifier.skeleton.name:
            skeleton = classifier.skeleton
        page.add(str(path.absolute().relative_to(source.absolute().parent)), poses, skeleton, explained=explained)
    done = len(page.data["clips"])
    if not done:
        raise UserError(f"none of the {len(files)} files could be read")
    about = [f"classes by {shown(args.checkpoint)}"] if classifier else []
    if len(taken) < len(files):
        about.append(f"the first {len(taken)} of {len(files)} recordings (--clips)")
    page.write(page.data["clips"][0]["name"] if done == 1 else f"{done} recordings", about)
    return 0 if done == len(taken) else 3


def explain_file(classifier, poses, args):
    clip, seed = classifier.adapt(poses), 1 if args.seed is None else args.seed
    logits = classifier.logits(clip, torch.Generator().manual_seed(seed))
    ids, rng = torch.zeros(classifier.recipe.test_samples, dtype=torch.int64), torch.Generator().manual_seed(seed)
    frames = Clips.from_clip(clip).sample_frames(ids, rng, classifier.seg, classifier.recipe.whole_clip)
    return explain(classifier, poses, logits, frames[0].numpy(), args.window or classifier.window, samples=5)


# ---- data sets


def choose(label, predicted, n):
    """The numbers of at most n clips: the first of each cell of the confusion matrix, then the second, errors first."""
    seen, order = {}, []
    for i, cell in enumerate(zip(label.tolist(), predicted.tolist(), strict=True)):
        seen[cell] = seen.get(cell, 0) + 1
        order.append((seen[cell], cell[0] == cell[1], i))
    return sorted(i for *_, i in sorted(order)[:n])


def view_dataset(args):
    """Returns the exit code."""
    path, name, clips = open_data(args)
    checkpoint = open_checkpoint(args, name, clips, optional=True)
    clips = clips.resplit(checkpoint.split) if checkpoint else clips
    ids = clips.ids(args.split)
    label = predicted = clips.label[ids].cpu().numpy()
    page, about = Page(args, None, clips.class_names), [f"{args.split} clips of {shown(path)}"]
    if checkpoint:
        page.classifier, recipe, net = Classifier(checkpoint.path), checkpoint.recipe, checkpoint.net.to(ids.device)
        seed = checkpoint.seed if args.seed is None else args.seed
        about += [f"{shown(checkpoint.path)} {difference}" for difference in checkpoint.differences(clips)]
        logits = predict_logits(net, clips, ids, recipe, seed).cpu()
        rng = torch.Generator(ids.device).manual_seed(seed)
        frames = clips.sample_frames(ids, rng, net.seg, recipe.whole_clip).cpu().numpy()  # predict_logits' first
        predicted, page.data["matrix"] = logits.argmax(dim=1).numpy(), confusion_counts(label, logits.numpy()).tolist()
        about.append(f"tested with {shown(checkpoint.path)}")
    chosen = choose(label, predicted, args.clips)
    for i in progress.progress(chosen, unit="clip", leave=False):
        frames_of = read_frames(path, clips, ids[i].item())
        poses = without_absent(Poses(frames_of, clips.skeleton.name, clips.axes, centered=True))
        explained = None
        if checkpoint:
            window = args.window or page.classifier.window
            explained = explain(page.classifier, poses, logits[i], frames[i], window, samples=1)
        page.add(f"{args.split} clip {i}", poses, clips.skeleton, int(label[i]), explained)
    if len(chosen) < len(ids):
        about.append(f"{len(chosen)} of {len(ids)} clips are in this page (--clips)")
    page.write(f"{name}, case {args.case}", about)
    return 0


def parse_args(argv=None):
    parser = arguments.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("files", type=Path, nargs="*", metavar="FILE", help="recordings, or folders of them")
    add("--out", type=Path, required=True, help="page to write (.html)")
    add_data(parser, required=False)
    add("--split", choices=("train", "valid", "test"), default="test", help="of the data set (%(default)s)")
    add("--clips", type=arguments.positive_int, default=200, help="most clips in the page (%(default)s)")
    add("--window", type=arguments.positive_int, help="frames around a moment (about a training clip's length)")
    add("--fps", type=arguments.positive_float, default=30.0, help="frames a second (%(default)s)")
    add("--skeleton", choices=SKELETONS, help="of an .npy (the checkpoint's)")
    size = arguments.argument_type(picture_size)
    add("--size", type=size, metavar="WxH", help="of the pictures, if poses are in pixels")
    add("--persons", type=arguments.positive_int, default=2, help="most persons of poses (%(default)s)")
    add("--up", choices=UP, help="the axis that points up in an .npy, as in --up=-z (y)")
    add("--scale", type=arguments.positive_float, default=1.0, help="factor from its unit to metres (%(default)s)")
    args = parser.parse_args(argv)
    if args.out.suffix != ".html":
        parser.error(f"--out {args.out}: must end in .html")
    if len(args.files) == 1 and args.files[0].suffix in (".h5", ".hdf5") and not args.dataset:
        args.dataset, args.files = str(args.files[0]), []
    if bool(args.files) == bool(args.dataset):
        parser.error("give recordings, or a --dataset")
    return args


def main(argv=None):
    """Returns the exit code."""
    args = parse_args(argv)
    return view_dataset(args) if args.dataset else view_files(args)


if __name__ == "__main__":
    with program.exit_on_error("--clips"):
        sys.exit(main())
