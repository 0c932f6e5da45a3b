"""Pictures: the numbers in them are those of the files."""

import numpy as np
import pytest

import plot_clips
import plot_runs
from engine.logs import read_log
from util import ROOT


def test_curves_are_mean_and_spread_over_seeds(tmp_path):
    pytest.importorskip("matplotlib")
    texts = [(ROOT / f"pretrained/NUCLA/logs/plus_seed{n}.csv").read_text().splitlines() for n in (1, 2)]
    paths = [tmp_path / f"plus_seed{n}.csv" for n in (1, 2)]
    for path, lines in zip(paths, (texts[0], texts[1][:-9]), strict=True):
        path.write_text("\n".join(lines) + "\n")
    groups, logs = plot_runs.group_logs(paths), [read_log(path)[1] for path in paths]
    assert groups == {"plus": paths}
    for ax, what in zip(plot_runs.draw(groups).axes, ("acc", "loss"), strict=True):
        for i, column in enumerate((f"train_{what}", f"eval_{what}")):
            shortest = len(logs[1][column])
            values = np.array([log[column][:shortest] for log in logs])
            np.testing.assert_allclose(ax.lines[i].get_ydata(), values.mean(axis=0))
            band = ax.collections[i].get_paths()[0].vertices[:, 1]
            assert band.max() == pytest.approx((values.mean(axis=0) + values.std(axis=0, ddof=1)).max())
    plot_runs.main([*map(str, paths), "--label", "plus", "--out", str(tmp_path / "a.svg")])
    assert (tmp_path / "a.svg").read_bytes().startswith(b"<?xml")


def test_the_view_of_the_gif_by_hand():
    pose = np.zeros((2, 20, 3))
    pose[0] = [1, 1, 0]
    flat = plot_clips.project(pose)
    np.testing.assert_allclose(flat[0], [[-1, -np.cos(plot_clips.TILT)]] * 20)  # to the left, and up
    assert np.isnan(flat[1]).all()  # an absent person
