"""Trained networks in use: SGN in its fast form, on single clips, long recordings, and frames as they arrive.

    classifier = Classifier("pretrained/NUCLA/SGN/0_best.pth")
    clip = classifier.adapt(read_any("a01_s01_e00_v01.json"))           # (frames, persons, joints, 3), as in training
    probabilities = classifier.probabilities(clip, torch.Generator().manual_seed(1))
    classifier.top(probabilities)                                       # [{"label": 8, "name": "throw", ...}, ...]

    live = LiveClassifier(classifier)
    for joints in camera:                                               # (20, 3), or (persons, 20, 3), metres
        for probabilities in live.step(joints).values():                # none until the window is full
            print(classifier.names[probabilities.argmax()])

Both run on the CPU, as one clip is too little for a GPU. tools/predict.py is their command line.
"""

import math
from collections import defaultdict, deque
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from clips.checks import odd_clip
from clips.h5 import AXES_2D, read_header, trim_and_center
from clips.joint_map import MAPS, map_joints
from clips.protocols import read_lines
from clips.recordings import default_origin
from data import Clips
from engine.checkpoint import load_checkpoint
from engine.config import DATASETS, OTHER
from engine.folded import fast_form
from safe.files import open_h5
from util import UserError, readable

RATE = 30  # frames a second of the training clips: of all data sets that the project knows
LONGEST = 100_000  # frames of a window


