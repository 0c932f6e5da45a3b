"""On the device that --device names: steps with each ablation and stream, and a training step as a CUDA graph.

On the CPU, which has no graphs, one is stood in for by the step itself, and shows what is around it.
"""

import copy

import pytest
import torch

import train
from clips.skeletons import STREAMS
from conftest import run, same, weights, write_toy
from data import Clips
from engine import graphed
from engine.config import Config, parse_recipe
from engine.logs import read_log
from model import ABLATIONS
from train import accuracy, predict_logits

pytestmark = pytest.mark.device
MORE = ("--recipe", "plus,test_samples=2", "--views", "other")
FOLDER = "SGN-plus,test_samples=2"


@pytest.fixture(scope="module")
def h5(tmp_path_factory):
    """Clips whose skeleton is known, so that they are flipped."""
    return write_toy(tmp_path_factory.mktemp("h5") / "toy.h5", joints=20, skeleton="kinect_v1")


def make_trainer(h5, device, **settings):
    fixed = dict(recipe=parse_recipe("plus"), theta=0.3, seg=20, num_classes=4, batch_size=8)
    return train.Trainer(Config(**fixed | settings), Clips.read(h5).to(device), None)


SETTINGS = [{}, {"recipe": parse_recipe("paper")}, {"amp": True}, {"freeze": True}, {"seg": 30}]
SETTINGS += [{"ablate": (name,)} for name in ABLATIONS] + [{"stream": name} for name in STREAMS]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: str(settings)[:40])
def test_a_step_a_test_and_the_logits_of_the_cpu(settings, h5, device):
    trainer = make_trainer(h5, device, **settings)
    trainer.net.train()
    for _ in range(2):
        loss, correct = trainer.train_step(trainer.net, trainer.train_ids[:8])
        assert 0 < loss < 10 and 0 <= correct <= 8
    clips, ids = trainer.clips, trainer.eval_ids
    logits = predict_logits(trainer.net, clips, ids, trainer.generator, amp=trainer.config.amp)
    assert 0 <= accuracy(logits, clips.label[ids]) <= 100
    x = clips.sample(ids, trainer.generator, trainer.net.seg).double()
    net = trainer.net.double().eval()
    with torch.no_grad():
        torch.testing.assert_close(net(x).cpu(), copy.deepcopy(net).cpu()(x.cpu()), rtol=0, atol=1e-9)


def test_a_training_step_is_that_of_the_cpu(h5, device):
    trainer = make_trainer(h5, "cpu")
    x, y = trainer.clips.sample(trainer.train_ids[:8], trainer.generator), trainer.clips.label[trainer.train_ids[:8]]
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 2e-3)):
        ways = []
        for place in ("cpu", device):
            net = copy.deepcopy(trainer.net).to(place, dtype).train()
            net.cnn.dropout.p = 0.0
            loss = train.criterion(net(x.to(place, dtype)), y.to(place))
            loss.backward()
            ways.append(torch.cat([loss.detach()[None], *(p.grad.flatten() for p in net.parameters())]).cpu())
        assert (ways[0] - ways[1]).norm() <= tolerance * ways[0].norm()


def test_compiling_works_or_a_line_says_why_not(toy, tmp_path, device, capsys):
    if device.type == "cpu":
        pytest.skip("takes a minute: tests/test_compile.py")
    run(toy, tmp_path, "--compile", epochs=1)
    assert "last epoch 1: top-1" in capsys.readouterr().out


# ---- CUDA graphs


def stand_in(step, trainer):
    """graphed.record for a CPU."""
    for _ in range(3):
        step()
    return step


@pytest.fixture
def graphs(device, monkeypatch):
    """Lets a CPU take what takes the place of a graph."""
    if device.type == "cpu":
        monkeypatch.setattr(graphed, "is_wanted", lambda trainer, forward: True)
        monkeypatch.setattr(graphed, "record", stand_in)


