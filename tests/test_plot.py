"""Pictures: the numbers in them are those of the files."""

import numpy as np
import pytest

import plot_clips
import plot_runs
from conftest import write_toy
from engine.logs import read_log
from util import ROOT, UserError


def test_curves_are_mean_and_spread_over_seeds(tmp_path):
    pytest.importorskip("matplotlib")
    texts = [(ROOT / f"pretrained/NUCLA/logs/plus_seed{n}.csv").read_text().splitlines() for n in (1, 2)]
    paths = [tmp_path / f"plus_seed{n}.csv" for n in (1, 2)]
    for path, lines in zip(paths, (texts[0], texts[1][:-9]), strict=True):
        path.write_text("\n".join(lines) + "\n")
    words = ["curves", *map(str, paths), "--label", "plus", "--out"]
    figure, logs = plot_runs.curves(plot_runs.parse_args([*words, "a.png"])), [read_log(path)[1] for path in paths]
    for ax, what in zip(figure.axes, ("acc", "loss"), strict=True):
        for i, column in enumerate((f"train_{what}", f"eval_{what}")):
            shortest = len(logs[1][column])
            values = np.array([log[column][:shortest] for log in logs])
            np.testing.assert_allclose(ax.lines[i].get_ydata(), values.mean(axis=0))
            band = ax.collections[i].get_paths()[0].vertices[:, 1]
            assert band.max() == pytest.approx((values.mean(axis=0) + values.std(axis=0, ddof=1)).max())
    plot_runs.main([*words, str(tmp_path / "a.svg")])
    assert (tmp_path / "a.svg").read_bytes().startswith(b"<?xml")
    with pytest.raises(UserError, match=r"nothing.csv"):
        plot_runs.main(["curves", "nothing.csv", "--out", str(tmp_path / "b.svg")])


def test_a_gif_has_the_frames_of_the_clip(tmp_path):
    image = pytest.importorskip("PIL.Image")
    write_toy(tmp_path / "toy.h5", joints=20, skeleton="kinect_v1")
    words = ["--dataset", str(tmp_path / "toy.h5"), "--results", str(tmp_path), "--out", str(tmp_path / "a.gif")]
    plot_clips.main([*words, "--class", "b"])
    points, *_ = plot_clips.read_clip(plot_clips.parse_args([*words, "--class", "b"]))
    assert image.open(tmp_path / "a.gif").n_frames == len(points)
    with pytest.raises(UserError, match="--class z"):
        plot_clips.main([*words, "--class", "z"])


def test_the_view_by_hand():
    pose = np.zeros((2, 20, 3))
    pose[0] = [1, 1, 0]
    flat = plot_clips.project(pose)
    np.testing.assert_allclose(flat[0], [[-1, -np.cos(plot_clips.TILT)]] * 20)  # to the left, and up
    assert np.isnan(flat[1]).all()  # an absent person
    seen = np.zeros((18, 3))
    seen[3] = [0.2, 0.3, 0.9]
    flat = plot_clips.project(seen, is_2d=True)
    assert flat[3].tolist() == [0.2, 0.3] and np.isnan(np.delete(flat, 3, 0)).all()  # joints not seen
