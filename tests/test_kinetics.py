"""Kinetics-Skeleton, on made-up clips in its form: read, split, written, trained on; and bad files."""

import csv
import json

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import main
import make_kinetics
from clips.h5 import read_header, split_validation, validate
from clips.skipped import BadFile
from make_kinetics import parse
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


def write_set(folder, train=30, val=9):
    for side, n in (("kinetics_train", train), ("kinetics_val", val)):
        (folder / side).mkdir(parents=True)
        (folder / f"{side}_label.json").write_text("{}")  # is in the real set too; not used
        for i in range(n):
            text = json.dumps(clip([n, i], i % 3, frames=20 + i, persons=1 + i % 2))
            (folder / side / f"v{n - i:03}.json").write_text(text)
    return folder


def make(folder, *more):
    return make_kinetics.main([str(folder), "--out", str(folder / "out"), "--workers", "1", *more])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = write_set(tmp_path_factory.mktemp("kinetics"))
    for side, name in (("kinetics_train", "empty"), ("kinetics_val", "empty2")):
        (folder / side / f"{name}.json").write_text(json.dumps(clip(0, 0, persons=0)))
    assert make(folder) == 0
    return folder


def test_the_two_persons_of_the_highest_mean_score_by_hand():
    low, high, mid = ({"pose": [k] * 36, "score": [k] * 18} for k in (0.25, 0.75, 0.5))
    half = {"pose": [0.0, 1.0] * 18, "score": [0] + [0.125] * 17}
    text = {"label": "abseiling", "label_index": 0}
    text["data"] = [
        {"frame_index": 3, "skeleton": [half]},
        {"frame_index": 1, "skeleton": [low, high, mid]},
        {"frame_index": 2, "skeleton": []},
    ]
    rows, label, name = parse(json.dumps(text))
    assert (label, name, rows.shape, rows.dtype) == (0, "abseiling", (3, 108), np.float32)
    rows = rows.reshape(3, 2, 18, 3)
    assert (rows[0, 0] == [0.25, 0.25, 0.75]).all()
    assert (rows[0, 1] == [0, 0, 0.5]).all()
    assert not rows[1].any()
    assert not rows[2, 0, 0].any() and not rows[2, 1].any()  # a joint of score 0 is zeros, not -0.5
    assert (rows[2, 0, 1:] == [-0.5, 0.5, 0.125]).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 99))
def test_persons_are_chosen_frame_by_frame_as_by_a_plain_loop(counts, seed):
    rng = np.random.default_rng(seed)
    skeletons = [[person(rng, rng.choice([0, 0.3, 0.6])) for _ in range(n)] for n in counts]
    data = [{"frame_index": i, "skeleton": skeleton} for i, skeleton in enumerate(skeletons)]
    rows, *_ = parse(json.dumps({"data": data, "label": "abseiling", "label_index": 0}))
    wanted = np.zeros((len(counts), 2, 18, 3), np.float32)
    for t, skeleton in enumerate(skeletons):
        for m, one in enumerate(sorted(skeleton, key=lambda one: -np.mean(one["score"]))[:2]):
            x, y, score = np.array(one["pose"][::2]), np.array(one["pose"][1::2]), np.array(one["score"])
            wanted[t, m] = np.stack([x - 0.5, y - 0.5, score], axis=1) * (score != 0)[:, None]
    assert np.array_equal(rows.reshape(wanted.shape), wanted)


def test_the_h5_has_every_clip_in_its_place(made):
    with h5py.File(made / "out" / "KINETICS_val.h5") as file:
        assert validate(file) == []
        assert (file["x"].shape, file["valid_x"].shape, file["test_x"].shape[0]) == ((28, 300, 108), (2, 300, 108), 9)
        header = read_header(file)
        assert (header["joints"], header["persons"], header["axes"]) == (18, 2, "x - 0.5, y - 0.5, score")
        assert header["class_names"][:4] == (*NAMES, "class 3") and len(header["class_names"]) == 400
        train = sorted((made / "kinetics_train").glob("v*.json"))
        test = sorted((made / "kinetics_val").glob("v*.json"))
        for split, ids in zip(("", "valid_"), split_validation(np.arange(1, 31)), strict=True):  # 0 is "empty"
            for x, y, k in zip(file[f"{split}x"], file[f"{split}y"], ids, strict=True):
                rows, label, _ = parse(train[k - 1].read_bytes())
                assert np.array_equal(x[: len(rows)], rows) and not x[len(rows) :].any() and y.argmax() == label
        assert [y.argmax() for y in file["test_y"]] == [parse(path.read_bytes())[1] for path in test]


def test_one_epoch_without_rotation(made, tmp_path, capsys):
    flags = ["--epochs", "1", "-b", "8", "--device", "cpu", "--results", str(tmp_path), "--json"]
    main.main(["--dataset", "KINETICS", "--data", str(made / "out"), *flags])
    assert json.loads(capsys.readouterr().out)["dataset"] == "KINETICS"
    assert "# theta: 0.0\n" in (tmp_path / "KINETICS" / "SGN" / "0_log.csv").read_text()


def test_nothing_is_done_twice(made, monkeypatch, capsys):
    monkeypatch.setattr(make_kinetics, "parse", None)
    assert make(made) == 0
    said = capsys.readouterr().out
    assert "41 clips, 2 of them left out: no person in them" in said
    assert "28 training, 2 validation and 9 test clips" in said


def changed(**more):
    return json.dumps(clip(0, 0, frames=2) | more).encode()


def one_person(**more):
    return changed(data=[{"frame_index": 1, "skeleton": [person(np.random.default_rng(0)) | more]}])


