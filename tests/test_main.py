"""The command line: what a run writes and prints, that it repeats itself, and what it says of wrong input."""

import json
import os
import re
import shlex
import shutil
import statistics

import numpy as np
import pytest
import torch

import main
import train
from clips.h5 import AXES_2D
from conftest import CLASSES, JOINTS, flags, interrupted, run, same, weights, write_toy
from data import Clips
from engine import checkpoint
from engine.checkpoint import load_checkpoint
from engine.logs import read_log
from engine.state import RunState
from model import SGN
from safe import program
from safe.files import exclusive_lock
from util import UserError


def top1_of(folder):
    """From the labels and logits that a run or a test wrote, in percent."""
    logits, labels = np.loadtxt(folder / "0_pred.txt"), np.loadtxt(folder / "0_lable.txt")
    return 100 * (logits.argmax(axis=1) == labels).mean()


def test_a_run_learns_and_writes_its_files(toy, trained):
    comments, log = read_log(trained / "0_log.csv")
    assert log["epoch"] == list(range(1, 13))
    assert log["train_loss"][-1] < log["train_loss"][0]
    assert max(log["eval_acc"]) > 60  # chance is 25
    assert ",test_loss,test_acc" in (trained / "0_log.csv").read_text()

    content = torch.load(trained / "0_best.pth", weights_only=True)
    assert content["best"] == pytest.approx(max(log["eval_acc"])) == log["eval_acc"][content["epoch"] - 1]
    assert np.loadtxt(trained / "0_lable.txt").tolist() == [i % CLASSES for i in range(18)]
    assert any(line.startswith("last epoch 12: top-1") for line in comments)
    result = next(line for line in comments if line.startswith(f"epoch {content['epoch']} (best on the test clips"))
    assert f"top-1 {top1_of(trained):.2f}%" in result and "18 test clips" in result

    about = dict(comment.split(": ", 1) for comment in comments if ": " in comment)
    assert shlex.split(about["command"]) == ["main.py", *flags(toy, trained.parents[1], epochs=12)]  # spaces in it
    assert (about["epochs"], about["recipe"], about["theta"]) == ("12", "paper", "0.3")


def test_the_same_seed_gives_the_same_bytes_alone_and_as_one_of_several(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GIT_DIR", os.devnull)  # no commit in the checkpoint: another may come while the tests run
    alone = run(toy, tmp_path / "alone", "--seed", "1", epochs=2)
    torch.rand(17)  # whatever came before
    capsys.readouterr()
    several = run(toy, tmp_path / "several", "--seeds", "1,2", "--json", "--print-freq", "1", epochs=2)
    for name in ("0_best.pth", "0_pred.txt"):
        assert (alone / name).read_bytes() == (several / "seed1" / name).read_bytes()
    assert not same(weights(alone), weights(several / "seed2"))

    text = capsys.readouterr().out
    result = json.loads(text)
    top1 = [one["last_top1"] for one in result["runs"]]
    assert result["last_top1_mean"] == pytest.approx(statistics.mean(top1))
    assert result["last_top1_std"] == pytest.approx(statistics.stdev(top1))
    monkeypatch.setattr(train.Trainer, "train", None)  # finished runs are not trained again
    run(toy, tmp_path / "several", "--seeds", "1,2", "--json", "--resume", epochs=2)
    assert capsys.readouterr().out == text


def test_testing_takes_the_run_s_checkpoint_else_the_one_in_pretrained(toy, trained, tmp_path, monkeypatch, capsys):
    shipped = tmp_path / "pretrained" / "toy" / "SGN" / "0_best.pth"
    shipped.parent.mkdir(parents=True)
    shutil.copy(trained / "0_best.pth", shipped)
    monkeypatch.setattr(checkpoint, "ROOT", tmp_path)
    folder = tmp_path / "results" / "toy" / "SGN"
    for path in (shipped, folder / "0_best.pth"):
        run(toy, tmp_path / "results", "--train", "0", "--json")
        result = json.loads(capsys.readouterr().out)
        assert result["checkpoint"] == str(path)
        assert (result["dataset"], result["case"], result["network"]) == ("toy", 0, "SGN")
        assert (folder / "0_pred.txt").read_bytes() == (trained / "0_pred.txt").read_bytes()
        assert result["top1"] == pytest.approx(top1_of(folder))
        shutil.copy(shipped, folder)
    assert os.listdir(shipped.parent) == ["0_best.pth"]  # nothing is written there


def test_the_loss_by_hand():
    logits, label = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 2])
    log_p = logits.log_softmax(1)
    by_hand = -(0.9 * log_p[0, 0] + 0.05 * (log_p[0, 1] + log_p[0, 2])) / 2
    by_hand -= (0.9 * log_p[1, 2] + 0.05 * (log_p[1, 0] + log_p[1, 1])) / 2
    torch.testing.assert_close(train.criterion(logits, label), by_hand)


