"""Two processes of one run, on the CPU."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import distributed
from data import ROOT
from test_main import run
from test_resume import command
from util import UserError


def torchrun(args, processes=2):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    done = subprocess.run([*launch, *map(str, args)], capture_output=True, text=True, timeout=100)
    if "Signal 6" in done.stderr:  # gloo itself has aborted once in some thirty runs, before processes waited to part
        done = subprocess.run([*launch, *map(str, args)], capture_output=True, text=True, timeout=100)
    return done


def test_two_processes_give_the_same_test_figure_for_the_same_checkpoint(toy, tmp_path):
    one = run(toy, tmp_path, epochs=1)
    two = tmp_path / "two" / "toy" / "SGN"
    shutil.copytree(one, two)
    (two / "0_pred.txt").unlink()
    done = torchrun(
        [ROOT / "main.py", "--dataset", toy, "--results", two.parents[1], "--train", "0", "--device", "cpu"]
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"draws of each of the 18 test clips", done.stdout)) == 1
    logits = [np.loadtxt(folder / "0_pred.txt") for folder in (one, two)]
    np.testing.assert_allclose(*logits, atol=2e-6, rtol=0)


FROZEN = """
import sys
sys.path.insert(0, {root!r})
import main, model
train = model.SGN.train
model.SGN.train = lambda net, mode=True: train(net, False)  # batch statistics and dropout are each process's own
main.main(sys.argv[1:])
"""


def test_two_processes_train_like_one_but_for_their_batch_statistics(toy, tmp_path):
    script = tmp_path / "frozen.py"
    script.write_text(FROZEN.format(root=str(ROOT)))
    folders = [tmp_path / name / "toy" / "SGN" for name in ("one", "two")]
    for folder, start in zip(folders, (lambda args: subprocess.run([sys.executable, *args]), torchrun), strict=True):
        _, _, *args = command(toy, folder.parents[1], "-b", "7", epochs=2)  # shares of 3 and 4
        done = start([script, *args])
        assert done.returncode == 0, done.stderr[-3000:] if done.stderr else done
    logs = [(folder / "0_log.csv").read_text().splitlines()[-2:] for folder in folders]
    for one, two in zip(*logs, strict=True):  # loss, acc, val_loss, val_acc; weights differ by what Adam makes of zeros
        assert [*map(float, two.split(","))] == pytest.approx([*map(float, one.split(","))], rel=1e-3)
    assert not list(tmp_path.rglob("*.part"))


def test_each_process_takes_its_own_gpu_before_anything_is_put_on_one(monkeypatch):
    done = []
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: done.append(device))
    monkeypatch.setattr(ranks, "pick_device", lambda name: done.append(name) or torch.device(name))
    monkeypatch.setattr(ranks.dist, "init_process_group", done.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    for name in (None, "cuda"):
        assert distributed.init(name) == torch.device("cuda", 1)
    assert done == [1, "cuda:1", "nccl"] * 2
    done.clear()
    assert distributed.init("cpu") == torch.device("cpu")
    assert done == ["cpu", "gloo"]
    with pytest.raises(UserError, match="--device cuda:0: torchrun gives each process a GPU; 2 are here"):
        distributed.init("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="--device cuda: torchrun gives each process a GPU; 2 are here"):
        distributed.init(None)
