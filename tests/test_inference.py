"""Frames that arrive live, of which each prediction is that of its window; long recordings; lines of --live."""

import re

import numpy as np
import pytest
import torch

from clips.h5 import trim_and_center
from engine.classifier import Classifier, LiveClassifier, find_stretches, resample
from predict_run import as_lines, run, save
from util import UserError

SEG, WINDOW = 4, 6


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Classifier(save(tmp_path_factory.mktemp("small") / "small.pth", 3, 5, SEG))


def frames(n, persons=1):
    return np.random.default_rng(0).normal(size=(n, persons, 5, 3)).astype(np.float32)


def predictions(live, given):
    """{number of the last frame: probabilities}."""
    return {end: found[None].tolist() for end, frame in enumerate(given, 1) if (found := live.step(frame))}


def expected(small, windows):
    """The same of windows, {number of the last frame: clip}."""
    rng = torch.Generator().manual_seed(1)
    return {end: small.probabilities(trim_and_center(clip), rng, 1).tolist() for end, clip in windows.items()}


@pytest.mark.parametrize("stride", [1, 4])
def test_each_prediction_is_of_the_last_window_without_frames_of_nobody(small, stride):
    given = frames(30, 2)
    given[6:8] = 0
    given[10:13] = 0  # three of a window of six: fewer than the four segments are left
    given[15:, 1] = 0
    sent = [None if not frame.any() else frame[0] if not frame[1].any() else frame for frame in given]
    windows = {end: given[end - WINDOW : end] for end in range(WINDOW, 31, stride)}
    enough = {end: clip for end, clip in windows.items() if clip.any(axis=(1, 2, 3)).sum() >= SEG}
    said = predictions(LiveClassifier(small, WINDOW, stride), sent)
    assert len(enough) < len(windows) and np.ptp([*said.values()], axis=0).max() > 1e-4
    assert said == expected(small, enough)


def test_a_frame_that_is_refused_has_not_come(small):
    live, given = LiveClassifier(small, WINDOW), frames(8)
    for frame in given:
        large = frame.astype(float) * 1e39
        for wrong in (frame[0, :4], frame[0].ravel(), np.repeat(frame, 3, 0), frame * np.nan, large, ["a"]):
            with pytest.raises(ValueError):
                live.step(wrong)
        last = live.step(frame)
    assert last[None].tolist() == predictions(LiveClassifier(small, WINDOW), given)[8]
    for wrong in (dict(window=3), dict(window=6, fps=60), dict(window=10**18), dict(origin=6), dict(origin=-1)):
        with pytest.raises(UserError):
            LiveClassifier(small, **wrong)


def test_the_default_window_is_as_long_as_the_mean_clip_in_whole_segments(tmp_path):
    for name, seg, windows in (
        ("NTU", 5, {None: 80}),
        ("NUCLA", 5, {None: 40, 15: 20, 24: 32, 60: 80}),  # of other rates as many seconds
        ("mine", 30, {None: 60}),
        ("NTU", 100, {None: 100}),
    ):
        classifier = Classifier(save(tmp_path / "a.pth", 13, 5, seg, about={"dataset": name}))
        assert {fps: LiveClassifier(classifier, fps=fps).window for fps in windows} == windows


@pytest.mark.parametrize("fps, n", [(10, 30), (15, 20), (30, 10), (60, 5), (24, 12)])
def test_at_any_rate_a_steady_movement_keeps_its_speed(fps, n):
    """Of 1 m/s; a joint that is absent stays so, and one that appears does not come from 0."""
    clip = np.zeros((10, 1, 3, 3))
    clip[:, 0, 0] = 5 + np.arange(10)[:, None] / fps
    clip[5:, 0, 1] = 2
    at_30 = resample(clip, fps)
    assert len(at_30) == n and not at_30[:, :, 2].any() and set(at_30[:, 0, 1].ravel()) == {0, 2}
    np.testing.assert_allclose(np.diff(at_30[: 9 * 30 // fps, 0, 0], axis=0), 1 / 30)  # up to the last frame


class Known:
    """In place of a network: up while the joints are above 0, else down, with 0.9."""

    seg, window, names = 2, 5, ("down", "up")
    joints, origin, top = 3, lambda *_: 0, Classifier.top

    def probabilities(self, clip, rng, samples):
        return np.float32([0.1, 0.9] if clip.mean() > 0 else [0.9, 0.1])


def test_a_long_recording_is_stretches_of_one_answer():
    clip = np.ones((43, 2, 3, 3)) * [1, 1, -2] + [0, 0, 1.9]  # up
    clip[:20] *= -1
    clip[30:, 1] = 0  # person 2 leaves

    def found(unknown=0, **options):
        stretches = find_stretches(LiveClassifier(Known(), stride=1, **options), clip, unknown)
        names = [Known().top(one.probabilities, 1, unknown)[0]["name"] for one in stretches]
        return [(one.person, one.start, one.end, name) for one, name in zip(stretches, names, strict=True)]

    assert found(unknown=0.95) == [(None, 0, 43, "unknown")]
    assert found() == [(None, 0, 20, "down"), (None, 20, 43, "up")]
    each = [(1, 0, 20, "down"), (2, 0, 20, "down"), (1, 20, 43, "up"), (2, 20, 33, "up")]
    assert found(per_person=True) == each
    clip[10:20] = 0
    assert found() == [(None, 0, 13, "down"), (None, 17, 43, "up")]  # nobody is no stretch


def test_a_bad_line_is_named_and_skipped_but_a_bad_first_one_ends_it(small, capsys):
    flags, good = ("--live", "--checkpoint", small.path, "--window", WINDOW, "--top", 1), as_lines(frames(9))
    code, out, err = run(capsys, *flags, lines=good)
    assert (code, len(out), err) == (0, 4, []) and run(capsys, *flags, lines=as_lines(frames(9), " , "))[1] == out
    right = [line.split(None, 1)[1] for line in out]
    wrong = {b"nan " * 15: "NaN", b"1 2 three": "three", b"1 " * 45: "2 persons", b"[1, 2": "JSON"}
    code, out, err = run(capsys, *flags, lines=[*good[:2], *wrong, *good[2:]])
    assert code == 3 and [line.split(None, 1)[1] for line in out] == right
    for i, (line, named) in enumerate(zip(err[:-1], wrong.values(), strict=True), 3):
        assert re.match(f"skipped: line {i}: .*{named}", line)
    with pytest.raises(UserError, match="standard input, line 1: .*NaN"):
        run(capsys, *flags, lines=[*wrong, *good])
    for few in ([], good[:5], [b""] * 50):
        with pytest.raises(UserError, match="window"):
            run(capsys, *flags, lines=few)
