"""Pictures: the numbers in them are those of the files."""

import numpy as np
import pytest

from conftest import run, write_toy
from engine.logs import read_log
from util import UserError

pytest.importorskip("matplotlib")
import plot_clips
import plot_runs

LABEL, LOGITS = np.array([0, 0, 0, 1, 2]), np.eye(3)[[0, 1, 1, 1, 0]]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an h5 of 20 joints, and results of two seeds on it."""
    folder = tmp_path_factory.mktemp("plots")
    h5 = write_toy(folder / "toy.h5", joints=20, skeleton="kinect_v1")
    run(h5, folder / "results", "--seeds", "2", epochs=2)
    return folder


@pytest.fixture
def by_hand(monkeypatch):
    """In place of a test: 5 clips of 3 classes."""
    counts = plot_runs.confusion_counts(LABEL, LOGITS)
    monkeypatch.setattr(plot_runs, "read_test", lambda args: (counts, ("a", "b", "c"), "a test"))
    return counts


def parse(program, *words, out="a.png"):
    return program.parse_args([*map(str, words), "--out", str(out)])


def test_curves_are_mean_and_spread_over_seeds(place):
    folder = place / "results/toy/SGN"
    figure = plot_runs.curves(parse(plot_runs, "curves", folder, "--label", "two seeds"))
    logs = [read_log(folder / f"seed{n}" / "0_log.csv")[1] for n in (1, 2)]
    for ax, what in zip(figure.axes, ("acc", "loss"), strict=True):
        for i, column in enumerate((f"train_{what}", f"eval_{what}")):
            values = np.array([log[column] for log in logs])
            np.testing.assert_allclose(ax.lines[i].get_ydata(), values.mean(axis=0))
            band = ax.collections[i].get_paths()[0].vertices[:, 1]
            highest = (values.mean(axis=0) + values.std(axis=0, ddof=1)).max()
            assert band.max() == pytest.approx(highest)
    mean, std = plot_runs.mean_std([{"a": [1.0, 2, 9]}, {"a": [3.0, 4]}], "a")  # to the end of the shorter
    assert mean.tolist() == [2, 3] and std.tolist() == pytest.approx([2**0.5] * 2)


def test_confusion_by_hand(by_hand):
    assert by_hand.tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 0]]
    ax = plot_runs.confusion(None).axes[0]
    cells = {(text.get_position()[1], text.get_position()[0]): int(text.get_text()) for text in ax.texts}
    assert cells == {(0, 0): 1, (0, 1): 2, (1, 1): 1, (2, 0): 1}
    np.testing.assert_allclose(ax.images[0].get_array(), [[100 / 3, 200 / 3, 0], [0, 100, 0], [100, 0, 0]])


def test_accuracy_of_classes_by_hand(by_hand):
    left, right = plot_runs.classes(None).axes
    assert [bar.get_width() for bar in left.patches] == pytest.approx([0, 100 / 3, 100])
    assert [label.get_text() for label in left.get_yticklabels()] == ["c", "a", "b"]
    assert [bar.get_width() for bar in right.patches] == pytest.approx([100, 200 / 3])
    assert [label.get_text() for label in right.get_yticklabels()] == ["c → a", "a → b"]


def test_a_test_counts_what_main_wrote(place):
    folder = place / "results/toy/SGN/seed1"
    words = ["--dataset", place / "toy.h5", "--checkpoint", folder / "0_best.pth"]
    counts, names, _ = plot_runs.read_test(parse(plot_runs, "confusion", *words))
    label, logits = np.loadtxt(folder / "0_lable.txt", int), np.loadtxt(folder / "0_pred.txt")
    np.testing.assert_array_equal(counts, plot_runs.confusion_counts(label, logits))
    assert names == tuple("abcd")


@pytest.mark.parametrize("kind", ["png", "svg", "pdf", "gif"])
def test_files_are_of_their_kind(place, tmp_path, kind):
    words = ["clip", "--dataset", place / "toy.h5", "--results", place, "--clip", "3", "--split", "train"]
    plot_clips.run(parse(plot_clips, *words, out=tmp_path / f"a.{kind}"))
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF", "gif": b"GIF8"}
    (path,) = tmp_path.iterdir()
    assert path.read_bytes().startswith(starts[kind])


def test_poses_are_those_of_the_clip(place):
    words = ["--dataset", place / "toy.h5", "--class", "b", "--checkpoint", place / "results/toy/SGN/seed1/0_best.pth"]
    args = parse(plot_clips, "clip", *words)
    figure = plot_clips.clip(args)
    ax = figure.axes[0]
    path, _, clips = plot_clips.open_data(args)
    frames = plot_clips.read_frames(path, clips, clips.ids("test")[1].item())  # classes a, b, ... in turns
    np.testing.assert_allclose(ax.collections[1].get_offsets()[:, 0], frames[0, 0, :, 0], rtol=1e-5)
    assert len(ax.collections) == 2 * plot_clips.POSES and ax.texts[-1].get_text() == f"frame {len(frames)}"
    assert "predicted: " in figure.get_suptitle() and "true: b" in figure.get_suptitle()
    images, _ = plot_clips.clip(parse(plot_clips, "clip", *words, out="a.gif"))
    images = list(images)
    assert len(images) == len(frames) and (images[0] != images[-1]).any()


def test_the_view_by_hand():
    pose = np.zeros((2, 20, 3))
    pose[0, :, 1] = 1
    flat = plot_clips.project(pose)
    np.testing.assert_allclose(flat[0], [[0, np.cos(plot_clips.TILT)]] * 20)
    assert np.isnan(flat[1]).all()  # an absent person
    seen = np.zeros((18, 3))
    seen[3] = [0.2, 0.3, 0.9]
    flat = plot_clips.project(seen, is_2d=True)
    assert flat[3].tolist() == [0.2, -0.3] and np.isnan(np.delete(flat, 3, 0)).all()  # y down, joints not seen


@pytest.mark.parametrize(
    "program, words, why",
    [
        (plot_runs, ["curves", "nothing.csv"], "nothing.csv"),
        (plot_runs, ["confusion", "--dataset", "toy.h5", "--checkpoint", "a.pth"], "a.pth"),
        (plot_clips, ["clip", "--dataset", "nothing.h5"], "nothing.h5"),
        (plot_clips, ["clip", "--dataset", "toy.h5", "--class", "z"], "--class z"),
        (plot_clips, ["clip", "--dataset", "toy.h5", "--clip", "99"], "--clip 99"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_no_picture(place, tmp_path, monkeypatch, program, words, why):
    monkeypatch.chdir(place)
    with pytest.raises(UserError, match=why):
        program.run(parse(program, *words, out=tmp_path / "a.png"))
    assert not list(tmp_path.iterdir())
