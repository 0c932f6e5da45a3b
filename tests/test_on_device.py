"""On the device that --device names: steps with each ablation and stream; a step as a CUDA graph; --compile, --amp.

Without --device steps run on PyTorch's meta device, whose tensors have no numbers: what would make a GPU wait for them,
and most of what would mix two devices, is an error there. A graph, which a CPU has not, is stood in for by the step
itself, and shows what is around it.
"""

import copy
from contextlib import nullcontext
from functools import partialmethod
from types import SimpleNamespace

import pytest
import torch

import train
from conftest import BONES, JOINTS, interrupted, run, same, weights, write_toy
from data import Clips
from engine import device as devices
from engine import graphed
from engine.config import Config, parse_recipe
from engine.logs import read_log
from model import SGN
from train import predict_logits

pytestmark = pytest.mark.device
MORE = ("--recipe", "plus,test_samples=2", "--views", "other", "-b", "28")
FOLDER = "SGN-plus,test_samples=2"
ABLATED = ["joint-type, frame-index, position-only, identity-graph, one-gcn", "early-max"]  # each ablation once
ABLATED += ["velocity-only, skeleton-graph, two-gcn, late-max"]
NETWORKS = [*({"ablate": tuple(names.split(", "))} for names in ABLATED), {}, {"stream": "bone"}]


@pytest.fixture(scope="module")
def h5(tmp_path_factory):
    """Clips whose skeleton is known, so that they are flipped."""
    return write_toy(tmp_path_factory.mktemp("h5") / "toy.h5", test=6, **BONES)