@pytest.fixture
def steps(monkeypatch):
    """(clips, learning rates of all parameters) of every training step."""
    seen, step = [], train.Trainer.train_step

    def watched(trainer, forward, batch):
        seen.append((batch.tolist(), {group["lr"] for group in trainer.optimizer.param_groups}))
        return step(trainer, forward, batch)

    monkeypatch.setattr(train.Trainer, "train_step", watched)
    return seen


def test_clips_are_shuffled_and_the_last_incomplete_batch_is_dropped(toy, tmp_path, steps):
    folder = run(toy, tmp_path, "--select", "last", "--lr-factor", "0.5", epochs=2)  # 56 clips in batches of 16
    assert [len(batch) for batch, _ in steps] == [16] * 6
    first, second = (sum((batch for batch, _ in steps[i : i + 3]), []) for i in (0, 3))
    assert len(set(first)) == len(set(second)) == 48 and first != second
    assert set(Clips.read(toy).splits["valid"]) & set(first)  # that nothing else needs
    assert [rates for _, rates in steps] == [{0.001}] * 3 + [{0.0005}] * 3
    assert load_checkpoint(folder / "0_best.pth").epoch == 2


def test_selecting_on_validation_clips_leaves_them_out_of_training(toy, tmp_path, steps):
    folder = run(toy, tmp_path, "--select", "val", "--monitor", "val_loss", epochs=2)
    assert not set(Clips.read(toy).splits["valid"]) & {clip for batch, _ in steps for clip in batch}
    assert ",valid_loss,valid_acc" in (folder / "0_log.csv").read_text()
    content, log = torch.load(folder / "0_best.pth", weights_only=True), read_log(folder / "0_log.csv")[1]
    assert content["best"] == pytest.approx(min(log["eval_loss"]), rel=1e-5)


def test_every_epoch_is_judged_on_the_same_frames_and_another_seed_on_others(toy, tmp_path, monkeypatch):
    drawn, sample_frames = [], Clips.sample_frames

    def sampled(clips, ids, *more):
        frames = sample_frames(clips, ids, *more)
        drawn.extend([frames] * (len(ids) == 18))
        return frames

    monkeypatch.setattr(Clips, "sample_frames", sampled)
    for seed in ("1", "2"):
        run(toy, tmp_path / seed, "--seed", seed, "--select", "last", epochs=2)
    first, second = drawn[:7], drawn[7:]  # two epochs and five samples of the test, of each run
    assert len(second) == 7
    for one in (first, second):
        assert torch.equal(one[0], one[1]) and not torch.equal(one[0], one[2])
    assert not torch.equal(first[0], second[0])


def test_a_2d_data_set_is_not_rotated(tmp_path, capsys):
    folder = run(write_toy(tmp_path / "flat.h5", axes=AXES_2D), tmp_path, "--theta", "1", epochs=1)
    assert re.search("^note: .* not rotated", capsys.readouterr().err, re.M)
    assert "theta: 0.0" in read_log(folder / "0_log.csv")[0]


def test_a_checkpoint_of_another_origin_is_not_replaced(trained, tmp_path, capsys):
    h5, path = write_toy(tmp_path / "toy.h5", test=17), tmp_path / "toy" / "SGN" / "0_best.pth"
    path.parent.mkdir(parents=True)
    of_release = {"epoch": 3, "state_dict": SGN(CLASSES, JOINTS).state_dict(), "optimizer": {}}
    ours = torch.load(trained / "0_best.pth", weights_only=True)
    for content, why in ((of_release, "not by main.py"), ([1], "not by main.py"), (ours, "another h5 of this name")):
        torch.save(content, path)
        before = path.read_bytes()
        with pytest.raises(UserError, match=f"0_best.pth: .*{why}"):
            run(h5, tmp_path)
        assert path.read_bytes() == before
    run(h5, tmp_path, "--train", "0")
    assert re.search("^note: .*0_best.pth was trained on another h5", capsys.readouterr().err, re.M)


