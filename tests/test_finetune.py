"""--init and --freeze: training from a checkpoint's weights. And tools/subset_h5.py, which makes few-shot data."""

import hashlib

import h5py
import numpy as np
import pytest
import torch

import main
import subset_h5
import train
from clips.skeletons import SKELETONS
from conftest import CLASSES, JOINTS, SEG, interrupted, run, same, weights, write_toy
from data import Clips
from engine.checkpoint import load_checkpoint
from engine.logs import read_log
from model import SGN
from util import UserError

LAST = {"fc.weight", "fc.bias"}
FREEZE = ("--freeze", "--weight-decay", "0.5", "--lr", "0.01")


@pytest.fixture(scope="module")
def init(trained):
    """The checkpoint of a finished run, of four classes and 5 joints."""
    return trained / "0_best.pth"


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """The same clips with a fifth class."""
    return write_toy(tmp_path_factory.mktemp("five") / "five.h5", class_names=list("abcde"))


def start(monkeypatch, h5, results, *more):
    """The state dict with which a run starts."""
    seen = []

    def record(trainer, *_):
        seen.append({name: value.clone() for name, value in trainer.net.state_dict().items()})
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.Trainer, "train", record)
        run(h5, results, *more)
    return seen[0]


def test_a_run_starts_from_the_weights_and_other_classes_get_a_new_last_layer(
    toy, five, init, tmp_path, monkeypatch, capsys
):
    before, other = weights(init.parent), write_toy(tmp_path / "other.h5", class_names=list("dcba"))
    torch.save({"epoch": 3, "state_dict": before, "seg": SEG}, tmp_path / "release.pth")  # names no classes
    for h5, path in ((toy, init), (other, tmp_path / "release.pth")):
        assert same(start(monkeypatch, h5, tmp_path, "--init", path), before)
        assert capsys.readouterr().err.endswith(f"note: starts from the weights of {path}\n")
    for h5, classes, seed in ((five, 5, "1"), (five, 5, "2"), (other, CLASSES, "1")):
        state = start(monkeypatch, h5, tmp_path, "--init", init, "--seed", seed)
        assert all(state[name].equal(before[name]) for name in before.keys() - LAST)
        torch.manual_seed(int(seed))
        assert state["fc.weight"].equal(SGN(classes, JOINTS, SEG).fc.weight)
        assert f"{init}, with new weights in fc" in capsys.readouterr().err


@pytest.fixture(scope="module")
def frozen(five, init, tmp_path_factory):
    """The folder of a run of --freeze."""
    return run(five, tmp_path_factory.mktemp("frozen"), *FREEZE, "--init", init, epochs=2).with_name("SGN-init-freeze")


@pytest.mark.device
def test_frozen_layers_and_their_statistics_stay_as_they_are(five, init, frozen, tmp_path):
    tuned = run(five, tmp_path, "--init", init, "--weight-decay", "0.5", epochs=1).with_name("SGN-init")
    before, after = weights(init.parent), weights(frozen)
    assert {name for name in after if not after[name].equal(before[name])} == LAST
    assert not {name for name in before if weights(tuned)[name].equal(before[name])}  # without --freeze all change
    state = torch.load(frozen / "0_state.pth", weights_only=True)
    assert [entry["exp_avg"].shape for entry in state["optimizer"].values()] == [(5, 512), (5,)]
    log = read_log(frozen / "0_log.csv")[1]
    assert log["train_loss"][-1] < log["train_loss"][0]
    about = load_checkpoint(frozen / "0_best.pth").about
    assert (about["init"], about["freeze"]) == (hashlib.sha256(init.read_bytes()).hexdigest(), "True")


@pytest.mark.device
def test_a_resumed_run_ends_with_the_same_bits(five, init, frozen, tmp_path):
    with interrupted(2):
        run(five, tmp_path, *FREEZE, "--init", init, epochs=2)
    changed = tmp_path / "changed.pth"
    changed.write_bytes(init.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"other settings: init \w{64} -> \w{64}"):
        run(five, tmp_path, *FREEZE, "--init", changed, "--resume", epochs=2)
    run(five, tmp_path, *FREEZE, "--init", init, "--resume", epochs=2)
    parts, logits = tmp_path / "five" / "SGN-init-freeze", (frozen / "0_pred.txt").read_bytes()
    assert same(weights(parts), weights(frozen)) and (parts / "0_pred.txt").read_bytes() == logits
    (parts / "0_pred.txt").unlink()
    run(five, tmp_path, "--init", "gone.pth", "--freeze", "--train", "0")  # a test does not need it
    assert (parts / "0_pred.txt").read_bytes() == logits


