"""--init and --freeze: training from a checkpoint's weights. And tools/subset_h5.py, which makes few-shot data."""

import hashlib

import numpy as np
import pytest
import torch

import main
import subset_h5
import train
from conftest import CLASSES, JOINTS, SEG, run, same, weights, write_toy
from data import Clips
from engine.checkpoint import load_checkpoint
from made import read
from model import SGN
from util import UserError

LAST = {"fc.weight", "fc.bias"}


@pytest.fixture
def init(trained):
    """The checkpoint of a finished run, of four classes and 5 joints."""
    return trained / "0_best.pth"


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """The same clips with a fifth class."""
    return write_toy(tmp_path_factory.mktemp("five") / "five.h5", class_names=list("abcde"))


def start(h5, results, *more):
    """The state dict with which a run starts."""
    seen = []

    def record(trainer, *_):
        seen.append({name: value.clone() for name, value in trainer.net.state_dict().items()})
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.Trainer, "train", record)
        run(h5, results, *more)
    return seen[0]


def test_a_run_starts_from_the_weights_and_other_classes_get_a_new_last_layer(toy, five, init, tmp_path, capsys):
    before, other = weights(init.parent), write_toy(tmp_path / "other.h5", class_names=list("dcba"))
    torch.save({"epoch": 3, "state_dict": before, "seg": SEG}, tmp_path / "release.pth")  # names no classes
    for h5, path in ((toy, init), (other, tmp_path / "release.pth")):
        assert same(start(h5, tmp_path, "--init", path), before)
        assert capsys.readouterr().err.endswith(f"note: starts from the weights of {path}\n")
    for h5, classes, seed in ((five, 5, "1"), (five, 5, "2"), (other, CLASSES, "1")):
        state = start(h5, tmp_path, "--init", init, "--seed", seed)
        assert all(state[name].equal(before[name]) for name in before.keys() - LAST)
        torch.manual_seed(int(seed))
        assert state["fc.weight"].equal(SGN(classes, JOINTS, SEG).fc.weight)
        assert f"{init}, but for fc" in capsys.readouterr().err


@pytest.mark.device
def test_frozen_layers_and_their_statistics_stay_as_they_are(five, init, tmp_path):
    freeze = ("--freeze", "--weight-decay", "0.5", "--lr", "0.01")
    folder = run(five, tmp_path, *freeze, "--init", init, epochs=1).with_name("SGN-init-freeze")
    before, after = weights(init.parent), weights(folder)
    assert {name for name in after if not after[name].equal(before[name])} == LAST
    state = torch.load(folder / "0_state.pth", weights_only=True)
    assert [entry["exp_avg"].shape for entry in state["optimizer"].values()] == [(5, 512), (5,)]
    about = load_checkpoint(folder / "0_best.pth").about
    assert (about["init"], about["freeze"]) == (hashlib.sha256(init.read_bytes()).hexdigest(), "True")
    changed = tmp_path / "changed.pth"
    changed.write_bytes(init.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"other settings: init \w{64} -> \w{64}"):
        run(five, tmp_path, *freeze, "--init", changed, "--resume", epochs=1)
    logits = (folder / "0_pred.txt").read_bytes()
    (folder / "0_pred.txt").unlink()
    run(five, tmp_path, "--init", "gone.pth", "--freeze", "--train", "0")  # a test does not need it
    assert (folder / "0_pred.txt").read_bytes() == logits


def test_clips_that_were_trained_on_and_now_test_are_said_once(init, tmp_path, capsys):
    rng = np.random.default_rng(0)
    h5 = write_toy(tmp_path / "toy.h5", resplits=rng.permuted(np.repeat([[0, 1, 2]] * 2, [48, 8, 18], axis=1), axis=1))
    for more, warned in ((("--seeds", "2"), False), (("--splits", "2"), True)):
        start(h5, tmp_path, "--init", init, *more)
        err = capsys.readouterr().err
        assert ("another split of toy" in err) == warned and err.count("starts from the weights of") == 1


def test_what_does_not_fit_is_one_line(toy, init, tmp_path):
    six, own = write_toy(tmp_path / "six.h5", joints=6), tmp_path / "toy" / "SGN-init" / "0_best.pth"
    own.parent.mkdir(parents=True)
    own.write_bytes(init.read_bytes())
    for h5, path, more, named in (
        (toy, init, ["--seg", "12"], "--seg 8"),
        (toy, init, ["--ablate", "one-gcn"], "without --ablate"),
        (six, init, [], "5 joints"),
        (toy, own, [], "would overwrite it"),
    ):
        with pytest.raises(UserError, match=named):
            run(h5, tmp_path, "--init", tmp_path / path, *more)
    config = main.make_config(main.parse_args(["--epochs", "1"]), Clips.read(toy), "toy", load_checkpoint(init))
    assert config.seg == SEG  # the checkpoint's


def subset(h5, out, *more):
    subset_h5.main(["--dataset", str(h5), "--out", str(out), *more])
    return read(out)


def test_a_subset_has_the_clips_of_its_classes(tmp_path):
    path = write_toy(tmp_path / "whole.h5", joints=20, skeleton="kinect_v1", origin=3)
    whole, two = read(path), subset(path, tmp_path / "two.h5", "--classes", "d,1")
    for split, labels in whole.y.items():
        chosen = [i for i, label in enumerate(labels) if label in (1, 3)]
        assert np.array_equal(two.x[split], whole.x[split][chosen])
        assert two.y[split] == [{3: 0, 1: 1}[labels[i]] for i in chosen]
    assert (two.class_names, two.skeleton.name, two.origin) == (("d", "b"), "kinect_v1", 3)


def test_shots_are_chosen_by_the_seed_among_the_clips_for_training(toy, tmp_path):
    known, chosen = {clip.tobytes() for split in ("", "valid_") for clip in read(toy).x[split]}, []
    for seed in ("1", "1", "2"):
        few = subset(toy, tmp_path / "few.h5", "--classes", "0-2", "--shots", "5", "--seed", seed)
        assert sorted(few.y[""]) == [0] * 5 + [1] * 5 + [2] * 5 and few.y["valid_"] == []
        chosen.append({clip.tobytes() for clip in few.x[""]})
    assert len(chosen[0]) == 15 and chosen[0] <= known and chosen[0] == chosen[1] != chosen[2]


def test_a_subset_that_cannot_be_is_one_line(toy, tmp_path):
    for words, named in (
        (["0-4"], "'0-4' is no class"),
        (["0"], "at least two classes"),
        (["0-3", "--shots", "15"], "class 0 has 14 training clips"),
    ):
        with pytest.raises(UserError, match=named):
            subset(toy, tmp_path / "few.h5", "--classes", *words)
    assert not (tmp_path / "few.h5").exists()
