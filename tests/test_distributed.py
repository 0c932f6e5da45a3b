"""Several processes of one run."""

import numpy as np
import pytest
import torch

from conftest import flags, run, weights
from engine import distributed
from engine.logs import read_log
from helpers import torchrun
from model import SGN
from safe import program
from util import UserError

# Batch statistics and dropout are each process's own: without them, two processes compute what one does
FROZEN = """
import sys
import main, model
train = model.SGN.train
model.SGN.train = lambda net, mode=True: train(net, False)
main.main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [False, True])
def test_two_processes_train_and_test_like_one(toy, trained, tmp_path, monkeypatch, freeze):
    script, tuned = tmp_path / "frozen.py", ("--init", str(trained / "0_best.pth"), "--freeze")
    script.write_text(FROZEN)
    more = ("-b", "7", *(tuned if freeze else ()))  # shares of 3 and 4
    done = torchrun(script, *flags(toy, tmp_path / "two", *more, epochs=2))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("of the 18 test clips") == 1  # only one process prints
    assert not list(tmp_path.rglob("*.part"))

    # Testing the same checkpoint in one process
    two = tmp_path / "two" / "toy" / ("SGN-init-freeze" if freeze else "SGN")
    logits = np.loadtxt(two / "0_pred.txt")
    run(toy, tmp_path / "two", "--train", "0", *more)
    np.testing.assert_allclose(np.loadtxt(two / "0_pred.txt"), logits, atol=2e-6, rtol=0)

    # Training in one process. Weights differ by what Adam makes of rounding errors
    train = SGN.train
    monkeypatch.setattr(SGN, "train", lambda net, mode=True: train(net, False))
    one = run(toy, tmp_path / "one", *more, epochs=2).with_name(two.name)
    logs = [read_log(folder / "0_log.csv")[1] for folder in (one, two)]
    for name in logs[0]:
        assert logs[1][name] == pytest.approx(logs[0][name], rel=1e-3), name
    if freeze:
        for name, value in weights(one).items():
            torch.testing.assert_close(weights(two)[name], value, rtol=1e-4, atol=1e-5)


def test_shares_of_all_processes_make_up_the_whole(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(list(range(10))[distributed.shard(10)])
    assert sum(shares, []) == list(range(10)) and {len(share) for share in shares} == {3, 4}


def test_several_processes_without_torchrun_are_one_line(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as stopped, program.exit_on_error():
        run(toy, tmp_path)
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.startswith("error: ") and "torchrun" in err and err.count("\n") == 1


def test_runs_side_by_side_are_refused_under_torchrun(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(UserError, match="--jobs: each process of torchrun"):
        run(toy, tmp_path, "--seeds", "2", "--jobs", "2")


def test_each_process_gets_its_own_gpu(monkeypatch):
    calls = []
    variables = {"WORLD_SIZE": "3", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(distributed, "pick_device", lambda name: calls.append(name) or torch.device(name))
    monkeypatch.setattr(distributed.dist, "init_process_group", calls.append)
    for name in (None, "cuda"):
        assert distributed.init(name) == torch.device("cuda", 1)
    assert calls == [1, "cuda:1", "nccl"] * 2  # set_device before anything is put on a GPU
    calls.clear()
    assert distributed.init("cpu") == torch.device("cpu")
    assert calls == ["cpu", "gloo"]
    for name, rank in (("cuda:0", "1"), (None, "2")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(UserError, match="there are 2"):
            distributed.init(name)
