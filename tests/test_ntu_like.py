"""benchmarks/make_ntu_like.py: made-up clips for all three scripts, as long as NTU's."""

import numpy as np
import pytest

import make_ntu_like
from clips import protocols
from made import read
from ntu_text import run


def test_names_are_distinct_and_on_both_sides():
    for n in (12, 1000, 8000):
        names = list(make_ntu_like.names(n))
        assert len(set(names)) == n
        assert all(protocols.NAME.fullmatch(name) and 1 <= protocols.action(name) <= 60 for name in names)
        for protocol in protocols.dataset("NTU").protocols:
            assert all(len(side) >= n // 4 for side in protocol.split(names))


@pytest.mark.slow
def test_clips_are_as_ntus_and_all_three_scripts_take_them(tmp_path):
    frames = make_ntu_like.lengths(np.random.default_rng(1), 1500)
    assert (frames.min() >= 32, frames.max() <= 300, 80 < frames.mean() < 88) == (True, True, True)
    first, again = (make_ntu_like.skeleton_text(np.random.default_rng([1, 4])) for _ in range(2))
    assert first == again
    make_ntu_like.write_skeletons(tmp_path, clips=12, seed=0)
    assert run(tmp_path) == [0, 0, None]
    assert sum(read(tmp_path / "NTU_CV.h5").sizes) == len({*make_ntu_like.names(12)} - protocols.dataset("NTU").missing)
