"""The command line: what a run writes and prints, that it repeats itself, and what it says of wrong input."""

import json
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess

import h5py
import numpy as np
import pytest
import torch

import main
import train
from clips.h5 import AXES_2D
from conftest import CLASSES, JOINTS, flags, run, same, weights, write_toy
from data import Clips
from engine import checkpoint, runs
from engine.logs import read_log
from engine.state import RunState
from helpers import start_script
from model import SGN
from safe import program
from safe.files import exclusive_lock
from util import UserError


def test_a_run_learns_and_writes_its_files(toy, trained):
    comments, log = read_log(trained / "0_log.csv")
    assert list(log) == ["epoch", "train_loss", "train_acc", "eval_loss", "eval_acc", "lr"]
    assert "\nepoch,train_loss,train_acc,test_loss,test_acc,lr\n" in (trained / "0_log.csv").read_text()
    assert log["epoch"] == list(range(1, 13))
    assert log["train_loss"][-1] < log["train_loss"][0]
    assert max(log["eval_acc"]) > 60  # chance is 25
    assert log["lr"] == pytest.approx([1e-3] * 6 + [1e-4] * 3 + [1e-5] * 2 + [1e-6])

    content = torch.load(trained / "0_best.pth", weights_only=True)
    epoch = content["epoch"]
    assert content["best"] == pytest.approx(max(log["eval_acc"])) == pytest.approx(log["eval_acc"][epoch - 1])
    labels, logits = np.loadtxt(trained / "0_lable.txt", dtype=int), np.loadtxt(trained / "0_pred.txt")
    assert labels.tolist() == [i % CLASSES for i in range(18)]
    top1 = 100 * (logits.argmax(axis=1) == labels).mean()
    assert comments[-1].startswith(f"epoch {epoch} (best on the test clips, one sample each): top-1 {top1:.2f}%")
    assert comments[-2].startswith("last epoch 12: top-1")

    about = dict(comment.split(": ", 1) for comment in comments[:-2])
    assert shlex.split(about["command"]) == ["main.py", *flags(toy, trained.parents[1], epochs=12)]  # spaces in it
    assert (about["epochs"], about["recipe"], about["theta"]) == ("12", "paper", "0.3")


def test_the_same_seed_gives_the_same_bytes(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", os.devnull)  # no commit in the checkpoint: another may come while the tests run
    first = run(toy, tmp_path / "a", "--seed", "1", epochs=2)
    torch.rand(17)  # whatever came before
    several = run(toy, tmp_path / "b", "--seeds", "1,2", "--print-freq", "1", "--resume", epochs=2)
    for name in ("0_best.pth", "0_pred.txt"):
        assert (first / name).read_bytes() == (several / "seed1" / name).read_bytes()
    assert not same(weights(first), weights(several / "seed2"))


def test_testing_takes_the_run_s_checkpoint_else_the_one_in_pretrained(toy, trained, tmp_path, monkeypatch, capsys):
    shipped = tmp_path / "pretrained" / "toy" / "SGN" / "0_best.pth"
    shipped.parent.mkdir(parents=True)
    shutil.copy(trained / "0_best.pth", shipped)
    monkeypatch.setattr(checkpoint, "ROOT", tmp_path)
    folder = run(toy, tmp_path / "results", "--train", "0")
    assert f"checkpoint {os.path.relpath(shipped)}\n" in capsys.readouterr().out
    assert (folder / "0_pred.txt").read_bytes() == (trained / "0_pred.txt").read_bytes()
    assert os.listdir(shipped.parent) == ["0_best.pth"]

    shutil.copy(shipped, folder)
    run(toy, tmp_path / "results", "--train", "0", "--json")
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["checkpoint"] == str(folder / "0_best.pth") and f"checkpoint {os.path.relpath(folder)}/" in err
    assert (folder / "0_pred.txt").read_bytes() == (trained / "0_pred.txt").read_bytes()
    logits, labels = np.loadtxt(folder / "0_pred.txt"), np.loadtxt(folder / "0_lable.txt")
    assert result["top1"] == pytest.approx(100 * (logits.argmax(axis=1) == labels).mean())
    assert (result["dataset"], result["case"], result["network"]) == ("toy", 0, "SGN")


def test_several_seeds_and_their_mean(toy, tmp_path, capsys):
    run(toy, tmp_path, "--seeds", "2", "--json", epochs=2)
    text = capsys.readouterr().out
    result = json.loads(text)
    top1 = [one["last_top1"] for one in result["runs"]]
    assert result["last_top1_mean"] == pytest.approx(statistics.mean(top1))
    assert result["last_top1_std"] == pytest.approx(statistics.stdev(top1))
    first, second = (tmp_path / "toy" / "SGN" / f"seed{seed}" for seed in (1, 2))
    assert not same(weights(first), weights(second))
    assert same(weights(second), weights(run(toy, tmp_path / "alone", "--seed", "2", epochs=2)))

    before = (first / "0_state.pth").stat().st_mtime_ns
    capsys.readouterr()
    run(toy, tmp_path, "--seeds", "1,2", "--json", "--resume", epochs=2)
    assert capsys.readouterr().out == text  # and nothing is trained again
    assert (first / "0_state.pth").stat().st_mtime_ns == before


def test_the_loss_by_hand():
    logits, label = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 2])
    log_p = logits.log_softmax(1)
    by_hand = -(0.9 * log_p[0, 0] + 0.05 * (log_p[0, 1] + log_p[0, 2])) / 2
    by_hand -= (0.9 * log_p[1, 2] + 0.05 * (log_p[1, 0] + log_p[1, 1])) / 2
    torch.testing.assert_close(train.criterion(logits, label), by_hand)


