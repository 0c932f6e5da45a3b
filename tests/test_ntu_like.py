"""benchmarks/make_ntu_like.py: made-up clips for all three scripts, as long as NTU's, the same for the same seed."""

from collections import Counter

import h5py
import numpy as np

import make_ntu_like
from clips import protocols
from clips.h5 import validate
from ntu_text import clips_in, run


def test_names_are_distinct_and_on_both_sides():
    for n in (12, 1000, 56578):
        names = list(make_ntu_like.names(n))
        assert len(set(names)) == n
        assert all(protocols.NAME.fullmatch(name) and 1 <= protocols.action(name) <= 60 for name in names)
        for protocol in protocols.dataset("NTU").protocols:
            assert all(len(side) >= n // 4 for side in protocol.split(names))


def test_clips_are_as_ntus():
    frames, bodies = zip(*(make_ntu_like.bodies(np.random.default_rng([1, i])) for i in range(1500)), strict=True)
    assert min(frames) >= 32 and max(frames) <= 300
    assert 80 < np.mean(frames) < 88
    assert 0.15 < Counter(map(len, bodies))[2] / 1500 < 0.32


def test_all_three_scripts_take_them(tmp_path):
    make_ntu_like.write_skeletons(tmp_path, clips=12, seed=0, workers=1)
    assert len(list((tmp_path / "nturgb+d_skeletons").iterdir())) == 12
    assert run(tmp_path) == [0, 0, None]
    with h5py.File(tmp_path / "NTU_CV.h5") as file:
        assert validate(file) == []
    assert clips_in(tmp_path / "NTU_CV.h5") == len({*make_ntu_like.names(12)} - protocols.dataset("NTU").missing)


def test_an_h5_without_the_text_and_the_seed(tmp_path):
    def x(name, seed):
        make_ntu_like.write_like_ntu(tmp_path / name, 40, seed)
        with h5py.File(tmp_path / name) as file:
            assert validate(file) == []
            assert file["x"].shape[1:] == (300, 150)
            return file["x"][()]

    first = x("a.h5", 0)
    assert np.array_equal(first, x("b.h5", 0))
    assert not np.array_equal(first, x("c.h5", 1))
