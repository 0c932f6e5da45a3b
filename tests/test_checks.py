"""Bones whose lengths tell that the joints are in another order than the skeleton's."""

import numpy as np
import pytest

import check_h5
from clips.checks import BoneLengths
from clips.h5 import write_h5
from clips.skeletons import KINECT_V1, KINECT_V2, MEDIAPIPE33, SKELETONS, Skeleton

# Kinect v1's joints in the order of MSR Action3D, in which many files of its 20 joints are
MSR = [4, 8, 2, 1, 12, 16, 0, 5, 9, 6, 10, 7, 11, 13, 17, 14, 18, 15, 19, 3]


def moving_figures(skeleton, clips=40, frames=30, noise=0.01, seed=0):
    """People of several sizes whose bones turn at random and keep their lengths: (clips, frames, joints, 3)."""
    rng = np.random.default_rng(seed)
    joints = len(skeleton.joints)
    length = rng.uniform(0.08, 0.4, joints)
    length = (length + length[list(skeleton.pairs)]) / 2  # the same on both sides
    way = rng.normal(size=(clips, 1, joints, 3)) + 0.2 * rng.normal(size=(clips, frames, joints, 3)).cumsum(axis=1)
    bone = way / np.linalg.norm(way, axis=-1, keepdims=True) * length[:, None] * rng.uniform(0.6, 1, (clips, 1, 1, 1))
    place = np.zeros((clips, frames, joints, 3))
    for _ in range(joints):  # from the roots outwards
        for joint, parent in enumerate(skeleton.parents):
            place[:, :, joint] = place[:, :, parent] + bone[:, :, joint] * (joint != parent)
    return (place + rng.normal(scale=noise, size=place.shape)).astype(np.float32)


def notes_on(skeleton, clips):
    bones = BoneLengths(skeleton)
    for part in np.array_split(clips.reshape(*clips.shape[:2], -1), 3):
        bones.add(part)
    return list(bones.notes())


@pytest.mark.parametrize("skeleton", [KINECT_V1, KINECT_V2, MEDIAPIPE33], ids=lambda skeleton: skeleton.name)
def test_joints_in_the_right_order_give_no_note(skeleton):
    clips = moving_figures(skeleton)
    assert notes_on(skeleton, clips) == []
    sides = list(skeleton.pairs)  # left and right exchanged: cannot be seen
    assert notes_on(skeleton, clips[:, :, sides]) == []
    clips[:, ::3, 5] = 0  # absent
    clips[::4, 20:] = 0  # shorter clips
    assert notes_on(skeleton, clips) == []


@pytest.mark.parametrize("seed", range(3))
def test_joints_in_another_order_give_a_note(seed):
    clips = moving_figures(KINECT_V1, seed=seed)
    order = np.arange(20)
    order[4:8], order[12:16] = np.arange(12, 16), np.arange(4, 8)  # the left arm and the left leg
    random = np.random.default_rng(seed).permutation(20)
    for wrong in (MSR, order, order[::-1], np.roll(np.arange(20), 1), random):
        notes = notes_on(KINECT_V1, clips[:, :, wrong])
        assert notes and all(note.startswith("are the joints in the order of kinect_v1? ") for note in notes)
    assert notes_on(KINECT_V1, clips[:29, :, MSR]) == []  # too few to tell


def test_notes_by_hand():
    """A trunk with two arms, in 30 clips: one arm twice as long, then one that changes from 1 to 3 and back."""
    arms = Skeleton("custom", ("trunk", "left hand", "right hand"), (0, 0, 0), (0, 2, 1))
    clips = np.full((30, 8, 3, 3), 0.5, np.float32)
    clips[:, :, 1, 0] += 2
    clips[:, :, 2, 0] -= 1
    asks = "are the joints in the order of the stated skeleton? "
    assert notes_on(arms, clips) == [asks + "left hand - trunk is 2.0 times as long as right hand - trunk"]
    clips[:, :, 1, 0] = 2.5
    clips[:, ::2, 2, 0], clips[:, 1::2, 2, 0] = 0.5 - 1, 0.5 - 3
    one = asks + "right hand - trunk changes its length: its quartiles are 0.50 and 1.51 of the mean bone"
    assert notes_on(arms, clips)[:1] == [one]
    assert notes_on(arms, np.zeros_like(clips)) == []


def test_check_h5_notes_another_order_of_3d_joints_alone(tmp_path, capsys):
    path, clips = tmp_path / "a.h5", moving_figures(KINECT_V1)[:, :, MSR].reshape(40, 30, 60)
    splits = {"": (clips[4:], [0, 1] * 18), "valid_": ([], []), "test_": (clips[:4], [0, 1, 0, 1])}
    about = dict(frames=30, joints=20, persons=1, class_names=["a", "b"], protocol="", made_by="me")
    axes = "x - 0.5, y - 0.5, score"
    for header, lines in (({"skeleton": "kinect_v1"}, 3), ({}, 1), ({"skeleton": "kinect_v1", "axes": axes}, 1)):
        write_h5(path, splits, **about | header)
        assert check_h5.main([str(path)]) == 0
        *notes, last = capsys.readouterr().out.splitlines()
        assert len(notes) == lines - 1 and all(
            "note: are the joints in the order of kinect_v1?" in one for one in notes
        )
        assert "1 person" in last


def test_all_skeletons_can_be_judged():
    for skeleton in SKELETONS.values():
        bones = BoneLengths(skeleton)
        assert len(bones.pairs()) == sum(joint.startswith("left") for joint in skeleton.joints)
        assert bones.quantile(0.5).shape == (len(skeleton.joints) - 1,) and np.isnan(bones.quantile(0.5)).all()
