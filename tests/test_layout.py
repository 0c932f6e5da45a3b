"""The h5 layout: what is written is read back; the checker says what is wrong; skeletons."""

import json

import h5py
import numpy as np
import pytest

import check_h5
from clips.h5 import SPLITS, read_header, validate, write_h5
from clips.skeletons import SKELETONS, read_skeleton, read_skeleton_file, unknown_skeleton
from data import Clips
from util import UserError

HEADER = {"frames": 120, "class_names": ["wave", "jump"], "protocol": "made up", "made_by": "a test"}


def clip(frames, width, seed=0):
    return np.random.default_rng([seed, frames, width]).normal(size=(frames, width)).astype(np.float32)


def splits(width=150, lengths=(5, 120, 50)):
    return {split: ([clip(n, width, i) for n in lengths], [0, 1, 1]) for i, split in enumerate(SPLITS)}


@pytest.fixture
def path(tmp_path):
    write_h5(tmp_path / "some.h5", splits(), joints=25, persons=2, **HEADER)
    return tmp_path / "some.h5"


def test_what_is_written_is_read(tmp_path):
    given = splits(102)
    write_h5(tmp_path / "a.h5", given, joints=17, persons=2, **HEADER)
    with h5py.File(tmp_path / "a.h5") as file:
        for split, (clips, labels) in given.items():
            x, y = file[f"{split}x"], file[f"{split}y"]
            assert (x.dtype, y.dtype) == (np.float32, np.float64) and np.array_equal(y[()], np.eye(2)[labels])
            wanted = [np.pad(one, ((0, 120 - len(one)), (0, 0))) for one in clips]
            assert np.array_equal(x[()], wanted)
        assert validate(file) == []
        known = {"joints": 17, "persons": 2, "class_names": ("wave", "jump"), "protocol": "made up", "axes": "x, y, z"}
        assert read_header(file) == known | {"skeleton": unknown_skeleton(17), "origin": None}


GOOD = clip(5, 150)
NOT_WRITTEN = {  # clips of x, their labels, further arguments, a word of the message
    "too long": ([GOOD, clip(121, 150)], [0, 0], {}, "clip 1"),
    "nan": ([GOOD, GOOD * np.nan], [0, 0], {}, "clip 1"),
    "label too large": ([GOOD, GOOD], [0, 2], {}, "clip 1"),
    "a skeleton that does not fit": ([GOOD, GOOD], [0, 1], {"skeleton": "coco17"}, "17 joints"),
    "two skeletons": ([GOOD, GOOD], [0, 1], {"skeleton": "kinect_v2", "parents": [0] * 25}, "one of the two"),
    "two classes of one name": ([GOOD, GOOD], [0, 1], {"class_names": ["wave", "wave"]}, "wave"),
}


@pytest.mark.parametrize("clips, labels, more, word", NOT_WRITTEN.values(), ids=NOT_WRITTEN)
def test_what_is_wrong_is_refused_and_nothing_is_written(tmp_path, clips, labels, more, word):
    with pytest.raises(UserError, match=word) as error:
        write_h5(tmp_path / "a.h5", splits() | {"": (clips, labels)}, joints=25, persons=2, **HEADER | more)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


SPOILED = [  # what is changed in the file or its attributes, and how the problem begins
    ("valid_y", np.eye(2)[[0, 1, 0, 1]], "valid_x has 3 clips"),
    ("test_x", np.full((3, 120, 150), np.inf, "f4"), "test_x: clip 0 "),
    ("y", np.array([[1, 0], [0, 1], [1, 1]]), "y: clip 2 "),
    ("joints", 24, "attributes: "),
    ("class_names", ["wave"], "attributes: 1 class_names"),
    ("origin", "spine", "attributes: origin"),
    ("skeleton", "coco17", "attributes: skeleton"),
]


