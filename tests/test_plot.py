"""Pictures: each command writes one, and the numbers in them are right."""

import numpy as np
import pytest
import torch

from clips.skeletons import unknown_skeleton
from conftest import run, write_toy
from model import SGN
from util import ROOT, UserError

pytest.importorskip("matplotlib")
import plot_clips
import plot_runs

OF_TWO_NETWORKS = [ROOT / f"pretrained/NUCLA/logs/{name}_seed1.csv" for name in ("amp_batch16", "ablate120-one-gcn")]
SHIPPED_LOG = ROOT / "pretrained/NUCLA/SGN-plus/0_log.csv"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an h5 of 20 joints, and results of two seeds and of one run on it."""
    folder = tmp_path_factory.mktemp("plots")
    h5 = write_toy(folder / "toy.h5", joints=20, skeleton="kinect_v1")
    run(h5, folder / "results", "--seeds", "2", epochs=2)
    run(h5, folder / "results", epochs=1)
    return folder


def data(place):
    return ["--dataset", str(place / "toy.h5"), "--results", str(place / "results")]


def draw(program, words, out):
    program.run(program.parse_args([*map(str, words), "--out", str(out)]))
    return out


@pytest.mark.parametrize("kind", [".png", ".svg", ".pdf"])
def test_curves(place, tmp_path, kind):
    words = ["curves", place / "results/toy/SGN", "--label", "two seeds"]
    out = draw(plot_runs, words, tmp_path / f"a{kind}")
    assert out.stat().st_size > 5000


def test_cost(place, tmp_path, capsys):
    logs = [place / "results/toy/SGN" / name for name in ("seed1/0_log.csv", "seed2/0_log.csv", "0_log.csv")]
    capsys.readouterr()
    out = draw(plot_runs, ["cost", *logs, "--seconds", "paper=90"], tmp_path / "a.png")
    assert out.stat().st_size > 5000
    last = [plot_runs.figures_of(plot_runs.read_log(log)[0])[1] for log in logs]
    rows = capsys.readouterr().out.splitlines()[2:4]
    mean, std = np.mean(last[:2]), np.std(last[:2], ddof=1)
    assert rows == [f"| `paper` | 1 | 1.5 | 1 | {last[2]:.2f} |", f"| `paper` | 2 | 3.0 | 2 | {mean:.2f} ± {std:.2f} |"]


@pytest.mark.parametrize("command", ["confusion", "classes"])
def test_tested_here_or_read_from_predictions(place, tmp_path, command):
    draw(plot_runs, [command, *data(place)], tmp_path / "a.png")
    draw(plot_runs, [command, "--pred", place / "results/toy/SGN"], tmp_path / "b.png")
    assert (tmp_path / "a.png").stat().st_size > 5000 and (tmp_path / "b.png").stat().st_size > 5000


@pytest.mark.parametrize(
    "words, name",
    [
        (["clip", "--class", "b"], "a.png"),
        (["clip", "--clip", "3", "--split", "train", "--turn", "40"], "a.gif"),
        (["graph", "--class", "a", "--class", "1"], "a.png"),
        (["joints", "--class", "d"], "a.png"),
    ],
    ids=" ".join,
)
def test_clips_and_the_joint_level_module(place, tmp_path, words, name):
    out = draw(plot_clips, [*words, *data(place)], tmp_path / name)
    assert out.stat().st_size > 5000 and [path.name for path in tmp_path.iterdir()] == [name]


def test_confusion_by_hand():
    label = np.array([0, 0, 0, 1, 2])
    logits = np.eye(3)[[0, 1, 1, 1, 0]]
    counts = plot_runs.confusion_counts(label, logits)
    assert counts.tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 0]]
    assert [pair[:3] for pair in plot_runs.confused_pairs(counts)] == [(2, 0, 1), (0, 1, 2)]  # 100%, 67%


def test_runs_that_differ_in_their_seed_alone_are_one_curve(place):
    folder = place / "results/toy/SGN"
    (paths,) = plot_runs.find_logs([folder], 0).values()
    assert [path.parent.name for path in paths] == ["seed1", "seed2"]
    mean, std = plot_runs.mean_std([{"a": [1.0, 2, 9]}, {"a": [3.0, 4]}], "a")  # to the end of the shorter
    assert mean.tolist() == [2, 3] and std.tolist() == pytest.approx([2**0.5] * 2)


def test_the_view_by_hand():
    pose = np.zeros((2, 20, 3))
    pose[0, :, 0] = 1
    flat = plot_clips.project(pose, turn=np.pi / 2)
    np.testing.assert_allclose(flat[0, :, 0], 0, atol=1e-12)  # x points away from a viewer at the side
    assert np.isnan(flat[1]).all()  # an absent person
    seen = np.zeros((18, 3))
    seen[3] = [0.2, 0.3, 0.9]
    flat = plot_clips.project(seen, is_2d=True)
    assert flat[3].tolist() == [0.2, -0.3] and np.isnan(np.delete(flat, 3, 0)).all()  # y down, joints not seen
    assert len(unknown_skeleton(5).bones()) == 0


def test_rows_of_g_and_shares_of_joints_sum_to_one():
    torch.manual_seed(0)
    net, frames = SGN(3, 20).eval(), torch.randn(40, 20, 3)
    from data import Clips

    clips = Clips.from_clip(frames.numpy()[:, None])
    g, shares = plot_clips.joint_level_statistics(net, clips, clips.ids("test"), torch.Generator().manual_seed(0))
    np.testing.assert_allclose(g.sum(axis=1), 1, rtol=1e-5)
    assert shares.sum() == pytest.approx(1) and shares.shape == (20,)


@pytest.mark.parametrize(
    "program, words, why",
    [
        (plot_runs, ["curves", "nothing.csv"], "nothing.csv"),
        (plot_runs, ["confusion", "--pred", "."], "0_lable.txt"),
        (plot_runs, ["cost", SHIPPED_LOG, "--seconds", "paper=1"], "its recipe is plus; give the time of its epoch"),
        (plot_runs, ["cost", *OF_TWO_NETWORKS, "--seconds", "paper=1"], "differs from .* in ablate"),
        (plot_clips, ["clip", "--dataset", "nothing.h5"], "nothing.h5 is missing"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_no_picture(tmp_path, monkeypatch, program, words, why):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=why):
        draw(program, words, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_wrong_classes_and_clips(place, tmp_path):
    for words, why in ((["clip", "--class", "z"], "--class z: not one of"), (["clip", "--clip", "99"], "has 18 clips")):
        with pytest.raises(UserError, match=why):
            draw(plot_clips, [*words, *data(place)], tmp_path / "a.png")