@pytest.fixture
def sampled(monkeypatch):
    """The clips of every training step."""
    seen, sample = [], Clips.sample
    monkeypatch.setattr(Clips, "sample", lambda self, ids, *rest: seen.append(ids) or sample(self, ids, *rest))
    return seen


def test_clips_are_shuffled_and_the_last_incomplete_batch_is_dropped(toy, tmp_path, sampled):
    run(toy, tmp_path, epochs=2)  # 56 training clips in batches of 16
    assert [len(ids) for ids in sampled] == [16] * 6
    first, second = torch.cat(sampled[:3]), torch.cat(sampled[3:])
    assert len(set(first.tolist())) == 48
    assert not torch.equal(first, second)


def test_selecting_on_validation_clips_leaves_them_out_of_training(toy, tmp_path, sampled):
    validation = set(Clips.read(toy).splits["valid"])
    folder = run(toy, tmp_path / "val", "--select", "val", "--monitor", "val_loss", epochs=2)
    assert not validation & set(torch.cat(sampled).tolist())
    log = read_log(folder / "0_log.csv")[1]
    assert ",valid_loss,valid_acc,lr\n" in (folder / "0_log.csv").read_text()
    content = torch.load(folder / "0_best.pth", weights_only=True)
    assert content["best"] == pytest.approx(min(log["eval_loss"]), rel=1e-5)
    sampled.clear()
    folder = run(toy, tmp_path / "last", "--select", "last", epochs=2)
    assert validation & set(torch.cat(sampled).tolist())
    assert torch.load(folder / "0_best.pth", weights_only=True)["epoch"] == 2


def test_every_parameter_group_has_the_learning_rate(toy, tmp_path, monkeypatch):
    make, optimizers = train.make_optimizer, []

    def with_two_groups(net, lr, weight_decay):
        optimizers.append(make(net.fc, lr, weight_decay))
        optimizers[0].add_param_group({"params": net.gcn1.parameters()})
        return optimizers[0]

    monkeypatch.setattr(train, "make_optimizer", with_two_groups)
    run(toy, tmp_path, "--lr-factor", "0.5", epochs=2)
    assert [group["lr"] for group in optimizers[0].param_groups] == [0.0005, 0.0005]


def test_a_2d_data_set_is_not_rotated(tmp_path, capsys):
    h5 = write_toy(tmp_path / "flat.h5", axes=AXES_2D)
    folder = run(h5, tmp_path, "--theta", "1", epochs=1)
    note = f"note: the axes are {AXES_2D}: clips are not rotated, scaled or given noise\n"
    assert note in capsys.readouterr().err
    assert "# theta: 0.0\n" in (folder / "0_log.csv").read_text()


def test_another_h5_of_the_same_name_does_not_replace_a_checkpoint(trained, tmp_path, capsys):
    folder = tmp_path / "results" / "toy" / "SGN"
    shutil.copytree(trained, folder)
    other = write_toy(tmp_path / "toy.h5", test=17)
    with pytest.raises(UserError, match="0_best.pth: trained on another h5 of this name"):
        run(other, tmp_path / "results")
    assert same(weights(folder), weights(trained))
    run(other, tmp_path / "results", "--train", "0")
    assert re.search(r"^note: \S+0_best.pth was trained on another h5 than this one$", capsys.readouterr().err, re.M)


