"""Kinetics-Skeleton, on made-up clips in its form: read, split, written, trained on; and bad files."""

import json

import h5py
import numpy as np
import pytest

import make_kinetics
from clips.h5 import read_header, split_validation, validate
from clips.kinetics import read_json
from clips.skipped import BadFile
from util import UserError

NAMES = ("abseiling", "air drumming", "answering questions")


def person(rng, score=0.9):
    """Eighteen joints about the middle of the picture, with three decimals as in the real files."""
    scores = (score + rng.uniform(-0.05, 0.05, 18)).round(3)
    return {"pose": rng.uniform(0.2, 0.8, 36).round(3).tolist(), "score": scores.tolist()}


def clip(seed, label, frames=30, persons=2):
    rng = np.random.default_rng(seed)
    data = [{"frame_index": i + 1, "skeleton": [person(rng) for _ in range(persons)]} for i in range(frames)]
    return {"data": data, "label": NAMES[label], "label_index": label}


EMPTY = json.dumps(clip(0, 0, persons=0))


def write_set(folder, train=30, val=9):
    for side, n in (("kinetics_train", train), ("kinetics_val", val)):
        (folder / side).mkdir(parents=True)
        for i in range(n):
            text = json.dumps(clip([n, i], i % 3, frames=20 + i, persons=1 + i % 2))
            (folder / side / f"v{n - i:03}.json").write_text(text)
    return folder


def make(folder, *more):
    return make_kinetics.main([str(folder), "--out", str(folder / "out"), "--workers", "1", *more])


def test_the_two_persons_of_the_highest_mean_score_by_hand(tmp_path):
    low, high, mid = ({"pose": [k] * 36, "score": [k] * 18} for k in (0.25, 0.75, 0.5))
    half = {"pose": [0.0, 1.0] * 18, "score": [0] + [0.125] * 17}
    text = {"label": "abseiling", "label_index": 0}
    text["data"] = [
        {"frame_index": 3, "skeleton": [half]},
        {"frame_index": 1, "skeleton": [low, high, mid]},
        {"frame_index": 2, "skeleton": []},
    ]
    (tmp_path / "a.json").write_text(json.dumps(text))
    rows, label, name = read_json(tmp_path / "a.json")
    assert (label, name, rows.shape, rows.dtype) == (0, "abseiling", (3, 108), np.float32)
    rows = rows.reshape(3, 2, 18, 3)
    assert (rows[0, 0] == [0.25, 0.25, 0.75]).all()
    assert (rows[0, 1] == [0, 0, 0.5]).all()
    assert not rows[1].any()
    assert not rows[2, 0, 0].any() and not rows[2, 1].any()  # a joint of score 0 is zeros, not -0.5
    assert (rows[2, 0, 1:] == [-0.5, 0.5, 0.125]).all()


def test_every_clip_is_in_its_place(tmp_path, capsys):
    write_set(tmp_path)
    for path in ("kinetics_train/empty.json", "kinetics_val/empty2.json"):
        (tmp_path / path).write_text(EMPTY)
    assert make(tmp_path) == 0
    assert "2 clips, for example kinetics_train/empty.json" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["KINETICS_val.h5"]
    with h5py.File(tmp_path / "out" / "KINETICS_val.h5") as file:
        assert validate(file) == []
        assert (file["x"].shape, file["valid_x"].shape, file["test_x"].shape[0]) == ((28, 300, 108), (2, 300, 108), 9)
        header = read_header(file)
        assert (header["joints"], header["persons"], header["axes"]) == (18, 2, "x - 0.5, y - 0.5, score")
        assert header["class_names"][:4] == (*NAMES, "class 3") and len(header["class_names"]) == 400
        train, test = (sorted((tmp_path / side).glob("v*.json")) for side in make_kinetics.SIDES)
        for split, ids in zip(("", "valid_"), split_validation(np.arange(1, 31)), strict=True):  # 0 is "empty"
            for x, y, k in zip(file[f"{split}x"], file[f"{split}y"], ids, strict=True):
                rows, label, _ = read_json(train[k - 1])
                assert np.array_equal(x[: len(rows)], rows) and not x[len(rows) :].any() and y.argmax() == label
        assert [y.argmax() for y in file["test_y"]] == [read_json(path)[1] for path in test]


def changed(**more):
    return json.dumps(clip(0, 0, frames=2) | more).encode()


def one_person(**more):
    return changed(data=[{"frame_index": 1, "skeleton": [person(np.random.default_rng(0)) | more]}])


BAD = {
    "cut short": changed()[:500],
    "numbers as words": one_person(score=["0.5"] * 18),
    "25 joints": one_person(pose=[0.5] * 50, score=[0.5] * 25),
    "301 frames": changed(data=[{"frame_index": i, "skeleton": []} for i in range(301)]),
    "label 400": changed(label_index=400),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_clear_line(tmp_path, case):
    (tmp_path / "a.json").write_bytes(BAD[case])
    with pytest.raises(BadFile) as found:
        read_json(tmp_path / "a.json")
    assert "\n" not in found.value.args[1] and len(found.value.args[1]) <= 200


@pytest.mark.parametrize("text, message", [(EMPTY, "not written"), (changed(label="x").decode(), "'x' in ")])
def test_an_impossible_set_is_one_clear_line(tmp_path, text, message):
    (write_set(tmp_path, 3, 1) / "kinetics_val" / "v001.json").write_text(text)
    with pytest.raises(UserError, match=message):
        make(tmp_path)
    assert not (tmp_path / "out").exists()
