"""SGN in other hands: exported, through torch.hub, as model.py alone, and its cost counted."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from folded import Folded
from torch.utils.flop_counter import FlopCounterMode

from data import ROOT
from model import SGN
from util import UserError

sys.path.append(str(ROOT / "tools"))
import count  # noqa: E402

import export  # noqa: E402

CLASSES, JOINTS, SEG = 3, 4, 5


@pytest.fixture(scope="module")
def net():
    """Small, and with nothing at its initial value: G x and the batch norms count."""
    generator = torch.Generator().manual_seed(0)
    net = SGN(CLASSES, JOINTS, SEG)
    with torch.no_grad():
        for value in [*net.parameters(), *net.buffers()]:
            if value.is_floating_point():
                value.copy_(0.1 + torch.rand(value.shape, generator=generator) / max(8, value[0].numel()))
    return net.eval()


@pytest.fixture(scope="module")
def checkpoint(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "0_best.pth"
    torch.save({"state_dict": net.state_dict(), "epoch": 7, "about": {"dataset": "mine"}}, path)
    return path


@pytest.fixture(scope="module", autouse=True)
def traced_once():
    """Both kinds of file from one trace of the folded form, which takes torch longer than all else here."""
    with pytest.MonkeyPatch.context() as patch:
        trace, traced = export.trace, []
        patch.setattr(export, "trace", lambda net: (traced or traced.append(trace(net)) or traced)[0])
        yield


def export_to(name, checkpoint, *words):
    """The file, and what was printed."""
    path, said = checkpoint.with_name(name), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        export.main([str(checkpoint), "--out", str(path), "--runs", "1", *words])
    return path, said.getvalue()


@pytest.fixture(scope="module")
def onnx_file(checkpoint):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    names = checkpoint.with_name("names.txt")
    names.write_text("sit\nstand\nwalk\n")
    return export_to("sgn.onnx", checkpoint, "--class-names", str(names))


def clips(n):
    return torch.randn(n, SEG, 3 * JOINTS, generator=torch.Generator().manual_seed(n))


def close(logits, net, x):
    with torch.no_grad():
        torch.testing.assert_close(logits, net(x), rtol=1e-4, atol=1e-4)


def test_onnx_gives_the_logits_of_the_module_at_any_batch_size(net, onnx_file):
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_file[0])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.shape) == ("clips", ["batch", SEG, 3 * JOINTS])
    assert (given.name, given.shape) == ("logits", ["batch", CLASSES])
    for n in (1, 2, 7):
        close(torch.from_numpy(session.run(["logits"], {"clips": clips(n).numpy()})[0]), net, clips(n))


def test_onnx_says_what_it_is_and_where_it_is_from(onnx_file, checkpoint):
    import onnxruntime

    about = onnxruntime.InferenceSession(onnx_file[0]).get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == ["sit", "stand", "walk"]
    assert json.loads(about["checkpoint_about"]) == {"epoch": 7, "about": {"dataset": "mine"}}
    assert about["input"].startswith(f"clips: float32 (batch, {SEG}, {3 * JOINTS})")
    assert about["form"] == "folded" and len(about["checkpoint_sha256"]) == 64
    assert about["command"].startswith("tools/export.py ")


def test_nothing_is_printed_but_the_tool_s_own_few_lines(onnx_file):
    lines = onnx_file[1].splitlines()
    assert len(lines) == 7
    assert lines[0].startswith(str(onnx_file[0])) and lines[2] == "class names: sit, stand, walk"
    assert [int(line.split()[0]) for line in lines[-2:]] == list(export.TIMED)


def test_pt2_gives_the_logits_of_the_module_at_any_batch_size(net, checkpoint):
    path, said = export_to("sgn.pt2", checkpoint)
    assert "class names: not known" in said
    extra = {"about.json": ""}
    module = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra["about.json"])["num_classes"] == str(CLASSES)
    for n in (1, 2, 7):
        close(module(clips(n)), net, clips(n))


@pytest.mark.parametrize("wrong", [lambda y: y + 2e-4 * y.abs().max(), lambda y: y * float("nan"), lambda y: y[:1]])
def test_what_fails_the_check_is_not_written(wrong, net, checkpoint, monkeypatch):
    monkeypatch.setitem(export.KINDS, ".onnx", (lambda *_: (b"new", lambda x: wrong(net(x))), "torch"))
    path = checkpoint.with_name("failed.onnx")
    path.write_bytes(b"old")
    with pytest.raises(UserError, match="failed.onnx: not written, for its logits differ"):
        export_to(path.name, checkpoint)
    assert path.read_bytes() == b"old"
    assert not list(path.parent.glob("*.part"))


def test_bad_arguments_are_one_clear_line(checkpoint, monkeypatch):
    with pytest.raises(UserError, match=r"should end in .onnx or .pt2"):
        export_to("sgn.tflite", checkpoint)
    names = checkpoint.with_name("two.txt")
    names.write_text("sit\nstand\n")
    with pytest.raises(UserError, match="2 names, but the checkpoint has 3 classes"):
        export_to("sgn.onnx", checkpoint, "--class-names", str(names))
    with pytest.raises(UserError, match="not a text of names"):
        export_to("sgn.onnx", checkpoint, "--class-names", str(checkpoint))
    with pytest.raises(UserError, match="no checkpoint"):
        export_to("sgn.onnx", checkpoint.with_name("none.pth"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"ONNX needs onnx\w*: pip install -r requirements-extra.txt"):
        export_to("missing.onnx", checkpoint)
    assert not checkpoint.with_name("missing.onnx").exists()


@pytest.mark.parametrize(
    "joints, classes, checkpoint, first",
    [(20, 10, {"about": {"dataset": "NUCLA"}}, "pick up with one hand"), (25, 60, {}, "drink water")]
    + [(20, 11, {"about": {"dataset": "NUCLA"}}, None), (5, 3, {"about": {"dataset": "mine"}}, None)]
    + [(25, 61, {}, None), (5, 2, {"class_names": ["sit", "stand"]}, "sit")],
)  # fmt: skip
def test_class_names_in_the_file_are_all_of_them_or_none(tmp_path, joints, classes, checkpoint, first):
    path = tmp_path / "0_best.pth"
    path.write_bytes(b"")
    args = SimpleNamespace(class_names=None, form="folded", checkpoint=path, command="")
    about = export.describe(args, SGN(classes, joints), checkpoint)
    assert (json.loads(about["class_names"])[0] if "class_names" in about else None) == first


def test_model_py_alone_is_enough_and_torch_hub_touches_no_modules_of_the_caller(net, checkpoint, tmp_path):
    """A project of somebody's, with a copy of model.py and with modules of his own called data and util."""
    shutil.copy(ROOT / "model.py", tmp_path)
    for name in ("data", "util"):
        (tmp_path / f"{name}.py").write_text("mine = True\n")
    torch.save({"x": clips(3), "logits": net(clips(3)).detach()}, tmp_path / "expected.pt")
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    sizes = net.num_classes, net.num_joint, net.seg
    code = THEIR_PROJECT.format(root=str(ROOT), checkpoint=str(checkpoint), sizes=sizes)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


