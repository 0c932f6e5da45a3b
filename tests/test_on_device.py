"""On the device that --device names: steps with each ablation and stream, and a training step as a CUDA graph.

Without --device steps run on the second device (second_device.py), so that what would be an error or a wait on a GPU is
found. A graph, which a CPU has not, is stood in for by the step itself, and shows what is around it.
"""

import copy
from types import SimpleNamespace

import pytest
import torch

import conftest
import train
from conftest import BONES, JOINTS, interrupted, run, same, weights, write_toy
from data import Clips
from engine import graphed
from engine.config import Config, parse_recipe
from engine.logs import read_log
from model import SGN
from train import predict_logits

if conftest.DEVICE == "cpu":
    import second_device  # before the first backward pass: PyTorch then counts the kinds of devices

pytestmark = pytest.mark.device
MORE = ("--recipe", "plus,test_samples=2", "--views", "other", "-b", "28")
FOLDER = "SGN-plus,test_samples=2"


@pytest.fixture(scope="module")
def h5(tmp_path_factory):
    """Clips whose skeleton is known, so that they are flipped."""
    return write_toy(tmp_path_factory.mktemp("h5") / "toy.h5", test=6, **BONES)


@pytest.fixture
def place(device):
    """The device, and a Counter of the waits for it: of the second device, None of any other."""
    if device.type != "cpu":
        yield device, None
        return
    with second_device.second_device() as second:
        yield torch.device(second_device.DEVICE), second.waits


def make_trainer(h5, device, **settings):
    fixed = dict(recipe=parse_recipe(MORE[1]), theta=0.3, seg=6, num_classes=4, batch_size=8)
    return train.Trainer(Config(**fixed | settings), Clips.read(h5).to(device), print_freq=3)


PARTS = ("joint-type,frame-index", "position-only,identity-graph", "velocity-only,skeleton-graph,one-gcn")
PARTS += ("early-max", "late-max,two-gcn")  # each ablation once


@pytest.mark.parametrize("ablate, stream", [*((names, "joint") for names in PARTS), ("", "joint"), ("", "bone")])
def test_a_network_has_the_logits_and_gradients_of_the_cpu(ablate, stream, h5, place):
    ablate, clips = tuple(ablate.split(",")) if ablate else (), Clips.read(h5)
    edges = clips.bones() if "skeleton-graph" in ablate else None
    net = SGN(4, JOINTS, 6, ablate, edges, clips.stream(stream)).train()
    net.cnn.dropout.p = 0.0
    x, ways = torch.randn(2, 6, JOINTS * 3).double(), []
    for where in ("cpu", place[0]):
        there = copy.deepcopy(net).to(where, torch.float64)
        loss = train.criterion(there(x.to(where)), torch.arange(2, device=where))
        loss.backward()
        ways.append(torch.cat([loss.detach()[None], *(p.grad.flatten() for p in there.parameters())]).cpu())
    torch.testing.assert_close(*ways, rtol=0, atol=1e-9)


@pytest.mark.parametrize("change", [{}, {"recipe": parse_recipe("paper")}, {"amp": True}, {"freeze": True}], ids=list)
def test_steps_and_tests_wait_for_nothing(change, h5, place):
    device, waits = place
    if change.get("amp") and waits is not None:
        pytest.skip("PyTorch has no autocast for the second device")
    trainer = make_trainer(h5, device, **change)
    trainer.net.train(not trainer.config.freeze)
    before = {name: value.cpu().clone() for name, value in trainer.net.state_dict().items()}
    trainer.train_step(trainer.net, trainer.train_ids[:8])  # the first creates the optimizer's state
    if waits is not None:
        waits.clear()
    loss, correct = trainer.train_step(trainer.net, trainer.train_ids[:8])
    config = trainer.config
    logits = predict_logits(trainer.net, trainer.clips, trainer.eval_ids, config.recipe, 1, amp=config.amp)
    assert not waits
    changed = {name for name, value in trainer.net.state_dict().items() if not value.cpu().equal(before[name])}
    assert {name for name, parameter in trainer.net.named_parameters() if parameter.requires_grad} <= changed
    assert loss.isfinite().item() and logits.isfinite().all().item() and correct.item() in range(9)


