"""The command line: what a run writes and prints, that it repeats itself, and what it says of wrong input."""

import json
import os
import re
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import main
import train
from conftest import CLASSES, JOINTS, flags, interrupted, run, same, weights, write_toy
from data import Clips
from engine import checkpoint
from engine.logs import read_log
from engine.runs import RunState
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
    assert log["epoch"] == list(range(1, 13)) and log["train_loss"][-1] < log["train_loss"][0]
    assert max(log["eval_acc"]) > 60  # chance is 25
    content = torch.load(trained / "0_best.pth", weights_only=True)
    assert content["best"] == pytest.approx(max(log["eval_acc"])) == log["eval_acc"][content["epoch"] - 1]
    assert np.loadtxt(trained / "0_lable.txt").tolist() == [i % CLASSES for i in range(18)]
    result = next(line for line in comments if line.startswith(f"epoch {content['epoch']} (best on the test clips"))
    assert f"top-1 {top1_of(trained):.2f}%" in result and "18 test clips" in result
    about = dict(comment.split(": ", 1) for comment in comments if ": " in comment)
    assert shlex.split(about["command"]) == ["main.py", *flags(toy, trained.parents[1], epochs=12)]  # spaces in it
    assert (about["epochs"], about["theta"]) == ("12", "0.3")


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_same_seed_gives_the_same_bytes_alone_and_as_one_of_several(toy, tmp_path, monkeypatch, capsys, jobs):
    monkeypatch.setenv("GIT_DIR", os.devnull)  # no commit in the checkpoint: another may come while the tests run
    alone = run(toy, tmp_path / "alone", "--seed", "1", epochs=1)
    torch.rand(17)  # whatever came before
    capsys.readouterr()
    several = run(toy, tmp_path / "several", "--seeds", "1,2", "--jobs", jobs, "--json", epochs=1)
    for name in ["0_pred.txt", *["0_best.pth"] * (jobs == 1)]:  # that states the threads of its process
        assert (alone / name).read_bytes() == (several / "seed1" / name).read_bytes()
    assert same(weights(alone), weights(several / "seed1"))
    assert not same(weights(alone), weights(several / "seed2"))
    result = json.loads(capsys.readouterr().out)
    assert [one["seed"] for one in result["runs"]] == [1, 2]
    assert result["last_top1_mean"] == pytest.approx(sum(one["last_top1"] for one in result["runs"]) / 2)


def test_testing_takes_the_run_s_checkpoint_else_the_one_in_pretrained(toy, trained, tmp_path, monkeypatch, capsys):
    shipped = tmp_path / "pretrained" / "toy" / "SGN" / "0_best.pth"
    shipped.parent.mkdir(parents=True)
    shutil.copy(trained / "0_best.pth", shipped)
    monkeypatch.setattr(checkpoint, "ROOT", tmp_path)
    folder = tmp_path / "results" / "toy" / "SGN"
    for path in (shipped, folder / "0_best.pth"):
        run(toy, tmp_path / "results", "--train", "0", "--json")
        result = json.loads(capsys.readouterr().out)
        assert result["checkpoint"] == str(path) and result["network"] == "SGN"
        assert (folder / "0_pred.txt").read_bytes() == (trained / "0_pred.txt").read_bytes()
        assert result["top1"] == pytest.approx(top1_of(folder))
        shutil.copy(shipped, folder)
    assert os.listdir(shipped.parent) == ["0_best.pth"]  # nothing is written there


@pytest.mark.parametrize("select", ["last", "val"])
def test_clips_are_shuffled_and_the_last_incomplete_batch_left_out(toy, tmp_path, monkeypatch, select):
    seen, step = [], train.Trainer.train_step

    def watched(trainer, batch):
        seen.append((batch.tolist(), {group["lr"] for group in trainer.optimizer.param_groups}))
        return step(trainer, batch)

    monkeypatch.setattr(train.Trainer, "train_step", watched)
    more = ("--monitor", "val_loss", "--lr-factor", "0.5", *["--class-weights", "balanced"] * (select == "val"))
    folder = run(toy, tmp_path, "--select", select, *more, epochs=2)
    assert [(len(batch), rates) for batch, rates in seen] == [(16, {0.001})] * 3 + [(16, {0.0005})] * 3
    first, second = (sum((batch for batch, _ in seen[i : i + 3]), []) for i in (0, 3))  # 56 clips, of them 8 valid
    assert len(set(first)) == len(set(second)) == 48 and first != second
    content, log = torch.load(folder / "0_best.pth", weights_only=True), read_log(folder / "0_log.csv")[1]
    if select == "last":
        assert set(Clips.read(toy).splits["valid"]) & set(first) and content["epoch"] == 2
    else:
        assert not set(Clips.read(toy).splits["valid"]) & {*first, *second}
        assert content["best"] == pytest.approx(min(log["eval_loss"]), rel=1e-5)
        assert ",valid_loss,valid_acc" in (folder / "0_log.csv").read_text()
        assert content["about"]["class_weights"] == "balanced"


