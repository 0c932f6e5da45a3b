"""Kinetics-Skeleton, on made-up clips in its form: read, split, written; and bad files."""

import csv
import json

import numpy as np

import make_kinetics
from clips.h5 import AXES_2D, split_validation
from clips.kinetics import read_json
from made import read

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


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def make(folder):
    return make_kinetics.main([str(folder), "--out", str(folder / "out"), "--workers", "1"])


def test_the_two_persons_of_the_highest_mean_score_by_hand(tmp_path):
    low, high, mid = ({"pose": [k] * 36, "score": [k] * 18} for k in (0.25, 0.75, 0.5))
    half = {"pose": [0.0, 1.0] * 18, "score": [0] + [0.125] * 17}
    frames = (3, [half]), (1, [low, high, mid]), (2, [])
    data = [{"frame_index": i, "skeleton": people} for i, people in frames]
    rows, label, name = read_json(write(tmp_path / "a.json", {"label": "abseiling", "label_index": 0, "data": data}))
    assert (label, name, rows.shape, rows.dtype) == (0, "abseiling", (3, 108), np.float32)
    rows = rows.reshape(3, 2, 18, 3)
    assert (rows[0, 0] == [0.25, 0.25, 0.75]).all() and (rows[0, 1] == [0, 0, 0.5]).all()
    assert not rows[1].any() and not rows[2, 1].any()
    assert not rows[2, 0, 0].any() and (rows[2, 0, 1:] == [-0.5, 0.5, 0.125]).all()  # zeros of score 0, not -0.5


def test_every_clip_is_in_its_place_and_bad_ones_are_listed(tmp_path, capsys):
    for side, n in zip(make_kinetics.SIDES, (30, 9), strict=True):
        for i in range(n):
            write(tmp_path / side / f"v{n - i:03}.json", clip([n, i], i % 3, frames=4 + i, persons=1 + i % 2))
        write(tmp_path / side / "empty.json", clip(0, 0, persons=0))
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
    good = clip(0, 0, frames=2)
    person = good["data"][0]["skeleton"][0]
    bad = [good | {"data": [{"frame_index": 1, "skeleton": [person | {"score": ["0.5"] * 18}]}]}]  # numbers as words
    bad += [good | {"data": [{"frame_index": 1, "skeleton": [{"pose": [0.5] * 50, "score": [0.5] * 25}]}]}]
    bad += [good | {"data": [{"frame_index": i, "skeleton": []} for i in range(301)]}, good | {"label_index": 400}]
    for i, content in enumerate(bad):
        write(tmp_path / f"kinetics_val/bad{i}.json", content)
    assert make(tmp_path) == 3
    with open(tmp_path / "out/skipped.csv", newline="") as file:
        assert [row[0][-9:] for row in csv.reader(file)][1:] == [f"bad{i}.json" for i in range(4)]
