"""--compile where there is no compiler, and --amp."""

import re
import subprocess
import sys

import torch

from model import SGN
from test_main import run, weights
from test_resume import command
from train import try_compile


def test_without_a_compiler_a_line_says_so_and_training_goes_on(toy, tmp_path):
    no_compiler = "import torch._inductor.config as c; c.cpp.cxx = (None, '/none'); c.force_disable_caches = True"
    _, script, *flags = command(toy, tmp_path, "--compile", epochs=1)
    code = f"import sys; sys.path.insert(0, {str(script.parent)!r})\n{no_compiler}\nimport main; main.main({flags!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^--compile: not compiled, and going on without \(.*compiler.*\)$", done.stderr, re.M)) == 1
    assert "last epoch 1: top-1" in done.stdout
    folder = tmp_path / "toy" / "SGN"
    compiled, plain = weights(folder), weights(run(toy, tmp_path / "plain", "-b", "8", epochs=1))
    assert all(torch.equal(compiled[name], plain[name]) for name in plain), "the trial step left no trace"


def test_a_trial_that_fails_in_its_midst_leaves_the_network_as_it_was(monkeypatch, capsys):
    net = SGN(3, 5, 6)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: None)
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: 1 / 0)
    try_compile(net, torch.randn(4, 6, 15))
    assert "--compile: not compiled, and going on without (division by zero)" in capsys.readouterr().err
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_amp_computes_in_bfloat16_and_keeps_float32(toy, tmp_path, capsys):
    folder = run(toy, tmp_path, "--amp", "-b", "8", epochs=2)
    assert all(value.dtype in (torch.float32, torch.int64) for value in weights(folder).values())
    log = (folder / "0_log.csv").read_text()
    assert "# amp: True" in log
    first, last = (float(line.split(",")[0]) for line in log.splitlines()[-2:])
    assert last < first, "it learns"
    plain = run(toy, tmp_path / "plain", "-b", "8", epochs=2)
    assert not torch.equal(weights(folder)["fc.weight"], weights(plain)["fc.weight"])