def graphed_run(h5, results, *more):
    return run(h5, results, *MORE, *more).parent / FOLDER


def plain_run(h5, results, monkeypatch, *more):
    with monkeypatch.context() as patch:
        patch.setattr(graphed, "is_wanted", lambda trainer, forward: False)
        return graphed_run(h5, results, *more)


@pytest.mark.parametrize("more", [[], ["--amp"], ["-b", "56"]], ids=str)
def test_a_run_of_graphed_steps_has_the_bits_of_plain_ones(more, h5, tmp_path, monkeypatch, capsys, graphs, device):
    if "--amp" in more and device.type == "cpu":
        pytest.skip("takes minutes where a CPU has no bfloat16")
    replays, call = [], graphed.GraphedStep.__call__
    monkeypatch.setattr(graphed.GraphedStep, "__call__", lambda self, batch: replays.append(1) or call(self, batch))
    ours = graphed_run(h5, tmp_path / "graphed", *more)
    assert "CUDA graph" not in capsys.readouterr().err
    assert len(replays) == 2 + 3 * (1 if "-b" in more else 3)  # two to compare, then three epochs of 56 clips
    plain = plain_run(h5, tmp_path / "plain", monkeypatch, *more)
    assert same(weights(ours), weights(plain))
    assert (ours / "0_pred.txt").read_bytes() == (plain / "0_pred.txt").read_bytes()
    assert read_log(ours / "0_log.csv")[1] == read_log(plain / "0_log.csv")[1]


def test_a_graphed_run_that_is_stopped_and_resumed_has_the_same_bits(h5, tmp_path, monkeypatch, graphs):
    whole, train_epoch = graphed_run(h5, tmp_path / "whole"), train.Trainer.train_epoch

    def stop_in_the_second(trainer, forward, epoch, bar):
        if epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(trainer, forward, epoch, bar)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="1 of 3 epochs are in"):
        patch.setattr(train.Trainer, "train_epoch", stop_in_the_second)
        graphed_run(h5, tmp_path / "parts")
    parts = graphed_run(h5, tmp_path / "parts", "--resume")
    assert same(weights(parts), weights(whole))
    states = (torch.load(folder / "0_state.pth", weights_only=True) for folder in (parts, whole))
    assert len({str(state["optimizer"]) for state in states}) == 1


def refuse(step, trainer):
    step()
    raise RuntimeError("operation not permitted when stream is capturing\nmore of it")


def stale(step, trainer):
    """A graph that does not see its batch."""
    step()
    train_step, ids = trainer.train_step, trainer.train_ids[20:36]

    def replay():
        trainer.train_step = lambda forward, batch: train_step(forward, ids)
        step()
        del trainer.train_step

    return replay


def idle(step, trainer):
    """A graph without the optimizer's step."""
    step()
    return lambda: None


@pytest.mark.parametrize(
    "record, why", [(refuse, "cannot be captured"), (stale, "not the plain ones"), (idle, "not the plain ones")]
)
def test_a_graph_that_fails_is_left_out_with_a_line_and_no_other_effect(
    record, why, h5, tmp_path, monkeypatch, capsys, graphs
):
    monkeypatch.setattr(graphed, "record", record)
    ours = graphed_run(h5, tmp_path / "graphed")
    lines = [line for line in capsys.readouterr().err.splitlines() if "CUDA graph" in line]
    assert len(lines) == 1 and why in lines[0]
    assert same(weights(ours), weights(plain_run(h5, tmp_path / "plain", monkeypatch)))


def test_compiled_and_distributed_runs_have_no_graph(h5, device):
    trainer = make_trainer(h5, device)
    assert graphed.is_wanted(trainer, trainer.net) == (device.type == "cuda")
    assert not graphed.is_wanted(make_trainer(h5, device, compile=True), trainer.net)
    assert not graphed.is_wanted(trainer, torch.nn.Sequential(trainer.net))
