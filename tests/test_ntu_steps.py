"""Steps 2 and 3 on arrays: the release's results bit for bit, and rules that no case of these names, by hand."""

import numpy as np
import pytest

from clips.ntu import Body, actors, center_clip, place_bodies, read_skeleton, remove_noise
from clips.skipped import BadFile
from ntu_text import ARRAYS, CLIPS, FILES

CASES = {str(case) or f"random {name}": str(name) for name, case in zip(ARRAYS["names"], ARRAYS["cases"], strict=True)}


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("case", CASES)
def test_golden(case):
    name = CASES[case]
    clip = actors(*read_skeleton(FILES[name]))
    assert same_bits(clip, CLIPS[name]["denoised"])
    assert same_bits(center_clip(clip), CLIPS[name]["moved"])


# An upright body is 1 high and at most 0.8 wide. Its number is the z of all its joints
def body(frames, first=0, number=1, motion=1.0, wide=0):
    joints = np.zeros((frames, 25, 3), np.float32)
    joints[:, :, 2] = number
    joints[:, 1, 1] = 1
    joints[:wide, 1, 0] = 0.9
    return Body(b"", first, joints, np.float32(motion))


def numbers(clip):
    """The number of the body in each frame of each actor's columns."""
    return clip.reshape(len(clip), -1, 75)[..., 2].astype(int).T.tolist()


def test_noise_is_a_share_of_0_69754_of_wide_frames():
    # 76 of 109 frames are 0.69725, 30 of 43 are 0.69767
    assert [len(remove_noise([body(n, wide=wide), body(n)])) for n, wide in ((109, 76), (43, 30))] == [2, 1]


def test_motion_of_a_body_with_some_noise_is_that_of_its_good_frames_if_smaller():
    noisy, other = remove_noise([body(20, motion=5, wide=10), body(20, motion=5)])
    assert noisy.motion == noisy.joints[10:].reshape(-1, 3).var(axis=0).sum() < 1 and other.motion == 5
    assert remove_noise([body(20, motion=0.001, wide=10), body(20)])[0].motion == np.float32(0.001)


LONG, SHORT = body(60, motion=4), body(15, 30, 2, motion=3)
PLACED = {  # valid frames, bodies (frames, first, number, motion), the numbers of actors 1 and 2
    "by motion": (20, [body(20), body(20, 0, 2, 2)], "2" * 20, "1" * 20),
    "one shared frame": (29, [body(15, 0, 1, 3), body(15, 14, 2, 2)], "1" * 14 + "2" * 15, "0" * 29),
    "two": (30, [body(15, 0, 1, 3), body(17, 13, 2)], "1" * 15 + "0" * 15, "0" * 13 + "2" * 17),
    "frames 0 to 11 of actor 2 are taken": (60, [LONG, SHORT, body(12, 0, 3)], "1" * 60, f"{'2' * 15:0>45}{0:015}"),
    "after its body they are free": (60, [LONG, SHORT, body(12, 44, 3)], "1" * 60, f"{'2' * 14 + '3' * 12:0>56}0000"),
}


@pytest.mark.parametrize("valid, bodies, one, two", PLACED.values(), ids=PLACED)
def test_which_actor_a_body_is(valid, bodies, one, two):
    assert ["".join(map(str, actor)) for actor in numbers(place_bodies(valid, bodies))] == [one, two]


def test_rows_that_sum_to_0_are_removed_only_from_clips_of_two_ids():
    joints = np.zeros((12, 25, 3), np.float32)
    joints[:, 0, 0] = 1
    joints[3, 1, 0] = -1
    one = body(12)._replace(joints=joints)
    assert len(actors(12, [one])) == 12
    assert len(actors(12, [one, body(3)])) == 11


@pytest.mark.parametrize("valid, first, why", [(11, 11, "nobody is left"), (20, 21, "twice")])
def test_clips_without_actors_are_refused(valid, first, why):
    with pytest.raises(BadFile, match=why):
        actors(valid, [body(first), body(valid)])


def test_of_two_actors_one_whose_values_sum_to_0_is_absent():
    clip = np.zeros((2, 2, 25, 3), np.float32)
    clip[1, 0, 1], clip[0, 1, 0], clip[1, 1, 0] = [1, 2, 3], [5, 5, 5], [7, -7, 0]
    moved = center_clip(clip.reshape(2, 150)).reshape(2, 2, 25, 3)
    assert (moved[0, 1, 0].tolist(), moved[1, 0, 1].tolist()) == ([4, 3, 2], [0, 0, 0])
    assert not moved[0, 0].any() and not moved[1, 1].any()
