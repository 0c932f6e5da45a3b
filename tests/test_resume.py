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

EPOCHS = 9
SMALL_STEPS = ("-b", "8", "--print-freq", "1")


@pytest.fixture(scope="module")
def undisturbed(toy, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home := tmp_path_factory.mktemp("undisturbed"))
        patch.setenv("GIT_DIR", os.devnull)  # no commit in the log: another may come while the tests run
        return home / run(toy, Path("results"), *SMALL_STEPS, "--resume", epochs=EPOCHS)


def start(toy, home):
    """Starts or resumes the same run in a process of its own, with the same command."""
    command = flags(toy, "results", *SMALL_STEPS, "--resume", epochs=EPOCHS)
    return start_script(
        "main.py", *command, stdout=subprocess.DEVNULL, cwd=home, env=os.environ | {"GIT_DIR": os.devnull}
    )


def epochs_done(folder):
    log = folder / "0_log.csv"
    return sum(line[0].isdigit() for line in log.read_text().splitlines()) if log.exists() else 0


def digests(folder):
    """The SHA-256 of each file of a run: checkpoint, state, log, labels, logits."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@contextmanager
def full_disk():
    """A write beyond a limit fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_run_that_was_stopped_in_every_way_ends_with_the_same_bits(toy, undisturbed, tmp_path):
    results = tmp_path / "results"
    folder, rng = results / "toy" / "SGN", random.Random(0)
    interrupted = rf"interrupted: \d+ of {EPOCHS} epochs are in .*; the same command with --resume continues$"
    ways = {signal.SIGKILL: (-9, ""), signal.SIGINT: (130, interrupted), signal.SIGTERM: (143, interrupted)}
    for number, (code, message) in ways.items():
        process, done = start(toy, tmp_path), epochs_done(folder)
        wait_for(lambda done=done: epochs_done(folder) > done, process)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert process.returncode == code
        assert re.search(message, err.strip()) and "Traceback" not in err

    done = epochs_done(folder)
    with full_disk(), pytest.raises(OSError, match=r"File too large: \S*0_\w+\.pth"):
        run(toy, results, *SMALL_STEPS, "--resume", epochs=EPOCHS)
    assert done <= epochs_done(folder) < EPOCHS

    run(toy, results, *SMALL_STEPS, "--resume", epochs=EPOCHS)
    assert digests(folder) == digests(undisturbed) and len(digests(folder)) == 6
    run(toy, results, *SMALL_STEPS, "--resume", epochs=EPOCHS)  # a finished run stays as it is
    assert digests(folder) == digests(undisturbed)


def test_a_run_started_anew_does_not_resume_the_one_before(toy, undisturbed, tmp_path, monkeypatch):
    folder = tmp_path / "toy" / "SGN"
    shutil.copytree(undisturbed, folder)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train.Trainer, "train_epoch", stop)
    with pytest.raises(KeyboardInterrupt, match=f"0 of {EPOCHS} epochs are in"):
        run(toy, tmp_path, *SMALL_STEPS, epochs=EPOCHS)
    assert not (folder / "0_state.pth").exists()


@pytest.fixture
def stopped(toy, tmp_path):
    """The folder of a run that was stopped after one of two epochs."""
    folder = run(toy, tmp_path, epochs=2)
    state = torch.load(folder / "0_state.pth", weights_only=True)
    return folder, state | {"log": state["log"][:1], "results": {}}


def test_other_settings_are_refused_with_the_differences(toy, stopped, tmp_path):
    folder, state = stopped
    torch.save(state, folder / "0_state.pth")
    before = weights(folder)
    with pytest.raises(UserError, match=r"other settings: select test -> val, lr 0.001 -> 0.002\. Use those, or leave"):
        run(toy, tmp_path, "--resume", "--lr", "0.002", "--select", "val", epochs=2)
    with pytest.raises(UserError, match="other settings: epochs 2 -> 3"):
        run(toy, tmp_path, "--resume", epochs=3)
    assert same(weights(folder), before)
    (folder / "0_state.pth").write_text("words")
    with pytest.raises(UserError, match="0_state.pth: cannot be read safely"):
        run(toy, tmp_path, "--resume", epochs=2)


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
    assert re.search(
        r"^note: continuing with sgn .*, not torch 2.0.0: the bits may differ$", capsys.readouterr().err, re.M
    )
    assert "# from epoch 2 on: sgn" in (folder / "0_log.csv").read_text()
    with pytest.raises(UserError, match="ablate .* -> .'one-gcn',"):
        (folder.parent / "SGN-one-gcn").mkdir()
        shutil.copy(folder / "0_state.pth", folder.parent / "SGN-one-gcn")
        run(toy, tmp_path, "--resume", "--ablate", "one-gcn", epochs=2)


def test_what_is_not_the_state_of_such_a_run_is_refused(toy, stopped):
    folder, state = stopped
    clips = Clips.read(toy)
    config = main.make_config(main.parse_args(["--epochs", "2", "-b", "16"]), clips, "toy")
    trainer, again = train.Trainer(config, clips), RunState(config, clips, folder)
    torch.save(state, folder / "0_state.pth")
    again.resume(trainer.net, trainer.optimizer)
    moments, row, first = state["optimizer"], state["log"][0], next(iter(state["net"]))

    def optimizer(**entries):
        return state | {"optimizer": moments | {0: moments[0] | entries}}

    for other, why in (
        (torch.zeros(3), ""),
        ({"settings": 1}, ""),
        (state | {"settings": 1}, ""),
        (state | {"net": {}}, "net has other entries"),
        (state | {"net": state["net"] | {first: torch.full_like(state["net"][first], torch.nan)}}, "not finite"),
        (state | {"optimizer": {}}, "optimizer has other entries"),
        (optimizer(exp_avg=torch.zeros(3)), r"optimizer.0.exp_avg is \(3,\) torch.float32, not"),
        (optimizer(exp_avg=moments[0]["exp_avg"].double()), "torch.float64"),
        (optimizer(step=1), "optimizer.0.step"),
        (state | {"log": []}, "its log has other rows"),
        (state | {"log": [row] * 3}, "its log has other rows"),
        (state | {"log": [{"loss": 1.0}]}, "its log has other rows"),
        (state | {"log": [1]}, ""),
        (state | {"log": [row | {"train_loss": "x"}]}, "finite number"),
        (state | {"best": None}, "finite number"),
        (state | {"best": 10**400}, "finite number"),
        (state | {"results": torch.zeros(2)}, ""),
        (state | {"results": {"epoch": 1}}, ""),
        (state | {"results": {"epoch": 1, "top1": 1.0, "last_top1": 1.0}}, ""),
        (state | {"about": {"versions": 3}}, "about.versions"),
    ):
        torch.save(other, folder / "0_state.pth")
        with pytest.raises(UserError, match=rf"0_state.pth: not the state of a run \(.*{why}") as raised:
            again.resume(trainer.net, trainer.optimizer)
        assert "\n" not in str(raised.value)


def test_a_loss_that_is_not_finite_stops_the_run(toy, tmp_path):
    with pytest.raises(UserError, match=r"epoch 1, step [2-7]: the loss is (nan|inf)"):
        run(toy, tmp_path, "--lr", "1e30", "-b", "8", "--weight-decay", "1e8")
    with pytest.raises(UserError, match=r"epoch 1: weights or logits are not finite"):  # seen only after the last step
        run(toy, tmp_path, "--lr", "1e30", "-b", "56", "--weight-decay", "1e8")
    assert not (tmp_path / "toy" / "SGN" / "0_best.pth").exists()
