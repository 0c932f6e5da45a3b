"""tools/plot.py: every picture is written, and the numbers behind the pictures are right."""

import re
import runpy
import shlex
import signal
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conftest import CLASSES, toy_clips, write_toy
from data import ROOT, Clips
from figures import PARENT
from layout import write_h5
from model import SGN
from util import UserError, save_checkpoint, write_csv

pytest.importorskip("matplotlib")
import charts  # noqa: E402
import compare  # noqa: E402
import logs as training_logs  # noqa: E402
import plot  # noqa: E402
from PIL import Image  # noqa: E402

import poses  # noqa: E402
from skeletons import SKELETONS, skeleton_of  # noqa: E402

MAGIC = {"png": b"\x89PNG", "gif": b"GIF8", "svg": b"<?xml", "pdf": b"%PDF"}


def write_log(path, accs, *lines):
    rows = [{"loss": 2.0 - i / 9, "acc": a + 5, "val_loss": 2.5, "val_acc": a, "lr": 1e-3} for i, a in enumerate(accs)]
    write_csv(path, ["dataset: toy", "select: test", *lines], rows)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with results of two persons' 25 joints (NTU) and of 5 joints, and the logs of three runs."""
    place = tmp_path_factory.mktemp("plot")
    splits = {split: toy_clips(n, n, persons=2, joints=25) for split, n in (("", 16), ("valid_", 4), ("test_", 12))}
    for i in range(0, 12, 2):  # alone in every other clip
        splits["test_"][0][i][:, 75:] = 0
    about = dict(frames=60, class_names=list("abcd"), protocol="toy", made_by="a test")
    write_h5(place / "pair.h5", splits, joints=25, persons=2, **about)
    write_toy(place / "five.h5")
    for name, joints in (("pair", 25), ("five", 5)):
        torch.manual_seed(0)
        save_checkpoint({"state_dict": SGN(CLASSES, joints).state_dict()}, place / f"{name}/SGN/0_best.pth")
    for seed, last in ((1, 60.0), (2, 70.0), (10, 80.0)):
        lines = f"last epoch 3: top-1 {last}%, 5 draws", f"epoch 2 (best epoch): top-1 {last + 5}%, 5 draws"
        write_log(place / f"runs/SGN/seed{seed}/0_log.csv", [20.0, 50.0 + seed, last], *lines)
    write_log(place / "other.csv", [30.0, 40.0])
    np.savetxt(place / "0_lable.txt", [0, 0, 1, 2], "%d")
    np.savetxt(place / "0_pred.txt", np.eye(3)[[0, 1, 1, 0]], "%f")
    (place / "names.txt").write_text("sit\nstand\nwalk\n")
    return place


def draw(place, command, out):
    """Runs a command with @ for the folder; returns the picture's path."""
    words = command.replace("@", str(place)).split()
    more = ["--results", str(place), "--device", "cpu"] if "--dataset" in words else []
    plot.main([*words, *more, "--out", str(out)])
    return out


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("curves @/runs/SGN @/other.csv --label ours --label theirs", "png"),
        ("confusion --pred @ --names @/names.txt", "png"),
        ("classes --dataset @/pair.h5", "svg"),
        ("clip --dataset @/pair.h5 --class b --poses 3", "png"),
        ("clip --dataset @/five.h5 --clip 7 --split valid --turn 40", "png"),
        ("graph --dataset @/pair.h5 --class a --class 4 --edges 5", "png"),
        ("joints --dataset @/five.h5 --class a", "pdf"),
        ("parameters @/runs/SGN --label ours", "png"),
    ],
)
def test_every_picture_is_written(place, command, kind, tmp_path):
    out = draw(place, command, tmp_path / f"some/picture.{kind}")
    assert out.read_bytes().startswith(MAGIC[kind])
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    if kind == "png":
        with Image.open(out) as image:
            assert min(image.size) > 300 and max(image.size) < 2500
            assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
            assert len(image.convert("RGB").getcolors(10**6)) > 20  # something is drawn


