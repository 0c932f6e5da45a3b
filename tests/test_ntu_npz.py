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


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4"])
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


WRONG = {
    "no y_test": ({"y_test": None}, "no array y_test in it, but x_train.npy"),
    "objects": ({"y_train": np.array([{}] * 70)}, "y_train holds Python objects, which are not unpickled"),
    "text": ({"y_train": np.array([["a"]] * 70)}, r"y_train is <U1 \(70, 1\), not numbers"),
    "labels not one-hot": ({"y_train": np.zeros((70, 60))}, "y_train is not one-hot in row 0"),
    "labels as indices": ({"y_train": np.zeros(70)}, r"y_train is float64 \(70,\), not numbers \(clips, classes\)"),
    "another width": ({"x_train": np.zeros((70, 60, 75))}, r"x_train has the shape \(70, 60, 75\)"),
    "other frames": ({"x_test": np.zeros((6, 50, 150))}, "x_test has the shape"),
    "other classes": ({"y_test": np.eye(60)[:6, :59]}, r"y_test has the shape \(6, 59\)"),
    "clips and labels": ({"y_test": np.eye(60)[:5]}, "x_test has 6 clips, but y_test has 5"),
    "Fortran order": ({"x_test": np.asfortranarray(np.zeros((6, 60, 150)))}, "x_test is Fortran-ordered"),
    "too few": (arrays(train=1), "x_train has 1 clips: at least 2 are needed"),
    "nan": ({"x_test": with_nan()}, "x_test, clip 2: NaN or infinity, .* in frame 3"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused_and_nothing_is_written(tmp_path, case):
    changes, message = WRONG[case]
    with pytest.raises(UserError, match=message):
        convert(tmp_path, {key: value for key, value in (arrays() | changes).items() if value is not None})
    assert [path.name for path in tmp_path.iterdir()] == ["NTU60_CS.npz"]


def test_wrong_files_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    arguments = [str(path), "--out", str(tmp_path / "a.h5")]
    with pytest.raises(FileNotFoundError):
        from_npz.main(arguments)
    path.write_text("words")
    with pytest.raises(UserError, match="cannot be read as an .npz"):
        from_npz.main(arguments)
    np.savez_compressed(path, **arrays())
    whole = bytearray(path.read_bytes())
    whole[2000:3000] = bytes(1000)
    path.write_bytes(whole)
    with pytest.raises(UserError, match="a.npz"):
        from_npz.main(arguments)
    np.savez(path, **arrays())
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UserError, match="cannot be read as an .npz"):
        from_npz.main(arguments)


def test_a_member_that_is_not_as_long_as_it_says(tmp_path):
    given = arrays()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for key, array in given.items():
            data = io.BytesIO()
            np.save(data, array)
            archive.writestr(f"{key}.npy", data.getvalue()[: -8 if key == "x_test" else None])
    with pytest.raises(UserError, match="x_test has .* bytes, which is wrong for its shape"):
        from_npz.main([str(tmp_path / "a.npz"), "--out", str(tmp_path / "a.h5")])


def test_an_existing_h5_is_not_replaced(tmp_path, capsys):
    out = convert(tmp_path, arrays())
    before = out.stat().st_mtime_ns
    from_npz.main([str(tmp_path / "NTU60_CS.npz"), "--out", str(out)])
    assert "exists already, from this file" in capsys.readouterr().out
    np.savez(tmp_path / "NTU60_CS.npz", **arrays(train=71))
    with pytest.raises(UserError, match="not from this file"):
        from_npz.main([str(tmp_path / "NTU60_CS.npz"), "--out", str(out)])
    assert out.stat().st_mtime_ns == before


def test_names_of_the_files_that_people_have():
    known = [f"{name}_{protocol.name}" for name in ("NTU", "NTU120") for protocol in protocols.dataset(name).protocols]
    assert list(from_npz.OUT.values()) == known