@pytest.mark.parametrize("key, value, begin", SPOILED)
def test_validate_says_what_is_wrong(path, key, value, begin):
    with h5py.File(path, "r+") as file:
        place = file if key in file else file.attrs
        if key in place:
            del place[key]
        place[key] = value
        [problem] = validate(file)
    assert problem.startswith(begin)
    with pytest.raises(UserError, match="some.h5: "):
        Clips.read(path)


def test_a_file_from_elsewhere_needs_no_attributes_if_it_is_150_wide(path):
    with h5py.File(path, "r+") as file:
        file.attrs.clear()
        header = read_header(file)
        assert (header["joints"], header["persons"], header["class_names"]) == (25, 2, ("class 0", "class 1"))
        assert header["skeleton"] is SKELETONS["kinect_v2"] and validate(file) == []
        file.attrs["class_names"] = np.array([b"wave", "hüpfen".encode()])  # as NumPy and MATLAB write text
        assert read_header(file)["class_names"] == ("wave", "hüpfen")


def test_check_h5(path, capsys):
    odd = ["note: test_x: clip 0", "note: test_x: clip 1", "note: no clip trains"]  # labels that count from 1
    for value, code, last in ((np.nan, 2, "x: clip 0 has NaN, i"), (0, 0, "correct: 3 training,")):
        with h5py.File(path, "r+") as file:
            file["x"][0, 0, 0], file["test_x"][0], file["test_x"][1] = value, 0, file["valid_x"][0]
            file["y"][0] = file["valid_y"][0] = [0, 1]
        assert check_h5.main([str(path)]) == code
        lines = capsys.readouterr().out.splitlines()
        assert [line.removeprefix(f"{path}: ")[:20] for line in lines] == [*odd, last]


# ---- skeletons

OWN = {"joints": ["hips", "LeftHand", "R_hand"], "parents": ["hips", 0, 0], "flip_pairs": [0, 2, 1]}


@pytest.mark.parametrize("is_2d, root", [(False, "hips"), (True, None), (True, -1)])
def test_a_skeleton_of_ones_own_keeps_its_names(tmp_path, is_2d, root):
    (tmp_path / "mine.json").write_text(json.dumps(OWN | {"is_2d": is_2d, "parents": [root, 0, 0]}))
    own = read_skeleton_file(tmp_path / "mine.json")
    assert (own.parents, own.find("right hand"), own.find("hand left"), own.find("head")) == ((0, 0, 0), 2, 1, None)
    write_h5(tmp_path / "a.h5", splits(9), joints=3, persons=1, skeleton=own, **HEADER)
    with h5py.File(tmp_path / "a.h5") as file:
        header = read_header(file)
    assert header["skeleton"] == own == read_skeleton(own.to_attributes(), 3)
    assert (header["axes"] == "x, y, z") == (not is_2d)


WRONG = [{"joints": ["a", "a", "b"]}, {"parents": [0, 0, "b"]}, {"parents": [0, 2, 1]}, {"flip_pairs": [1, 2, 0]}]


@pytest.mark.parametrize("wrong", ["{", "3", *(json.dumps(OWN | change) for change in [*WRONG, {"more": 1}])])
def test_what_is_no_skeleton_is_refused(tmp_path, wrong):
    (tmp_path / "mine.json").write_text(wrong)
    with pytest.raises(UserError, match=r"^[^\n]*mine.json: [^\n]*$"):
        read_skeleton_file(tmp_path / "mine.json")


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_skeletons_are_trees_and_their_sides_match(skeleton):
    own = read_skeleton({"parents": skeleton.parents, "flip_pairs": skeleton.pairs}, len(skeleton.joints))
    assert len(own.bones()) == len(skeleton.joints) - 1 and not own.is_another(skeleton)
    assert read_skeleton(skeleton.to_attributes(), len(skeleton.joints)) is skeleton
    for i, pair in enumerate(skeleton.pairs):
        assert {skeleton.joints[i].split()[0], skeleton.joints[pair].split()[0]} != {"left"}
