"""The command line: what a run writes, that it repeats itself, and what it says of wrong input."""

import re
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch

import evaluate
import main
import train
import util
from conftest import CLASSES, write_toy
from data import ROOT, Clips
from model import SGN
from util import UserError


def run(toy, results, *more, epochs=3):
    command = [
        "--dataset",
        str(toy),
        "--results",
        str(results),
        "--max-epochs",
        str(epochs),
        "-b",
        "16",
        "--device",
        "cpu",
    ]
    main.main([*command, *more])
    return results / toy.stem / "SGN"


@pytest.fixture(scope="module")
def trained(toy, tmp_path_factory):
    return run(toy, tmp_path_factory.mktemp("results"), epochs=12)


def weights(folder):
    return torch.load(folder / "0_best.pth", weights_only=True)["state_dict"]


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def log_rows(folder):
    lines = (folder / "0_log.csv").read_text().splitlines()
    return np.genfromtxt([line for line in lines if not line.startswith("#")], delimiter=",", names=True)


def test_it_learns_and_writes_what_the_release_writes(trained):
    rows = log_rows(trained)
    assert rows.dtype.names[:4] == ("loss", "acc", "val_loss", "val_acc")
    assert len(rows) == 12
    assert rows["loss"][-1] < rows["loss"][0]
    assert rows["val_acc"].max() > 60  # chance is 25
    labels = np.loadtxt(trained / "0_lable.txt", dtype=int)
    logits = np.loadtxt(trained / "0_pred.txt")
    assert labels.tolist() == [i % CLASSES for i in range(18)]
    assert logits.shape == (18, CLASSES)
    last = (trained / "0_log.csv").read_text()
    top1 = float(re.search(r"best epoch by one draw on the test set\): top-1 ([\d.]+)%", last)[1])
    assert top1 == pytest.approx(100 * (logits.argmax(1) == labels).mean(), abs=0.01)
    assert "last epoch 12: top-1" in last
    checkpoint = torch.load(trained / "0_best.pth", weights_only=True)
    assert checkpoint["best"] == pytest.approx(rows["val_acc"].max())
    assert rows["val_acc"][checkpoint["epoch"] - 1] == pytest.approx(checkpoint["best"])


def test_the_learning_rate_falls_after_a_half_three_quarters_and_eleven_twelfths(trained):
    expected = [1e-3] * 6 + [1e-4] * 3 + [1e-5] * 2 + [1e-6]
    assert log_rows(trained)["lr"] == pytest.approx(expected)


def test_same_seed_same_result_whatever_ran_before(toy, tmp_path):
    first = run(toy, tmp_path / "a", epochs=2)
    torch.rand(17)
    second = run(toy, tmp_path / "b", epochs=2)
    other = run(toy, tmp_path / "c", "--seed", "2", epochs=2)
    assert same(weights(first), weights(second))
    assert (first / "0_pred.txt").read_bytes() == (second / "0_pred.txt").read_bytes()
    assert not same(weights(first), weights(other))


def test_testing_twice_gives_what_training_gave(trained, toy):
    predictions = (trained / "0_pred.txt").read_bytes()
    for _ in range(2):
        run(toy, trained.parents[1], "--train", "0")
        assert (trained / "0_pred.txt").read_bytes() == predictions


def test_the_figure_does_not_depend_on_the_test_batch(toy, monkeypatch):
    clips, net = Clips.read(toy), SGN(CLASSES, 5)
    ids = torch.tensor(clips.splits["test_"])
    whole = evaluate.test(net, clips, ids, seed=1)
    monkeypatch.setattr(evaluate, "EVAL_BATCH", 5)  # 18 clips: the last batch has 3
    torch.testing.assert_close(evaluate.test(net, clips, ids, seed=1), whole)
    assert len(whole) == 18


def test_five_draws_are_averaged(toy):
    clips, net = Clips.read(toy), SGN(CLASSES, 5)
    ids = torch.tensor(clips.splits["test_"])
    generator = torch.Generator().manual_seed(1)
    draws = [evaluate.predict(net, clips, ids, 1, generator) for _ in range(5)]
    torch.testing.assert_close(torch.stack(draws).mean(0), evaluate.test(net, clips, ids, seed=1))


def test_the_loss_by_hand():
    logits, label = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 2])
    log_p = logits.log_softmax(1)
    by_hand = -(0.9 * log_p[0, 0] + 0.05 * (log_p[0, 1] + log_p[0, 2])) / 2
    by_hand -= (0.9 * log_p[1, 2] + 0.05 * (log_p[1, 0] + log_p[1, 1])) / 2
    torch.testing.assert_close(train.criterion(logits, label), by_hand)


def test_select_val_never_trains_on_the_clips_held_out(toy, tmp_path, monkeypatch):
    seen = []
    draw = Clips.draw
    monkeypatch.setattr(Clips, "draw", lambda self, ids, *rest: seen.append(ids) or draw(self, ids, *rest))
    run(toy, tmp_path / "val", "--select", "val", epochs=1)
    held_out = set(Clips.read(toy).splits["valid_"])
    assert not held_out & set(torch.cat(seen).tolist())
    seen.clear()
    folder = run(toy, tmp_path / "last", "--select", "last", epochs=2)
    assert held_out & set(torch.cat(seen).tolist())
    assert torch.load(folder / "0_best.pth", weights_only=True)["epoch"] == 2


