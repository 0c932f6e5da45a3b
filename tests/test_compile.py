"""--compile where there is no compiler, --amp and --tf32."""

import pytest
import torch

from conftest import run, same, weights
from engine import accelerate, runs
from engine.accelerate import try_compile
from engine.config import Config
from engine.distributed import pick_device, use_tf32
from engine.logs import read_log
from model import SGN
from util import UserError


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of PyTorch about itself
def test_without_a_compiler_a_line_says_so_and_training_continues(toy, tmp_path, capsys):
    import torch._inductor.config

    with torch._inductor.config.patch({"cpp.cxx": (None, "/none"), "force_disable_caches": True}):
        compiled = run(toy, tmp_path, "--compile", epochs=1)
    err = capsys.readouterr().err
    assert len([line for line in err.splitlines() if line.startswith("--compile: failed") and "compiler" in line]) == 1
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


@pytest.mark.slow  # where a CPU has no products in bfloat16
@pytest.mark.device
def test_amp_computes_in_bfloat16_and_keeps_weights_in_float32(toy, tmp_path):
    folder = run(toy, tmp_path, "--amp", epochs=2)
    assert all(value.dtype in (torch.float32, torch.int64) for value in weights(folder).values())
    comments, log = read_log(folder / "0_log.csv")
    assert "amp: True" in comments
    assert log["train_loss"][1] < log["train_loss"][0]
    assert not same(weights(folder), weights(run(toy, tmp_path / "plain", epochs=2)))


@pytest.mark.parametrize("bfloat16, said", [(0.3, True), (0.04, False)])
def test_amp_that_makes_a_product_slower_is_said(monkeypatch, capsys, bfloat16, said):
    cpu = torch.device("cpu")
    monkeypatch.setattr(accelerate, "timed", lambda products, *_: (products[1](), (0.04, bfloat16))[1])
    accelerate.check_amp(cpu)
    assert ("note: --amp" in capsys.readouterr().err) == said


def test_float32_means_float32_unless_both_kinds_of_product_are_in_tf32(toy, tmp_path):
    def allowed():  # the second raises where PyTorch's two interfaces do not agree
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    use_tf32(True)
    assert allowed() == (True, True) and torch.get_float32_matmul_precision() == "high"
    pick_device("cpu")
    assert allowed() == (False, False) and torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(UserError, match="--tf32"):
        run(toy, tmp_path, "--tf32")


@pytest.mark.slow  # PyTorch imports its compiler
def test_a_run_has_its_own_settings_of_the_process_and_not_those_of_the_run_before():
    for deterministic in (True, False):
        runs.prepare(Config(deterministic=deterministic))
        assert torch.are_deterministic_algorithms_enabled() == deterministic
