"""from_arrays.py: whole sets as CTR-GCN (.npz) and ST-GCN (.npy, .pkl) write them; and the orders of axes of arrays."""

import json
import pickle
from contextlib import nullcontext

import numpy as np
import pytest

import from_arrays
from clips import protocols
from clips.arrays import arrange
from clips.h5 import AXES_2D, SPLITS, split_validation
from clips.skipped import BadFile
from made import read
from util import UserError


def arrays(train=24, test=6, frames=60, classes=60):
    """As in a .npz of CTR-GCN: persons of 1.7 m, about the spine of person 1; a second one in each third clip."""
    rng, found = np.random.default_rng(0), {}
    for side, n in (("train", train), ("test", test)):
        x = rng.uniform(-0.1, 0.1, size=(n, frames, 2, 25, 3)).astype(np.float32)
        x[..., 1] += np.linspace(-0.8, 0.9, 25)
        x -= x[:, :1, :1, 1:2]
        for i, clip in enumerate(x):
            clip[10 + i % 40 :] = 0
            clip[:, 1] *= i % 3 == 0
        x[5:6] = 0  # nobody is in it
        found[f"x_{side}"] = x.reshape(n, frames, 150)
        found[f"y_{side}"] = np.eye(classes)[np.arange(n) % classes]
    return found


@pytest.fixture
def convert(tmp_path):
    """convert(arrays, *flags, save): runs the script on a .npz, and reads the h5."""

    def convert(given, *flags, save=np.savez):
        save(tmp_path / "set.npz", **given)
        from_arrays.main([str(tmp_path / "set.npz"), "--out", str(tmp_path / "out.h5"), *map(str, flags)])
        return read(tmp_path / "out.h5")

    return convert


def write_folder(folder, given, labels=pickle.dumps, order="NCTVM"):
    """The same as ST-GCN's files."""
    folder.mkdir()
    for side, name in (("train", "train"), ("test", "val")):
        x, y = given[f"x_{side}"], given[f"y_{side}"].argmax(axis=1)
        x = x.reshape(*x.shape[:2], -1, 25, 3).transpose(["NTMVC".index(letter) for letter in order])
        np.save(folder / f"{name}_data_joint.npy", np.ascontiguousarray(x))
        (folder / f"{name}_label.pkl").write_bytes(labels(([f"clip{i}" for i in y], y.tolist())))
    return folder


@pytest.mark.parametrize("save, dtype", [(np.savez, ">f4"), (np.savez_compressed, "<f8")])
def test_arrays_come_out_as_they_went_in(tmp_path, convert, save, dtype):
    given = {key: values.astype(dtype) for key, values in arrays().items()}
    made, (train, valid) = convert(given, save=save), split_validation(range(24))
    for split, side, rows in (("", "train", train), ("valid_", "train", valid), ("test_", "test", [*range(6)])):
        assert np.array_equal(made.x[split], given[f"x_{side}"][rows])
        assert np.array_equal(made.y[split], given[f"y_{side}"][rows].argmax(axis=1))
    assert made.class_names == protocols.dataset("NTU").classes
    assert (made.persons, made.skeleton.name, made.origin) == (2, "kinect_v2", 2)
    assert {path.name for path in tmp_path.iterdir()} == {"set.npz", "out.h5"}


@pytest.mark.parametrize("order, flags", [("NCTVM", []), ("NTMVC", ["--axes", "TMVC"]), ("NMTVC", [])])
def test_the_same_set_from_the_files_of_st_gcn_in_any_order_of_axes(tmp_path, convert, order, flags):
    given = arrays(classes=12)
    wanted, folder = convert(given), write_folder(tmp_path / "set", given, order=order)
    from_arrays.main([str(folder), "--out", str(tmp_path / "folder.h5"), *flags])
    made = read(tmp_path / "folder.h5")
    assert made.y == wanted.y and all(np.array_equal(made.x[split], wanted.x[split]) for split in SPLITS)


