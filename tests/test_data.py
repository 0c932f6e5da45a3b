"""Clips: from an h5 to packed clips, and from those to samples."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clips.h5 import write_h5
from conftest import write_toy
from data import Clips
from engine.config import find_h5, is_cross_view
from ntu_text import CLIPS
from util import UserError

SEG = 20


def write(path, clips, joints=25, persons=2, classes=3, **header):
    """An h5 of these (frames, width) arrays in x, labels 0, 1, 2, 0, ..., and one frame with a 1 in test_x."""
    labels = np.arange(len(clips)) % classes
    splits = {"": (clips, labels), "valid_": ([], []), "test_": ([np.eye(1, clips[0].shape[1])], [0])}
    names = [f"class {i}" for i in range(classes)]
    about = dict(joints=joints, persons=persons, class_names=names, protocol="all test", made_by="a test")
    write_h5(path, splits, frames=max(map(len, clips)), **about | header)
    return Clips.read(path)


def straight(length, joints=25):
    """A one-person clip whose frame i holds i + 1 everywhere."""
    frames = np.zeros((length, joints * 6), np.float32)
    frames[:, : joints * 3] = np.arange(1, length + 1)[:, None]
    return frames


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_persons_are_split_frame_by_frame_and_empty_frames_dropped(tmp_path):
    clip = np.zeros((5, 150), np.float32)
    clip[0, :75] = 1  # person 1 alone
    clip[1, :75], clip[1, 75:] = 2, 3  # both
    clip[3, 149] = 4  # person 2 alone, after an empty frame
    clips = write(tmp_path / "x.h5", [clip, straight(3)])
    about = (clips.length, [4, 3, 1]), (clips.start, [0, 4, 7]), (clips.label, [0, 1, 0])
    assert all(ours.tolist() == expected for ours, expected in about)
    packed = clips.frames[:4]
    assert packed[:, 0].tolist() == [1, 2, 3, 0] and packed[3, 74] == 4 and not clips.frames[-1].any()
    assert clips.splits == {"train": range(0, 2), "valid": range(2, 2), "test": range(2, 3)}
    assert clips.ids("test", "train").tolist() == [2, 0, 1]
    assert (clips.joints, clips.persons, clips.class_names[1], clips.spatial) == (25, 2, "class 1", True)

    alone = Clips.from_clip(clip.reshape(5, 2, 25, 3))  # the same of a clip that is in no h5
    assert torch.equal(alone.frames[:4], packed) and alone.ids("test").tolist() == [0]


def test_persons_are_split_as_in_the_golden_clips(tmp_path):
    with np.load(Path(__file__).parent / "fixtures" / "persons.npz", allow_pickle=False) as golden:
        names, lengths, frames = (golden[name] for name in ("names", "lengths", "frames"))
    moved = [CLIPS[name]["moved"] for name in names]
    assert {clip.shape[1] for clip in moved} == {75, 150}
    clips = write(tmp_path / "x.h5", [np.pad(clip, ((0, 0), (0, 150 - clip.shape[1]))) for clip in moved])
    assert clips.length[:-1].tolist() == lengths.tolist()
    assert torch.equal(clips.frames[: len(frames)], torch.from_numpy(frames))
    for block in (1, 3):  # the digest does not depend on the block that is read
        again = Clips.read(tmp_path / "x.h5", block=block)
        assert torch.equal(again.frames, clips.frames) and again.sha256 == clips.sha256


def test_data_sets_are_found_by_name_and_path_or_a_line_says_why_not(tmp_path):
    (tmp_path / "NTU_CV.h5").touch()
    assert find_h5("ntu", 1, tmp_path) == (tmp_path / "NTU_CV.h5", "NTU")
    mine = write_toy(tmp_path / "mine.h5")
    assert find_h5(str(mine), 0) == (mine, "mine")
    views = {("ntu", 0): False, ("NTU", 1): True, ("nucla", 0): True, (str(mine), 0): False}
    assert all(is_cross_view(*which) == view for which, view in views.items())
    for dataset, case, named in (
        ("NTU", 7, "--case 7: NTU has .*NTU_CV"),
        ("NUCLA", -1, "--case -1"),
        ("nuclea", 0, "did you mean NUCLA"),
        ("mine.h5", 1, "case 0 only"),
        ("some/NTU.h5", 0, "rename the file"),
        ("nowhere/mine.h5", 0, "nowhere/mine.h5 is missing"),
    ):
        with pytest.raises(UserError, match=named):
            find_h5(dataset, case)