def test_a_clip_is_animated_frame_by_frame(place, tmp_path):
    clips = toy_clips(12, 12, persons=2, joints=25)[0]
    i = min(range(12), key=lambda i: len(clips[i]))
    out = draw(place, f"clip --dataset @/pair.h5 --clip {i} --fps 20", tmp_path / "clip.gif")
    with Image.open(out) as image:
        assert image.n_frames == len(clips[i])
        assert image.info["duration"] == 50 and image.info["loop"] == 0
        first = image.convert("RGB").tobytes()
        image.seek(image.n_frames - 1)
        assert image.convert("RGB").tobytes() != first


def test_the_frames_drawn_are_those_of_the_h5(place):
    clips = Clips.read(place / "pair.h5")
    for i, clip in enumerate(toy_clips(12, 12, persons=2, joints=25)[0]):
        frames = poses.read_frames(place / "pair.h5", clips, clips.splits["test_"][i])
        assert np.array_equal(frames[:, 0], clip[:, :75].reshape(-1, 25, 3))
        assert frames[:, 1].any() == (i % 2 == 1)
    parts = (
        torch.arange(32, dtype=torch.uint8)[None] % 3
    )  # a random split: the clips in another order, their places not
    moved = replace(clips, resplits=parts).resplit(1)
    for i in range(32):
        frames = poses.read_frames(place / "pair.h5", moved, i).reshape(-1, 75)
        assert np.array_equal(frames[frames.any(1)], moved.frames[moved.start[i] :][: moved.length[i]])


def test_a_clip_without_a_checkpoint_is_drawn_without_a_prediction(place, tmp_path):
    plot.main(
        ["clip", "--dataset", str(place / "five.h5"), "--results", str(tmp_path), "--out", str(tmp_path / "a.png")]
    )
    assert (tmp_path / "a.png").is_file()


def test_confusion_and_what_follows_by_hand(place):
    counts = charts.confusion(*charts.read_predictions(place, 0))
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]  # rows: true; the clips 0->0, 0->1, 1->1, 2->0
    assert charts.per_class(counts).tolist() == [50, 100, 0]
    assert charts.confused_pairs(counts) == [(2, 0, 1, 100.0), (0, 1, 1, 50.0)]
    counts = np.array([[0, 0, 0], [1, 2, 1], [0, 2, 2]])  # no clip of class 0; equal shares: more clips first
    assert np.isnan(charts.per_class(counts)[0])
    assert charts.confused_pairs(counts) == [(2, 1, 2, 50.0), (1, 0, 1, 25.0), (1, 2, 1, 25.0)]


def test_runs_that_differ_in_seed_alone_are_one_curve(place):
    groups = charts.find_logs([place / "runs/SGN", place / "other.csv"], 0)
    (runs, other) = groups.values()
    assert [path.parent.name for path in runs] == ["seed1", "seed2", "seed10"]
    assert len(other) == 1 and len(set(groups)) == 2
    assert list(charts.find_logs([place / "runs/SGN"], 0)) == ["runs/SGN"]
    for number in (1, 30):
        write_log(place / f"splits/SGN/split{number}/0_log.csv", [1.0])
    assert [len(paths) for paths in charts.find_logs([place / "splits/SGN"], 0).values()] == [2]
    names = [f"logs/batch{b}_seed{s}.csv" for b in (16, 64) for s in (1, 2)]
    for name in names:
        write_log(place / name, [1.0])
    groups = charts.find_logs([place / name for name in names], 0)
    assert {label: len(paths) for label, paths in groups.items()} == {"batch16": 2, "batch64": 2}


def test_mean_and_spread_by_hand(place):
    logs = [training_logs.read_log(path)[1] for path in charts.find_logs([place / "runs/SGN"], 0)["runs/SGN"]]
    mean, spread = charts.mean_spread(logs, "val_acc")
    assert mean == pytest.approx([20, 50 + 13 / 3, 70])
    assert spread[[0, 2]] == pytest.approx([0, 10])  # of 60, 70, 80: sample standard deviation
    logs[1]["val_acc"] = logs[1]["val_acc"][:2]  # still running
    assert len(charts.mean_spread(logs, "val_acc")[0]) == 2
    assert charts.mean_spread(logs[:1], "loss")[1].tolist() == [0, 0, 0]


