"""make_nucla.py on made-up clips: as many of each view as the public distribution has."""

import json
import sys
import zipfile

import make_nucla
import numpy as np
import pytest
from test_readme import README

from data import Clips
from util import UserError


def write_zip(path, names, frames=2):
    """A zip of clips by these names in which joint i of frame t is at (i + 1, t, view)."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            label, view = int(name.split("/")[-1][1:3]), int(name[-7:-5])
            skeletons = [[[i + 1.0, t, view] for i in range(20)] for t in range(frames)]
            archive.writestr(name, json.dumps({"skeletons": skeletons, "label": label}))
    return path


def names(view, number):
    return [f"all_sqe/a{1 + i % 10:02}_s{1 + i // 10:02}_e00_v{view:02}.json" for i in range(number)]


def test_as_many_clips_as_the_readme_says(tmp_path, monkeypatch, capsys):
    source = write_zip(tmp_path / "all_sqe.zip", names(1, 510) + names(2, 510) + names(3, 464))
    monkeypatch.setattr(sys, "argv", ["make_nucla.py", str(source), "--out", str(tmp_path / "NUCLA_CV.h5")])
    make_nucla.main()
    assert capsys.readouterr().out.strip().removeprefix(f"{tmp_path}/") in README
    clips = Clips.read(tmp_path / "NUCLA_CV.h5")
    first = clips.frames[clips.start[clips.splits["test_"]]].view(-1, 20, 3)
    assert (first == np.arange(-1, 19)[:, None] * np.array([1.0, 0, 0], np.float32)).all()  # joint 2 is the origin


@pytest.mark.parametrize("unpacked", [False, True])
def test_two_files_of_one_name_are_refused(tmp_path, unpacked):
    source = write_zip(tmp_path / "all_sqe.zip", names(1, 3) + ["again/" + names(1, 1)[0]])
    if unpacked:
        zipfile.ZipFile(source).extractall(tmp_path / "all")
        source = tmp_path / "all"
    with pytest.raises(UserError, match="a01_s01_e00_v01.json and .*a01_s01_e00_v01.json in it are of one name"):
        list(make_nucla.read_all(source))


def test_one_view_trains_and_another_tests(tmp_path, monkeypatch, capsys):
    source = write_zip(tmp_path / "all_sqe.zip", names(1, 30) + names(2, 40) + names(3, 50))

    def make(*flags):
        monkeypatch.setattr(sys, "argv", ["make_nucla.py", str(source), "--test-view", "2", *flags])
        make_nucla.main()
        return capsys.readouterr().out

    assert "28 training, 2 validation and 40 test clips" in make("--train-views", "1", "--out", str(tmp_path / "a.h5"))
    assert Clips.read(tmp_path / "a.h5").protocol == "cross-view: views 1 train, view 2 tests"
    assert "76 training, 4 validation and 40 test clips" in make(
        "--train-views", "3", "1", "--out", str(tmp_path / "b.h5")
    )
    with pytest.raises(UserError, match="--train-views: view 2 tests; take others"):
        make("--train-views", "1", "2", "--out", str(tmp_path / "c.h5"))
    with pytest.raises(UserError, match="name the file too"):
        make("--train-views", "1")


def test_performers_held_out_test_and_the_others_train(tmp_path, monkeypatch, capsys):
    source = write_zip(tmp_path / "all_sqe.zip", names(1, 30) + names(2, 40) + names(3, 50))
    out = tmp_path / "NUCLA_CS.h5"

    def make(*flags):
        monkeypatch.setattr(sys, "argv", ["make_nucla.py", str(source), "--test-performers", "2", "4", *flags])
        make_nucla.main()
        return capsys.readouterr().out

    assert "38 training, 2 validation and 30 test clips" in make("--test-view", "1", "2", "--out", str(out))
    protocol = "cross-subject: performers 2 and 4 test, the others train"
    assert Clips.read(out).protocol == f"{protocol} of views 1 and 2"
    assert "19 training, 1 validation and 20 test clips" in make(
        "--test-view", "2", "--train-views", "1", "--out", str(out)
    )
    assert Clips.read(out).protocol == f"{protocol}; cross-view: views 1 train, view 2 tests"
    with pytest.raises(UserError, match="of 120 clips 0 would train and 50 test; both sides need some"):
        make("--test-view", "3", "--train-views", "3", "--test-performers", *"12345", "--out", str(out))
    with pytest.raises(UserError, match="name the file too"):
        make()
