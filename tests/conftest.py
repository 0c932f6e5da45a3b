"""A small data set that SGN learns in a few steps, for the tests of the command line."""

import os

import numpy as np
import pytest

from layout import write_h5

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two tests run at a time, and networks as small gain nothing by threads

CLASSES, JOINTS = 4, 5


def toy_clips(n, seed, persons=1, joints=JOINTS):
    """n clips of 12 to 60 frames whose class is the axis, or the joint, along which they move: arrays and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    clips = []
    for label in labels:
        frames = int(rng.integers(12, 60))
        clip = rng.normal(scale=0.02, size=(frames, persons, joints, 3)) + np.arange(joints)[:, None] / joints
        clip[:, :, label % joints, label % 3] += np.linspace(-1, 1, frames)[:, None]
        clips.append(clip.reshape(frames, -1).astype(np.float32))
    return clips, labels


def write_toy(path, test=18, joints=JOINTS, **kwargs):
    clips = ("", 48), ("valid_", 8), ("test_", test)
    splits = {split: toy_clips(n, seed, joints=joints) for seed, (split, n) in enumerate(clips)}
    about = dict(frames=60, joints=joints, persons=1, class_names=list("abcd"), protocol="toy", made_by="a test")
    write_h5(path, splits, **about | kwargs)
    return path


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("toy") / "toy.h5")