THEIR_PROJECT = """
import pickle, sys, torch

expected = torch.load("expected.pt", weights_only=True)
def check(net):
    torch.testing.assert_close(net(expected["x"]), expected["logits"], rtol=1e-5, atol=1e-5)

import model
net = model.SGN(*{sizes!r})
net.load_state_dict(torch.load({checkpoint!r}, weights_only=True)["state_dict"])
check(net.eval())
assert not {{"data", "util", "main"}} & set(sys.modules)

del model.SGN    # from here on a module of his own that only has the name
model.mine = True
import util                             # and data later, when the hub has loaded its own
load = lambda **kwargs: torch.hub.load({root!r}, "sgn", source="local", **kwargs)
ours, folded = (load(checkpoint={checkpoint!r}, folded=folded) for folded in (False, True))
import data
assert model.mine and util.mine and data.mine
check(ours)
check(folded)
assert not ours.training and not folded.training
assert isinstance(pickle.loads(pickle.dumps(ours)), type(ours))

shipped, fresh = load(dataset="NUCLA"), load(num_classes=7, seg=9)
assert shipped(torch.zeros(2, 20, 60)).shape == (2, 10) and fresh(torch.zeros(2, 9, 75)).shape == (2, 7)
assert type(shipped) is type(fresh) is type(ours) and fresh.training
for error, said, kwargs in [
    (FileNotFoundError, "results/NUCLA/SGN/0_best.pth", dict(dataset="NTU", case=1)),
    (ValueError, "or a dataset", dict(dataset="NUCLA", num_joint=20)),
    (ValueError, "not a checkpoint", dict(checkpoint="model.py")),
]:
    try:
        load(**kwargs)
    except error as raised:
        assert said in str(raised), raised
    else:
        raise AssertionError(kwargs)
"""


def test_the_hub_shows_one_entry_point():
    hubconf = torch.hub._import_module("hubconf", ROOT / "hubconf.py")
    assert [name for name, value in vars(hubconf).items() if callable(value) and name[0] != "_"] == ["sgn"]


def test_counts_are_those_worked_by_hand(tmp_path, capsys):
    count.main(["--json", str(tmp_path / "cost.json")])
    assert "as published: 691,048 parameters, and in the release's layers 0.1700 GMAC" in capsys.readouterr().out
    forms = json.loads((tmp_path / "cost.json").read_text())["counts"].values()
    plain, module, folded = ({row["layer"]: row for row in rows} for rows in forms)
    tokens, graph = 20 * 25, 20 * 25 * 25
    assert plain["compute_g1"]["multiply_adds"] == 2 * tokens * 128 * 256
    assert plain[count.GRAPH]["multiply_adds"] == graph * (256 + 128 + 128 + 256)
    assert plain["tem_embed"]["multiply_adds"] == tokens * (20 * 64 + 64 * 256)
    assert module["tem_embed"]["multiply_adds"] == 20 * 64 * 256  # all frame indices, once
    assert module["gcn3"]["multiply_adds"] == 2 * tokens * 256 * 256 + graph * 256
    assert module["gcn3"]["parameters"] == 2 * 256 * 256 + 256 + 2 * 256
    assert folded["gcn1"]["multiply_adds"] == 2 * tokens * 64 * 128
    assert folded["gcn3"]["multiply_adds"] == 2 * tokens * 256 * 256
    assert folded[count.GRAPH]["multiply_adds"] == graph * (64 + 128 + 256 + 256)


def test_layers_add_up_to_the_counter_s_total(net):
    for form in (net, Folded(net), count.Plain(net, 3)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            form(clips(3))
        rows = count.count(form, clips=3)
        assert count.total(rows, "multiply_adds") == counter.get_total_flops() // 2
        values = [*form.net.parameters()] if hasattr(form, "net") else [*form.parameters()] or [*form.buffers()]
        assert count.total(rows, "parameters") == sum(value.numel() for value in values)


def test_a_count_that_is_not_the_published_one_is_an_error(monkeypatch, capsys):
    monkeypatch.setitem(count.PARAMETERS, 60, 691_049)
    with pytest.raises(RuntimeError, match="691,048 parameters, published are 691,049"):
        count.report(SGN().eval())
    count.main(["--num-classes", "10", "--num-joint", "20"])
    assert "nothing is published" in capsys.readouterr().out
