"""from_arrays.py: whole sets as CTR-GCN (.npz) and ST-GCN (.npy, .pkl) write them; and the orders of axes of arrays."""

import pickle
from contextlib import nullcontext

import numpy as np
import pytest

import from_arrays
from clips import protocols
from clips.arrays import arrange
from clips.h5 import SPLITS, split_validation
from clips.skipped import BadFile
from made import read
from util import UserError


def arrays(train=24, test=6, frames=60, classes=12):
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
        found[f"x_{side}"], found[f"y_{side}"] = x.reshape(n, frames, 150), np.eye(classes)[np.arange(n) % classes]
    return found


@pytest.fixture
def convert(tmp_path):
    """convert(arrays, *flags, save): runs the script on a .npz, and reads the h5."""

    def convert(given, *flags, save=np.savez):
        save(tmp_path / "set.npz", **given)
        from_arrays.main([str(tmp_path / "set.npz"), "--out", str(tmp_path / "out.h5"), *map(str, flags)])
        return read(tmp_path / "out.h5")

    return convert


def write_folder(folder, given, order="NCTVM"):
    """The same as ST-GCN's files."""
    folder.mkdir()
    for side, name in (("train", "train"), ("test", "val")):
        x, y = given[f"x_{side}"], given[f"y_{side}"].argmax(axis=1)
        x = x.reshape(*x.shape[:2], -1, 25, 3).transpose(["NTMVC".index(letter) for letter in order])
        np.save(folder / f"{name}_data_joint.npy", np.ascontiguousarray(x))
        (folder / f"{name}_label.pkl").write_bytes(pickle.dumps(([f"clip{i}" for i in y], y.tolist())))
    return folder


@pytest.mark.parametrize("save, dtype", [(np.savez, ">f4"), (np.savez_compressed, "<f8")])
def test_arrays_come_out_as_they_went_in(tmp_path, convert, save, dtype):
    given = {key: values.astype(dtype) for key, values in arrays(classes=60).items()}
    made, (train, valid) = convert(given, save=save), split_validation(range(24))
    for split, side, rows in (("", "train", train), ("valid_", "train", valid), ("test_", "test", [*range(6)])):
        assert np.array_equal(made.x[split], given[f"x_{side}"][rows])
        assert np.array_equal(made.y[split], given[f"y_{side}"][rows].argmax(axis=1))
    assert made.class_names == protocols.dataset("NTU").classes
    assert (made.persons, made.skeleton.name, made.origin) == (2, "kinect_v2", 2)
    assert {path.name for path in tmp_path.iterdir()} == {"set.npz", "out.h5"}


@pytest.mark.parametrize("order, flags", [("NCTVM", []), ("NTMVC", ["--axes", "TMVC"]), ("NMTVC", [])])
def test_the_same_set_from_the_files_of_st_gcn_in_any_order_of_axes(tmp_path, capsys, convert, order, flags):
    given = arrays()
    wanted, folder = convert(given), write_folder(tmp_path / "set", given, order=order)
    capsys.readouterr()
    from_arrays.main([str(folder), "--out", str(tmp_path / "folder.h5"), *flags])
    made = read(tmp_path / "folder.h5")
    assert made.y == wanted.y and all(np.array_equal(made.x[split], wanted.x[split]) for split in SPLITS)
    assert ("MTVC" in capsys.readouterr().err) == (order == "NMTVC")  # taken from its sizes


def test_millimetres_with_z_up_labels_from_1_and_one_nan(capsys, convert):
    given = arrays()
    x = given["x_train"].reshape(24, 60, 2, 25, 3)[..., [0, 2, 1]] * np.float32([1024, -1024, 1024])
    x[0, 1, 0, 7] = np.nan
    given = {"x_train": x.reshape(24, 60, 150), "y_train": 1 + given["y_train"].argmax(axis=1)}
    given |= {"x_test": given["x_train"][:6], "y_test": given["y_train"][:6]}
    flags = ["--scale", 1 / 1024, "--up", "z", "--nan", "absent"]
    convert(given, *flags)
    assert "--first-label 1" in capsys.readouterr().err
    made = convert(given, *flags, "--first-label", "1")
    assert len(made.class_names) == 12
    wanted = arrays()["x_train"][0].reshape(60, 2, 25, 3)
    wanted[1, 0, 7] = wanted[[0, 2], 0, 7].mean(axis=0)  # between where it was and where it will be
    np.testing.assert_allclose(made.x["test_"][0].reshape(60, 2, 25, 3), wanted, atol=1e-6)


AXES = [  # shape, joints, --axes: the order that it is taken for, if one is certain
    ((20, 3, 50), 20, None, "VCT"),  # UTD-MHAD
    ((800, 4), 20, None, "TVC"),  # MSRAction3D, with a confidence
    ((50, 150), 25, None, "TMVC"),
    ((20, 3, 20), 20, "VCT", "VCT"),
    ((20, 3, 20), 20, None, None),
    ((20, 3, 50), None, None, None),
    ((50, 150), None, None, None),
    ((40, 61), 20, None, None),
]


@pytest.mark.parametrize("shape, joints, axes, wanted", AXES)
def test_axes_are_certain_by_their_sizes_or_asked_for(shape, joints, axes, wanted):
    array = np.arange(np.prod(shape)).reshape(shape)
    with nullcontext() if wanted else pytest.raises(BadFile):
        clip, name = arrange(array, joints, axes)
        assert name == wanted and clip.shape[2:] == (joints, 3)
        assert shape != (20, 3, 50) or clip[7, 0, 11, 2] == array[11, 2, 7]
        assert shape != (800, 4) or clip[7, 0, 11, 2] == array[7 * 20 + 11, 2]


WRONG = {  # arrays that differ, and what the line names
    "no y_test": ({"y_test": None}, "y_test"),
    "labels not one-hot": ({"y_train": np.zeros((12, 60))}, "y_train"),
    "another width": ({"x_train": np.zeros((12, 60, 75))}, "x_t"),
    "nan": ({"x_test": np.full((6, 60, 150), np.nan)}, "x_test.npy clip 0: .*--nan"),
    "millimetres": ({"x_test": arrays()["x_test"] * 1000}, "x_test.npy clip 0: .*--scale"),
    "an unknown skeleton": ({"x_train": np.zeros((12, 9, 51)), "x_test": np.zeros((6, 9, 51))}, "skeleton"),
}


@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG)
def test_wrong_input_is_refused_and_nothing_is_written(tmp_path, convert, changes, message):
    with pytest.raises(UserError, match=message):
        convert({key: value for key, value in (arrays(train=12) | changes).items() if value is not None})
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]
