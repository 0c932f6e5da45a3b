"""A page to look at: skeletons that turn, the classes over time, and a test set's confusion matrix.

    python tools/view.py clip.skeleton --out view.html
    python tools/view.py recordings/ --checkpoint results/NTU/SGN/0_best.pth --out view.html
    python tools/view.py --dataset NUCLA --out view.html          # the test clips, and the checkpoint's test of them

Recordings are what tools/predict.py reads. The page is one file that needs no network. With a checkpoint it has the
probabilities of the likeliest classes: of the whole recording as predict.py gives them, and over time, of the frames
around each moment; and marks the frames of the first sample. Of a data set, whose clips may be many, it holds --clips:
of each cell of the confusion matrix the first, then of each the second, and so on, errors first.
"""

import base64
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from clips import recordings
from clips.h5 import SPLITS
from clips.poses import Poses
from clips.recordings import find_recordings, flags_of, read_any
from clips.skeletons import known_skeleton, unknown_skeleton
from data import Clips
from engine.checkpoint import find_checkpoint, load_checkpoint
from engine.classifier import Classifier
from engine.config import DATASETS, find_h5
from safe.files import open_h5
from safe.program import ArgumentParser, Notes, exit_on_error, positive_int, progress
from tools.common import named_or_own, path_of, read_each
from train import predict_logits
from util import ROOT, atomic_write, readable

LINES = 5  # classes over time
POINTS = 40  # of a line
ABSENT = -(2**15)  # in place of coordinates


# ---- a data set and its checkpoint, for tools/plot_clips.py too


def open_data(dataset, case=0, checkpoint=None):
    """A data set: the path of its h5, its name, its Clips, and a Checkpoint that fits them, if there is one.

    checkpoint: its path; by default that of the run in results/, else the one in pretrained/.
    """
    h5, name = find_h5(dataset, case)
    clips, file = Clips.read(h5), checkpoint or find_checkpoint(ROOT / "results", name, "SGN", case)
    if not (checkpoint or file.is_file()):
        return h5, name, clips, None
    found = load_checkpoint(file)
    found.check_fits(clips)
    return h5, name, clips.resplit(found.split), found


def predict(checkpoint, clips, ids):
    """Logits of clips as a test has them, (n, classes), and the frames of each clip's first sample, (n, seg)."""
    net, recipe, rng = checkpoint.net, checkpoint.recipe, torch.Generator().manual_seed(checkpoint.seed)
    frames = clips.sample_frames(ids, rng, net.seg, recipe.whole_clip)
    return predict_logits(net, clips, ids, recipe, checkpoint.seed), frames.numpy()


def read_frames(h5, clips, i):
    """A clip as the h5 has it, between its first and last frame with a person, without persons who are in no frame:
    (frames, persons, joints, 3) float32.

    clips: the Clips of that h5, in any split; i: the number among them of a clip that is not empty.
    """
    k = (clips.start + clips.length <= clips.start[i]).sum().item()  # so many clips come before it in the h5
    with open_h5(h5) as file:
        for split in SPLITS:
            if k < len(file[f"{split}x"]):
                break
            k -= len(file[f"{split}x"])
        dense = file[f"{split}x"][k].reshape(-1, clips.persons, clips.joints, 3)
    present = np.flatnonzero(dense.any(axis=(1, 2, 3)))
    return dense[present[0] : present[-1] + 1, dense.any(axis=(0, 2, 3))]


# ---- what the page holds of a clip


def pack(clip, is_2d):
    """Coordinates, (frames, persons, joints, 3), as 16 bits each: {"unit": metres, "xyz": base64}; where they are, but
    for a joint that lies far away; and the angle from which the first two persons stand beside each other."""
    present = clip.any(axis=-1 if is_2d else (-2, -1), keepdims=True)
    unit = float(np.abs(clip).max()) / -(ABSENT + 1)
    values = np.where(present, np.rint(clip / unit), ABSENT).astype("<i2")
    low, high = np.percentile(clip[clip.any(axis=-1)], [1, 99], axis=0).tolist()
    first, second, *_ = [person[person.any(axis=(1, 2)), 0].mean(axis=0) for person in clip.swapaxes(0, 1)] * 2
    across, _, away = (second - first).tolist()
    yaw = math.atan(away / across) if across else -0.45
    return {"unit": unit, "xyz": base64.b64encode(values.tobytes()).decode(), "low": low, "high": high, "yaw": yaw}


def shown(path):
    """How a page that others may get names a file."""
    return readable("/".join(path.parts[-3:]))