def test_what_a_run_starts_from_is_said_once_and_where_its_clips_may_now_test(init, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    h5 = write_toy(tmp_path / "toy.h5", resplits=rng.permuted(np.repeat([[0, 1, 2]] * 2, [48, 8, 18], axis=1), axis=1))
    for more, warned in ((("--seeds", "2"), False), (("--splits", "2"), True)):
        start(monkeypatch, h5, tmp_path, "--init", init, *more)
        err = capsys.readouterr().err
        assert ("another split of toy" in err) == warned and err.count("starts from the weights of") == 1


def test_what_does_not_fit_is_one_line(toy, init, tmp_path):
    six = write_toy(tmp_path / "six.h5", joints=6)
    kinect = write_toy(tmp_path / "kinect.h5", joints=20, skeleton="kinect_v1")
    other = {"parents": list(SKELETONS["kinect_v1"].parents), "flip_pairs": list(range(20))}
    custom = {"state_dict": SGN(CLASSES, 20, SEG).state_dict(), "seg": SEG, "skeleton": other}
    torch.save(custom, tmp_path / "custom.pth")
    for h5, path, more, named in (
        (toy, "gone.pth", [], "gone.pth: no such checkpoint"),
        (toy, init, ["--seg", "12"], "--seg 12"),
        (toy, init, ["--ablate", "one-gcn"], "no --ablate"),
        (six, init, [], "made for 5 joints"),
        (kinect, "custom.pth", [], "made for the skeleton custom"),
    ):
        with pytest.raises(UserError, match=named):
            run(h5, tmp_path, "--init", tmp_path / path, *more)
        assert not (tmp_path / h5.stem).exists()


def test_segments_are_the_checkpoint_s_and_a_run_does_not_overwrite_its_start(toy, init, tmp_path):
    config = main.make_config(main.parse_args(["--epochs", "1"]), Clips.read(toy), "toy", load_checkpoint(init))
    assert config.seg == SEG
    tuned = run(toy, tmp_path, "--init", init, epochs=1).with_name("SGN-init") / "0_best.pth"
    with pytest.raises(UserError, match="would overwrite it"):
        run(toy, tmp_path, "--init", tuned)


# ---- tools/subset_h5.py


def subset(h5, out, *more):
    subset_h5.main(["--dataset", str(h5), "--out", str(out), *more])
    return h5py.File(out)


def test_a_subset_has_the_clips_of_its_classes(tmp_path):
    h5 = write_toy(tmp_path / "whole.h5", joints=20, skeleton="kinect_v1", origin=3)
    with h5py.File(h5) as whole, subset(h5, tmp_path / "two.h5", "--classes", "d,1") as two:
        for split, n in (("", 24), ("valid_", 4), ("test_", 9)):
            chosen = np.isin(whole[f"{split}y"][:].argmax(1), (1, 3))
            assert chosen.sum() == n and np.array_equal(two[f"{split}x"][:], whole[f"{split}x"][:][chosen])
            assert np.array_equal(two[f"{split}y"][:], whole[f"{split}y"][:][chosen][:, [3, 1]])
        about = dict(two.attrs)
        assert list(about["class_names"]) == ["d", "b"] and "d,1" in about["protocol"]
        assert (about["skeleton"], about["origin"]) == ("kinect_v1", 3)


def test_shots_are_chosen_by_the_seed_among_the_clips_for_training(toy, tmp_path):
    with h5py.File(toy) as whole:
        known = {clip.tobytes() for split in ("x", "valid_x") for clip in whole[split]}
    chosen = []
    for seed in ("1", "1", "2"):
        with subset(toy, tmp_path / "few.h5", "--classes", "0-2", "--shots", "5", "--seed", seed) as few:
            assert few["y"][:].sum(axis=0).tolist() == [5] * 3 and len(few["valid_x"]) == 0
            chosen.append({clip.tobytes() for clip in few["x"]})
            assert len(chosen[-1]) == 15 and chosen[-1] <= known
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_subset_that_cannot_be_is_one_line(toy, tmp_path):
    soft = write_toy(tmp_path / "soft.h5")
    with h5py.File(soft, "r+") as file:
        file["valid_y"][1] = 0.25
    for h5, out, words, named in (
        (toy, "few.h5", ["0-4"], "'0-4' is no class"),
        (toy, "few.h5", ["2-1"], "'2-1' is no class"),
        (toy, "few.h5", ["0"], "at least two classes"),
        (toy, "few.h5", ["0,a"], "each of them once"),
        (toy, "few.h5", ["0-3", "--shots", "15"], "class 0 has 14 training clips"),
        (toy, toy, ["0,1"], "another .h5"),
        (soft, "few.h5", ["0,1"], "soft.h5: valid_y: .*clip 1"),
    ):
        with pytest.raises(UserError, match=named):
            subset(h5, tmp_path / out, "--classes", *words)
    assert not (tmp_path / "few.h5").exists()