class Classifier:
    """A checkpoint, ours or the release's, for one clip at a time.

    classes: file of class names, one a line, or the h5 trained on; by default the checkpoint's own names. names: of all
    classes. window: about as many frames as a training clip has. Raises UserError for a file that is missing, damaged,
    or does not fit.
    """

    def __init__(self, path, classes=None):
        self.path, self.checkpoint = path, load_checkpoint(path)
        self.recipe, self.skeleton, net = self.checkpoint.recipe, self.checkpoint.skeleton, self.checkpoint.net
        self.forward, self.joints, self.seg, n = fast_form(net), net.num_joint, net.seg, net.num_classes
        self.names = read_class_names(classes, n) if classes else self.checkpoint.class_names
        self.names = self.names or tuple(f"class {i}" for i in range(n))
        window = DATASETS.get(self.checkpoint.about.get("dataset"), OTHER).window
        self.window = max(self.seg, window // self.seg * self.seg)

    def fit(self, poses):
        """Poses of this network's skeleton, perhaps by a joint_map. Raises UserError if theirs does not fit."""
        source, target = getattr(poses.skeleton, "name", poses.skeleton), self.skeleton.name
        if (source, target) in MAPS:
            return poses._replace(clip=map_joints(poses.clip, source, target), skeleton=target, centered=False)
        if source != target and "unknown" not in (source, target):
            raise UserError(f"{self.path} was made for the skeleton {target}, not {source}")
        return poses

    def odd(self, poses, up=None):
        """Yields what a user should know of Poses that are to be classified: (kind, a line). up: their --up, if any."""
        yield from ((text, text) for text in poses.notes)
        if (poses.skeleton, self.skeleton.name) in MAPS:
            yield "map", f"joints of {poses.skeleton} are mapped to those of {self.skeleton.name}; some are guessed"
        if not poses.stated:
            for kind, text in odd_clip(poses.clip, poses.skeleton, up, self.checkpoint.up):
                yield text if kind == "up" else kind, text

    def adapt(self, poses, origin=None, fps=None):
        """The clip of Poses from read_any, as this network takes it: with its joints, centered as in training.

        fps: frames a second of the recording, which is then resampled to RATE.
        """
        poses = self.fit(poses)
        clip = resample(poses.clip, fps)
        if poses.centered and origin is None and self.checkpoint.origin is None:
            return clip
        return trim_and_center(clip, 0 if poses.axes == AXES_2D else self.origin(origin))

    def origin(self, joint=None):
        """The joint, from 1, that becomes the origin, or 0; by default that of the training clips, and if that is not
        known, the skeleton's. Raises UserError."""
        joint = self.checkpoint.origin if joint is None else joint
        joint = default_origin(self.skeleton.name) if joint is None else joint
        if not 0 <= joint <= self.joints:
            raise UserError(f"joint {joint} cannot be the origin: {self.path} has {self.joints} joints")
        return joint

    @torch.no_grad()
    def logits(self, clip, rng, samples=None):
        """Logits of a clip, (frames, persons, joints, 3) as from `adapt`: (classes,) float32, the mean over samples, by
        default as many as in the recipe. Raises UserError if the joints do not fit, or if they are not finite."""
        if clip.shape[2] != self.joints:
            raise UserError(f"{clip.shape[2]} joints, but {self.path} was made for {self.joints}")
        ids = torch.zeros(samples or self.recipe.test_samples, dtype=torch.int64)
        x = Clips.from_clip(clip).sample(ids, rng, self.seg, self.recipe.whole_clip)
        logits = self.forward(x).mean(dim=0)
        if not logits.isfinite().all():
            raise UserError(f"{self.path} gives logits that are not finite: are these joints of a person, in metres?")
        return logits

    def probabilities(self, clip, rng, samples=None):
        """The softmax of `logits`, of NumPy."""
        return self.logits(clip, rng, samples).softmax(dim=-1).numpy()

    def top(self, probabilities, n=5, unknown=0.0):
        """The n likeliest classes: [{"label": from 0, "name": str, "probability": float}], the likeliest first.

        If that one's probability is below `unknown`, the label of the only entry is None, its name "unknown".
        """
        order = np.argsort(-probabilities, kind="stable")[:n].tolist()
        top = [{"label": i, "name": self.names[i], "probability": round(float(probabilities[i]), 6)} for i in order]
        return [top[0] | {"label": None, "name": "unknown"}] if probabilities[order[0]] < unknown else top


def people(poses):
    """Each person of Poses alone, from 1: {number: Poses}. Who is in no frame is left out."""
    there = np.flatnonzero(poses.clip.any(axis=(0, 2, 3))).tolist()
    return {i + 1: poses._replace(clip=poses.clip[:, [i]], centered=False) for i in there}


def resample(clip, fps):
    """A recording of so many frames a second at RATE, (frames, ...,  joints, 3); fps None: as it is.

    Between two frames joints move evenly; one that is absent, zeros, in either is taken from the nearer frame.
    """
    if fps in (None, RATE):
        return clip
    last = len(clip) - 1
    at = np.minimum(np.arange(max(1, round(len(clip) * RATE / fps))) * fps / RATE, last)
    before = at.astype(int)
    a, b = clip[before], clip[np.minimum(before + 1, last)]
    share = (at - before).astype(clip.dtype).reshape(-1, *[1] * (clip.ndim - 1))
    both = a.any(axis=-1, keepdims=True) & b.any(axis=-1, keepdims=True)
    return np.where(both, a + share * (b - a), np.where(share < 0.5, a, b))


def read_class_names(path, n):
    """The n class names in a text file, one a line, or in an h5: a tuple of str. Raises UserError."""
    if Path(path).suffix in (".h5", ".hdf5"):
        with open_h5(path) as file:
            names = read_header(file)["class_names"]
    else:
        names = tuple(map(readable, read_lines(path)))
    if len(names) != n:
        raise UserError(f"{path}: {len(names)} names, but there are {n} classes")
    return names


class LiveClassifier:
    """Classifies a live feed of frames: the last `window` frames are taken for a clip.

    window: frames, at RATE at least the network's segments; by default those of a training clip, so that as much time
    passes between sampled frames. stride: frames between predictions, None for a quarter window. persons: most persons
    in a frame. samples: of frames of the window, whose logits are averaged; random, from `seed`: evenly spaced frames
    of two people, which alternate, could all be one person's. origin, fps: as in Classifier.adapt. per_person: takes
    each person alone. Raises UserError for arguments that do not fit.
    """

    def __init__(
        self, classifier, window=None, stride=1, samples=1, persons=2, origin=None, seed=1, fps=None, per_person=False
    ):
        self.classifier, self.samples, self.fps, self.per_person = classifier, samples, fps, per_person
        speed = (fps or RATE) / RATE
        self.window = window or math.ceil(classifier.window * speed)
        least = math.ceil(classifier.seg * speed)
        if not least <= self.window <= LONGEST:
            raise UserError(f"a window of {self.window} frames: at least {least} are needed, at most {LONGEST:,}")
        self.stride, self.origin = stride or max(1, self.window // 4), classifier.origin(origin)
        self.rng = torch.Generator().manual_seed(seed)
        self.frames = 0  # seen so far
        self.last = deque([np.zeros((persons, classifier.joints, 3), np.float32)], maxlen=self.window)

    def step(self, joints):
        """Takes the next frame. Returns {person from 1, or None for all: probabilities of the classes, (classes,)
        float32}: {} until the window is full, between strides, and while fewer of its frames than the network samples
        show somebody.

        joints: (joints, 3) or (persons, joints, 3), metres in the camera's frame, zeros for an absent person; None for
        an empty frame. Raises ValueError, and ignores the frame, for a wrong shape, NaN or infinity; UserError if the
        logits of a window are not finite.
        """
        full = np.zeros_like(self.last[-1])  # of all persons
        with np.errstate(over="ignore"):
            frame = full[:0] if joints is None else np.asarray(joints).astype(np.float32)
        frame = frame[None] if frame.ndim == 2 else frame
        if frame.shape[1:] != full.shape[1:] or len(frame) > len(full) or not np.isfinite(frame).all():
            wanted = f"finite numbers, {full.shape[1:]} of each of up to {len(full)} persons"
            raise ValueError(f"a frame of shape {np.shape(joints)}: expected are {wanted}")
        full[: len(frame)] = frame
        self.last.append(full)
        self.frames += 1
        if self.frames < self.window or (self.frames - self.window) % self.stride:
            return {}
        clip = resample(np.stack(self.last), self.fps)
        clips = {i + 1: clip[:, [i]] for i in range(len(full))} if self.per_person else {None: clip}
        clips = {i: trim_and_center(clip, self.origin) for i, clip in clips.items()}
        enough = {i: clip for i, clip in clips.items() if len(clip) >= self.classifier.seg}
        return {i: self.classifier.probabilities(clip, self.rng, self.samples) for i, clip in enough.items()}


class Stretch(NamedTuple):
    """Frames of a recording that have one answer: from 0, `end` excluded."""

    person: int | None
    start: int
    end: int
    probabilities: np.ndarray  # (classes,)


def find_stretches(live, clip, unknown=0.0):
    """A recording, (frames, persons, joints, 3) of the network's joints, in the windows of a new LiveClassifier.

    Every `stride` frames get the mean of the windows that they are in, those after the last window its probabilities.
    Those that follow one another with the same label (Classifier.top) are one stretch. Returns a list of Stretch in the
    order of their starts. Raises UserError for a stride above the window.
    """
    if live.stride > live.window:
        raise UserError(f"a stride of {live.stride} frames leaves some between windows of {live.window} out")
    frames, n = len(clip), math.ceil(len(clip) / live.stride)
    sums = defaultdict(lambda: np.zeros((n, len(live.classifier.names))))  # of the windows, for each person
    for end, frame in enumerate(clip, 1):
        for person, probabilities in live.step(frame).items():
            stop = n if end + live.stride > frames else math.ceil(end / live.stride)
            sums[person][(end - live.window) // live.stride : stop] += probabilities
    stretches = []
    for person, parts in sums.items():
        means = parts / np.maximum(parts.sum(axis=1, keepdims=True), 1e-9)
        labels = [live.classifier.top(mean, 1, unknown)[0]["label"] if mean.any() else "nobody" for mean in means]
        for label, group in groupby(range(n), labels.__getitem__):
            at = [*group]
            if label != "nobody":
                start, end = at[0] * live.stride, min((at[-1] + 1) * live.stride, frames)
                stretches.append(Stretch(person, start, end, means[at].mean(axis=0)))
    return sorted(stretches, key=lambda stretch: stretch.start)