class Known(torch.nn.Module):
    """Three joints, two frames, two channels, and an inside that is known."""

    num_joint, seg = 3, 2

    def __init__(self):
        super().__init__()
        self.compute_g1, self.gcn3 = torch.nn.Identity(), torch.nn.Identity()

    def forward(self, x):
        n = len(x)
        self.compute_g1(
            torch.tensor([[[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 1, 0], [0, 1, 0], [0, 1, 0]]]).repeat(n, 1, 1)
        )
        # frame 1: channel 0 is joint 2's, channel 1 joint 0's; frame 2: joint 2's, and one that is 0 at all joints
        x = torch.tensor([[[0.0, 3], [0, 1], [5, 0]], [[0, 0], [0, 0], [1, 0]]])
        self.gcn3(x.repeat(n, 1, 1))


def test_graph_and_picked_joints_by_hand():
    frames = torch.cat([torch.ones(3, 9), torch.zeros(1, 9)])
    start, length, label = torch.tensor([0, 2]), torch.tensor([2, 1]), torch.zeros(2, dtype=torch.int64)
    clips = Clips(frames, start, length, label, {"test_": range(2)}, 3, 1, ("a", "b"), "", "")
    g, shares = poses.look_inside(Known(), clips, torch.arange(1), torch.Generator())
    assert g.tolist() == [[0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5]]
    assert shares == pytest.approx([1 / 3, 0, 2 / 3])
    g, shares = poses.look_inside(Known(), clips, torch.tensor([1]), torch.Generator())  # its second frame is empty
    assert g.tolist() == np.eye(3).tolist()
    assert shares == pytest.approx([1 / 2, 0, 1 / 2])


def test_rows_and_shares_sum_to_one_however_the_clips_are_split(place, monkeypatch):
    clips, net = Clips.read(place / "pair.h5"), SGN(CLASSES)
    ids = clips.ids("test_")
    g, shares = poses.look_inside(net, clips, ids, torch.Generator().manual_seed(1))
    assert g.shape == (25, 25) and g.sum(axis=1) == pytest.approx(np.ones(25), abs=1e-5)
    assert (shares >= 0).all() and shares.sum() == pytest.approx(1)
    assert not net.compute_g1._forward_hooks and not net.gcn3._forward_hooks
    each = [poses.look_inside(net, clips, ids[[3]], torch.Generator().manual_seed(1)) for _ in range(2)]
    assert np.array_equal(each[0][0], each[1][0])


def test_skeletons_are_trees():
    assert SKELETONS[25].parent == tuple(PARENT)
    for joints, skeleton in SKELETONS.items():
        assert len(skeleton.joints) == len(set(skeleton.joints)) == len(skeleton.parent) == joints
        assert len(skeleton.bones()) == joints - 1
        (root,) = [i for i, parent in enumerate(skeleton.parent) if i == parent]
        for joint in range(joints):
            for _ in range(joints):
                joint = skeleton.parent[joint]
            assert joint == root
        for joint, parent in enumerate(skeleton.parent):  # no bone leads from one side to the other
            sides = {skeleton.joints[i].split()[0] for i in (joint, parent)}
            assert not sides >= {"left", "right"}
    of_seven = SimpleNamespace(name="mine", clips=SimpleNamespace(joints=7))
    assert plot.drawn_as(of_seven) == "mine (7 joints, bones not known)"
    assert len(skeleton_of(5).bones()) == 0 and len(skeleton_of(5).joints) == 5


def test_the_view_by_hand():
    points = np.zeros((1, 2, 25, 3), np.float32)
    points[0, 0, 3] = [1, 2, 3]
    cos, sin = np.cos(poses.TILT), np.sin(poses.TILT)
    seen = poses.view(points)
    assert seen[0, 0, 3] == pytest.approx([1, 2 * cos + 3 * sin])
    assert np.isnan(seen[0, 1]).all()  # nobody there
    assert poses.view(points, np.pi / 2)[0, 0, 3] == pytest.approx([3, 2 * cos - sin])
    flat = np.zeros((18, 3), np.float32)
    flat[4] = [0.1, 0.2, 0.9]
    assert poses.view(flat)[4] == pytest.approx([0.1, -0.2])
    assert np.isnan(poses.view(flat)[5]).all()