def test_it_drops_the_last_incomplete_batch_and_shuffles(toy, tmp_path, monkeypatch):
    seen = []
    draw = Clips.draw
    monkeypatch.setattr(Clips, "draw", lambda self, ids, *rest: seen.append(ids) or draw(self, ids, *rest))
    run(toy, tmp_path, epochs=2)  # 56 training clips in batches of 16
    assert [len(ids) for ids in seen] == [16] * 6
    first, second = torch.cat(seen[:3]), torch.cat(seen[3:])
    assert len(set(first.tolist())) == 48
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    "name, value", [("seed", "abc"), ("seed", 2**70), ("seed", None), ("select", [1]), ("epoch", "x\ny"), ("about", 5)]
)
def test_a_checkpoint_with_fields_of_other_types_is_refused(trained, toy, tmp_path, name, value):
    checkpoint = torch.load(trained / "0_best.pth", weights_only=True)
    (tmp_path / "toy" / "SGN").mkdir(parents=True)
    torch.save(checkpoint | {name: value}, tmp_path / "toy" / "SGN" / "0_best.pth")
    with pytest.raises(UserError, match=rf"0_best.pth: a damaged checkpoint, whose {name} is .+$") as raised:
        run(toy, tmp_path, "--train", "0")
    assert "\n" not in str(raised.value)


def test_another_h5_of_the_same_name_does_not_replace_a_checkpoint_unsaid(trained, tmp_path, capsys):
    other = write_toy(tmp_path / "toy.h5", test=17)
    before = weights(trained)
    with pytest.raises(UserError, match="0_best.pth: was trained on another h5 of this name"):
        run(other, trained.parents[1])
    assert same(weights(trained), before)
    predictions = (trained / "0_pred.txt").read_bytes()
    run(other, trained.parents[1], "--train", "0")
    assert re.search(r"^note: \S+0_best.pth was trained on another h5 than this one$", capsys.readouterr().err, re.M)
    (trained / "0_pred.txt").write_bytes(predictions)


def test_two_runs_in_one_folder_at_once_are_refused(toy, tmp_path):
    folder = tmp_path / "toy" / "SGN"
    with (
        util.exclusive_lock(folder / "seed2" / ".0_lock"),
        pytest.raises(UserError, match=r"another run is at work in .*SGN/seed2"),
    ):
        run(toy, tmp_path, "--seeds", "1,2", epochs=1)
    assert not (folder / "seed1" / "0_log.csv").exists()


def test_memory_that_runs_out_is_one_line(toy, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped, util.exit_on_error("a smaller --num-classes"):
        run(toy, tmp_path, "--num-classes", str(10**12))
    assert stopped.value.code == 2
    assert re.search(r"^error: out of memory \(.*\); try a smaller --num-classes$", capsys.readouterr().err, re.M)


def test_an_interrupt_during_the_imports_is_one_line():
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", ROOT / "main.py", "--help"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if re.search(r"\| +torch\.", line):
            break
    process.send_signal(signal.SIGINT)
    lines = [line for line in process.communicate(timeout=30)[1].splitlines() if not line.startswith("import time")]
    assert process.returncode == 130
    assert lines == ["interrupted: nothing was begun; the same command starts again"]


def test_wrong_input_is_one_line(toy, trained, tmp_path):
    results = trained.parents[1]

    def says(why, *command):
        with pytest.raises(UserError, match=why):
            main.main(["--results", str(results), "--device", "cpu", *command])

    says("--dataset DEMO runs without", "--data", str(tmp_path))
    says(r"NTU_CS.h5 is missing; run the three scripts", "--data", str(tmp_path))
    says("--case 7: NTU has 0 .NTU_CS., 1 .NTU_CV.", "--case", "7")
    says("only 56 training clips", "--dataset", str(toy), "-b", "57")
    says("the data has 4 classes", "--dataset", str(toy), "--num-classes", "3")
    says("no checkpoint", "--dataset", str(toy), "--train", "0", "--results", str(tmp_path))
    for device in ("nonsense", "meta", "vulkan"):
        says(f"--device {device}: not to be had here", "--dataset", str(toy), "--device", device)
    says("--seg 100000000: the longest clip has 59 frames", "--dataset", str(toy), "--seg", "100000000")
    torch.save({"state_dict": SGN(6, 5).state_dict()}, results / "toy" / "SGN" / "0_best.pth")
    says("made for 5 joints and 6 classes, the data has 5 and 4", "--dataset", str(toy), "--train", "0")
    empty = write_toy(tmp_path / "empty.h5", test=0)
    says("test_x has no clips", "--dataset", str(empty))
    with h5py.File(write_toy(tmp_path / "without.h5"), "a") as file:
        del file["test_x"]
    says("test_x", "--dataset", str(tmp_path / "without.h5"))


@pytest.mark.parametrize(
    "command",
    [["--case", "7"], ["--batch-size", "0"], ["--lr", "nan"], ["--train", "2"], ["--no-such-flag"]]
    + [["--lr-factor", "1e300"], ["--seeds", "2,2"], ["--seeds", "1000000000"], ["--seeds", "1,a"]],
)
def test_wrong_input_exits_with_2_and_no_traceback(command, capsys):
    with pytest.raises(SystemExit) as stopped, util.exit_on_error():
        main.main(command)
    assert stopped.value.code == 2
    assert re.search(r"^\S* ?error: .+$", capsys.readouterr().err, re.M)
