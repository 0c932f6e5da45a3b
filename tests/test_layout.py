"""The h5 layout: what is written is read back, in little space; the checker says what is wrong; the origin of clips."""

import h5py
import numpy as np
import pytest

from clips.h5 import SPLITS, center, open_writer, read_header, validate, write_h5
from clips.recordings import read_recording
from clips.skeletons import SKELETONS, read_skeleton, unknown_skeleton
from helpers import run_script
from util import UserError

CHECK = "tools/check_h5.py"
HEADER = {"frames": 120, "class_names": ["wave", "jump"], "protocol": "made up", "made_by": "a test"}


def clip(frames, width, seed=0):
    return np.random.default_rng([seed, frames, width]).normal(size=(frames, width)).astype(np.float32)


def splits(width=150, lengths=(5, 120, 50)):
    return {split: ([clip(n, width, i) for n in lengths], [0, 1, 1]) for i, split in enumerate(SPLITS)}


@pytest.fixture
def path(tmp_path):
    write_h5(tmp_path / "some.h5", splits(), joints=25, persons=2, **HEADER)
    return tmp_path / "some.h5"


@pytest.mark.parametrize("joints, persons", [(17, 1), (17, 2), (25, 2), (1, 1), (20, 3)])
def test_what_is_written_is_read(tmp_path, joints, persons):
    width = joints * persons * 3
    given = splits(width)
    write_h5(tmp_path / "a.h5", given, joints=joints, persons=persons, **HEADER)
    with h5py.File(tmp_path / "a.h5") as file:
        for split, (clips, labels) in given.items():
            x, y = file[f"{split}x"], file[f"{split}y"]
            assert (x.shape, x.dtype, y.shape, y.dtype) == ((3, 120, width), np.float32, (3, 2), np.float64)
            for row, wanted in zip(x[()], clips, strict=True):
                assert np.array_equal(row[: len(wanted)], wanted)
                assert not row[len(wanted) :].any()
            assert np.array_equal(y[()], np.eye(2)[labels])
        assert validate(file) == []
        assert read_header(file) == {
            "joints": joints,
            "persons": persons,
            "class_names": ("wave", "jump"),
            "protocol": "made up",
            "axes": "x, y, z",
            "skeleton": unknown_skeleton(joints),
            "origin": None,
        }


@pytest.mark.parametrize("persons", [1, 2])
def test_own_data_in_ten_lines(tmp_path, persons):
    path = tmp_path / "mine.h5"
    rng = np.random.default_rng(0)

    def clips(n):  # n clips of 17 joints, 30 to 90 frames: (frames, persons * joints * 3) in metres, and labels
        return [rng.normal(size=(rng.integers(30, 91), persons * 17 * 3)) for _ in range(n)], rng.integers(3, size=n)

    write_h5(
        path,
        {"": clips(40), "valid_": clips(3), "test_": clips(10)},
        frames=90,
        joints=17,
        persons=persons,
        class_names=["sit", "stand", "walk"],
        protocol="even subjects train, odd subjects test",
        made_by="me",
    )
    code, out, _ = run_script(CHECK, path)
    people = "1 person" if persons == 1 else "up to 2 persons"
    about = f"17 joints (skeleton unknown), {people}, 3 classes"
    wanted = f"40 training, 3 validation and 10 test clips of up to 90 frames, {about}"
    assert code == 0 and wanted in out[-1]


def test_padding_takes_no_space(tmp_path):
    clips = [clip(50, 75, i) for i in range(100)]
    given = {split: (clips, np.zeros(100, int)) for split in SPLITS}
    write_h5(tmp_path / "a.h5", given, joints=25, persons=2, **HEADER | {"frames": 1000})
    packed = 3 * 100 * clips[0].nbytes
    assert packed < (tmp_path / "a.h5").stat().st_size < 1.1 * packed


