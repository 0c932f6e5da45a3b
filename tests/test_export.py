"""SGN elsewhere: exported, through torch.hub, and in the release's formulation."""

import json
import sys
from functools import partial

import pytest
import torch

import benchmark
import export
from engine.checkpoint import load_checkpoint
from model import SGN
from predict_run import save
from util import ROOT, UserError

CLASSES, JOINTS, SEG, NAMES = 3, 4, 5, ["sit", "stand", "walk"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    about = {"epoch": 7, "class_names": NAMES, "about": {"dataset": "mine"}}
    return save(tmp_path_factory.mktemp("export") / "0_best.pth", CLASSES, JOINTS, SEG, **about)


@pytest.fixture(scope="module")
def net(checkpoint):
    return load_checkpoint(checkpoint).net.eval()


def export_to(name, checkpoint, *words):
    """The file."""
    path = checkpoint.with_name(name)
    export.main([str(checkpoint), "--out", str(path), *words])
    return path


def is_close(run, net, tolerance=1e-4):
    """Asserts that `run` gives the logits of `net` at any batch size."""
    for n in (1, 7):
        clips = torch.randn(n, SEG, 3 * JOINTS, generator=torch.Generator().manual_seed(n))
        with torch.no_grad():
            torch.testing.assert_close(run(clips), net(clips), rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_onnx_gives_the_logits_of_the_module_and_says_what_it_is(net, checkpoint, capsys):
    onnx, runtime, _ = (pytest.importorskip(name) for name in ("onnx", "onnxruntime", "onnxscript"))
    path = export_to("sgn.onnx", checkpoint, "--opset", "18")
    said = capsys.readouterr().out
    session = runtime.InferenceSession(path)
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.shape) == ("clips", ["batch", SEG, 3 * JOINTS])
    assert (given.name, given.shape) == ("logits", ["batch", CLASSES])
    is_close(lambda clips: torch.from_numpy(session.run(["logits"], {"clips": clips.numpy()})[0]), net)
    assert onnx.load(path).opset_import[0].version == 18
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == NAMES
    assert json.loads(about["trained"]) == {"epoch": 7, "recipe": "paper", "dataset": "mine"}
    assert said.startswith(str(path)) and "sit, stand, walk" in said


@pytest.mark.slow
@pytest.mark.parametrize("words, form", [(["--fp16"], "folded, float16"), (["--form", "module"], "module")])
def test_pt2_gives_the_logits_of_the_module(net, checkpoint, words, form):
    extra = {"about.json": ""}
    program = torch.export.load(export_to("a.pt2", checkpoint, *words), extra_files=extra)
    is_close(program.module(), net, 1e-2 if "--fp16" in words else 1e-4)
    assert json.loads(extra["about.json"])["form"] == form


@pytest.mark.parametrize("wrong", [lambda y: y + 2e-4 * y.abs().max(), lambda y: y * float("nan"), lambda y: y[:1]])
def test_what_fails_the_check_is_not_written(wrong, net, checkpoint, monkeypatch):
    monkeypatch.setitem(export.FORMATS, ".onnx", lambda *_: (b"new", lambda x: wrong(net(x))))
    path = checkpoint.with_name("failed.onnx")
    path.write_bytes(b"old")
    with pytest.raises(UserError, match="failed.onnx: not written"):
        export_to(path.name, checkpoint)
    assert path.read_bytes() == b"old" and not list(path.parent.glob("*.part"))


def test_bad_arguments_are_one_clear_line(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name, more, why in (
        ("sgn.tflite", [], "sgn.tflite"),
        ("sgn.pt2", ["--opset", "20"], "--opset"),
        ("sgn.pt2", ["--fp16", "--form", "module"], "--fp16"),
        ("missing.onnx", [], "requirements-extra.txt"),
    ):
        with pytest.raises((UserError, SystemExit)) as error:
            export.main([str(checkpoint), "--out", str(tmp_path / name), *more])
        assert why in f"{error.value} {capsys.readouterr().err}" and not (tmp_path / name).exists()


def test_torch_hub_finds_data_sets_and_says_what_is_missing():
    load = partial(torch.hub.load, str(ROOT), "sgn", source="local", trust_repo=True)
    assert load(dataset="NUCLA").num_classes == 10 and load(num_classes=7).training
    with pytest.raises(ValueError, match="no such checkpoint"):
        load(dataset="NTU")


def test_the_release_s_formulation_has_the_published_parameters_and_products(monkeypatch):
    monkeypatch.setattr(benchmark, "BATCH", 2)
    release, module, folded = benchmark.count_products(SGN().eval()).values()
    assert release[0] == 691_048 and round(release[2], 2) == 0.17
    assert release[1] > module[1] > folded[1]
