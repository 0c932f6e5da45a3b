"""--init and --freeze: training from a checkpoint's weights. And tools/subset_h5.py, which makes few-shot data."""

import hashlib
import re
import shutil

import h5py
import numpy as np
import pytest
import torch

import subset_h5
import train
from clips.skeletons import SKELETONS
from conftest import CLASSES, JOINTS, flags, run, same, weights, write_toy
from engine.checkpoint import load_checkpoint
from engine.logs import read_log
from helpers import torchrun
from model import SGN
from util import UserError

LAST = {"fc.weight", "fc.bias"}


@pytest.fixture(scope="module")
def init(trained):
    """The checkpoint of a finished run, of four classes and 5 joints."""
    return trained / "0_best.pth"


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """The same clips with a fifth class."""
    return write_toy(tmp_path_factory.mktemp("five") / "five.h5", class_names=list("abcde"))


def new_last_layer(classes, seed=1):
    torch.manual_seed(seed)
    return SGN(classes, JOINTS).fc.state_dict()


def start(monkeypatch, h5, results, *more):
    """The state dict with which a run starts."""
    seen = []

    def stop(trainer, *_):
        seen.append({name: value.clone() for name, value in trainer.net.state_dict().items()})
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.Trainer, "train", stop)
        run(h5, results, *more)
    return seen[0]


def test_a_run_starts_from_the_weights_and_other_classes_get_a_new_last_layer(
    toy, five, init, tmp_path, monkeypatch, capsys
):
    before = weights(init.parent)
    assert same(start(monkeypatch, toy, tmp_path, "--init", str(init)), before)
    assert f"note: starts from the weights of {init}\n" in capsys.readouterr().err
    for seed in (1, 2):
        state = start(monkeypatch, five, tmp_path, "--init", str(init), "--seed", str(seed))
        assert all(state[name].equal(before[name]) for name in before.keys() - LAST)
        assert same({name: state[f"fc.{name}"] for name in ("weight", "bias")}, new_last_layer(5, seed))
    line = f"note: starts from the weights of {init}, with a new last layer for 5 classes, not 4\n"
    assert capsys.readouterr().err.count(line) == 2

    other = write_toy(tmp_path / "other.h5", class_names=list("dcba"))  # as many, but not the same
    state = start(monkeypatch, other, tmp_path, "--init", str(init))
    assert state["fc.weight"].equal(new_last_layer(CLASSES)["weight"]) and state["gcn1.bn.bias"].any()
    assert "with a new last layer for other classes\n" in capsys.readouterr().err


def test_the_release_s_checkpoints_have_no_names_so_the_number_of_classes_decides(toy, tmp_path, monkeypatch):
    torch.manual_seed(7)
    content = {"epoch": 3, "state_dict": SGN(CLASSES, JOINTS).state_dict(), "optimizer": {}}
    torch.save(content, tmp_path / "release.pth")
    state = start(monkeypatch, toy, tmp_path, "--init", str(tmp_path / "release.pth"))
    assert same(state, content["state_dict"])


@pytest.mark.device
def test_a_fine_tuned_run_has_its_own_folder_and_says_what_it_started_from(five, init, tmp_path, capsys):
    scratch = run(five, tmp_path, epochs=1)
    before = (scratch / "0_best.pth").read_bytes()
    for more, name, frozen in (([], "SGN-init", "False"), (["--freeze"], "SGN-init-freeze", "True")):
        run(five, tmp_path, "--init", str(init), *more, epochs=1)
        folder = scratch.parent / name
        about, comments = load_checkpoint(folder / "0_best.pth").about, read_log(folder / "0_log.csv")[0]
        assert (about["init"], about["freeze"]) == (hashlib.sha256(init.read_bytes()).hexdigest(), frozen)
        assert f"init: {about['init']}" in comments and f"freeze: {frozen}" in comments
        out = capsys.readouterr().out
        run(five, tmp_path, "--init", "gone.pth", *more, "--train", "0")  # a test does not read it
        assert capsys.readouterr().out.splitlines()[-1] == out.splitlines()[-1]
    assert (scratch / "0_best.pth").read_bytes() == before


