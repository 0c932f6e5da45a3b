"""tools/make_ntu_like.py: made-up clips that all three scripts take, as long as NTU's, the same for the same seed."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import get_raw_denoised_data
import get_raw_skes_data
import h5py
import numpy as np
import protocols
import seq_transformation
from layout import SPLITS, check

TOOL = Path(__file__).parents[1] / "tools" / "make_ntu_like.py"
sys.path.insert(0, str(TOOL.parent))
import make_ntu_like  # noqa: E402


def test_names_are_distinct_and_on_both_sides():
    for n in (12, 1000, 56578):
        names = list(make_ntu_like.names(n))
        assert len(set(names)) == n
        assert all(protocols.NAME.fullmatch(name) and 1 <= protocols.action(name) <= 60 for name in names)
        for protocol in protocols.dataset("NTU").protocols:
            assert all(len(side) >= n // 4 for side in protocol.split(names))


def test_clips_are_as_ntus():
    frames, people = zip(
        *((n, len(found)) for n, found in (make_ntu_like.bodies(np.random.default_rng([1, i])) for i in range(1500))),
        strict=True,
    )
    assert min(frames) >= 32 and max(frames) <= 300
    assert 80 < np.mean(frames) < 88
    assert 0.15 < Counter(people)[2] / len(people) < 0.32


def test_all_three_scripts_take_them(tmp_path):
    make = [sys.executable, TOOL, "--clips", "12"]
    subprocess.run([*make, "--root", tmp_path], check=True, capture_output=True)
    assert len(list((tmp_path / "nturgb+d_skeletons").iterdir())) == 12
    for step in (get_raw_skes_data, get_raw_denoised_data, seq_transformation):
        assert step.main(["--root", str(tmp_path), "--workers", "1"]) == 0
    with h5py.File(tmp_path / "NTU_CV.h5") as file:
        assert check(file) == []
        assert sum(len(file[f"{split}x"]) for split in SPLITS) == 12 - len(
            protocols.dataset("NTU").left_out.intersection(make_ntu_like.names(12))
        )


def test_an_h5_without_the_text_and_the_seed(tmp_path):
    def x(name, seed):
        make_ntu_like.write_like_ntu(tmp_path / name, 40, seed)
        with h5py.File(tmp_path / name) as file:
            assert check(file) == []
            assert file["x"].shape[1:] == (300, 150)
            return file["x"][()]

    first = x("a.h5", 0)
    assert np.array_equal(first, x("b.h5", 0))
    assert not np.array_equal(first, x("c.h5", 1))
