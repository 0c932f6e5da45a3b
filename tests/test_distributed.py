"""Several processes of one run."""

import numpy as np
import pytest
import torch

from conftest import flags, run, weights
from engine import distributed
from engine.logs import read_log
from helpers import torchrun
from model import SGN
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
    script, tuned = tmp_path / "frozen.py", ("--init", trained / "0_best.pth", "--freeze")
    script.write_text(FROZEN)
    more = ("-b", "7", *(tuned if freeze else ()))  # shares of 3 and 4
    done = torchrun(script, *flags(toy, tmp_path / "two", *more, epochs=1))
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
    one = run(toy, tmp_path / "one", *more, epochs=1).with_name(two.name)
    logs = [read_log(folder / "0_log.csv")[1] for folder in (one, two)]
    assert logs[1] == {name: pytest.approx(values, rel=1e-3) for name, values in logs[0].items()}
    for name, value in weights(one).items() if freeze else ():
        torch.testing.assert_close(weights(two)[name], value, rtol=1e-4, atol=1e-5)


def test_shares_of_all_processes_make_up_the_whole(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(list(range(10))[distributed.shard(10)])
    assert sum(shares, []) == list(range(10)) and {len(share) for share in shares} == {3, 4}


def test_what_torchrun_does_otherwise_is_refused(toy, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(UserError, match="--jobs: each process of torchrun"):
        patch.setattr(distributed, "world_size", lambda: 2)
        run(toy, tmp_path, "--seeds", "2", "--jobs", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")  # without the others
    with pytest.raises(UserError, match="torchrun"):
        run(toy, tmp_path)


def test_each_process_gets_its_own_gpu(monkeypatch):
    calls = []
    for name in distributed.VARIABLES:
        monkeypatch.setenv(name, "3" if name == "WORLD_SIZE" else "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(distributed, "pick_device", lambda name: calls.append(name) or torch.device(name))
    monkeypatch.setattr(distributed.dist, "init_process_group", calls.append)
    for name, device in ((None, "cuda:1"), ("cuda", "cuda:1"), ("cpu", "cpu")):
        assert distributed.init(name) == torch.device(device)
    assert calls == [1, "cuda:1", "nccl"] * 2 + ["cpu", "gloo"]  # set_device before anything is put on a GPU
    for name, rank in (("cuda:0", "1"), (None, "2")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(UserError, match="there are 2"):
            distributed.init(name)