def describe(skeleton):
    """A Skeleton for the page. side: of each joint 0 in the middle, 1 left, 2 right."""
    names, sides = [readable(joint) for joint in skeleton.joints], ["left", "right"]
    side = [1 if "left" in name.lower() else 2 * ("right" in name.lower()) for name in names]
    if not any(side) and skeleton.pairs:  # which side is which is not known
        side, sides = [(i < j) + 2 * (i > j) for i, j in enumerate(skeleton.pairs)], ["one side", "the other"]
    about = {"name": skeleton.name, "joints": names, "bones": skeleton.bones().tolist()}
    return about | {"side": side, "sides": sides, "flat": skeleton.is_2d}


def explain(classifier, poses, logits, sampled, samples):
    """What a network says of a clip, for the page. logits: (classes,). sampled: frames, (seg,), as Clips count them.

    Over time, a moment's probabilities are those of `samples` of the frames around it, as of a live feed.
    """
    rows, frames, seg = np.argwhere(poses.clip.any(axis=(2, 3))), len(poses.clip), classifier.seg
    sampled = rows[sampled[sampled < len(rows)]]  # each a frame and a person
    window = min(classifier.window, max(seg, frames // seg * seg))  # a sample leaves out what is left over
    at = np.unique(np.linspace(0, frames - 1, POINTS).round().astype(int))
    lines, rng = np.full((len(at), len(logits)), np.nan), torch.Generator().manual_seed(1)
    for line, start in zip(lines, np.clip(at - window // 2, 0, max(0, frames - window)), strict=True):
        part = poses.clip[start : start + window]
        if part.any(axis=(2, 3)).sum() >= min(seg, len(rows)):
            clip = classifier.adapt(poses._replace(clip=part, centered=False))
            line[:] = classifier.probabilities(clip, rng, samples)
    likeliest = np.argsort(-np.nan_to_num(np.fmax.reduce(lines, axis=0)), kind="stable")[:LINES].tolist()
    top = classifier.top(logits.softmax(dim=-1).numpy(), LINES)
    return {
        "top": [[entry["label"], entry["probability"]] for entry in top],
        "at": at.tolist(),
        "lines": [[i, [None if np.isnan(p) else round(p, 3) for p in lines[:, i].tolist()]] for i in likeliest],
        "sampled": [sampled[sampled[:, 1] == p, 0].tolist() for p in range(poses.clip.shape[1])],
        "note": f"Lines: {samples} x {seg} of the {window} frames around each moment. Ticks: the first sample.",
    }


def make_entry(name, poses, skeletons, size=None, truth=None, explained=None):
    """A clip for the page. skeletons: those of the page, a list to which the clip's is added if it is another."""
    skeleton = known_skeleton(poses.skeleton) or unknown_skeleton(poses.clip.shape[2])
    if (about := describe(skeleton)) not in skeletons:
        skeletons.append(about)
    (frames, persons), (width, height) = poses.clip.shape[:2], size or (4, 3)
    entry = {"name": name, "skeleton": skeletons.index(about), "truth": truth, "frames": frames}
    entry |= {"persons": persons, "aspect": width / height, "top": [], "at": [], "lines": [], "sampled": [], "note": ""}
    return entry | (explained or {}) | pack(poses.clip, skeleton.is_2d)


# ---- recordings, and data sets


def view_files(args, data):
    """Fills data, what the page holds. Returns the exit code."""
    classifier, notes, skipped = args.checkpoint and Classifier(args.checkpoint), Notes(), []
    known = named_or_own(classifier.skeleton) if classifier else "unknown"
    files = [path for source in args.files for path in find_recordings(source)]

    def read(path):
        found = read_any(path, known, **flags_of(args))
        notes.add(classifier.odd(found, args.up) if classifier else [(text, text) for text in found.notes], f"{path}: ")
        poses = found._replace(clip=found.clip[:, found.clip.any(axis=(0, 2, 3))])
        explained = explain_file(classifier, poses) if classifier else None
        return make_entry(shown(path), poses, data["skeletons"], args.size, explained=explained)

    clips = data["clips"] = [entry for _, entry in read_each(files[: args.clips], read, skipped)]
    data["title"] = clips[0]["name"] if len(clips) == 1 else f"{len(clips)} recordings"
    if args.clips < len(files):
        data["about"].append(f"the first {args.clips} of {len(files)} recordings (--clips)")
    if classifier:
        data["classes"] = [*classifier.names]
        data["about"].append(f"classes by {shown(args.checkpoint)}")
    return 3 if skipped else 0


def explain_file(classifier, poses):
    """As `explain`, with the logits that tools/predict.py has, and the frames of their first sample."""
    clip, recipe = classifier.adapt(poses), classifier.recipe
    logits = classifier.logits(clip, torch.Generator().manual_seed(1))
    ids, rng = torch.zeros(recipe.test_samples, dtype=torch.int64), torch.Generator().manual_seed(1)
    frames = Clips.from_clip(clip).sample_frames(ids, rng, classifier.seg, recipe.whole_clip)
    return explain(classifier, poses, logits, frames[0].numpy(), samples=5)


def choose(label, predicted, n):
    """The numbers of at most n clips: the first of each cell of the confusion matrix, then the second, errors first."""
    seen, order = {}, []
    for i, cell in enumerate(zip(label.tolist(), predicted.tolist(), strict=True)):
        seen[cell] = seen.get(cell, 0) + 1
        order.append((seen[cell], cell[0] == cell[1], i))
    return sorted(i for *_, i in sorted(order)[:n])


def view_dataset(args, data):
    """As view_files."""
    h5, name, clips, checkpoint = open_data(args.dataset, args.case, args.checkpoint)
    ids = clips.ids("test")
    label = predicted = clips.label[ids].numpy()
    data |= {"title": f"{name}, case {args.case}", "classes": [*clips.class_names]}
    data["about"].append(f"test clips of {shown(h5)}")
    if checkpoint:
        classifier, about = Classifier(checkpoint.path), [f"tested with {shown(checkpoint.path)}"]
        logits, sampled = predict(checkpoint, clips, ids)
        predicted, n = logits.argmax(dim=1).numpy(), logits.shape[1]
        data["matrix"] = np.bincount(label * n + predicted, minlength=n * n).reshape(n, n).tolist()
        data["about"].append(", that ".join([*about, *checkpoint.differences(clips)]))
    for i in progress(choose(label, predicted, args.clips), unit="clip", leave=False):
        if not clips.length[ids[i]]:
            continue  # tools/check_h5.py lists empty clips
        poses = Poses(read_frames(h5, clips, ids[i].item()), clips.skeleton, clips.axes, centered=True)
        explained = checkpoint and explain(classifier, poses, logits[i], sampled[i], samples=1)
        entry = make_entry(f"test clip {i}", poses, data["skeletons"], args.size, int(label[i]), explained)
        data["clips"].append(entry)
    if len(data["clips"]) < len(ids):
        data["about"].append(f"{len(data['clips'])} of {len(ids)} clips are in this page (--clips)")
    return 0


def parse_args(argv=None):
    gone = dict.fromkeys(
        ["--data", "--device", "--fps", "--results", "--seed", "--split", "--window"], "gone: give files, or a data set"
    )
    parser = ArgumentParser(description=__doc__, elsewhere=gone)
    add = parser.add_argument
    add("files", type=Path, nargs="*", metavar="FILE", help="recordings, or folders of them")
    add("--dataset", help=f"the test clips of {', '.join(DATASETS)}, or of the path of an .h5")
    add("--case", type=int, default=0, help="protocol of the data set, as in main.py (%(default)s)")
    add("--checkpoint", type=Path, help="a <case>_best.pth (of a data set: that in results/, else in pretrained/)")
    add("--clips", type=positive_int, default=200, help="most clips in the page (%(default)s)")
    add("--out", type=path_of(".html"), required=True, help="page to write (.html)")
    recordings.add_arguments(parser)
    args = parser.parse_args(argv)
    if bool(args.files) == bool(args.dataset):
        parser.error("give recordings, or a --dataset")
    for flag in ("skeleton", "persons", "axes", "up", "scale", "nan") if args.dataset else ["case"]:
        if getattr(args, flag) != parser.get_default(flag):
            parser.error(f"--{flag}: only with {'recordings' if args.dataset else 'a --dataset'}")
    return args


def main(argv=None):
    """Returns the exit code."""
    args = parse_args(argv)
    data = {"title": "", "about": [], "classes": [], "skeletons": [], "clips": [], "matrix": None}
    code = (view_dataset if args.dataset else view_files)(args, data)
    if any(skeleton["flat"] for skeleton in data["skeletons"]) and not args.size:
        data["about"].append("pictures are taken to be 4:3 (--size)")
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")  # no name ends the script
    page = Path(__file__).with_suffix(".html").read_text(encoding="utf-8").replace("$DATA", text)
    with atomic_write(args.out) as part:
        part.write_text(page, encoding="utf-8")
    print(f"{args.out}: {len(page) / 1000:,.0f} kB, clips: {len(data['clips'])}")
    return code


if __name__ == "__main__":
    with exit_on_error("--clips"):
        sys.exit(main())
