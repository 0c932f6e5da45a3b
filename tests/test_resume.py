"""However it is stopped, a run that is resumed ends with the same bits as one that was not."""

import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import main
import train
from conftest import flags, run, same, weights
from data import Clips
from engine.runs import RunState
from helpers import ROOT
from util import UserError

EPOCHS = 5
SAME_RUN = ("--print-freq", "1", "--resume")


@pytest.fixture(scope="module")
def undisturbed(toy, tmp_path_factory):
    """The folder of a run; its command, below another folder, gives the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home := tmp_path_factory.mktemp("undisturbed"))
        patch.setenv("GIT_DIR", os.devnull)  # no commit in the log: another may come while the tests run
        return home / run(toy, Path("results"), *SAME_RUN, epochs=EPOCHS)


def epochs_done(folder):
    log = folder / "0_log.csv"
    return sum(line[0].isdigit() for line in log.read_text().splitlines()) if log.exists() else 0


def digests(folder):
    """The SHA-256 of each file of a run: checkpoint, state, log, labels, logits."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("0_*")}


@contextmanager
def full_disk():
    """A write beyond a limit fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_run_that_was_stopped_within_an_epoch_or_by_a_full_disk_ends_with_the_same_bits(
    toy, undisturbed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_DIR", os.devnull)
    folder, steps, train_step = Path("results/toy/SGN"), [], train.Trainer.train_step

    def stop_in_the_third_epoch(trainer, batch):
        steps.append(batch)
        if len(steps) == 8:  # 3 an epoch
            raise KeyboardInterrupt
        return train_step(trainer, batch)

    with (
        monkeypatch.context() as patch,
        pytest.raises(KeyboardInterrupt, match=f"2 of {EPOCHS} epochs are in .*--resume"),
    ):
        patch.setattr(train.Trainer, "train_step", stop_in_the_third_epoch)
        run(toy, Path("results"), *SAME_RUN, epochs=EPOCHS)
    with full_disk(), pytest.raises(OSError, match=r"File too large: \S*0_\w+\.pth"):
        run(toy, Path("results"), *SAME_RUN, epochs=EPOCHS)
    assert 2 <= epochs_done(folder) < EPOCHS
    for _ in range(2):  # a finished run stays as it is
        run(toy, Path("results"), *SAME_RUN, epochs=EPOCHS)
        assert digests(folder) == digests(undisturbed)


@pytest.mark.slow
def test_so_does_one_that_was_killed(toy, undisturbed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_DIR", os.devnull)
    folder = Path("results/toy/SGN")
    command = [sys.executable, ROOT / "main.py", *flags(toy, "results", *SAME_RUN, epochs=EPOCHS)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not epochs_done(folder) and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL and epochs_done(folder) < EPOCHS
    run(toy, Path("results"), *SAME_RUN, epochs=EPOCHS)
    assert digests(folder) == digests(undisturbed)


@pytest.fixture
def stopped(undisturbed, tmp_path):
    """The folder of a run that was stopped after the last but one of its epochs, and its state."""
    folder = shutil.copytree(undisturbed, tmp_path / "toy" / "SGN")
    state = torch.load(folder / "0_state.pth", weights_only=True)
    state |= {"log": state["log"][:-1], "results": {}}
    torch.save(state, folder / "0_state.pth")
    return folder, state


def test_another_run_is_not_continued(toy, stopped, tmp_path, monkeypatch):
    folder, _ = stopped
    before = weights(folder)
    shutil.copytree(folder, folder.parent / "SGN-one-gcn")
    for more, why in (
        (["--lr", "0.002", "--select", "val"], r"other settings: select test -> val, lr 0.001 -> 0.002\."),
        (["--ablate", "one-gcn"], "ablate .* -> .'one-gcn',"),
    ):
        with pytest.raises(UserError, match=why):
            run(toy, tmp_path, "--resume", *more, epochs=EPOCHS)
    assert same(weights(folder), before)
    monkeypatch.setattr(train.Trainer, "train", None)
    with pytest.raises(TypeError):
        run(toy, tmp_path, epochs=EPOCHS)  # from the start
    assert not (folder / "0_state.pth").exists()


def test_a_state_from_before_a_setting_existed_has_its_default(toy, stopped, tmp_path, capsys):
    folder, state = stopped
    del state["settings"]["ablate"], state["settings"]["deterministic"]
    state["about"]["versions"] = "torch 2.0.0"
    torch.save(state, folder / "0_state.pth")
    run(toy, tmp_path, "--resume", epochs=EPOCHS)
    assert re.search("^note: continuing with sgn .*, not torch 2.0.0", capsys.readouterr().err, re.M)
    assert f"from epoch {EPOCHS} on: sgn" in (folder / "0_log.csv").read_text()


def test_what_is_not_the_state_of_such_a_run_is_refused(toy, stopped):
    folder, state = stopped
    config = main.make_config(main.parse_args(flags(toy, folder, epochs=EPOCHS)), clips := Clips.read(toy), "toy")
    trainer, again = train.Trainer(config, clips), RunState(config, clips, folder)
    again.resume(trainer.net, trainer.optimizer)
    moments, row, first = state["optimizer"], state["log"][0], next(iter(state["net"]))
    average = moments[0]["exp_avg"]
    others = (torch.zeros(3), average.double(), average.to_sparse(), average.to("meta"))
    odd = [*({"exp_avg": value} for value in others), {"exp_avg_sq": average - 1}]
    wrong = {
        "settings": [1],
        "net": [{}, state["net"] | {first: torch.full_like(state["net"][first], torch.nan)}],
        "optimizer": [{}, *(moments | {0: moments[0] | change} for change in (*odd, {"step": 1}))],
        "log": [[], [row] * (EPOCHS + 1), [{"loss": 1.0}], [1], [row | {"train_loss": "x"}]],
        "best": [None, 10**400],
        "results": [torch.zeros(2), {"epoch": 1}],
        "about": [{"versions": 3}],
    }
    changed = [state | {key: value} for key, values in wrong.items() for value in values]
    for content in (torch.zeros(3), {"settings": 1}, *changed):
        torch.save(content, folder / "0_state.pth")
        with pytest.raises(UserError, match=r"0_state.pth: (not the state of a run|cannot be read safely) \(.*$"):
            again.resume(trainer.net, trainer.optimizer)


def test_a_loss_that_is_not_finite_stops_the_run(toy, tmp_path):
    with pytest.raises(UserError, match=r"epoch 1, step [2-7]: the loss is (nan|inf)"):
        run(toy, tmp_path, "--lr", "1e30", "-b", "8", "--weight-decay", "1e8")
    with pytest.raises(UserError, match=r"epoch 1: weights or logits are not finite"):  # seen only after the last step
        run(toy, tmp_path, "--lr", "1e30", "-b", "56", "--weight-decay", "1e8")
    assert not (tmp_path / "toy" / "SGN" / "0_best.pth").exists()