def test_the_files_of_a_finished_run_are_kept_until_the_next_one_has_ended(toy, trained, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "toy" / "SGN"
    shutil.copytree(trained, folder)
    before, add_epoch = (trained / "0_best.pth").read_bytes(), RunState.add_epoch

    def stop_after_an_epoch(state, *values):
        add_epoch(state, *values)
        raise KeyboardInterrupt

    for _ in range(2):  # an unfinished run is no reason to give up the finished one
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(RunState, "add_epoch", stop_after_an_epoch)
            run(toy, tmp_path)
        assert (folder / "0_best.previous.pth").read_bytes() == before
        assert (folder / "0_pred.previous.txt").read_bytes() == (trained / "0_pred.txt").read_bytes()
        assert not (folder / "0_pred.txt").exists()
    notes = [line for line in capsys.readouterr().err.splitlines() if "is replaced" in line]
    assert "last epoch 12: top-1" in notes[0] and "an unfinished run" in notes[1]
    run(toy, tmp_path, "--resume")
    assert not list(folder.glob("*previous*")) and (folder / "0_pred.txt").exists()


def test_a_checkpoint_that_is_not_main_s_is_not_replaced(toy, tmp_path):
    path = tmp_path / "toy" / "SGN" / "0_best.pth"
    path.parent.mkdir(parents=True)
    for content in ({"epoch": 3, "state_dict": SGN(CLASSES, JOINTS).state_dict(), "optimizer": {}}, [1]):
        torch.save(content, path)
        before = path.read_bytes()
        with pytest.raises(UserError, match="0_best.pth: not by main.py"):
            run(toy, tmp_path)
        assert path.read_bytes() == before


def test_an_h5_that_is_replaced_between_runs_stops_the_command(tmp_path):
    toy = write_toy(tmp_path / "toy.h5")
    args = main.parse_args(flags(toy, tmp_path, "--seeds", "2", epochs=1))
    clips = runs.read_clips(toy, False, torch.device("cpu"))
    config = main.make_config(args, clips, "toy")
    todo, options = main.plan(args, config, None, toy, clips.sha256), main.make_options(args, torch.device("cpu"), "")
    done = runs.run_all(todo, options, train.train_and_test)
    next(done)
    write_toy(toy, test=17)
    with pytest.raises(UserError, match="toy.h5: it has been replaced"):
        next(done)


def test_every_epoch_is_judged_on_the_same_frames_and_another_seed_on_others(toy, tmp_path, monkeypatch):
    drawn, sample_frames = [], Clips.sample_frames

    def sampled(clips, ids, *more):
        frames = sample_frames(clips, ids, *more)
        drawn.extend([frames] * (len(ids) == 18))
        return frames

    monkeypatch.setattr(Clips, "sample_frames", sampled)
    for seed in ("1", "2"):
        run(toy, tmp_path / seed, "--seed", seed, "--select", "last", epochs=3)
    first, second = drawn[:8], drawn[8:]  # three epochs and five samples of the test, of each run
    assert len(second) == 8
    for one in (first, second):
        assert all(torch.equal(one[0], frames) for frames in one[1:3]) and not torch.equal(one[0], one[3])
    assert not torch.equal(first[0], second[0])


def test_values_of_no_person_are_errors_that_name_the_clip(toy, trained, tmp_path):
    with h5py.File(write_toy(tmp_path / "toy.h5"), "a") as file:
        file["test_x"][7, 0, :] = 1e20
    with pytest.raises(UserError, match="test_x: clip 7 has NaN, infinity"):
        run(tmp_path / "toy.h5", tmp_path, "--train", "0")
    content = torch.load(trained / "0_best.pth", weights_only=True)
    content["state_dict"]["fc.weight"] *= 1e38
    torch.save(content, tmp_path / "large.pth")
    with pytest.raises(UserError, match="large.pth: the logits of test clip 0 are not finite"):
        main.main(flags(toy, tmp_path, "--train", "0", "--ensemble", str(tmp_path / "large.pth")))


def test_two_runs_at_once_in_one_folder_are_refused(toy, tmp_path):
    folder = tmp_path / "toy" / "SGN"
    with (
        exclusive_lock(folder / "seed2" / ".0_lock"),
        pytest.raises(UserError, match=r"SGN/seed2: another run is writing there"),
    ):
        run(toy, tmp_path, "--seeds", "1,2", epochs=1)
    assert not (folder / "seed1" / "0_log.csv").exists()


def test_an_interrupt_during_the_imports_is_one_line():
    show_imports = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    process = start_script("main.py", "--help", stdout=subprocess.DEVNULL, env=show_imports)
    next(line for line in process.stderr if re.search(r"\| +torch\.", line))
    process.send_signal(signal.SIGINT)
    lines = [line for line in process.communicate(timeout=30)[1].splitlines() if not line.startswith("import time")]
    assert process.returncode == 130
    assert lines == ["interrupted: nothing has started yet; run the same command again"]


def error_of(command, capsys):
    """The one line that main.py prints on standard error before it exits with code 2."""
    with pytest.raises(SystemExit) as stopped, program.exit_on_error("--num-classes"):
        main.main(["--device", "cpu", *map(str, command)])
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1, err
    return err


@pytest.mark.parametrize(
    "command, why",
    [
        ("--case 0.5", "argument --case: invalid int value: '0.5'"),
        ("--batch-size 0", "argument --batch-size/-b: 0 is out of range"),
        ("--max-epochs 0", "argument --epochs/--max-epochs/--max-epoches: 0 is out of range"),
        ("--lr nan", "nan is out of range"),
        ("--lr-factor 1e300", "out of range"),
        ("--seeds 2,2", "2,2: at most 100 seeds, each of them once"),
        ("--seeds 1000000000", "out of range"),
        ("--seeds 1,a", "--seeds: invalid"),
        ("--epoch 3", r"unknown argument --epoch; did you mean --epochs\?"),
        ("--xyz=3", r"unknown argument --xyz \(--help lists the arguments\)"),
        ("--workers 4", "--workers: not needed"),
        ("--start-epoch=3", "--start-epoch: --resume continues"),
        ("--dataset ...h5", "results have the name of the file"),
        ("--resume --train 0", "--resume continues training"),
        ("--seed 3 --seeds 2", "--seeds and --seed: take one of them"),
        ("--recipe plus --views other --theta 0", "--theta 0.0: --recipe plus has its own"),
        ("--dataset NUCLA --recipe plus --lr-factor 0.2", "--lr-factor 0.2: --recipe plus has its own"),
        ("--jobs 2", "--jobs: only for the runs of --seeds or --splits"),
        ("--ensemble a.pth", "--ensemble: tests checkpoints, with --train 0"),
        ("--train 0 --weights 1,2", "--weights: only with --ensemble"),
        ("--recipe paper,rotate_xz=0.3 --theta 0.2", "--theta 0.2: --recipe paper,rotate_xz=0.3 has its own"),
    ],
)
def test_a_wrong_flag_is_one_line(command, why, capsys):
    assert re.search(why, error_of(command.split(), capsys))


def test_what_does_not_fit_the_data_is_one_line(toy, tmp_path, monkeypatch, capsys):
    here = ["--results", tmp_path]

    def check(why, *command):
        assert re.search(why, error_of([*here, *command], capsys))

    check(r"NTU_CS.h5 is missing; run the three scripts .* --dataset DEMO needs no data", "--data", tmp_path)
    check("only 56 training clips", "--dataset", toy, "-b", "57")
    check("the data has 4 classes", "--dataset", toy, "--num-classes", "3")
    check(r"out of memory \(.*\); reduce --num-classes", "--dataset", toy, "-b", "8", "--num-classes", 10**12)
    check("0_best.pth: no such checkpoint", "--dataset", toy, "--train", "0")
    check("--seg 100000000: the longest clip has 59 frames", "--dataset", toy, "--seg", "100000000")
    for device in ("nonsense", "meta"):
        check(f"--device {device}: not available", "--dataset", toy, "--device", device)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    check(r"--device cuda: this PyTorch \(.*\) is built for the CPU only", "--dataset", toy, "--device", "cuda")
    check("test_x has no clips", "--dataset", write_toy(tmp_path / "empty.h5", test=0))
    with h5py.File(write_toy(tmp_path / "without.h5"), "a") as file:
        del file["test_x"]
    check("without.h5: no dataset 'test_x'", "--dataset", tmp_path / "without.h5")


def test_the_number_of_epochs_has_three_names():
    for flag in ("--epochs", "--max-epochs", "--max-epoches"):
        assert main.parse_args([flag, "7"]).epochs == 7
