"""Step 1: reading one .skeleton file, and the errors for damaged ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clips.ntu import read_skeleton
from clips.skipped import BadFile
from ntu_text import text


def body(seed):
    return np.random.default_rng(seed).normal(size=(25, 3)).round(4)


GOOD = text([[(72057594037930001, body(i))] for i in range(3)])


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf" + GOOD, GOOD.replace(b"\n", b"\r\n"), GOOD.replace(b" ", b"  ")])
def test_one_body_whatever_the_line_ends_and_blanks(data):
    valid, [found] = read_skeleton(data)
    assert (valid, found.id, found.first, found.joints.dtype) == (3, b"72057594037930001", 0, np.float32)
    assert np.array_equal(found.joints, np.array([body(i) for i in range(3)], np.float32))


def test_empty_frames_are_dropped_and_intervals_have_no_gaps():
    a, b = 72057594037930001, 72057594037930002  # the same as float64
    frames = [[], [(b, body(0))], [], [(a, body(1)), (b, body(2))], [(a, body(3))], [(b, body(4))]]
    valid, [first, second] = read_skeleton(text(frames))
    assert valid == 4
    assert (int(first.id), first.first, len(first.joints)) == (b, 0, 3)  # frames 0, 1 and 3, counted as 0, 1, 2
    assert (int(second.id), second.first, len(second.joints)) == (a, 1, 2)
    assert np.array_equal(first.joints, np.array([body(0), body(2), body(4)], np.float32))


def test_motion_is_the_variance_over_all_joint_positions():
    joints = np.zeros((2, 25, 3))
    joints[1] = [2, 4, 6]  # each coordinate half 0, half that: variances 1, 4, 9
    _, [first, second] = read_skeleton(text([[(1, joint), (2, np.zeros((25, 3)))] for joint in joints]))
    assert (first.motion, second.motion, first.motion.dtype) == (14, 0, np.float32)


decimals = st.tuples(
    st.floats(-1e5, 1e5) | st.floats(-10, 10), st.sampled_from((".7g", ".17g", ".3f", ".6e", "+.9g"))
).map(lambda pair: format(*pair))


@given(st.lists(decimals, min_size=5, max_size=5).map(lambda few: few * 15))
def test_numbers_become_float32_by_way_of_float64(tokens):
    _, [found] = read_skeleton(text([[(1, np.array(tokens, dtype=object).reshape(25, 3))]]))
    assert np.array_equal(found.joints.ravel(), np.array([float(token) for token in tokens]).astype(np.float32))


def edited(line, new):
    """GOOD, line `line` (from 1) replaced by new."""
    lines = GOOD.split(b"\n")
    lines[line - 1] = new
    return b"\n".join(lines)


BAD = {  # text, line
    "empty file": (b"", 1),
    "cut in a body": (b"\n".join(GOOD.split(b"\n")[:40]), 40),
    "a billion bodies": (edited(2, b"1000000000"), 30),
    "nan": (edited(10, b"0 nan 0 250.1 200.2 950.3 500.4 0 0.05 0.97 -0.12 2"), 10),
    "too far for anybody": (edited(10, b"1e10 0 0 250.1 200.2 950.3 500.4 0 0.05 0.97 -0.12 2"), 10),
    "an ID with a point": (edited(3, b"7.2e16 0 1 1 1 1 0 0 0 2"), 3),
}


@pytest.mark.parametrize("data, line", BAD.values(), ids=BAD)
def test_bad_files_are_refused_with_line_and_reason(data, line):
    with pytest.raises(BadFile) as error:
        read_skeleton(data)
    where, why = error.value.args
    assert where == line and len(why) < 120 and why.isprintable()