def test_an_epoch_waits_only_to_show_its_loss(h5, place):
    """Of 4 steps, after steps 3 and 4."""
    trainer, shown = make_trainer(h5, place[0], batch_size=14), []
    if place[1] is not None:
        place[1].clear()
    progress = SimpleNamespace(show=lambda *values: shown.append(values), step=lambda: None)
    trainer.train_epoch(lambda batch: trainer.train_step(trainer.net, batch), 1, progress)
    assert len(shown) == 2 and (place[1] is None or place[1].total() <= 2)


@pytest.mark.slow  # takes a minute; tests/test_compile.py has the rest
def test_compiling_works_or_a_line_says_why_not(toy, tmp_path, capsys):
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
    return run(h5, results, *MORE, *more, epochs=2).parent / FOLDER


@pytest.fixture(scope="module")
def plain(h5, tmp_path_factory):
    """The folder of a run of plain steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphed, "is_wanted", lambda trainer, forward: False)
        return graphed_run(h5, tmp_path_factory.mktemp("plain"))


def test_a_run_of_graphed_steps_that_is_stopped_and_resumed_has_the_bits_of_plain_ones(
    h5, plain, tmp_path, monkeypatch, capsys, graphs
):
    replays, call = [], graphed.GraphedStep.__call__
    monkeypatch.setattr(graphed.GraphedStep, "__call__", lambda self, batch: replays.append(1) or call(self, batch))
    with interrupted(2):
        graphed_run(h5, tmp_path)
    ours = graphed_run(h5, tmp_path, "--resume")
    assert replays and "CUDA graph" not in capsys.readouterr().err
    assert same(weights(ours), weights(plain))
    assert (ours / "0_pred.txt").read_bytes() == (plain / "0_pred.txt").read_bytes()
    assert read_log(ours / "0_log.csv")[1] == read_log(plain / "0_log.csv")[1]
    states = (torch.load(folder / "0_state.pth", weights_only=True) for folder in (ours, plain))
    assert len({str(state["optimizer"]) for state in states}) == 1


@pytest.mark.parametrize("more", [["--amp"], ["-b", "56"]], ids=str)
def test_so_has_one_in_bfloat16_and_one_of_a_step_an_epoch(more, h5, tmp_path, monkeypatch, device):
    if device.type == "cpu":
        pytest.skip("has no graphs")
    ours = graphed_run(h5, tmp_path / "graphed", *more)
    monkeypatch.setattr(graphed, "is_wanted", lambda trainer, forward: False)
    assert same(weights(ours), weights(graphed_run(h5, tmp_path / "plain", *more)))


def refuse(step, trainer):
    step()
    raise RuntimeError("operation not permitted when stream is capturing\nmore of it")


def stale(step, trainer):
    """A graph that does not see its batch."""
    step()
    train_step, ids = trainer.train_step, trainer.train_ids[14:42]

    def replay():
        trainer.train_step = lambda forward, batch: train_step(forward, ids)
        step()
        del trainer.train_step

    return replay


@pytest.mark.parametrize("record", [refuse, stale])
def test_a_graph_that_fails_is_left_out_with_a_line_and_no_other_effect(
    record, h5, plain, tmp_path, monkeypatch, capsys, graphs
):
    monkeypatch.setattr(graphed, "record", record)
    ours = graphed_run(h5, tmp_path)
    assert capsys.readouterr().err.count("CUDA graph") == 1
    assert same(weights(ours), weights(plain))


def test_compiled_and_distributed_runs_have_no_graph(h5, device):
    trainer = make_trainer(h5, device)
    assert graphed.is_wanted(trainer, trainer.net) == (device.type == "cuda")
    assert not graphed.is_wanted(make_trainer(h5, device, compile=True), trainer.net)
    assert not graphed.is_wanted(trainer, torch.nn.Sequential(trainer.net))