def test_clips_may_come_in_any_order_and_lack_persons(tmp_path):
    labels = {"": [0, 1], "valid_": [], "test_": [1]}
    with open_writer(tmp_path / "a.h5", labels, joints=2, persons=2, **HEADER) as write:
        write("test_", 0, clip(3, 12))
        write("", 1, clip(4, 6))
        write("", 0, clip(5, 12))
    with h5py.File(tmp_path / "a.h5") as file:
        assert validate(file) == []
        assert np.array_equal(file["x"][1, :4, :6], clip(4, 6))
        assert not file["x"][1, :, 6:].any()
        assert file["valid_x"].shape == (0, 120, 12)


WRONG = {
    "too long": (clip(121, 150), 0, r"x, clip 1: 121 frames, not 1 to 120"),
    "no frames": (clip(0, 150), 0, r"x, clip 1: 0 frames"),
    "too wide": (clip(5, 225), 0, r"x, clip 1: shape \(5, 225\), not \(frames, 150\)"),
    "half a person": (clip(5, 90), 0, r"x, clip 1: shape \(5, 90\)"),
    "three axes": (clip(5, 150).reshape(5, 2, 75), 0, r"x, clip 1: shape"),
    "nan": (np.where(np.arange(5)[:, None] == 3, np.nan, clip(5, 150)), 0, "x, clip 1: NaN or infinity, .* in frame 3"),
    "beyond float32": (np.full((5, 150), 1e39), 0, "NaN or infinity, .* in frame 0"),
    "label too large": (clip(5, 150), 2, "y: clip 1 has label 2, not 0 to 1"),
    "label negative": (clip(5, 150), -1, "y: clip 1 has label -1"),
    "label no number": (clip(5, 150), 0.5, "class indices"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_clips_are_refused_and_nothing_is_written(tmp_path, case):
    wrong, label, message = WRONG[case]
    given = splits()
    given[""] = ([clip(5, 150), wrong], [0, label])
    with pytest.raises(UserError, match=message):
        write_h5(tmp_path / "a.h5", given, joints=25, persons=2, **HEADER)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n, message", [(1, "valid_x: 2 clips fewer than"), (4, "valid_x: more clips than the 3")])
def test_there_must_be_as_many_clips_as_labels(tmp_path, n, message):
    given = splits()
    given["valid_"] = ([clip(5, 150)] * n, [0, 1, 0])
    with pytest.raises(UserError, match=message):
        write_h5(tmp_path / "a.h5", given, joints=25, persons=2, **HEADER)


def test_wrong_random_splits_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(UserError, match="resplits: split 1 has no 0"):
        write_h5(tmp_path / "a.h5", splits(), joints=25, persons=2, resplits=[[0] * 9], **HEADER)
    assert not list(tmp_path.iterdir())


def replace(**new):
    def change(file):
        for key, value in new.items():
            del file[key]
            if value is not None:
                file[key] = value

    return change


def attribute(key, value):
    def change(file):
        if value is None:
            del file.attrs[key]
        else:
            file.attrs[key] = value

    return change


def value(key, where, to):
    def change(file):
        file[key][where] = to

    return change


def resplits(table):
    return lambda file: file.create_dataset("resplits", data=np.asarray(table, np.uint8))


SPOILED = {
    "test_x is missing": (replace(test_x=None), ["no dataset 'test_x'"]),
    "x is a group": (lambda f: (replace(x=None)(f), f.create_group("x")), ["no dataset 'x'"]),
    "nothing there": (lambda f: f.clear(), ["no dataset"] * 6),
    "x of two axes": (replace(x=np.zeros((3, 5), "f4")), ["x: shape (3, 5), not (clips"]),
    "x in float64": (replace(x=np.zeros((3, 120, 150))), ["x: float64, not float32"]),
    "x of text": (replace(x=np.full((3, 120, 150), b"a")), ["x: |S1, not float32"]),
    "labels as indices": (replace(y=np.zeros(3)), ["y: shape (3,), not (clips, classes), one-hot"]),
    "a clip more": (replace(valid_y=np.eye(2)[[0, 1, 0, 1]]), ["valid_x has 3 clips, but valid_y has 4"]),
    "other frames": (
        replace(test_x=np.ones((3, 100, 150), "f4")),
        ["test_x has frames and width (100, 150), but x has (120, 150)"],
    ),
    "other classes": (replace(test_y=np.eye(3)), ["test_y has classes (3,), but y has (2,)"]),
    "no test clips": (replace(test_x=np.ones((0, 120, 150), "f4"), test_y=np.ones((0, 2))), ["test_x has no clips"]),
    "nan": (value("x", (1, 3, 7), np.nan), ["x: clip 1 has NaN, infinity or a value above 1e6"]),
    "infinity in several": (
        value("test_x", np.s_[:, 3, 7], np.inf),
        ["test_x: clip 0 has NaN, infinity or a value above 1e6 (and 2 more clips)"],
    ),
    "two labels": (value("y", 2, 1), ["y: clip 2 has a label that is not one-hot"]),
    "no label": (value("y", 0, 0), ["y: clip 0 has a label that is not one-hot"]),
    "a soft label": (value("y", 1, 0.5), ["y: clip 1 has a label that is not one-hot"]),
    "no test clips in split 1": (resplits(np.eye(2, 9)), ["resplits: split 1 has no 0 (training), no 2 (test), or"]),
    "a 3 in split 2": (resplits([np.arange(9) % 3, np.arange(9) % 4]), ["resplits: split 2 has no 0"]),
    "too short splits": (resplits(np.zeros((2, 8))), ["resplits: uint8 (2, 8), not uint8 (splits, 9 clips)"]),
    "one split": (resplits(np.zeros(9)), ["resplits: uint8 (9,)"]),
    "joints wrong": (attribute("joints", 24), ["x is 150 wide, but 2 persons * 24 joints * 3 are 144"]),
    "joints missing": (attribute("joints", None), ["attributes joints and persons"]),
    "joints no number": (attribute("joints", "many"), ["attributes joints and persons"]),
    "no persons": (attribute("persons", 0), ["attributes: 25 joints and 0 persons, both must be 1 or more"]),
    "names too few": (attribute("class_names", ["wave"]), ["attribute class_names: 1 names, but y has 2 classes"]),
    "an origin too far": (attribute("origin", 99), ["attribute origin 99: not a joint from 1 to "]),
    "an origin in words": (attribute("origin", "spine"), ["attribute origin: not a whole number"]),
    "names are numbers": (attribute("class_names", [1, 2]), ["attribute class_names: not a list of text"]),
    "names are one text": (attribute("class_names", 5), ["attribute class_names: not a list of text"]),
}


@pytest.mark.parametrize("case", SPOILED)
def test_validate_says_what_is_wrong(path, case):
    change, wanted = SPOILED[case]
    with h5py.File(path, "r+") as file:
        change(file)
    with h5py.File(path) as file:
        problems = validate(file)
    assert len(problems) == len(wanted)
    assert all(problem.startswith(begin) for problem, begin in zip(problems, wanted, strict=True))


def test_a_file_from_elsewhere_needs_no_attributes_if_it_is_150_wide(path, tmp_path):
    with h5py.File(path, "r+") as file:
        for key in list(file.attrs):
            del file.attrs[key]
        header = read_header(file)
        assert (header["joints"], header["persons"], header["class_names"]) == (25, 2, ("class 0", "class 1"))
        assert validate(file) == []
    write_h5(tmp_path / "b.h5", splits(51), joints=17, persons=1, **HEADER)
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        del file.attrs["joints"], file.attrs["persons"]
        with pytest.raises(UserError, match="51 values of a frame"):
            read_header(file)


def test_text_of_bytes_is_text(path):
    """As NumPy's np.bytes_ and MATLAB write it. made_by names the skeleton of older files."""
    text = {"axes": "x, y, z", "protocol": "zwölf train", "skeleton": "kinect_v2", "made_by": "from_npz.py 0.1"}
    with h5py.File(path, "r+") as file:
        file.attrs["class_names"] = np.array([b"wave", "hüpfen".encode()])
        for key, value in text.items():
            file.attrs[key] = np.bytes_(value.encode())
        header = read_header(file)
        assert (header["class_names"], header["axes"]) == (("wave", "hüpfen"), "x, y, z")
        assert (header["protocol"], header["skeleton"].name) == ("zwölf train", "kinect_v2")
        del file.attrs["skeleton"]
        assert read_header(file)["skeleton"].name == "kinect_v2"


def test_axes_that_are_not_known_are_neither_read_nor_written(path, tmp_path):
    for axes in ("x, y", b"z, y, x", np.eye(2), 3, ["x", "y", "z"]):
        with h5py.File(path, "r+") as file:
            file.attrs["axes"] = axes
            assert [problem.split(":")[0] for problem in validate(file)] == ["attribute axes"]
    with pytest.raises(UserError, match="attribute axes"):
        write_h5(tmp_path / "b.h5", splits(), joints=25, persons=2, axes="pixels", **HEADER)
    assert not (tmp_path / "b.h5").exists()


def test_read_header_names_the_file_in_errors(path):
    with h5py.File(path, "r+") as file:
        del file["test_x"], file["test_y"]
        with pytest.raises(UserError, match=r"some.h5: no dataset 'test_x' \(and 1 more: tools/check_h5.py"):
            read_header(file)


def test_check_h5_as_a_program(path, tmp_path):
    (tmp_path / "no.h5").write_text("words")
    code, _, [line] = run_script(CHECK, tmp_path / "no.h5")
    assert code == 2 and "cannot be read as h5" in line
    assert run_script(CHECK, tmp_path / "none.h5") == (
        2,
        [],
        [f"error: {tmp_path / 'none.h5'}: No such file or directory"],
    )
    with h5py.File(path, "r+") as file:
        file["x"][0, 0, 0] = np.nan
        file["test_x"][0] = 0
    code, out, err = run_script(CHECK, path)
    empty = f"{path}: note: test_x: clip 0 is empty: all its values are 0"
    assert (code, out + err) == (2, [empty, f"{path}: x: clip 0 has NaN, infinity or a value above 1e6"])
    with h5py.File(path, "r+") as file:
        file["x"][0, 0, 0] = 0
        file["test_x"][1] = file["valid_x"][0]
    code, out, err = run_script(CHECK, path)
    copy = f"{path}: note: test_x: clip 1 is also a training or validation clip"
    assert (code, out[:2], len(out + err)) == (0, [empty, copy], 3)


def test_the_origin_is_a_joint_of_person_1_in_the_first_frame_with_that_person():
    given = np.zeros((3, 2, 4, 3))
    given[1:, 0] = 1 + np.arange(12).reshape(4, 3)
    given[:2, 1] = 5
    absent = ~given.any(axis=(2, 3))
    for joint, origin in ((1, [4, 5, 6]), (0, [1, 2, 3])):
        moved = center(given, absent, joint)
        assert np.array_equal(moved, (given - origin) * ~absent[..., None, None])
    assert np.array_equal(center(given, absent), center(given, absent, 1))


def test_clips_are_centered_as_predict_centers_recordings(tmp_path):
    given = splits(2 * 17 * 3)
    first = given[""][0][0]
    first[0, :51], first[2] = 0, 0  # person 1 comes later, and a frame is empty
    given["test_"][0][1][:, :51] = 0  # person 1 never comes
    given["valid_"][0][2][:] = 0  # nobody comes
    write_h5(tmp_path / "a.h5", given, joints=17, persons=2, origin=12, **HEADER)
    with h5py.File(tmp_path / "a.h5") as file:
        for split, (clips, _) in given.items():
            for x, clip in zip(file[f"{split}x"][()], clips, strict=True):
                wanted = np.zeros_like(x)
                if clip.any():
                    np.save(tmp_path / "clip.npy", clip.reshape(len(clip), 2, 17, 3))
                    read = read_recording(tmp_path / "clip.npy", origin=12).reshape(
                        -1, 102 if clip[:, :51].any() else 51
                    )
                    wanted[: len(read), : read.shape[1]] = read
                assert np.array_equal(x, wanted)
        assert np.array_equal(file["x"][0, 1, 33:36], np.zeros(3)) and file["x"][0, 0, :51].any() == 0
    for wrong in (-1, 18):
        with pytest.raises(UserError, match=f"origin {wrong}: not a joint from 1 to 17, or 0 for none"):
            write_h5(tmp_path / "b.h5", given, joints=17, persons=2, origin=wrong, **HEADER)
    assert not (tmp_path / "b.h5").exists()


def test_an_h5_states_its_skeleton(tmp_path):
    def skeleton(joints, **header):
        path = tmp_path / "a.h5"
        write_h5(path, splits(joints * 3), joints=joints, persons=1, **HEADER | header)
        with h5py.File(path) as file:
            assert validate(file) == []
            return read_header(file)["skeleton"]

    assert skeleton(17, skeleton="coco17") == SKELETONS["coco17"]
    assert skeleton(20) == unknown_skeleton(20)  # 20 joints may be in any order
    assert skeleton(20, made_by="make_nucla.py 0.1.0") == SKELETONS["kinect_v1"]  # files from before version 0.2
    assert skeleton(17, made_by="make_nucla.py 0.1.0") == unknown_skeleton(17)
    own = skeleton(3, parents=[0, 0, 0], flip_pairs=[0, 2, 1])
    assert own.bones().tolist() == [[1, 0], [2, 0]] and own.flip_pairs().tolist() == [0, 2, 1]
    bones = skeleton(3, parents=[0, 0, 0])
    assert (bones.name, bones.bones().tolist(), bones.flip_pairs()) == ("custom", [[1, 0], [2, 0]], None)
    sides = skeleton(3, flip_pairs=[0, 2, 1])
    assert (sides.name, len(sides.bones()), sides.flip_pairs().tolist()) == ("custom", 0, [0, 2, 1])
    assert [read_skeleton(known.to_attributes(), 3) for known in (own, bones, sides)] == [
        *(own, bones),
        read_skeleton({"parents": [0, 1, 2], "flip_pairs": [0, 2, 1]}, 3),
    ]
    assert not own.is_another(bones) and own.is_another(sides) and not own.is_another(unknown_skeleton(3))
    assert skeleton(20, skeleton=np.bytes_("kinect_v1")) is SKELETONS["kinect_v1"]
    for wrong, why in (
        ({"skeleton": "coco18"}, "'coco18' is not one of kinect_v2"),
        ({"skeleton": "coco17"}, "coco17 has 17 joints, not 3"),
        ({"parents": [0, 0], "flip_pairs": [0, 2, 1]}, "must be 3 joints each"),
        ({"parents": [0, 0, 0], "flip_pairs": [1, 2, 0]}, "must swap joints in pairs"),
        ({"parents": [0, 2, 1], "flip_pairs": [0, 1, 2]}, "must form trees"),
        ({"parents": "abc", "flip_pairs": [0, 1, 2]}, "attributes skeleton, parents, flip_pairs"),
    ):
        with pytest.raises(UserError, match=why):
            skeleton(3, **wrong)


def test_skeletons_are_trees_and_their_sides_match():
    for name, skeleton in SKELETONS.items():
        joints = len(skeleton.joints)
        assert len(skeleton.bones()) == joints - 1
        own = {"parents": skeleton.parents, "flip_pairs": skeleton.pairs}
        assert read_skeleton(own, joints).bones().tolist() == skeleton.bones().tolist()
        assert read_skeleton(skeleton.to_attributes(), joints) is skeleton and skeleton.name == name
        for i, pair in enumerate(skeleton.pairs):
            assert {skeleton.joints[i].split()[0], skeleton.joints[pair].split()[0]} != {"left"}
