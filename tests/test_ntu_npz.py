"""from_npz.py: a .npz of CTR-GCN becomes the h5 that the three scripts would make."""

import io
import zipfile

import h5py
import numpy as np
import pytest

import from_npz
from clips import protocols
from clips.h5 import SPLITS, split_validation, validate
from util import UserError


def arrays(train=70, test=6, frames=60, classes=60, dtype=np.float32):
    rng = np.random.default_rng(0)
    found = {}
    for side, n in (("train", train), ("test", test)):
        x = rng.normal(size=(n, frames, 150)).astype(np.float32)
        for i, clip in enumerate(x):
            clip[10 + i % 40 :] = 0
            clip[:, 75:] *= i % 3 == 0
        found[f"x_{side}"] = x.astype(dtype)
        found[f"y_{side}"] = np.eye(classes)[rng.integers(classes, size=n)]
    return found


def convert(tmp_path, given, save=np.savez, name="NTU60_CS.npz"):
    path, out = tmp_path / name, tmp_path / "out.h5"
    save(path, **given)
    from_npz.main([str(path), "--out", str(out)])
    return out


@pytest.mark.parametrize("save, dtype", [(np.savez, "<f4"), (np.savez, ">f4"), (np.savez_compressed, "<f8")])
def test_arrays_come_out_as_they_went_in(tmp_path, save, dtype, monkeypatch):
    monkeypatch.setattr(np, "load", None)  # nothing is loaded whole
    given = arrays(dtype=dtype)
    with h5py.File(convert(tmp_path, given, save)) as file:
        assert validate(file) == []
        rows_of = (*split_validation(np.arange(70)), range(6))
        for split, side, rows in zip(SPLITS, ("train", "train", "test"), rows_of, strict=True):
            for key in "xy":
                assert np.array_equal(file[f"{split}{key}"][()], given[f"{key}_{side}"][list(rows)])
        assert file["x"].dtype == np.float32
        assert tuple(file.attrs["class_names"]) == protocols.dataset("NTU").classes
        assert (file.attrs["joints"], file.attrs["persons"]) == (25, 2)
        assert file.attrs["protocol"] == "as in NTU60_CS.npz"


@pytest.mark.parametrize("classes, first", [(120, "drink water"), (12, "class 0")])
def test_class_names(tmp_path, classes, first):
    with h5py.File(convert(tmp_path, arrays(classes=classes))) as file:
        assert len(file.attrs["class_names"]) == classes
        assert file.attrs["class_names"][0] == first


def with_nan():
    x = arrays()["x_test"]
    x[2, 3, 4] = np.nan
    return x


WRONG = {  # arrays that differ, and which one the line names
    "no y_test": ({"y_test": None}, "y_test"),
    "objects": ({"y_train": np.array([{}] * 70)}, "y_train holds Python objects"),
    "labels not one-hot": ({"y_train": np.zeros((70, 60))}, "y_train"),
    "labels as indices": ({"y_train": np.zeros(70)}, "y_train"),
    "another width": ({"x_train": np.zeros((70, 60, 75))}, "x_train"),
    "other frames": ({"x_test": np.zeros((6, 50, 150))}, "x_test"),
    "other classes": ({"y_test": np.eye(60)[:6, :59]}, "y_test"),
    "clips and labels": ({"y_test": np.eye(60)[:5]}, "x_test"),
    "Fortran order": ({"x_test": np.asfortranarray(np.zeros((6, 60, 150)))}, "x_test"),
    "too few": (arrays(train=1), "x_train"),
    "nan": ({"x_test": with_nan()}, "x_test, clip 2: .* in frame 3"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused_and_nothing_is_written(tmp_path, case):
    changes, message = WRONG[case]
    with pytest.raises(UserError, match=message):
        convert(tmp_path, {key: value for key, value in (arrays() | changes).items() if value is not None})
    assert [path.name for path in tmp_path.iterdir()] == ["NTU60_CS.npz"]


def damaged(whole):
    return whole[:2000] + bytes(1000) + whole[3000:]


@pytest.mark.parametrize("damage", [lambda whole: b"words", damaged, lambda whole: whole[:-5000]])
def test_damaged_files_are_refused(tmp_path, damage):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **arrays())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="a.npz"):
        from_npz.main([str(path), "--out", str(tmp_path / "a.h5")])


def test_a_member_that_is_not_as_long_as_it_says(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for key, array in arrays().items():
            data = io.BytesIO()
            np.save(data, array)
            archive.writestr(f"{key}.npy", data.getvalue()[: -8 if key == "x_test" else None])
    with pytest.raises(UserError, match="x_test"):
        from_npz.main([str(tmp_path / "a.npz"), "--out", str(tmp_path / "a.h5")])


def test_names_of_the_files_that_people_have():
    known = [f"{name}_{protocol.name}" for name in ("NTU", "NTU120") for protocol in protocols.dataset(name).protocols]
    assert list(from_npz.OUT.values()) == known
