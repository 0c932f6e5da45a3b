"""Damaged files are reported and listed, and the others are processed."""

import csv
from contextlib import nullcontext

import numpy as np
import pytest

import get_raw_skes_data
from ntu_text import CLIPS, FILES, STEPS, blocks_written, contents, run, text, write_root
from util import UserError


def body(seed):
    return np.random.default_rng(seed).normal(size=(25, 3)).round(3)


BAD = {
    "S001C001P001R001A001": b"",
    "S001C001P001R001A003": FILES[min(CLIPS)][:5000],
    "S001C001P001R001A004": b"2\n0\n0\n",
}
NOISE = {"S001C001P002R001A001": text([[(k, body(k)) for k in (1, 2)]] * 5)}  # both bodies are noise


@pytest.fixture
def with_bad(tmp_path):
    write_root(tmp_path, FILES | BAD | NOISE)
    folder = tmp_path / "nturgb+d_skeletons"
    (folder / "S001C001P001R001A005.skeleton").symlink_to(tmp_path / "nowhere")
    (folder / "notes.txt").write_text("of no clip")
    (folder / "S1C1P1R1A1.skeleton").write_text("misnamed")
    (folder / "S018C001P001R001A061.skeleton").write_text("of NTU120")
    return tmp_path


def test_bad_files_are_reported_and_the_others_processed(with_bad, tmp_path_factory, capsys):
    assert run(with_bad) == [3, 3, 0]
    out = capsys.readouterr().out
    assert "4 skipped" in out and "1 skipped" in out
    assert "2 left out: not named SsssCcccPpppRrrrAaaa.skeleton" in out
    assert "1 left out: known to lack skeletons" in out
    assert "1 left out: not one of the 60 actions of NTU" in out
    with open(with_bad / "raw_data" / "skipped.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "line", "reason"]
    assert [row[0][-12:-9] for row in rows[1:]] == ["001", "003", "004", "005"]
    assert int(rows[2][1]) == len(FILES[min(CLIPS)][:5000].split(b"\n"))
    assert "cut short" in rows[2][2]
    assert "cannot be read" in rows[4][2]
    with open(with_bad / "denoised_data" / "skipped.csv", newline="") as file:
        assert "nobody is left" in list(csv.reader(file))[1][2]
    good = tmp_path_factory.mktemp("good")
    write_root(good)
    run(good)
    h5 = {key: value for key, value in contents(good).items() if len(key[0].parts) == 1}
    assert h5.items() <= contents(with_bad).items()


def test_skipped_files_are_reported_again_and_a_repaired_one_is_read(with_bad, capsys):
    run(with_bad, steps=STEPS[:1])
    before = blocks_written(with_bad)
    (with_bad / "nowhere").write_bytes(FILES[min(CLIPS)])
    assert run(with_bad, steps=STEPS[:1]) == [3]
    assert "3 skipped" in capsys.readouterr().out
    changed = [block for block, time in blocks_written(with_bad).items() if before[block] != time]
    assert changed == ["raw_data/S001C001P001"]


@pytest.mark.parametrize("workers", [1, 2])
def test_strict_stops_at_the_first(with_bad, tmp_path_factory, workers):
    with pytest.raises(UserError, match=r"^nturgb\+d_skeletons/S001C001P001R001A001.skeleton: the file is empty$"):
        run(with_bad, "--strict", workers=workers)
    root = tmp_path_factory.mktemp("noise")
    write_root(root, FILES | NOISE)
    for flags in (["--strict"], [], ["--strict"]):  # the last one knows it from an earlier run
        with (
            pytest.raises(UserError, match="S001C001P002R001A001.skeleton: nobody is left") if flags else nullcontext()
        ):
            run(root, *flags, steps=STEPS[:2], workers=workers)


def test_nothing_but_bad_files(tmp_path):
    write_root(tmp_path, {"S001C001P001R001A001": b""})
    assert run(tmp_path, steps=STEPS[:1]) == [3]
    assert run(tmp_path, steps=STEPS[1:2]) == [0]
    with pytest.raises(UserError, match="not written"):
        run(tmp_path, steps=STEPS[2:])


def test_a_file_that_could_not_be_read_is_tried_again(tmp_path, monkeypatch):
    """Its size and time do not change when its permissions do."""
    write_root(tmp_path)

    def refuse(path, *more):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(get_raw_skes_data, "open", refuse, raising=False)
    assert run(tmp_path, steps=STEPS[:1]) == [3]
    assert (tmp_path / "raw_data" / "skipped.csv").read_text().count("cannot be read: Permission denied") == len(CLIPS)
    monkeypatch.undo()
    assert run(tmp_path) == [0, 0, 0]


def test_files_of_ntu120_without_its_flag(tmp_path):
    ntu120 = {name[:-3] + "061": data for name, data in list(FILES.items())[:3]}
    write_root(tmp_path, ntu120)
    with pytest.raises(UserError, match=rf"nturgb\+d_skeletons: .*{len(ntu120)} not one of .*--dataset NTU120$"):
        run(tmp_path, steps=STEPS[:1])
    assert run(tmp_path, "--dataset", "NTU120", steps=STEPS[:1]) == [0]


def test_one_protocol_without_clips_says_that_the_other_is_written(tmp_path):
    write_root(tmp_path, {name: data for name, data in FILES.items() if name[4:8] == "C001"})
    with pytest.raises(UserError, match="^NTU_CV.h5 not written: .*; NTU_CS.h5 is written$"):
        run(tmp_path)
    assert (tmp_path / "NTU_CS.h5").exists() and not (tmp_path / "NTU_CV.h5").exists()