class _Generator(torch.Generator):
    """The CPU's, for any device."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls)


@pytest.fixture
def place(device, monkeypatch):
    """The device, or meta in place of the CPU, with what PyTorch does not have there."""

    def adam(net, lr, weight_decay):
        return torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr, weight_decay=weight_decay)

    if device.type != "cpu":
        return device
    monkeypatch.setattr(torch, "Generator", _Generator)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(train, "make_optimizer", adam)
    return torch.device("meta")


def make_trainer(h5, device, **settings):
    fixed = dict(recipe=parse_recipe(MORE[1]), theta=0.3, seg=6, num_classes=4, batch_size=8)
    return train.Trainer(Config(**fixed | settings), Clips.read(h5).to(device), print_freq=3)


@pytest.mark.parametrize("settings", NETWORKS, ids=str)
def test_a_network_has_the_logits_and_gradients_of_the_cpu(settings, h5, device):
    if device.type == "cpu":
        pytest.skip("is the CPU")
    net = Config(**settings, num_classes=4, seg=6).make_network(Clips.read(h5)).train()
    net.cnn.dropout.p = 0.0
    x, ways = torch.randn(2, 6, JOINTS * 3).double(), []
    for where in ("cpu", device):
        there = copy.deepcopy(net).to(where, torch.float64)
        loss = train.criterion(there(x.to(where)), torch.arange(2, device=where))
        loss.backward()
        ways.append(torch.cat([loss.detach()[None], *(p.grad.flatten() for p in there.parameters())]).cpu())
    torch.testing.assert_close(*ways, rtol=0, atol=1e-9)


CHANGES = [{"recipe": parse_recipe("paper"), "amp": True}, {"freeze": True}]


@pytest.mark.slow  # on meta PyTorch imports its compiler
@pytest.mark.parametrize("change", NETWORKS + CHANGES, ids=list)
def test_an_epoch_waits_only_to_show_its_loss_and_a_test_for_nothing(change, h5, place, monkeypatch):
    """An epoch of 2 steps, after the second."""
    trainer, shown = make_trainer(h5, place, batch_size=28, **change), []
    before = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    monkeypatch.setattr(trainer, "mean", lambda *numbers: (shown.append(numbers), 50.0))  # itself it waits
    progress = SimpleNamespace(show=lambda *_: None, step=lambda: None)
    trainer.train_epoch(trainer.train_step, 1, progress)
    config, net = trainer.config, trainer.net
    logits = predict_logits(net, trainer.clips, trainer.eval_ids, config.recipe, 1, amp=config.amp)
    assert len(shown) == 1 and logits.shape == (6, 4) and logits.device.type == place.type
    if place.type != "meta":
        changed = {name for name, value in net.state_dict().items() if not value.equal(before[name])}
        assert {name for name, parameter in net.named_parameters() if parameter.requires_grad} <= changed
        losses, correct, _ = shown[-1]
        assert all(values.isfinite().all() for values in (losses, correct, logits)) and correct.max() <= 28


# ---- CUDA graphs


def stand_in(step, trainer):
    """graphed.record for a CPU."""
    for _ in range(3):
        step()
    return step


def refuse(step, trainer):
    step()
    raise RuntimeError("operation not permitted when stream is capturing\nmore of it")


def stale(step, trainer):
    """A graph that does not see its batch."""
    step()
    train_step, ids = trainer.train_step, trainer.train_ids[14:42]

    def replay():
        trainer.train_step = lambda batch: train_step(ids)
        step()
        del trainer.train_step

    return replay


@pytest.fixture
def graphs(device, monkeypatch):
    """Lets a CPU take what takes the place of a graph."""
    if device.type == "cpu":
        monkeypatch.setattr(train.Trainer, "wants_graph", True)
        monkeypatch.setattr(graphed, "record", stand_in)


def graphed_run(h5, results, *more, wanted=None):
    with pytest.MonkeyPatch.context() as patch:
        if wanted is not None:
            patch.setattr(train.Trainer, "wants_graph", wanted)
        return run(h5, results, *MORE, *more, epochs=2).parent / FOLDER


@pytest.fixture(scope="module")
def plain(h5, tmp_path_factory):
    """The folder of a run of plain steps."""
    return graphed_run(h5, tmp_path_factory.mktemp("plain"), wanted=False)


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
def test_so_has_one_in_bfloat16_and_one_of_a_step_an_epoch(more, h5, tmp_path, device):
    if device.type == "cpu":
        pytest.skip("has no graphs")
    folders = [graphed_run(h5, tmp_path / str(wanted), *more, wanted=wanted) for wanted in (None, False)]
    assert same(*map(weights, folders))


@pytest.mark.parametrize("record", [refuse, stale])
def test_a_graph_that_fails_is_left_out_with_a_line_and_no_other_effect(
    record, h5, plain, tmp_path, monkeypatch, capsys, graphs
):
    monkeypatch.setattr(graphed, "record", record)
    ours = graphed_run(h5, tmp_path)
    assert capsys.readouterr().err.count("CUDA graph") == 1
    assert same(weights(ours), weights(plain))


# ---- --compile, --amp and --tf32


@pytest.mark.slow  # PyTorch imports its compiler
def test_compiling_works_or_on_a_gpu_a_line_says_why_not(toy, tmp_path, monkeypatch, device, capsys):
    if device.type == "cpu":  # PyTorch's own takes minutes
        monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend="eager"))
    compiled, plain = (weights(run(toy, tmp_path / str(more), *more, epochs=1)) for more in (["--compile"], []))
    if device.type == "cpu":  # the trial step has no effect
        assert same(compiled, plain) and "failed" not in capsys.readouterr().err


def test_a_trial_that_fails_midway_leaves_the_network_as_it_was(monkeypatch, capsys):
    def fails_later(net):
        monkeypatch.setattr(torch.Tensor, "backward", lambda self: 1 / 0)

    net = SGN(3, 5, 6)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    monkeypatch.setattr(torch.nn.Module, "compile", fails_later)
    devices.try_compile(net, torch.randn(4, 6, 15))
    assert "--compile: failed" in capsys.readouterr().err
    assert same(net.state_dict(), before) and all(parameter.grad is None for parameter in net.parameters())


def test_amp_computes_in_bfloat16_and_keeps_weights_in_float32(h5, device):
    losses = []
    for amp in (True, False):
        trainer = make_trainer(h5, device, amp=amp)
        loss, _ = trainer.train_step(trainer.train_ids[:8])
        losses.append(loss.item())
        assert all(value.dtype in (torch.float32, torch.int64) for value in trainer.net.state_dict().values())
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.02)


def test_float32_means_float32_unless_both_kinds_of_product_are_in_tf32():
    def allowed():  # the second raises where PyTorch's two interfaces do not agree
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    devices.use_tf32(True)
    assert allowed() == (True, True) and torch.get_float32_matmul_precision() == "high"
    devices.pick_device("cpu")
    assert allowed() == (False, False) and torch.get_float32_matmul_precision() == "highest"
