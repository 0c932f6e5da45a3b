"""Sets of clips that are not in metres, not upright, or whose joints are in another order than the skeleton's."""

import dataclasses

import numpy as np
import pytest

import check_h5
from clips.checks import find_odd, person_size, pick
from clips.h5 import write_h5
from clips.recordings import check_size
from clips.skeletons import KINECT_V1, MEDIAPIPE33, Skeleton
from clips.skipped import BadFile

# Kinect v1's joints in the orders of MSR Action3D and of UTD-MHAD, in which many files of its 20 joints are
MSR = [4, 8, 2, 1, 12, 16, 0, 5, 9, 6, 10, 7, 11, 13, 17, 14, 18, 15, 19, 3]
UTD = [3, 2, 1, 0, *range(4, 20)]
LENGTHS = {"hip": 0.1, "knee": 0.42, "ankle": 0.35, "foot": 0.1, "hand": 0.08, "tip": 0.08, "thumb": 0.07, "eye": 0.03}
LENGTHS |= {"ear": 0.08, "mouth": 0.07, "finger": 0.1, "heel": 0.07}
DOWN = ("hip", "knee", "ankle", "foot", "heel")


def moving_figures(skeleton, clips=40, frames=10, noise=0.005, seed=0):
    """People of several sizes whose bones turn at random and keep their lengths: (clips, frames, joints, 3), metres."""
    rng = np.random.default_rng(seed)
    joints = len(skeleton.joints)
    length = np.array([LENGTHS.get(name.split()[-1], 0.22) for name in skeleton.joints])
    way = np.array([[0, -1 if name.split()[-1] in DOWN else 1, 0] for name in skeleton.joints])
    way = way + 0.5 * rng.normal(size=(clips, 1, joints, 3)) + 0.3 * rng.normal(size=(clips, frames, joints, 3))
    bone = way / np.linalg.norm(way, axis=-1, keepdims=True) * length[:, None] * rng.uniform(0.7, 1, (clips, 1, 1, 1))
    place = np.ones((clips, frames, joints, 3))
    for _ in range(joints):  # from the roots outwards
        for joint, parent in enumerate(skeleton.parents):
            place[:, :, joint] = place[:, :, parent] + bone[:, :, joint] * (joint != parent)
    return (place + rng.normal(scale=noise, size=place.shape)).astype(np.float32)


def notes_on(skeleton, clips, **more):
    return find_odd([person for clip in clips for person in pick(clip[:, None])], skeleton, **more)


@pytest.mark.parametrize("skeleton", [KINECT_V1, MEDIAPIPE33], ids=lambda skeleton: skeleton.name)
def test_persons_as_they_should_be_give_no_note(skeleton):
    clips = moving_figures(skeleton)
    assert notes_on(skeleton, clips) == notes_on(skeleton, clips[:1]) == []
    clips[:, ::3, 5] = 0  # absent
    clips[::4, 6:] = 0  # shorter clips
    assert notes_on(skeleton, clips) == []
    assert 1 < person_size([*clips]) < 2


OTHER = [(lambda x: x * 1000, "millimetres"), (lambda x: x * 3.28, "metres"), (lambda x: x * [1, -1, -1], "-y")]
OTHER += [(lambda x: x[..., [0, 2, 1]], "towards z"), (lambda x: x[:, :, [1, 0, *range(2, 20)]], "order of kinect_v1")]
OTHER += [(lambda x: x[:, :, MSR], "order of kinect_v1"), (lambda x: x[:, :, UTD], "order of kinect_v1")]


@pytest.mark.parametrize("change, word", OTHER)
def test_other_units_axes_and_orders_of_joints_give_a_note(change, word):
    notes = notes_on(KINECT_V1, change(moving_figures(KINECT_V1)))
    assert any(word in note for note in notes) and (len(notes) == 1 or "order" in word)


def test_notes_by_hand():
    """A trunk with two arms, in 30 clips: one arm twice as long, then one that changes from 1 to 3 and back."""
    arms = Skeleton("custom", ("trunk", "left hand", "right hand"), (0, 0, 0), (0, 2, 1))
    clips = np.full((30, 8, 3, 3), 0.5, np.float32)
    clips[:, :, 1, 0] += 2
    clips[:, :, 2, 0] -= 1
    [note] = notes_on(arms, clips)
    assert note.endswith("left hand - trunk is 2.0 times as long as right hand - trunk")
    clips[:, :, 1, 0] = 2.5
    clips[:, ::2, 2, 0], clips[:, 1::2, 2, 0] = 0.5 - 1, 0.5 - 3
    assert "right hand - trunk changes its length: its quartiles are 0.50 and 1.50" in notes_on(arms, clips)[0]
    assert notes_on(arms, np.zeros_like(clips)) == []


def test_pairs_that_swap_legs_and_not_arms_are_noted():
    def own(**change):
        return notes_on(dataclasses.replace(KINECT_V1, name="custom", **change), [])

    from_1 = tuple(min(parent + 1, 19) for parent in KINECT_V1.parents)
    assert own() == own(pairs=None) == [] and any("from 0" in line for line in own(parents=from_1))
    assert any("left shoulder" in line for line in own(pairs=(*range(12), *range(16, 20), *range(12, 16))))


@pytest.mark.parametrize("trained, scale, word", [(None, 1, 0.001), (1.6, 1, 0.001), (1600, 0.001, 1), (1.6, None, "")])
def test_a_clip_is_in_the_unit_of_the_training_clips(trained, scale, word):
    metres = moving_figures(KINECT_V1)[:1].swapaxes(0, 1)
    wrong, right = (metres, metres * 1000) if trained == 1600 else (metres * 1000, metres)
    check_size(right, "kinect_v1", scale, trained)
    with pytest.raises(BadFile, match=f"--scale {word}'" if scale else "multiply"):
        check_size(wrong, "kinect_v1", scale, trained)


def test_write_h5_and_check_h5_say_the_same(tmp_path, capsys):
    path, clips = tmp_path / "a.h5", moving_figures(KINECT_V1)[:, :, UTD].reshape(40, 10, 60) * 1000
    splits = {"": (clips[4:], [0, 1] * 18), "test_": (clips[:4], [0, 1, 0, 1])}
    about = dict(frames=30, joints=20, persons=1, class_names=["a", "b"], protocol="", made_by="me")
    for header, lines in (({"skeleton": "kinect_v1"}, 2), ({}, 1)):
        write_h5(path, splits, **about | header)
        written = capsys.readouterr().err.splitlines()
        assert check_h5.main([str(path)]) == 0
        *notes, last = capsys.readouterr().out.splitlines()
        assert written == [f"note: {path}: {note.removeprefix(f'{path}: note: ')}" for note in notes]
        assert len(notes) == lines and "1 person" in last
