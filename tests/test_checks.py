"""Sets of clips that are not in metres, not upright, or whose joints are in another order than the skeleton's."""

import dataclasses

import numpy as np
import pytest

import check_h5
from clips.checks import find_odd, person_size, pick
from clips.h5 import write_h5
from clips.recordings import check_size
from clips.skeletons import KINECT_V1, Skeleton
from clips.skipped import BadFile

UTD = [3, 2, 1, 0, *range(4, 20)]  # Kinect v1's joints in the order of UTD-MHAD
LENGTHS = {"hip": 0.1, "knee": 0.42, "ankle": 0.35, "foot": 0.1, "hand": 0.08}
DOWN = ("hip", "knee", "ankle", "foot")


def moving_figures(clips=40, frames=10):
    """People of several sizes whose bones turn at random and keep their lengths: (clips, frames, 20, 3), metres."""
    rng, parts = np.random.default_rng(0), [name.split()[-1] for name in KINECT_V1.joints]
    length = np.array([LENGTHS.get(part, 0.22) for part in parts])
    way = np.array([[0, -1 if part in DOWN else 1, 0] for part in parts])
    way = way + 0.5 * rng.normal(size=(clips, 1, 20, 3)) + 0.3 * rng.normal(size=(clips, frames, 20, 3))
    bone = way / np.linalg.norm(way, axis=-1, keepdims=True) * length[:, None] * rng.uniform(0.7, 1, (clips, 1, 1, 1))
    place = np.ones((clips, frames, 20, 3))
    for joint, parent in list(enumerate(KINECT_V1.parents))[1:]:  # from the root outwards
        place[:, :, joint] = place[:, :, parent] + bone[:, :, joint]
    return (place + rng.normal(scale=0.005, size=place.shape)).astype(np.float32)


def notes_on(skeleton, clips, **more):
    return find_odd([person for clip in clips for person in pick(clip[:, None])], skeleton, **more)


def test_persons_as_they_should_be_give_no_note():
    clips = moving_figures()
    clips[:, ::3, 5] = 0  # absent
    clips[::4, 6:] = 0  # shorter clips
    assert notes_on(KINECT_V1, clips) == notes_on(KINECT_V1, clips[:1]) == [] and 1 < person_size([*clips]) < 2


OTHER = [(lambda x: x * 1000, "millimetres"), (lambda x: x * 3.28, "metres"), (lambda x: x[..., [0, 2, 1]], "z")]
OTHER += [(lambda x: x[:, :, [1, 0, *range(2, 20)]], "order"), (lambda x: x[:, :, UTD], "order of kinect_v1")]


@pytest.mark.parametrize("change, word", OTHER)
def test_other_units_axes_and_orders_of_joints_give_a_note(change, word):
    notes = notes_on(KINECT_V1, change(moving_figures()))
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


def test_pairs_that_swap_legs_and_not_arms_are_noted():
    def own(**change):
        return notes_on(dataclasses.replace(KINECT_V1, name="custom", **change), [])

    from_1 = tuple(min(parent + 1, 19) for parent in KINECT_V1.parents)
    assert own() == own(pairs=None) == [] and any("from 0" in line for line in own(parents=from_1))
    assert any("left shoulder" in line for line in own(pairs=(*range(12), *range(16, 20), *range(12, 16))))


@pytest.mark.parametrize("trained, scale, word", [(None, 1, 0.001), (1.6, 1, 0.001), (1600, 0.001, 1), (1.6, None, "")])
def test_a_clip_is_in_the_unit_of_the_training_clips(trained, scale, word):
    metres = moving_figures()[:1].swapaxes(0, 1)
    wrong, right = (metres, metres * 1000) if trained == 1600 else (metres * 1000, metres)
    check_size(right, "kinect_v1", scale, trained)
    with pytest.raises(BadFile, match=f"--scale {word}'" if scale else "multiply"):
        check_size(wrong, "kinect_v1", scale, trained)


def test_write_h5_and_check_h5_say_the_same(tmp_path, capsys):
    path, clips = tmp_path / "a.h5", moving_figures()[:, :, UTD].reshape(40, 10, 60) * 1000
    splits = {"": (clips[4:], [0, 1] * 18), "test_": (clips[:4], [0, 1, 0, 1])}
    about = dict(frames=30, joints=20, persons=1, class_names=["a", "b"], protocol="", made_by="me")
    write_h5(path, splits, **about, skeleton="kinect_v1")
    written = [line.split(": ", 2)[2] for line in capsys.readouterr().err.splitlines()]
    assert check_h5.main([str(path)]) == 0
    *notes, _ = capsys.readouterr().out.splitlines()
    assert written == [line.split(": ", 2)[2] for line in notes] and len(notes) == 2
