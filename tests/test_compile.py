"""--compile where there is no compiler, --amp and --tf32."""

import time

import pytest
import torch
import torch._inductor.config

from conftest import run, same, weights
from engine import distributed
from engine.accelerate import try_compile
from engine.distributed import pick_device, use_tf32
from engine.logs import read_log
from model import SGN
from util import UserError


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of PyTorch about itself
def test_without_a_compiler_a_line_says_so_and_training_continues(toy, tmp_path, capsys):
    with torch._inductor.config.patch({"cpp.cxx": (None, "/none"), "force_disable_caches": True}):
        compiled = run(toy, tmp_path, "--compile", epochs=1)
    out, err = capsys.readouterr()
    assert len([line for line in err.splitlines() if line.startswith("--compile: failed") and "compiler" in line]) == 1
    assert "last epoch 1: top-1" in out
    assert same(weights(compiled), weights(run(toy, tmp_path / "plain", epochs=1)))  # the trial step has no effect


def test_a_trial_that_fails_midway_leaves_the_network_as_it_was(monkeypatch, capsys):
    net = SGN(3, 5, 6)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fails = lambda net: monkeypatch.setattr(torch.Tensor, "backward", lambda self: 1 / 0)  # noqa: E731
    monkeypatch.setattr(torch.nn.Module, "compile", fails)
    try_compile(net, torch.randn(4, 6, 15))
    assert "--compile: failed" in capsys.readouterr().err
    assert same(net.state_dict(), before)
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.device
def test_amp_computes_in_bfloat16_and_keeps_weights_in_float32(toy, tmp_path):
    folder = run(toy, tmp_path, "--amp", epochs=2)
    assert all(value.dtype in (torch.float32, torch.int64) for value in weights(folder).values())
    comments, log = read_log(folder / "0_log.csv")
    assert "amp: True" in comments
    assert log["train_loss"][1] < log["train_loss"][0]
    assert not same(weights(folder), weights(run(toy, tmp_path / "plain", epochs=2)))


def test_float32_means_float32_unless_both_kinds_of_product_are_in_tf32(toy, tmp_path):
    def allowed():  # the second raises where PyTorch's two interfaces do not agree
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    use_tf32(True)
    assert allowed() == (True, True) and torch.get_float32_matmul_precision() == "high"
    pick_device("cpu")
    assert allowed() == (False, False) and torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(UserError, match="--tf32"):
        run(toy, tmp_path, "--tf32")


@pytest.mark.parametrize("seconds, said", [({"bfloat16": 0.3, "float32": 0.04}, True), ({}, False)])
def test_what_makes_a_step_slower_is_said(toy, tmp_path, monkeypatch, capsys, seconds, said):
    """--amp on a CPU without bfloat16: in training and in testing, once."""
    assert distributed.product_seconds(torch.device("cpu"), torch.float32) > 0
    monkeypatch.setattr(distributed, "product_seconds", lambda _, dtype: seconds.get(str(dtype).split(".")[1], 0.02))
    run(toy, tmp_path, "--amp", epochs=1)
    run(toy, tmp_path, "--amp", "--train", "0")
    run(toy, tmp_path, "--train", "0")
    assert capsys.readouterr().err.count("note: --amp") == 2 * said


@pytest.mark.parametrize("slow", [True, False])
def test_a_compiled_step_that_is_slower_is_said(monkeypatch, capsys, slow):
    def compiled(net):
        forward = net.forward
        net.forward = lambda x: (time.sleep(0.3), forward(x))[1] if slow else x.sum() * net.fc.weight.sum()

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    try_compile(SGN(3, 5, 6), torch.randn(4, 6, 15))
    assert ("note: --compile makes a step slower" in capsys.readouterr().err) == slow


def test_a_run_has_its_own_settings_of_the_process_and_not_those_of_the_run_before(toy, tmp_path):
    for flags in (["--deterministic"], []):
        run(toy, tmp_path, *flags, epochs=1)
        assert torch.are_deterministic_algorithms_enabled() == bool(flags)