@pytest.mark.device
@pytest.mark.parametrize("amp", [[], ["--amp"]])
def test_frozen_layers_and_their_statistics_stay_as_they_are(five, init, tmp_path, amp):
    run(five, tmp_path, "--init", str(init), "--freeze", "--weight-decay", "0.5", "--lr", "0.01", *amp)
    folder, before = tmp_path / "five" / "SGN-init-freeze", weights(init.parent)
    after = weights(folder)
    assert {name for name in after if name not in before or not after[name].equal(before[name])} == LAST
    state = torch.load(folder / "0_state.pth", weights_only=True)
    assert [entry["exp_avg"].shape for entry in state["optimizer"].values()] == [(5, 512), (5,)]
    log = read_log(folder / "0_log.csv")[1]
    assert log["train_loss"][-1] < log["train_loss"][0]
    # Without --freeze all of them change
    run(five, tmp_path, "--init", str(init), "--weight-decay", "0.5", *amp, epochs=1)
    after = weights(tmp_path / "five" / "SGN-init")
    assert [name for name in before if after[name].equal(before[name])] == []


@pytest.mark.device
@pytest.mark.parametrize("more", [[], ["--freeze"]])
def test_a_resumed_run_ends_with_the_same_bits(five, init, tmp_path, monkeypatch, more):
    more, name = ["--init", str(init), *more], "SGN-init-freeze" if more else "SGN-init"
    whole, parts = (tmp_path / where / "five" / name for where in ("whole", "parts"))
    run(five, tmp_path / "whole", *more)
    train_epoch = train.Trainer.train_epoch

    def stop_in_the_second(trainer, forward, epoch, bar):
        if epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(trainer, forward, epoch, bar)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="1 of 3 epochs are in"):
        patch.setattr(train.Trainer, "train_epoch", stop_in_the_second)
        run(five, tmp_path / "parts", *more)
    run(five, tmp_path / "parts", *more, "--resume")
    assert same(weights(parts), weights(whole))
    for file in ("0_log.csv", "0_pred.txt"):
        texts = [re.sub("# command.*", "", (folder / file).read_text()) for folder in (parts, whole)]
        assert texts[0] == texts[1]
    if "--freeze" not in more:
        changed = shutil.copy(init, tmp_path / "changed.pth")
        with open(changed, "ab") as file:
            file.write(b"\0")
        with pytest.raises(UserError, match=r"other settings: init \w{64} -> \w{64}"):
            run(five, tmp_path / "parts", "--init", str(changed), "--resume")


def test_every_seed_has_its_own_last_layer_and_the_same_start(five, init, tmp_path, capsys):
    run(five, tmp_path, "--init", str(init), "--freeze", "--seeds", "2", epochs=1)
    one, two = (weights(tmp_path / "five" / "SGN-init-freeze" / f"seed{n}") for n in (1, 2))
    assert {name for name in one if not one[name].equal(two[name])} == LAST
    assert capsys.readouterr().err.count("starts from the weights of") == 1


