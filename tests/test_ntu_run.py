"""The three scripts as they are run: from files to h5, with damaged files, interrupted, and with wrong input."""

import csv
import os

import numpy as np
import pytest

from clips import protocols
from clips.h5 import SPLITS, split_validation
from made import read
from ntu_text import CLIPS, FILES, STEPS, contents, run, text, write_root
from safe.workers import parallel_map
from util import UserError


def test_h5_is_golden(ntu):
    names = sorted(CLIPS)
    for protocol in protocols.dataset("NTU").protocols:
        train, test = protocol.split(names)
        made = read(ntu / f"NTU_{protocol.name}.h5")
        assert made.protocol == protocol.words
        for split, indices in zip(SPLITS, (*split_validation(train), test), strict=True):
            x, wanted = made.x[split], np.zeros_like(made.x[split])
            assert x.shape == (len(indices), max(len(clip["moved"]) for clip in CLIPS.values()), 150)
            for row, clip in zip(wanted, (CLIPS[names[i]]["moved"] for i in indices), strict=True):
                row[: len(clip), : clip.shape[1]] = clip
            assert np.array_equal(x, wanted) and made.y[split] == [int(names[i][-3:]) - 1 for i in indices]


def test_however_many_workers_and_clips_at_a_time_the_same_comes_out(tmp_path, ntu, monkeypatch):
    write_root(tmp_path)
    monkeypatch.setattr(protocols, "GROUP", 7)
    run(tmp_path, steps=STEPS[:1], workers=2)
    run(tmp_path, steps=STEPS[1:])
    assert contents(tmp_path) == contents(ntu)


def test_damaged_files_are_skipped_and_listed_until_they_are_repaired(tmp_path, ntu):
    noise = text([[(k, np.full((25, 3), k)) for k in (1, 2)]] * 5)  # two bodies of five frames
    cut = FILES[min(CLIPS)][:5000]
    bad = {"S001C001P001R001A001": b"", "S001C001P001R001A003": cut, "S001C001P002R001A001": noise}
    folder = write_root(tmp_path, FILES | bad)
    (folder / "S001C001P001R001A005.skeleton").symlink_to("nowhere")
    for name in ("notes.txt", "S1C1P1R1A1.skeleton", "S018C001P001R001A061.skeleton"):  # the last is of NTU120
        (folder / name).write_text("left out")
    assert run(tmp_path) == [3, 3, None]
    with open(tmp_path / "raw_data" / "skipped.csv", newline="") as file:
        rows = [(row["file"][-12:-9], row["line"]) for row in csv.DictReader(file)]
    assert rows == [("001", "1"), ("003", str(len(cut.splitlines()))), ("005", "")]
    assert "S001C001P002R001A001" in (tmp_path / "denoised_data" / "skipped.csv").read_text()
    wanted = {key: value for key, value in contents(ntu).items() if len(key[0].parts) == 1}
    assert wanted.items() <= contents(tmp_path).items()  # the same as without the bad ones

    with pytest.raises(UserError, match="^nturgb.*/S001C001P001R001A001.skeleton, line 1: "):
        run(tmp_path, "--strict")
    for name in (*bad, "S001C001P001R001A005"):
        (folder / f"{name}.skeleton").unlink()
    run(tmp_path)
    assert contents(tmp_path) == contents(ntu)
    assert not list(tmp_path.glob("*/skipped.csv"))


def test_ntu120_in_two_folders(tmp_path):
    write_root(tmp_path)
    more = [f"S0{setup}C001P{performer:03}R001A1{k:02}" for setup in (18, 19) for performer in (1, 3) for k in (1, 20)]
    write_root(tmp_path, dict.fromkeys(more, FILES[min(CLIPS)]), "nturgb+d_skeletons120")
    run(tmp_path, "--dataset", "NTU120")
    for protocol in ("CS", "CSet"):
        made = read(tmp_path / f"NTU120_{protocol}.h5")
        assert sum(made.sizes) == len(CLIPS) + len(more) and len(made.class_names) == 120


def test_wrong_input_is_refused_with_what_to_do(tmp_path):
    def refused(match, *more, steps=STEPS):
        with pytest.raises(UserError, match=match):
            run(tmp_path, *more, steps=steps)

    refused("--root", "--root", "none")
    folder = write_root(tmp_path, {})
    refused("nturgb.d_skeletons: ")
    refused("NTU.h5: .*get_raw_denoised_data.py --dataset NTU$", steps=STEPS[2:])
    (folder / "S001C001P001R001A061.skeleton").write_text("damaged")
    refused("--dataset NTU120")
    (folder / "S001C001P001R001A060.skeleton").write_text("damaged")
    assert run(tmp_path, steps=STEPS[:2]) == [3, 0]
    refused("NTU_CS.h5 not written: .*NTU_CV.h5 not written: ", steps=STEPS[2:])


def test_a_worker_that_is_killed_is_reported():
    with pytest.raises(UserError, match="a worker was killed"):
        list(parallel_map(os._exit, [(1,), (1,)], workers=2))