def test_published_figures_and_our_own(place):
    rows = compare.read_published(ROOT / "results/published.csv")
    assert compare.parameters_of() == 691048
    (row,) = [row for row in rows if (row["dataset"], row["method"]) == (compare.ON, compare.OURS)]
    assert row["parameters"] == pytest.approx(compare.parameters_of() / 1e6, abs=0.005)
    assert training_logs.figures_of(place / "runs/SGN/seed2/0_log.csv") == ("best epoch", 75.0, 70.0)


def test_no_label_hides_another():
    rows = compare.read_published(ROOT / "results/published.csv")
    fig = compare.parameters_figure(rows)
    fig.draw_without_rendering()
    ax = fig.axes[0]
    boxes = [text.get_window_extent() for text in ax.texts] + [ax.get_legend().get_window_extent()]
    assert len(boxes) == 1 + sum(row["dataset"] == compare.ON for row in rows)
    assert not [1 for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]


def test_wrong_input_is_one_line_and_leaves_no_picture(place, tmp_path):
    def says(why, command, out="a.png"):
        with pytest.raises((UserError, SystemExit), match=why):
            draw(place, command, tmp_path / out)
        assert not list(tmp_path.iterdir())

    says("no such log", "curves @/nowhere")
    says("not a training log", "curves @/names.txt")
    says("--label: 2 of them for 1", "curves @/other.csv --label a --label b")
    says("states no test result", "parameters @/other.csv")
    says("no row for SGN|not rows of", "parameters --table @/other.csv")
    says("0_lable.txt: no such file", "confusion --pred @/runs")
    says("3 names|2 names|4 names|names, but", "confusion --pred @ --names @/other.csv")
    says("--names goes with --pred", "classes --dataset @/five.h5 --names @/names.txt")
    says("no checkpoint", "graph --dataset @/five.h5 --class a --checkpoint @/none.pth")
    says("made for 25 joints", "joints --dataset @/five.h5 --class a --checkpoint @/pair/SGN/0_best.pth")
    says("--class jump: not one of 1 a, 2 b", "graph --dataset @/five.h5 --class jump")
    says("--class: 1 to 6", "graph --dataset @/five.h5")
    says("--clip 18: the test split has 18 clips", "clip --dataset @/five.h5 --clip 18")
    says("--class, --clip", "clip --dataset @/five.h5 --clip 1 --class a")
    says("no data", "clip --dataset @/none.h5")
    says("2", "clip --dataset @/five.h5", "a.jpg")
    says("2", "curves @/other.csv", "a.gif")
    says("2", "confusion")


@pytest.mark.parametrize(
    ("labels", "logits"),
    [("0\n1\n", "1 0\n"), ("0\n2\n", "1 0\n0 1\n"), ("0\nx\n", "1 0\n0 1\n"), ("0\n1\n", "1 nan\n0 1\n")],
)
def test_predictions_that_do_not_fit_are_refused(tmp_path, labels, logits):
    (tmp_path / "0_lable.txt").write_text(labels)
    (tmp_path / "0_pred.txt").write_text(logits)
    with pytest.raises(UserError, match=str(tmp_path)):
        charts.read_predictions(tmp_path, 0)


def test_a_picture_that_fails_leaves_the_old_one(place, tmp_path, monkeypatch):
    before, out = b"the old picture, which is longer", tmp_path / "a.png"
    out.write_bytes(before)

    def half(self, path, **_):
        path.write_bytes(before[:9])
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", half)
    with pytest.raises(KeyboardInterrupt):
        draw(place, "curves @/other.csv", out)
    assert out.read_bytes() == before and list(tmp_path.iterdir()) == [out]


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    for name in ("charts", "compare", "poses"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # what an import of a missing package does
    monkeypatch.setattr(sys, "argv", ["plot.py", "parameters", "--out", str(tmp_path / "a.png")])
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "tools/plot.py"), run_name="__main__")
    finally:
        signal.signal(signal.SIGTERM, handler)
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and "pip install -r requirements-extra.txt" in line


def test_every_command_that_is_shown_is_one_that_it_takes():
    shown = plot.__doc__ + (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^ *python tools/plot\.py (.*?)(?: +#.*)?$", shown, re.M)
    assert len(commands) >= 8
    for words in commands:
        assert plot.parse_args(shlex.split(words)).out.suffix