def test_two_processes_train_a_frozen_network_like_one(five, init, tmp_path):
    """No statistics of batches and no dropout, so that they compute the same."""
    more = ("--init", str(init), "--freeze", "-b", "7")
    done = torchrun("main.py", *flags(five, tmp_path / "two", *more, epochs=2))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("with a new last layer for 5 classes, not 4\n") == 1
    run(five, tmp_path / "one", *more, epochs=2)
    one, two = (weights(tmp_path / n / "five" / "SGN-init-freeze") for n in ("one", "two"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5)


def test_a_note_where_clips_that_test_may_have_trained_the_checkpoint(init, tmp_path, capsys):
    rng = np.random.default_rng(0)
    h5 = write_toy(tmp_path / "toy.h5", resplits=rng.permuted(np.repeat([[0, 1, 2]] * 2, [48, 8, 18], axis=1), axis=1))
    note = f"note: {init} was trained on another split of toy: it may have seen these test clips\n"
    run(h5, tmp_path, "--init", str(init), epochs=1)
    assert note not in capsys.readouterr().err
    run(h5, tmp_path, "--init", str(init), "--splits", "2", epochs=1)
    assert capsys.readouterr().err.count(note) == 1


def test_what_does_not_fit_is_one_line(toy, init, tmp_path):
    def check(why, *more, h5=toy):
        with pytest.raises(UserError, match=why) as raised:
            run(h5, tmp_path, *more)
        assert "\n" not in str(raised.value) and not (tmp_path / h5.stem).exists()

    check("--freeze trains the last layer of a checkpoint: give one with --init", "--freeze")
    check("gone.pth: no such checkpoint", "--init", str(tmp_path / "gone.pth"))
    check(rf"--seg 12: {init} was trained with 20", "--init", str(init), "--seg", "12")
    check("trained with no --ablate; use the same", "--init", str(init), "--ablate", "one-gcn")
    six = write_toy(tmp_path / "six.h5", joints=6)
    check(rf"{init}: made for 5 joints, the data has 6", "--init", str(init), h5=six)
    h5 = write_toy(tmp_path / "kinect.h5", joints=20, skeleton="kinect_v1")
    other = {"parents": list(SKELETONS["kinect_v1"].parents), "flip_pairs": list(range(20))}
    torch.save({"state_dict": SGN(CLASSES, 20).state_dict(), "skeleton": other}, tmp_path / "custom.pth")
    check("made for the skeleton custom, the data has kinect_v1", "--init", str(tmp_path / "custom.pth"), h5=h5)
    (tmp_path / "text.pth").write_text("words")
    check("text.pth: cannot be read safely", "--init", str(tmp_path / "text.pth"))


def test_segments_are_the_checkpoint_s_and_a_run_does_not_overwrite_its_start(toy, tmp_path, monkeypatch):
    folder = run(toy, tmp_path, "--seg", "12", epochs=1)
    run(toy, tmp_path, "--init", str(folder / "0_best.pth"), epochs=1)
    tuned = tmp_path / "toy" / "SGN-init" / "0_best.pth"
    assert load_checkpoint(tuned).net.seg == 12
    before = tuned.read_bytes()
    with pytest.raises(UserError, match="this run would overwrite it; copy it, or choose other --results"):
        run(toy, tmp_path, "--init", str(tuned), epochs=1)
    assert tuned.read_bytes() == before


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
        attributes = dict(two.attrs)
        assert list(attributes["class_names"]) == ["d", "b"] and attributes["skeleton"] == "kinect_v1"
        assert attributes["origin"] == 3
        assert attributes["protocol"] == "toy; classes d,1"


def test_shots_are_chosen_by_the_seed_among_the_clips_for_training(toy, tmp_path, capsys):
    with h5py.File(toy) as whole:
        known = {clip.tobytes() for split in ("x", "valid_x") for clip in whole[split]}
    chosen = []
    for seed in ("1", "1", "2"):
        with subset(toy, tmp_path / "few.h5", "--classes", "0-2", "--shots", "5", "--seed", seed) as few:
            assert few["y"][:].sum(axis=0).tolist() == [5] * 3 and len(few["valid_x"]) == 0
            chosen.append({clip.tobytes() for clip in few["x"]})
            assert len(chosen[-1]) == 15 and chosen[-1] <= known
    assert chosen[0] == chosen[1] != chosen[2]
    out = capsys.readouterr().out.splitlines()[-1]
    assert out == f"{tmp_path}/few.h5: 3 classes; 15 training, 0 validation and 14 test clips"
    folder = run(tmp_path / "few.h5", tmp_path, "-b", "5", epochs=1)
    assert (folder / "0_pred.txt").exists()


@pytest.mark.parametrize(
    "words, why",
    [
        (["--classes", "0-4"], "--classes: '0-4' is no class; there are 0 to 3"),
        (["--classes", "2-1"], "'2-1' is no class"),
        (["--classes", "0,"], "'' is no class"),
        (["--classes", "0"], "at least two classes"),
        (["--classes", "0,a"], "each of them once"),
        (["--classes", "0-3", "--shots", "15"], "--shots 15: class 0 has 14 training clips"),
    ],
)
def test_a_subset_that_cannot_be_is_one_line(toy, tmp_path, words, why):
    with pytest.raises(UserError, match=why):
        subset(toy, tmp_path / "few.h5", *words)
    with pytest.raises(UserError, match="the path of another .h5"):
        subset(toy, toy, "--classes", "0,1")
    (tmp_path / "bad.h5").write_text("words")
    with pytest.raises(UserError, match=r"bad.h5: cannot be read as h5"):
        subset(tmp_path / "bad.h5", tmp_path / "few.h5", "--classes", "0,1")
    soft = write_toy(tmp_path / "soft.h5")
    with h5py.File(soft, "r+") as file:
        file["valid_y"][1] = 0.25
    with pytest.raises(UserError, match=rf"^{soft}: valid_y: the label of clip 1 is not one-hot"):
        subset(soft, tmp_path / "few.h5", "--classes", "0,1")
    assert not (tmp_path / "few.h5").exists()