def test_every_epoch_is_judged_on_the_same_frames_and_another_seed_on_others(toy):
    config = main.make_config(main.parse_args(flags(toy, "")), clips := Clips.read(toy), "toy")
    one, other = (train.Trainer(replace(config, seed=seed), clips) for seed in (1, 2))
    other.net.load_state_dict(one.net.state_dict())
    torch.rand(17)
    assert one.evaluate(1) == one.evaluate(2) != other.evaluate(1)


def test_a_checkpoint_of_another_origin_is_not_replaced(trained, tmp_path, capsys):
    h5, path = write_toy(tmp_path / "toy.h5", test=17), tmp_path / "toy" / "SGN" / "0_best.pth"
    path.parent.mkdir(parents=True)
    of_release = {"epoch": 3, "state_dict": SGN(CLASSES, JOINTS).state_dict(), "optimizer": {}}
    ours = torch.load(trained / "0_best.pth", weights_only=True)
    for content, why in ((of_release, "not by main.py"), (ours, "another h5 of this name")):
        torch.save(content, path)
        with pytest.raises(UserError, match=f"0_best.pth: .*{why}"):
            run(h5, tmp_path)
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


def test_an_h5_or_a_folder_that_another_uses_stops_the_command(tmp_path, monkeypatch):
    toy, finish, folder = write_toy(tmp_path / "toy.h5"), RunState.finish, tmp_path / "toy" / "SGN"
    with exclusive_lock(folder / "seed2" / ".0_lock"), pytest.raises(UserError, match="SGN/seed2: another run"):
        run(toy, tmp_path, "--seeds", "1,2", epochs=1)
    assert not (folder / "seed1" / "0_log.csv").exists()

    def finish_and_replace(*values):
        finish(*values)
        write_toy(toy, test=17)

    monkeypatch.setattr(RunState, "finish", finish_and_replace)
    with pytest.raises(UserError, match="toy.h5: it has been replaced"):
        run(toy, tmp_path, "--seeds", "2", epochs=1)


@pytest.mark.parametrize(
    "command, named",
    [
        ("--max-epochs 0", "--epochs/--max-epochs/--max-epoches"),  # the release's names
        ("--workers 4", "--workers: not needed"),  # the release's
        ("--ablate one-gcn,two-gcn", "exclude each other"),
        ("--resume --train 0", "--resume"),
        ("--seed 3 --seeds 2", "--seeds and --seed"),
        ("--jobs 2", "--jobs"),
        ("--freeze", "--init"),
        ("--ensemble a.pth", "--train 0"),
        ("--recipe paper,rotate_xz=0.3 --theta 0.2", "--theta"),
        ("--dataset NUCLA --recipe plus --lr-factor 0.2", "--lr-factor"),
        ("--data {tmp}", "NTU_CS.h5 is missing"),
        ("--dataset {toy} -b 57", "56 training clips"),
        ("--dataset {toy} --num-classes 3", "4 classes"),
        ("--dataset {toy} --device meta", "--device meta: not available"),
        ("--dataset {toy} --device cuda", "built for the CPU only"),
        ("--dataset {toy} --tf32", "--tf32"),
    ],
)
def test_a_wrong_command_is_one_line(command, named, toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    words = command.format(toy=toy, tmp=tmp_path).split()
    with pytest.raises(SystemExit) as stopped, program.exit_on_error():
        main.main(["--device", "cpu", "--results", str(tmp_path / "results"), *words])
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.startswith("error: ") and err.count("\n") == 1 and named in err


def test_a_run_of_several_processes_is_refused(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="torchrun"):
        run(toy, tmp_path)
