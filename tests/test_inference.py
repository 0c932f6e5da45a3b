"""Frames that arrive live: each prediction is that of its window; and the lines that predict --live reads."""

import json
import re

import numpy as np
import pytest
import torch

from clips.h5 import trim_and_center
from engine.classifier import Classifier, LiveClassifier
from helpers import run_script
from predict_run import predict, run, save
from util import UserError

SEG, WINDOW = 4, 6


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return save(tmp_path_factory.mktemp("small") / "small.pth", 3, 5, SEG)


def frames(n, persons=1):
    return np.random.default_rng(0).normal(size=(n, persons, 5, 3)).astype(np.float32)


def expected(small, clips):
    """Probabilities of each window, in turn."""
    classifier, rng = Classifier(small), torch.Generator().manual_seed(1)
    return np.array([classifier.logits(trim_and_center(clip), rng, 1).softmax(-1).numpy() for clip in clips])


@pytest.mark.parametrize("persons", [1, 2])
@pytest.mark.parametrize("stride", [1, 4])
def test_each_prediction_is_of_the_last_window(small, persons, stride):
    given, live = frames(20, persons), LiveClassifier(small, WINDOW, stride)
    said = [live.update(frame[0] if persons == 1 else frame) for frame in given]
    ends = [end for end in range(WINDOW, 21) if (end - WINDOW) % stride == 0]
    assert [i + 1 for i, one in enumerate(said) if one is not None] == ends
    windows = expected(small, [given[end - WINDOW : end] for end in ends])
    assert np.array_equal([one for one in said if one is not None], windows)
    assert np.ptp(windows, axis=0).max() > 1e-4
    np.testing.assert_allclose(windows.sum(axis=1), 1, rtol=1e-5)


def test_where_the_camera_stands_does_not_matter(small):
    a, b = LiveClassifier(small, WINDOW), LiveClassifier(small, WINDOW)
    for frame in frames(9):
        one, other = a.update(frame), b.update(frame + np.float32([1, -2, 3]))
        assert one is other is None or np.allclose(one, other, atol=1e-5)


def test_nobody_is_no_frame_and_an_old_person_leaves_the_window(small):
    given, live = frames(30, 2), LiveClassifier(small, WINDOW)
    given[6:8] = 0
    given[10:13] = 0  # three of a window of six: fewer than the four segments are left
    given[15:, 1] = 0
    said = [live.update(None if not frame.any() else frame[0] if not frame[1].any() else frame) for frame in given]
    windows = {end: given[end - WINDOW : end] for end in range(WINDOW, 31)}
    enough = {end: clip for end, clip in windows.items() if clip.any(axis=(1, 2, 3)).sum() >= SEG}
    assert [i + 1 for i, one in enumerate(said) if one is not None] == list(enough) and len(enough) < len(windows)
    assert np.array_equal([one for one in said if one is not None], expected(small, enough.values()))


def test_a_frame_that_is_refused_has_not_come(small):
    live, other = LiveClassifier(small, WINDOW), LiveClassifier(small, WINDOW)
    for frame in frames(8):
        large = frame.astype(float) * 1e39
        for wrong in (frame[0, :4], frame[0].ravel(), np.repeat(frame, 3, 0), frame * np.nan, large, ["a"]):
            with pytest.raises(ValueError):
                live.update(wrong)
        one, right = live.update(frame), other.update(frame)
        assert one is right is None or np.array_equal(one, right)
    for wrong in (dict(window=3), dict(origin=6), dict(origin=-1)):
        with pytest.raises(UserError):
            LiveClassifier(small, **wrong)


def test_the_default_window_is_about_the_mean_clip_in_whole_segments(tmp_path):
    for name, seg, window in (
        *(("NTU", 5, 80), ("DEMO", 5, 60), ("NUCLA", 5, 40), ("mine", 5, 80)),
        *(("NTU", 30, 60), ("NTU", 100, 100)),
    ):
        assert LiveClassifier(save(tmp_path / "a.pth", 13, 5, seg, about={"dataset": name})).window == window


