"""SGN elsewhere: exported, through torch.hub, and as a copy of model.py."""

import contextlib
import hashlib
import importlib
import io
import json
import shutil
import sys

import pytest
import torch

import benchmark
import export
from model import SGN, VARIANTS
from util import ROOT, UserError

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


def export_to(name, checkpoint, *words):
    """The file, and what was printed."""
    path, said = checkpoint.with_name(name), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        export.main([str(checkpoint), "--out", str(path), "--runs", "1", *words])
    return path, said.getvalue()


def clips(n):
    return torch.randn(n, SEG, 3 * JOINTS, generator=torch.Generator().manual_seed(n))


def close(logits, net, x):
    with torch.no_grad():
        torch.testing.assert_close(logits, net(x), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_onnx_gives_the_logits_of_the_module_at_any_batch_size_and_says_what_it_is(net, checkpoint):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    import onnx
    import onnxruntime

    names = checkpoint.with_name("names.txt")
    names.write_text("sit\nstand\nwalk\n")
    path, said = export_to("sgn.onnx", checkpoint, "--classes", str(names), "--opset", "18")
    session = onnxruntime.InferenceSession(path)
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.shape) == ("clips", ["batch", SEG, 3 * JOINTS])
    assert (given.name, given.shape) == ("logits", ["batch", CLASSES])
    for n in (1, 7):
        close(torch.from_numpy(session.run(["logits"], {"clips": clips(n).numpy()})[0]), net, clips(n))
    assert onnx.load(path).opset_import[0].version == 18
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == ["sit", "stand", "walk"]
    assert json.loads(about["trained"]) == {"epoch": 7, "recipe": "paper", "dataset": "mine"}
    assert about["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert said.startswith(str(path)) and "sit, stand, walk" in said and "Warning" not in said
    with pytest.raises(UserError, match="opset 9"):
        export_to("older.onnx", checkpoint, "--opset", "9")


@pytest.mark.parametrize(
    "form, more, tolerance",
    [
        ("folded", [], 1e-4),
        pytest.param("folded, float16", ["--fp16"], 1e-2, marks=pytest.mark.slow),
        pytest.param("module", ["--form", "module"], 1e-4, marks=pytest.mark.slow),
        *(
            pytest.param("module", name, 1e-4, marks=pytest.mark.slow)
            for name in ("skeleton-graph", "early-max", *VARIANTS)
        ),
    ],
)
def test_pt2_gives_the_logits_of_the_module_at_any_batch_size(net, checkpoint, form, more, tolerance):
    """In each form; and of ablations and each variant, which have none but the module's."""
    if isinstance(more, str):
        variant = {"variant": more} if more in VARIANTS else {}
        ablate, edges = () if variant else (more,), [(0, 1)] if more == "skeleton-graph" else None
        net = SGN(CLASSES, JOINTS, SEG, ablate, edges, **variant).eval()
        checkpoint, more = checkpoint.with_name(f"{more}.pth"), []
        torch.save({"state_dict": net.state_dict(), "ablate": ablate, "seg": SEG} | variant, checkpoint)
    if "--fp16" in more:  # of that network's sums float16 has not the range, and the export is refused
        net, checkpoint = SGN(CLASSES, JOINTS, SEG).eval(), checkpoint.with_name("fp16.pth")
        torch.save({"state_dict": net.state_dict(), "seg": SEG}, checkpoint)
    path, _ = export_to(f"{checkpoint.stem}.pt2", checkpoint, *more)
    extra = {"about.json": ""}
    module = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra["about.json"])["form"] == form
    for n in (1, 7):
        with torch.no_grad():
            torch.testing.assert_close(module(clips(n)), net(clips(n)), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("wrong", [lambda y: y + 2e-4 * y.abs().max(), lambda y: y * float("nan"), lambda y: y[:1]])
def test_what_fails_the_check_is_not_written(wrong, net, checkpoint, monkeypatch):
    monkeypatch.setitem(export.FORMATS, ".onnx", (lambda *_: (b"new", lambda x: wrong(net(x))), "torch"))
    path = checkpoint.with_name("failed.onnx")
    path.write_bytes(b"old")
    with pytest.raises(UserError, match="failed.onnx: not written"):
        export_to(path.name, checkpoint)
    assert path.read_bytes() == b"old"
    assert not list(path.parent.glob("*.part"))


def test_bad_arguments_are_one_clear_line(checkpoint, monkeypatch):
    names = checkpoint.with_name("two.txt")
    names.write_text("sit\nstand\n")
    for name, file, more, why in (
        ("sgn.tflite", checkpoint, [], "sgn.tflite"),
        ("sgn.onnx", checkpoint, ["--classes", str(names)], "2 names, but there are 3 classes"),
        ("sgn.pt2", checkpoint, ["--opset", "20"], "--opset"),
        ("sgn.pt2", checkpoint, ["--fp16", "--form", "module"], "--fp16"),
        ("sgn.onnx", checkpoint.with_name("none.pth"), [], "none.pth"),
    ):
        with pytest.raises(UserError, match=why):
            export.main([str(file), "--out", str(file.with_name(name)), *more])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="pip install -r requirements-extra.txt"):
        export_to("missing.onnx", checkpoint)
    assert not checkpoint.with_name("missing.onnx").exists()


def test_a_copy_of_model_py_loads_a_checkpoint(net, checkpoint, tmp_path, monkeypatch):
    shutil.copy(ROOT / "model.py", tmp_path / "sgn_copied.py")
    monkeypatch.syspath_prepend(tmp_path)
    copied = importlib.import_module("sgn_copied").SGN(CLASSES, JOINTS, SEG)
    copied.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    close(copied.eval()(clips(3)).detach(), net, clips(3))


def test_torch_hub_finds_data_sets_and_says_what_is_missing():
    def load(**kwargs):
        return torch.hub.load(str(ROOT), "sgn", source="local", trust_repo=True, **kwargs)

    assert load(dataset="NUCLA").num_classes == 10 and load(num_classes=7).training
    with pytest.raises(ValueError, match="no such checkpoint"):
        load(dataset="NTU")


def test_the_release_s_formulation_has_the_published_parameters_and_products():
    release, module, folded = benchmark.count_products(SGN().eval()).values()
    assert release[0] == 691_048 and round(release[3], 2) == 0.17
    assert sum(p.numel() for p in SGN(120).parameters()) == 721_828
    assert release[1] > module[1] > folded[1]
