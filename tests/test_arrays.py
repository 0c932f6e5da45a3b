"""from_arrays.py: whole sets as CTR-GCN (.npz) and ST-GCN (.npy, .pkl) write them; and the orders of axes of arrays."""

import json
import pickle
import zipfile
from contextlib import nullcontext

import h5py
import numpy as np
import pytest

import from_arrays
from clips import protocols
from clips.arrays import arrange
from clips.h5 import SPLITS, read_header, split_validation, validate
from clips.skipped import BadFile
from util import UserError


def arrays(train=70, test=6, frames=60, classes=60, dtype=np.float32):
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
        found[f"x_{side}"] = x.reshape(n, frames, 150).astype(dtype)
        found[f"y_{side}"] = np.eye(classes)[np.arange(n) % classes]
    return found


def convert(tmp_path, given, *more, save=np.savez):
    save(tmp_path / "set.npz", **given)
    from_arrays.main([str(tmp_path / "set.npz"), "--out", str(tmp_path / "out.h5"), *more])
    return tmp_path / "out.h5"


def write_folder(folder, given, labels=pickle.dumps, order="NCTVM", **more):
    """The same as ST-GCN's files."""
    folder.mkdir()
    for side, name in (("train", "train"), ("test", "val")):
        x, y = given[f"x_{side}"], given[f"y_{side}"].argmax(axis=1)
        x = x.reshape(*x.shape[:2], -1, 25, 3).transpose(["NTMVC".index(letter) for letter in order])
        np.save(folder / f"{name}_data_joint.npy", np.ascontiguousarray(x))
        (folder / f"{name}_label.pkl").write_bytes(labels(([f"clip{i}" for i in y], y.tolist())))
    return folder


def same(a, b):
    with h5py.File(a) as a, h5py.File(b) as b:
        return all(np.array_equal(a[f"{split}{key}"], b[f"{split}{key}"]) for split in SPLITS for key in "xy")


@pytest.mark.parametrize("save, dtype", [(np.savez, ">f4"), (np.savez_compressed, "<f8")])
def test_arrays_come_out_as_they_went_in(tmp_path, save, dtype, monkeypatch):
    monkeypatch.setattr(np, "load", None)  # nothing is loaded whole
    given = arrays(dtype=dtype)
    with h5py.File(convert(tmp_path, given, save=save)) as file:
        assert validate(file) == []
        rows_of = (*split_validation(np.arange(70)), range(6))
        for split, side, rows in zip(SPLITS, ("train", "train", "test"), rows_of, strict=True):
            for key in "xy":
                assert np.array_equal(file[f"{split}{key}"][()], given[f"{key}_{side}"][list(rows)])
        header = read_header(file)
        assert header["class_names"] == protocols.dataset("NTU").classes
        assert (header["persons"], header["skeleton"].name, header["origin"]) == (2, "kinect_v2", 2)


def test_the_same_set_from_the_files_of_st_gcn_in_any_order_of_axes(tmp_path):
    given = arrays(classes=12)
    wanted = convert(tmp_path, given)
    for name, flags in (("NCTVM", []), ("NTMVC", ["--axes", "TMVC"]), ("NMTVC", [])):
        folder, out = write_folder(tmp_path / name, given, order=name), tmp_path / f"{name}.h5"
        from_arrays.main([str(folder), "--out", str(out), *flags])
        assert same(out, wanted)


def test_a_skeleton_of_ones_own_in_millimetres_with_z_up_labels_from_1_and_one_nan(tmp_path, capsys):
    given = arrays(classes=12)
    skeleton = {"joints": [f"j{i}" for i in range(25)], "parents": [max(0, i - 1) for i in range(25)]}
    (tmp_path / "mine.json").write_text(json.dumps(skeleton))
    x = given["x_train"].reshape(70, 60, 2, 25, 3)[..., [0, 2, 1]] * np.float32([1024, -1024, 1024])
    x[0, 1, 0, 7] = np.nan
    given = {"x_train": x.reshape(70, 60, 150), "y_train": 1 + given["y_train"].argmax(axis=1)}
    given |= {"x_test": given["x_train"][:6], "y_test": given["y_train"][:6]}
    flags = ["--skeleton", str(tmp_path / "mine.json"), "--scale", str(1 / 1024), "--up", "z", "--nan", "absent"]
    convert(tmp_path, given, *flags)
    assert "--first-label 1" in capsys.readouterr().err
    with h5py.File(convert(tmp_path, given, *flags, "--first-label", "1")) as file:
        assert (file["y"].shape[1], file.attrs["joint_names"][3], file.attrs["origin"]) == (12, "j3", 2)
        first = file["test_x"][0].reshape(60, 2, 25, 3)
        wanted = arrays()["x_train"][0].reshape(60, 2, 25, 3)
        wanted[1, 0, 7] = wanted[[0, 2], 0, 7].mean(axis=0)  # between where it was and where it will be
        np.testing.assert_allclose(first, wanted, atol=1e-6)


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
    "nan": ({"x_test": np.full((6, 60, 150), np.nan)}, "x_test clip 0: .*--nan"),
    "millimetres": ({"x_test": arrays()["x_test"] * 1000}, "x_test clip 0: .*--scale"),
    "an unknown skeleton": ({"x_train": np.zeros((12, 9, 51)), "x_test": np.zeros((6, 9, 51))}, "skeleton"),
}


@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG)
def test_wrong_input_is_refused_and_nothing_is_written(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        convert(tmp_path, {key: value for key, value in (arrays(train=12) | changes).items() if value is not None})
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]


def test_a_file_that_is_cut_is_refused(tmp_path):
    def save(path, x_test, **given):
        np.savez(path, **given)
        np.save(path.with_name("x.npy"), x_test)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("x_test.npy", path.with_name("x.npy").read_bytes()[:-8])

    with pytest.raises(UserError, match="x_test"):
        convert(tmp_path, arrays(), save=save)


@pytest.mark.parametrize("labels", [b"cos\nsystem\n(S'false'\ntR.", pickle.dumps((["a"], ["b"]))])
def test_a_pickle_that_is_no_list_of_labels_is_refused(tmp_path, labels):
    folder = write_folder(tmp_path / "a", arrays(), labels=lambda content: labels)
    with pytest.raises(UserError, match="train_label.pkl"):
        from_arrays.main([str(folder), "--out", str(tmp_path / "a.h5")])
