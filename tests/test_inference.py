"""The form for inference, and streams of frames: each prediction is that of its window."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from clips.recordings import prepare
from engine.classifier import Classifier, StreamClassifier
from predict_run import predict, run, save
from util import ROOT, UserError

SEG, WINDOW = 4, 6


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return save(tmp_path_factory.mktemp("small") / "small.pth", 3, 5, SEG)


def frames(n, persons=1):
    return np.random.default_rng(0).normal(size=(n, persons, 5, 3)).astype(np.float32)


def expected(small, clips):
    """Probabilities of each window, in turn."""
    classifier, generator = Classifier(small), torch.Generator().manual_seed(1)
    return np.array([classifier.logits(prepare(clip), generator, 1).softmax(-1).numpy() for clip in clips])


@pytest.mark.parametrize("persons", [1, 2])
@pytest.mark.parametrize("stride", [1, 4])
def test_each_prediction_is_of_the_last_window(small, persons, stride):
    stream, stream_classifier = frames(20, persons), StreamClassifier(small, WINDOW, stride)
    said = [stream_classifier.update(frame[0] if persons == 1 else frame) for frame in stream]
    ends = [end for end in range(WINDOW, 21) if (end - WINDOW) % stride == 0]
    assert [i + 1 for i, one in enumerate(said) if one is not None] == ends
    windows = expected(small, [stream[end - WINDOW : end] for end in ends])
    assert np.array_equal([one for one in said if one is not None], windows)
    assert np.ptp(windows, axis=0).max() > 1e-4
    np.testing.assert_allclose(windows.sum(axis=1), 1, rtol=1e-5)


def test_where_the_camera_stands_does_not_matter(small):
    a, b = StreamClassifier(small, WINDOW), StreamClassifier(small, WINDOW)
    for frame in frames(9):
        one, other = a.update(frame), b.update(frame + np.float32([1, -2, 3]))
        assert one is None or np.allclose(one, other, atol=1e-5)


def test_nobody_is_no_frame_and_an_old_person_leaves_the_window(small):
    stream, stream_classifier = frames(30, 2), StreamClassifier(small, WINDOW)
    stream[6:8] = 0
    stream[10:13] = 0  # three of a window of six: fewer than the four segments are left
    stream[15:, 1] = 0
    given = [None if not any(frame.ravel()) else frame[0] if not frame[1].any() else frame for frame in stream]
    said = [stream_classifier.update(frame) for frame in given]
    windows = {end: stream[end - WINDOW : end] for end in range(WINDOW, 31)}
    enough = {end: clip for end, clip in windows.items() if clip.any(axis=(1, 2, 3)).sum() >= SEG}
    assert [i + 1 for i, one in enumerate(said) if one is not None] == list(enough) and len(enough) < len(windows)
    assert np.array_equal([one for one in said if one is not None], expected(small, enough.values()))


def test_a_frame_that_is_refused_has_not_come(small):
    stream, stream_classifier, other = frames(8), StreamClassifier(small, WINDOW), StreamClassifier(small, WINDOW)
    for frame in stream:
        for wrong in (
            frame[0, :4],
            frame[0].ravel(),
            np.repeat(frame, 3, 0),
            frame * np.nan,
            frame.astype(float) * 1e39,
            ["a"],
        ):
            with pytest.raises(ValueError):
                stream_classifier.update(wrong)
        one, right = stream_classifier.update(frame), other.update(frame)
        assert one is right is None or np.array_equal(one, right)
    for wrong in (dict(window=3), dict(origin=6), dict(origin=-1)):
        with pytest.raises(UserError):
            StreamClassifier(small, **wrong)


def test_the_default_window_is_about_the_mean_clip_in_whole_segments(small, tmp_path):
    for dataset, window in (("NTU", 80), ("DEMO", 60), ("NUCLA", 40), ("mine", 80)):
        assert StreamClassifier(save(tmp_path / "a.pth", 13, 5, about={"dataset": dataset})).window == window
    assert StreamClassifier(save(tmp_path / "a.pth", 13, 5, 30)).window == 60
    assert StreamClassifier(save(tmp_path / "a.pth", 13, 5, 100)).window == 100


def lines(stream, form):
    if form == "json":
        return [json.dumps(frame.tolist()).encode() for frame in stream]
    return [form.join(f"{value:.9g}" for value in frame.ravel()).encode() + b"\r\n" for frame in stream]


def test_a_stream_in_every_form(small, capsys):
    flags = ("--stream", "--checkpoint", small, "--window", WINDOW, "--origin", 2, "--json", "--top", 3)
    stream, said = frames(9, 2), []
    for form in (" ", ",", " , ", "json"):
        code, out, err = run(capsys, *flags, stream=lines(stream, form))
        assert (code, err) == (0, [])
        said.append([json.loads(line) for line in out])
    assert said.count(said[0]) == 4
    windows = expected(small, [stream[end - WINDOW : end] for end in range(WINDOW, 10)])
    assert [row["frame"] for row in said[0]] == [6, 7, 8, 9]
    for row, right in zip(said[0], windows, strict=True):
        assert [one["probability"] for one in row["top"]] == pytest.approx(sorted(right)[::-1], abs=1e-6)
        assert row["top"][0]["label"] == right.argmax()


@pytest.mark.parametrize(
    "wrong, why",
    [
        (b"nan " * 15, "NaN or infinity"),
        (b"1 2 three", "'three' is not a number"),
        (b"1 2 3", "3 numbers, not"),
        (b"1 " * 45, "a frame of shape .3, 5, 3., not .5, 3., or that of up to 2 persons"),
        (b'["a"]', "not a JSON list of numbers"),
        (b"[1, 2", "not JSON"),
        (b'{"people": [3]}', "not a frame of a pose estimator"),
        (b'{"people": [{"pose_keypoints_2d": [0.1, 0.1, 1]}]}', "1 joints of OpenPose; those that can be read"),
        (b"[[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]", r"a list of shape \(3, 5\)"),
        (b"\xff\xfe", "is not a number"),
    ],
)
def test_a_bad_line_is_named_and_skipped_but_a_bad_first_one_ends_it(small, capsys, wrong, why):
    flags, good = ("--stream", "--checkpoint", small, "--window", WINDOW, "--top", 1), lines(frames(9), " ")
    right = run(capsys, *flags, stream=good)[1]
    code, out, err = run(capsys, *flags, stream=[*good[:2], wrong, *good[2:]])
    assert code == 3
    assert [line.split(None, 1)[1] for line in out] == [line.split(None, 1)[1] for line in right]
    assert re.fullmatch(f"skipped: line 3: .*{why}.*", err[0]) and err[1:] == ["1 lines were skipped"]
    with pytest.raises(UserError, match=f"standard input, line 1: .*{why}"):
        run(capsys, *flags, stream=[wrong, *good])


def test_a_stream_that_is_too_short_or_empty_says_so(small, capsys):
    for stream in ([], lines(frames(5), " "), [b"\n"] * 50):
        with pytest.raises(UserError, match="too few for a prediction: a window of 6"):
            run(capsys, "--stream", "--checkpoint", small, "--window", WINDOW, stream=stream)


def test_a_stream_without_line_ends_is_not_read_whole(small, capsys):
    with pytest.raises(UserError, match="standard input, line 2: longer than 1048576 bytes"):
        run(capsys, "--stream", "--checkpoint", small, stream=[*lines(frames(1), " "), b"1 " * 2**20])


@pytest.mark.parametrize("words", [[], ["a.npy", "--stream"], ["a.npy", "--window", "9"], ["a.npy", "--origin", "-1"]])
def test_wrong_flags(words, small):
    with pytest.raises(SystemExit) as end:
        predict.main([*words, "--checkpoint", str(small)])
    assert end.value.code == 2


def test_as_it_is_run(small, tmp_path):
    command = [sys.executable, ROOT / "tools/predict.py", "--stream", "--checkpoint", small, "--window", str(WINDOW)]
    done = subprocess.run(command, input=b"word", capture_output=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, b"error: standard input, line 1: 'word' is not a number\n")