def test_the_files_of_a_finished_run_are_kept_until_the_next_one_has_ended(toy, trained, tmp_path, capsys):
    folder = tmp_path / "toy" / "SGN"
    shutil.copytree(trained, folder)
    for _ in range(2):  # an unfinished run is no reason to give up the finished one
        with interrupted(2):
            run(toy, tmp_path, epochs=2)
        for kept, name in (("0_best.previous.pth", "0_best.pth"), ("0_pred.previous.txt", "0_pred.txt")):
            assert (folder / kept).read_bytes() == (trained / name).read_bytes()
        assert not (folder / "0_pred.txt").exists()
    assert len(re.findall("^note: .*0_best.pth is replaced", capsys.readouterr().err, re.M)) == 2
    run(toy, tmp_path, "--resume", epochs=2)
    assert not list(folder.glob("*previous*")) and (folder / "0_pred.txt").exists()


def test_an_h5_that_is_replaced_between_runs_stops_the_command(tmp_path, monkeypatch):
    toy, finish = write_toy(tmp_path / "toy.h5"), RunState.finish

    def finish_and_replace(*values):
        finish(*values)
        write_toy(toy, test=17)

    monkeypatch.setattr(RunState, "finish", finish_and_replace)
    with pytest.raises(UserError, match="toy.h5: it has been replaced"):
        run(toy, tmp_path, "--seeds", "2", epochs=1)


def test_two_runs_at_once_in_one_folder_are_refused(toy, tmp_path):
    folder = tmp_path / "toy" / "SGN"
    with exclusive_lock(folder / "seed2" / ".0_lock"), pytest.raises(UserError, match="SGN/seed2: another run"):
        run(toy, tmp_path, "--seeds", "1,2", epochs=1)
    assert not (folder / "seed1" / "0_log.csv").exists()


def error_of(command, capsys):
    """The one line that main.py prints on standard error before it exits with code 2."""
    with pytest.raises(SystemExit) as stopped, program.exit_on_error():
        main.main(["--device", "cpu", *map(str, command)])
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.startswith("error: ") and err.count("\n") == 1, err
    return err


@pytest.mark.parametrize(
    "command, named",
    [
        ("--case 0.5", "--case"),
        ("--batch-size 0", "--batch-size"),
        ("--lr nan", "nan"),
        ("--seeds 2,2", "2,2"),
        ("--epoch 3", "did you mean --epochs"),
        ("--max-epochs 0", "--epochs/--max-epochs/--max-epoches"),  # the release's names
        ("--workers 4", "--workers: not needed"),  # the release's
        ("--resume --train 0", "--resume"),
        ("--seed 3 --seeds 2", "--seeds and --seed"),
        ("--jobs 2", "--jobs"),
        ("--freeze", "--init"),
        ("--ensemble a.pth", "--train 0"),
        ("--train 0 --weights 1,2", "--ensemble"),
        ("--recipe paper,rotate_xz=0.3 --theta 0.2", "--theta 0.2"),
        ("--dataset NUCLA --recipe plus --lr-factor 0.2", "--lr-factor 0.2"),
    ],
)
def test_a_wrong_flag_is_one_line(command, named, capsys):
    assert named in error_of(command.split(), capsys)


def test_what_does_not_fit_the_data_is_one_line(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    for command, named in (
        (["--data", tmp_path], "NTU_CS.h5 is missing"),
        (["--dataset", toy, "-b", "57"], "56 training clips"),
        (["--dataset", toy, "--num-classes", "3"], "4 classes"),
        (["--dataset", toy, "--train", "0"], "0_best.pth: no such checkpoint"),
        (["--dataset", toy, "--seg", "1000000"], "59 frames"),
        (["--dataset", toy, "--device", "meta"], "--device meta: not available"),
        (["--dataset", toy, "--device", "cuda"], "built for the CPU only"),
    ):
        assert named in error_of(["--results", tmp_path / "results", *command], capsys)