def test_a_skeleton_of_ones_own_in_millimetres_with_z_up_labels_from_1_and_one_nan(tmp_path, capsys, convert):
    given = arrays(classes=12)
    skeleton = {"joints": [f"j{i}" for i in range(25)], "parents": [max(0, i - 1) for i in range(25)]}
    (tmp_path / "mine.json").write_text(json.dumps(skeleton))
    x = given["x_train"].reshape(24, 60, 2, 25, 3)[..., [0, 2, 1]] * np.float32([1024, -1024, 1024])
    x[0, 1, 0, 7] = np.nan
    given = {"x_train": x.reshape(24, 60, 150), "y_train": 1 + given["y_train"].argmax(axis=1)}
    given |= {"x_test": given["x_train"][:6], "y_test": given["y_train"][:6]}
    flags = ["--skeleton", tmp_path / "mine.json", "--scale", 1 / 1024, "--up", "z", "--nan", "absent"]
    convert(given, *flags)
    assert "--first-label 1" in capsys.readouterr().err
    made = convert(given, *flags, "--first-label", "1")
    assert (len(made.class_names), made.skeleton.joints[3], made.origin) == (12, "j3", 2)
    wanted = arrays()["x_train"][0].reshape(60, 2, 25, 3)
    wanted[1, 0, 7] = wanted[[0, 2], 0, 7].mean(axis=0)  # between where it was and where it will be
    np.testing.assert_allclose(made.x["test_"][0].reshape(60, 2, 25, 3), wanted, atol=1e-6)


def test_2d_joints_may_be_pixels_of_pictures_of_a_stated_size(convert):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(0, [640, 480], (12, 30, 17, 2)), np.ones((12, 30, 17, 1))], axis=3)
    given = {"x_train": x, "y_train": np.arange(12) % 2, "x_test": x, "y_test": np.arange(12) % 2}
    with pytest.raises(UserError, match="--size"):
        convert(given, "--skeleton", "coco17")
    made = convert(given, "--skeleton", "coco17", "--size", "640x480")
    assert made.axes == AXES_2D
    np.testing.assert_allclose(made.x["test_"].reshape(x.shape), x / [640, 480, 1] - [0.5, 0.5, 0], atol=1e-6)


AXES = {  # shape, joints, --axes: the order that it is taken for, or what to say
    "UTD-MHAD": ((20, 3, 50), 20, None, "VCT"),
    "MSRAction3D, with a confidence": ((800, 4), 20, None, "TVC"),
    "a frame a line": ((50, 60), 20, None, "TVC"),
    "two persons a line": ((50, 150), 25, None, "TMVC"),
    "pyskl": ((2, 24, 25, 3), 25, None, "MTVC"),
    "ST-GCN": ((3, 300, 25, 2), 25, None, "CTVM"),
    "told": ((20, 3, 20), 20, "VCT", "VCT"),
    "as many frames as joints": ((20, 3, 20), 20, None, None),
    "joints unknown": ((20, 3, 50), None, None, None),
    "no such number of joints": ((40, 61), 20, None, None),
}


@pytest.mark.parametrize("shape, joints, axes, wanted", AXES.values(), ids=AXES)
def test_axes_are_certain_by_their_sizes_or_asked_for(shape, joints, axes, wanted):
    array = np.arange(np.prod(shape)).reshape(shape)
    with nullcontext() if wanted else pytest.raises(BadFile):
        clip, name = arrange(array, joints, axes)
        assert name == wanted and clip.shape[2:] == (joints, 3)
        value = {(20, 3, 50): lambda: array[11, 2, 7], (800, 4): lambda: array[7 * 20 + 11, 2]}.get(shape)
        assert value is None or clip[7, 0, 11, 2] == value()


WRONG = {  # arrays that differ, and what the line names
    "no y_test": ({"y_test": None}, "y_test"),
    "labels not one-hot": ({"y_train": np.zeros((12, 60))}, "y_train"),
    "another width": ({"x_train": np.zeros((12, 60, 75)), "x_test": np.zeros((6, 60, 74))}, "x_t"),
    "clips and labels": ({"y_test": np.eye(60)[:5]}, "x_test"),
    "nan": ({"x_test": np.full((6, 60, 150), np.nan)}, "x_test.npy clip 0: .*--nan"),
    "millimetres": ({"x_test": arrays()["x_test"] * 1000}, "x_test.npy clip 0: .*--scale"),
    "an unknown skeleton": ({"x_train": np.zeros((12, 9, 51)), "x_test": np.zeros((6, 9, 51))}, "skeleton"),
}


@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG)
def test_wrong_input_is_refused_and_nothing_is_written(tmp_path, convert, changes, message):
    with pytest.raises(UserError, match=message):
        convert({key: value for key, value in (arrays(train=12) | changes).items() if value is not None})
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]


@pytest.mark.parametrize("name", ["train_label.pkl", "val_data_joint.npy"])
def test_files_that_are_damaged_or_run_something_are_named(tmp_path, name):
    folder = write_folder(tmp_path / "a", arrays())
    code = b"cos\nsystem\n(S'false'\ntR."
    (folder / name).write_bytes(code if name.endswith("pkl") else (folder / name).read_bytes()[:-8])
    with pytest.raises(UserError, match=name):
        from_arrays.main([str(folder), "--out", str(tmp_path / "a.h5")])
