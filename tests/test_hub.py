"""torch.hub, in a program that has modules of the same names as ours, and stays as it was."""

import os
import subprocess
import sys

import pytest
import torch

from helpers import ROOT
from model import SGN

HOST = """
import copy, os, pickle, signal, sys, warnings
import h5py, numpy, torch, tqdm
import data, data.part, util
root, checkpoint = sys.argv[1:]
warnings.simplefilter("error", FutureWarning)

def load(**kwargs):
    return torch.hub.load(root, "sgn", source="local", trust_repo=True, **kwargs)

def host():
    signals = {s: signal.getsignal(s) for s in signal.valid_signals()}
    rng = torch.get_rng_state().tolist(), str(numpy.random.get_state())
    others = {name: module for name, module in sys.modules.items() if not name.startswith("sgn_")}
    return list(sys.path), dict(os.environ), signals, list(warnings.filters), rng, torch.get_num_threads(), others

load()  # brings what torch.hub needs
*before, modules = host()
nets = [load(checkpoint=checkpoint, folded=folded) for folded in (False, True, False)]
*after, others = host()
assert after == before and all(others[name] is module for name, module in modules.items())
files = [getattr(others[name], "__file__", None) or "" for name in others.keys() - modules.keys()]
assert not [file for file in files if root in file and "site-packages" not in file]
assert "torch._dynamo" not in sys.modules  # takes seconds

import engine.checkpoint, model  # which ours have not hidden
assert [m.NAME for m in (data.part, util, model, engine.checkpoint)] == ["part", "util", "model", "checkpoint"]
x = torch.ones(2, 20, 15)
expected = nets[0](x)
for net in (copy.deepcopy(nets[0]), pickle.loads(pickle.dumps(nets[2])), nets[1]):
    assert torch.allclose(net(x), expected, atol=1e-4)
print("unchanged")
"""


@pytest.mark.slow
def test_a_host_stays_as_it_was(tmp_path):
    for name in ("data/__init__", "data/part", "engine/__init__", "engine/checkpoint", "util", "model"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"NAME = {path.stem!r}\n")
    (tmp_path / "host.py").write_text(HOST)
    torch.save({"state_dict": SGN(4, 5).state_dict()}, tmp_path / "a.pth")
    command = [sys.executable, "host.py", str(ROOT), str(tmp_path / "a.pth")]
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "GOMP_SPINCOUNT")}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "unchanged\n"), done.stderr