# ---- lines


def as_lines(given, form=" "):
    if form == "json":
        return [json.dumps(frame.tolist()).encode() for frame in given]
    return [form.join(f"{value:.9g}" for value in frame.ravel()).encode() + b"\r\n" for frame in given]


def test_live_lines_in_every_form(small, capsys):
    flags = ("--checkpoint", small, "--window", WINDOW, "--origin", 2, "--json", "--top", 3)
    given, said = frames(9, 2), []
    for form in (" ", ",", " , ", "json"):
        code, out, err = run(capsys, "--live", *flags, lines=as_lines(given, form))
        assert (code, err) == (0, [])
        said.append([json.loads(line) for line in out])
    assert said.count(said[0]) == 4
    windows = expected(small, [given[end - WINDOW : end] for end in range(WINDOW, 10)])
    assert [row["frame"] for row in said[0]] == [6, 7, 8, 9]
    for row, right in zip(said[0], windows, strict=True):
        assert [one["probability"] for one in row["top"]] == pytest.approx(sorted(right)[::-1], abs=1e-6)
        assert row["top"][0]["label"] == right.argmax()
    code, out, err = run(capsys, "--stream", *flags, lines=as_lines(given))  # as it was called
    assert code == 0 and list(map(json.loads, out)) == said[0] and len(err) == 1 and "--live" in err[0]


BAD_LINES = {
    b"nan " * 15: "NaN",
    b"1 2 three": "three",
    b"1 2 3": "3 numbers",
    b"1 " * 45: "2 persons",
    b'["a"]': "numbers",
    b"[1, 2": "JSON",
    b'{"people": [3]}': "pose estimator",
    b'{"people": [{"pose_keypoints_2d": [0.1, 0.1, 1]}]}': "OpenPose",
    b"[[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]": r"\(3, 5\)",
    b"\xff\xfe": "numbers",
}


@pytest.mark.parametrize("wrong", BAD_LINES)
def test_a_bad_line_is_named_and_skipped_but_a_bad_first_one_ends_it(small, capsys, wrong):
    flags, good = ("--live", "--checkpoint", small, "--window", WINDOW, "--top", 1), as_lines(frames(9))
    right = run(capsys, *flags, lines=good)[1]
    code, out, err = run(capsys, *flags, lines=[*good[:2], wrong, *good[2:]])
    assert code == 3 and len(err) == 2 and re.match(f"skipped: line 3: .*{BAD_LINES[wrong]}", err[0])
    assert [line.split(None, 1)[1] for line in out] == [line.split(None, 1)[1] for line in right]
    with pytest.raises(UserError, match=f"standard input, line 1: .*{BAD_LINES[wrong]}"):
        run(capsys, *flags, lines=[wrong, *good])


def test_a_feed_that_is_too_short_or_empty_says_so(small, capsys):
    for lines in ([], as_lines(frames(5)), [b"\n"] * 50):
        with pytest.raises(UserError, match="window"):
            run(capsys, "--live", "--checkpoint", small, "--window", WINDOW, lines=lines)


@pytest.mark.parametrize("words", [[], ["a.npy", "--live"], ["a.npy", "--window", "9"], ["a.npy", "--origin", "-1"]])
def test_wrong_flags(words, small):
    with pytest.raises(SystemExit) as end:
        predict.main([*words, "--checkpoint", str(small)])
    assert end.value.code == 2


def test_as_it_is_run(small, tmp_path):
    (tmp_path / "in").write_bytes(b"word")
    with open(tmp_path / "in", "rb") as stdin:
        code, out, err = run_script("tools/predict.py", "--live", "--checkpoint", small, stdin=stdin)
    assert (code, out, len(err)) == (2, [], 1) and "line 1" in err[0]
