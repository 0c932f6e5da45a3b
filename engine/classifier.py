"""Trained networks in use: SGN in its fast form, on single clips and on frames as they arrive.

    classifier = Classifier("pretrained/NUCLA/SGN/0_best.pth")
    clip = classifier.adapt(read_any("a01_s01_e00_v01.json"))           # (frames, persons, joints, 3), as in training
    logits = classifier.logits(clip, torch.Generator().manual_seed(1))
    classifier.top(logits.softmax(-1).numpy())                          # [{"label": 8, "name": "throw", ...}, ...]

    live = LiveClassifier("results/NTU/SGN/0_best.pth")
    for joints in camera:                                               # (25, 3), or (persons, 25, 3), metres
        probabilities = live.update(joints)
        if probabilities is not None:
            print(live.names[probabilities.argmax()])

Both run on the CPU, as one clip is too little for a GPU. tools/predict.py is their command line.
"""

from collections import deque
from pathlib import Path

import numpy as np
import torch

from clips.h5 import AXES_2D, read_header, trim_and_center
from clips.joint_map import MAPS, map_joints
from clips.protocols import read_lines
from clips.recordings import default_origin
from data import Clips
from engine.checkpoint import load_checkpoint
from engine.datasets import DATASETS, OTHER
from engine.folded import Folded
from safe.h5 import open_h5
from util import UserError, readable


class Classifier:
    """A checkpoint, ours or the release's, for one clip at a time.

    classes: file of class names, one a line, or the h5 trained on; by default the checkpoint's own names.
    Attributes: net, joints, skeleton, recipe, names (of all classes), window (default of LiveClassifier, frames),
    trained_origin (the h5's, clips/h5.py).
    Raises UserError for a checkpoint or a file of names that is missing, damaged, or does not fit.
    """

    def __init__(self, path, classes=None):
        checkpoint = load_checkpoint(path)
        self.path, self.net, self.recipe = path, checkpoint.net, checkpoint.recipe
        self.skeleton, self.trained_origin = checkpoint.skeleton, checkpoint.origin
        self.joints, self.seg, n = self.net.num_joint, self.net.seg, self.net.num_classes
        self.names = read_class_names(classes, n) if classes else checkpoint.class_names
        self.names = self.names or tuple(f"class {i}" for i in range(n))
        self.forward = self.net if self.net.ablate else Folded(self.net)
        window = DATASETS.get(checkpoint.about.get("dataset"), OTHER).window
        self.window = max(self.seg, window // self.seg * self.seg)

    def fit(self, poses):
        """Poses of this network's skeleton: joints become those of the Kinect that it was trained with (joint_map).

        Raises UserError if the skeleton does not fit.
        """
        source, target = poses.skeleton, self.skeleton.name
        if (source, target) in MAPS:
            return poses._replace(clip=map_joints(poses.clip, source, target), skeleton=target, centered=False)
        if source != target and "unknown" not in (source, target):
            raise UserError(f"{self.path} was made for the skeleton {target}, not {source}")
        return poses

    def adapt(self, poses, origin=None):
        """The clip of Poses from read_any, as this network takes it: with its joints, centered as in training."""
        poses = self.fit(poses)
        if poses.centered and origin is None and self.trained_origin is None:
            return poses.clip
        return trim_and_center(poses.clip, 0 if poses.axes == AXES_2D else self.origin(origin))

    def origin(self, joint=None):
        """The joint, from 1, that becomes the origin, or 0; by default that of the training clips, and if that is not
        known, the skeleton's. Raises UserError."""
        known = default_origin(self.skeleton.name) if self.trained_origin is None else self.trained_origin
        joint = known if joint is None else joint
        if not 0 <= joint <= self.joints:
            raise UserError(f"joint {joint} cannot be the origin: {self.path} has {self.joints} joints")
        return joint

    @torch.no_grad()
    def logits(self, clip, rng, samples=None):
        """Logits of a clip, (frames, persons, joints, 3) as from `adapt`: (classes,) float32.

        They are averaged over samples; by default as many as in the recipe. Raises UserError if the joints do not fit,
        or if the logits are not finite.
        """
        if clip.shape[2] != self.joints:
            raise UserError(f"{clip.shape[2]} joints, but {self.path} was made for {self.joints}")
        ids = torch.zeros(samples or self.recipe.test_samples, dtype=torch.int64)
        x = Clips.from_clip(clip).sample(ids, rng, self.seg, self.recipe.whole_clip)
        logits = self.forward(x).mean(dim=0)
        if not logits.isfinite().all():
            raise UserError(f"{self.path} gives logits that are not finite: are these joints of a person, in metres?")
        return logits

    def top(self, probabilities, n=5):
        """The n likeliest classes: [{"label": from 0, "name": str, "probability": float}], the likeliest first."""
        order = np.argsort(-probabilities, kind="stable")[:n].tolist()
        return [{"label": i, "name": self.names[i], "probability": round(float(probabilities[i]), 6)} for i in order]


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

    checkpoint: a path or a Classifier. window: frames, at least the network's segments; by default about the mean
    length of the training clips, so that as much time passes between sampled frames as in training. stride: frames
    between predictions. persons: most persons in a frame. samples: of frames of the window, whose logits are averaged.
    origin: as in Classifier.origin. classes: as in Classifier. Raises UserError for arguments that do not fit.

    Samples are random, from `seed`: evenly spaced frames of two people, which alternate, could all be one person's.
    """

    def __init__(self, checkpoint, window=None, stride=1, samples=1, persons=2, origin=None, seed=1, classes=None):
        self.classifier = checkpoint if isinstance(checkpoint, Classifier) else Classifier(checkpoint, classes)
        self.names, self.window, self.stride = self.classifier.names, window or self.classifier.window, stride
        if self.window < self.classifier.seg:
            raise UserError(f"a window of {self.window} frames: at least {self.classifier.seg} are needed")
        self.samples, self.origin = samples, self.classifier.origin(origin)
        self.rng = torch.Generator().manual_seed(seed)
        self.frames = 0  # seen so far
        self.shape = (persons, self.classifier.joints, 3)
        self.last = deque(maxlen=self.window)

    def update(self, joints):
        """Takes the next frame. Returns probabilities of the classes, (classes,) float32, or None.

        joints: (joints, 3) or (persons, joints, 3), metres in the camera's frame, zeros for an absent person; None for
        an empty frame. Returns None until the window is full, between strides, and while fewer of its frames than the
        network samples show somebody. Raises ValueError, and ignores the frame, for a wrong shape, NaN or infinity;
        UserError if the logits of a window are not finite.
        """
        persons, *skeleton = self.shape
        with np.errstate(over="ignore"):
            frame = np.zeros((0, *skeleton)) if joints is None else np.asarray(joints).astype(np.float32)
        frame = frame[None] if frame.ndim == 2 else frame
        if frame.ndim != 3 or list(frame.shape[1:]) != skeleton or len(frame) > persons:
            expected = f"({skeleton[0]}, 3), or that of up to {persons} persons"
            raise ValueError(f"a frame of shape {np.shape(joints)}, not {expected}")
        if not np.isfinite(frame).all():
            raise ValueError("NaN or infinity in a frame; an absent person is zeros")
        self.last.append(np.zeros(self.shape, np.float32))
        self.last[-1][: len(frame)] = frame
        self.frames += 1
        if self.frames < self.window or (self.frames - self.window) % self.stride:
            return None
        clip = trim_and_center(np.stack(self.last), self.origin)
        if len(clip) < self.classifier.seg:
            return None
        return self.classifier.logits(clip, self.rng, self.samples).softmax(dim=-1).numpy()
