"""However it is stopped, a run that is resumed ends with the same bits as one that was not."""

import hashlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import main
import train
from conftest import flags, run, same, weights
from data import Clips
from engine.state import RunState
from helpers import start_script, wait_for
from util import UserError

EPOCHS = 6
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

    def stop_in_the_third_epoch(trainer, forward, batch):
        steps.append(batch)
        if len(steps) == 8:  # 3 an epoch
            raise KeyboardInterrupt
        return train_step(trainer, forward, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match=f"2 of {EPOCHS} epochs are in"):
        patch.setattr(train.Trainer, "train_step", stop_in_the_third_epoch)
        run(toy, Path("results"), *SAME_RUN, epochs=EPOCHS)
    with full_disk(), pytest.raises(OSError, match=r"File too large: \S*0_\w+\.pth"):
        run(toy, Path("results"), *SAME_RUN, epochs=EPOCHS)
    assert 2 <= epochs_done(folder) < EPOCHS
    for _ in range(2):  # a finished run stays as it is
        run(toy, Path("results"), *SAME_RUN, epochs=EPOCHS)
        assert digests(folder) == digests(undisturbed)


@pytest.mark.slow
def test_so_does_one_that_was_stopped_by_signals(toy, undisturbed, tmp_path):
    folder, rng = tmp_path / "results" / "toy" / "SGN", random.Random(0)
    command, env = flags(toy, "results", *SAME_RUN, epochs=EPOCHS), os.environ | {"GIT_DIR": os.devnull}
    for number, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143), (None, 0)):
        done = epochs_done(folder)
        process = start_script("main.py", *command, stdout=subprocess.DEVNULL, cwd=tmp_path, env=env)
        if number:
            wait_for(lambda done=done: epochs_done(folder) > done, process)
            time.sleep(rng.uniform(0, 0.03))
            process.send_signal(number)
        err = process.communicate(timeout=60)[1]
        assert process.returncode == code and "Traceback" not in err
        if code > 0:
            assert re.search(r"^interrupted: .*--resume", err.splitlines()[-1])
    assert digests(folder) == digests(undisturbed)


@pytest.fixture(scope="module")
def finished(toy, tmp_path_factory):
    return run(toy, tmp_path_factory.mktemp("finished"), epochs=2)


@pytest.fixture
def stopped(finished, tmp_path):
    """The folder of a run that was stopped after one of two epochs, and its state."""
    folder = shutil.copytree(finished, tmp_path / "toy" / "SGN")
    state = torch.load(folder / "0_state.pth", weights_only=True)
    return folder, state | {"log": state["log"][:1], "results": {}}


def test_another_run_is_not_continued(toy, stopped, tmp_path, monkeypatch):
    folder, state = stopped
    torch.save(state, folder / "0_state.pth")
    before = weights(folder)
    with pytest.raises(UserError, match=r"other settings: select test -> val, lr 0.001 -> 0.002\."):
        run(toy, tmp_path, "--resume", "--lr", "0.002", "--select", "val", epochs=2)
    shutil.copytree(folder, folder.parent / "SGN-one-gcn")
    with pytest.raises(UserError, match="ablate .* -> .'one-gcn',"):
        run(toy, tmp_path, "--resume", "--ablate", "one-gcn", epochs=2)
    (folder / "0_state.pth").write_text("words")
    with pytest.raises(UserError, match="0_state.pth: cannot be read safely"):
        run(toy, tmp_path, "--resume", epochs=2)
    assert same(weights(folder), before)

    monkeypatch.setattr(train.Trainer, "train", None)
    with pytest.raises(TypeError):
        run(toy, tmp_path, epochs=2)  # from the start
    assert not (folder / "0_state.pth").exists()


def test_a_state_from_before_a_setting_existed_has_its_default(toy, stopped, tmp_path, capsys):
    folder, state = stopped
    del state["settings"]["ablate"], state["settings"]["deterministic"]
    state["about"]["versions"] = "torch 2.0.0"
    # Tensors that share memory, or have holes, are values like others
    moments = state["optimizer"]
    moments[0]["exp_avg"] = torch.zeros(1).expand(moments[0]["exp_avg"].shape)
    moments[0]["exp_avg_sq"] = moments[0]["exp_avg_sq"].repeat_interleave(2, dim=0)[::2]
    torch.save(state, folder / "0_state.pth")
    run(toy, tmp_path, "--resume", epochs=2)
    assert re.search("^note: continuing with sgn .*, not torch 2.0.0", capsys.readouterr().err, re.M)
    assert "from epoch 2 on: sgn" in (folder / "0_log.csv").read_text()


def test_what_is_not_the_state_of_such_a_run_is_refused(toy, stopped):
    folder, state = stopped
    clips = Clips.read(toy)
    config = main.make_config(main.parse_args(flags(toy, folder, epochs=2)), clips, "toy")
    trainer, again = train.Trainer(config, clips), RunState(config, clips, folder)
    torch.save(state, folder / "0_state.pth")
    again.resume(trainer.net, trainer.optimizer)
    moments, row, first = state["optimizer"], state["log"][0], next(iter(state["net"]))
    average = moments[0]["exp_avg"]

    def optimizer(**entries):
        return {"optimizer": moments | {0: moments[0] | entries}}

    wrong = [torch.zeros(3), {"settings": 1}]
    for change in (
        {"settings": 1},
        {"net": {}},
        {"net": state["net"] | {first: torch.full_like(state["net"][first], torch.nan)}},
        {"optimizer": {}},
        *(optimizer(exp_avg=other) for other in (torch.zeros(3), average.double(), average.to_sparse())),
        optimizer(exp_avg=average.to("meta")),
        optimizer(step=1),
        *({"log": log} for log in ([], [row] * 3, [{"loss": 1.0}], [1], [row | {"train_loss": "x"}])),
        *({"best": best} for best in (None, 10**400)),
        *({"results": results} for results in (torch.zeros(2), {"epoch": 1})),
        {"about": {"versions": 3}},
    ):
        wrong.append(state | change)
    for content in wrong:
        torch.save(content, folder / "0_state.pth")
        with pytest.raises(
            UserError, match=r"0_state.pth: (not the state of a run|cannot be read safely) \("
        ) as raised:
            again.resume(trainer.net, trainer.optimizer)
        assert "\n" not in str(raised.value)


def test_a_loss_that_is_not_finite_stops_the_run(toy, tmp_path):
    with pytest.raises(UserError, match=r"epoch 1, step [2-7]: the loss is (nan|inf)"):
        run(toy, tmp_path, "--lr", "1e30", "-b", "8", "--weight-decay", "1e8")
    with pytest.raises(UserError, match=r"epoch 1: weights or logits are not finite"):  # seen only after the last step
        run(toy, tmp_path, "--lr", "1e30", "-b", "56", "--weight-decay", "1e8")
    assert not (tmp_path / "toy" / "SGN" / "0_best.pth").exists()