BAD = {
    "nothing": (b"", "JSONDecodeError"),
    "cut short": (changed()[:500], "JSONDecodeError"),
    "words": (b'"skeleton"', "TypeError"),
    "a list": (b"[1, 2]", "TypeError"),
    "not text": (b"\xff\xfe\x00\xd8", "not a clip"),
    "nested": (b"[" * 100_000, "RecursionError"),
    "no data": (b'{"label": "abseiling", "label_index": 0}', "KeyError: 'data'"),
    "data are words": (changed(data=["frame", "frame"]), "TypeError"),
    "frames of words": (changed(data=[{"frame_index": 1, "skeleton": "two"}]), "TypeError"),
    "pose of words": (one_person(pose=["a"] * 36), "pose is not 36 numbers"),
    "numbers as words": (one_person(score=["0.5"] * 18), "score is not 18 numbers"),
    "25 joints": (one_person(pose=[0.5] * 50, score=[0.5] * 25), "pose is not 36 numbers"),
    "a score less": (one_person(score=[0.5] * 17), "score is not 18 numbers"),
    "no pose": (one_person(pose=None), "pose is not 36 numbers"),
    "nan": (one_person(pose=[float("nan")] * 36), "a number in pose is not finite"),
    "beyond float": (one_person(score=[1e300] * 18), "a number in score is not finite, or too large"),
    "301 frames": (changed(data=[{"frame_index": i, "skeleton": []} for i in range(301)]), "301 frames, more than 300"),
    "label 400": (changed(label_index=400), "label_index 400 is not 0 to 399"),
    "label -1": (changed(label_index=-1), "label_index -1"),
    "label of text": (changed(label_index="3"), "label_index '3'"),
    "label null": (changed(label_index=None), "label_index None"),
    "name of numbers": (changed(label=3), "label 3 is not a name"),
    "half a character": (changed(label="\ud800"), "is not a name"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_one_clear_line(case):
    text, message = BAD[case]
    with pytest.raises(BadFile, match=message) as found:
        parse(text)
    assert "\n" not in found.value.args[1] and len(found.value.args[1]) <= 200


KEYS = st.sampled_from(["data", "frame_index", "skeleton", "pose", "score", "label", "label_index"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["data", "label", "label_index", "frame", "skeleton", "person", "pose", "score"]), VALUES)
def test_any_value_in_any_place_is_read_or_refused(place, value):
    text = clip(0, 0, frames=2)
    frame = text["data"][0]
    at = {"frame": (text["data"], 0), "skeleton": (frame, "skeleton"), "person": (frame["skeleton"], 0)}
    at |= {key: (frame["skeleton"][0], key) for key in ("pose", "score")}
    where, key = at.get(place, (text, place))
    where[key] = value
    try:
        rows, label, name = parse(json.dumps(text))
    except BadFile:
        return
    assert np.isfinite(rows).all() and rows.shape[1] == 108 and 0 <= label < 400 and name.isprintable()


def test_bad_files_are_skipped_and_listed(tmp_path, capsys):
    folder = write_set(tmp_path, train=8, val=3)
    (folder / "kinetics_train" / "v004.json").write_bytes(BAD["cut short"][0])
    (folder / "kinetics_val" / "zzz.json").write_bytes(BAD["25 joints"][0])
    (folder / "kinetics_val" / "gone.json").symlink_to("nowhere")
    assert make(folder) == 3
    said = capsys.readouterr().out
    assert "3 skipped" in said and "6 training, 1 validation and 3 test clips" in said
    with open(folder / "out" / "checked_data" / "skipped.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = ["kinetics_train/v004.json", "kinetics_val/gone.json", "kinetics_val/zzz.json"]
    assert [row["file"] for row in rows] == wanted
    assert make(folder) == 3  # reported again, though nothing is left to do
    with pytest.raises(UserError, match=r"kinetics_(train/v004|val/gone).json: "):
        make(folder, "--strict")


def test_workers_write_the_same(made):
    path = made / "out" / "KINETICS_val.h5"
    with h5py.File(path) as file:
        wanted = {key: file[key][()] for key in file}
    make_kinetics.main([str(made), "--out", str(made / "two"), "--workers", "2"])
    with h5py.File(made / "two" / "KINETICS_val.h5") as file:
        assert all(np.array_equal(file[key][()], wanted[key]) for key in wanted)


NO_CLIPS = "not written: at least two training clips and one test clip"
EMPTY = json.dumps(clip(0, 0, persons=0))
IMPOSSIBLE = {
    "no folder": ({}, "kinetics_train: no such folder"),
    "no json": ({"val": 0}, "kinetics_val: no .json in it"),
    "nothing readable": ({"texts": {"*/*.json": "{}"}}, NO_CLIPS),
    "only empty clips": ({"texts": {"kinetics_val/v001.json": EMPTY}}, NO_CLIPS),
    "two names": (
        {"texts": {"kinetics_val/v001.json": changed(label="juggling").decode()}},
        "label_index 0 is 'abseiling' in kinetics_train/v003.json, but 'juggling' in kinetics_val/v001",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_an_impossible_set_is_one_clear_line(tmp_path, case):
    given, message = IMPOSSIBLE[case]
    if given:
        write_set(tmp_path, train=3, val=given.get("val", 1))
    for pattern, text in given.get("texts", {}).items():
        for path in tmp_path.glob(pattern):
            path.write_text(text)
    with pytest.raises(UserError, match=message):
        make(tmp_path)
    assert not (tmp_path / "out" / "KINETICS_val.h5").exists()
