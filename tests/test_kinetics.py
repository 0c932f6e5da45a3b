"""Kinetics-Skeleton, on made-up clips in its form: read, split, written, trained on; and bad files."""

import json

import numpy as np
import pytest

import make_kinetics
from clips.h5 import AXES_2D, split_validation
from clips.kinetics import read_json
from clips.skipped import BadFile
from made import read
from util import UserError

NAMES = ("abseiling", "air drumming", "answering questions")


def clip(seed, label, frames=30, persons=2):
    """Eighteen joints about the middle of the picture, with three decimals as in the real files."""
    rng = np.random.default_rng(seed)
    pose, score = rng.uniform(0.2, 0.8, (frames, persons, 36)), rng.uniform(0.85, 0.95, (frames, persons, 18))
    people = [
        [{"pose": p, "score": s} for p, s in zip(*both, strict=True)]
        for both in zip(pose.round(3).tolist(), score.round(3).tolist(), strict=True)
    ]
    data = [{"frame_index": i, "skeleton": frame} for i, frame in enumerate(people, 1)]
    return {"data": data, "label": NAMES[label], "label_index": label}


def write_set(folder, train=30, val=9):
    for side, n in (("kinetics_train", train), ("kinetics_val", val)):
        (folder / side).mkdir(parents=True)
        for i in range(n):
            text = json.dumps(clip([n, i], i % 3, frames=20 + i, persons=1 + i % 2))
            (folder / side / f"v{n - i:03}.json").write_text(text)
    return folder


def make(folder):
    return make_kinetics.main([str(folder), "--out", str(folder / "out"), "--workers", "1"])


def test_the_two_persons_of_the_highest_mean_score_by_hand(tmp_path):
    low, high, mid = ({"pose": [k] * 36, "score": [k] * 18} for k in (0.25, 0.75, 0.5))
    half = {"pose": [0.0, 1.0] * 18, "score": [0] + [0.125] * 17}
    frames = (3, [half]), (1, [low, high, mid]), (2, [])
    data = [{"frame_index": i, "skeleton": people} for i, people in frames]
    (tmp_path / "a.json").write_text(json.dumps({"label": "abseiling", "label_index": 0, "data": data}))
    rows, label, name = read_json(tmp_path / "a.json")
    assert (label, name, rows.shape, rows.dtype) == (0, "abseiling", (3, 108), np.float32)
    rows = rows.reshape(3, 2, 18, 3)
    assert (rows[0, 0] == [0.25, 0.25, 0.75]).all() and (rows[0, 1] == [0, 0, 0.5]).all()
    assert not rows[1].any() and not rows[2, 1].any()
    assert not rows[2, 0, 0].any() and (rows[2, 0, 1:] == [-0.5, 0.5, 0.125]).all()  # zeros of score 0, not -0.5


def test_every_clip_is_in_its_place(tmp_path, capsys):
    write_set(tmp_path)
    for path in ("kinetics_train/empty.json", "kinetics_val/empty2.json"):
        (tmp_path / path).write_text(json.dumps(clip(0, 0, persons=0)))
    assert make(tmp_path) == 0
    assert "2 clips, for example kinetics_train/empty.json" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["KINETICS_val.h5"]
    made = read(tmp_path / "out" / "KINETICS_val.h5")
    assert (made.sizes, made.joints, made.persons, made.axes) == ([28, 2, 9], 18, 2, AXES_2D)
    assert made.class_names[:4] == (*NAMES, "class 3") and len(made.class_names) == 400
    train, test = (sorted((tmp_path / side).glob("v*.json")) for side in make_kinetics.SIDES)
    parts = *([train[i] for i in ids] for ids in split_validation(np.arange(30))), test
    for split, paths in zip(("", "valid_", "test_"), parts, strict=True):
        for x, y, path in zip(made.x[split], made.y[split], paths, strict=True):
            rows, label, _ = read_json(path)
            assert np.array_equal(x[: len(rows)], rows) and not x[len(rows) :].any() and y == label


GOOD = clip(0, 0, frames=2)
PERSON = GOOD["data"][0]["skeleton"][0]
BAD = {
    "numbers as words": GOOD | {"data": [{"frame_index": 1, "skeleton": [PERSON | {"score": ["0.5"] * 18}]}]},
    "25 joints": GOOD | {"data": [{"frame_index": 1, "skeleton": [{"pose": [0.5] * 50, "score": [0.5] * 25}]}]},
    "301 frames": GOOD | {"data": [{"frame_index": i, "skeleton": []} for i in range(301)]},
    "label 400": GOOD | {"label_index": 400},
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_bad_file_is_one_clear_line(tmp_path, content):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(BadFile) as found:
        read_json(tmp_path / "a.json")
    assert "\n" not in found.value.args[1] and len(found.value.args[1]) <= 200


@pytest.mark.parametrize(
    "content, message", [(clip(0, 0, persons=0), "not written"), (GOOD | {"label": "x"}, "'x' in ")]
)
def test_an_impossible_set_is_one_clear_line(tmp_path, content, message):
    (write_set(tmp_path, 3, 1) / "kinetics_val" / "v001.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        make(tmp_path)
    assert not (tmp_path / "out").exists()
