"""Exports a trained SGN as ONNX or as a program of torch.export, and checks that it gives the same logits.

    python tools/export.py pretrained/NUCLA/SGN/0_best.pth --out sgn.onnx      # needs requirements-extra.txt
    python tools/export.py pretrained/NUCLA/SGN/0_best.pth --out sgn.pt2       # needs nothing more

    session = onnxruntime.InferenceSession("sgn.onnx")                         # without PyTorch
    (logits,) = session.run(["logits"], {"clips": clips})                      # float32 (batch, 20, 60) -> (batch, 10)
    logits = torch.export.load("sgn.pt2").module()(clips)                      # without model.py

The batch size is free. What is exported is the fast form, or the module where there is none: of ablations and variants.
With --fp16 weights and products are in float16, but for the first layer and the last; clips and logits stay float32.

Before the file is written, its content is loaded and run on random clips; if the logits differ from the module's,
nothing is written. The metadata_props of an .onnx, and the extra file about.json of a .pt2, have the shapes of input
and output, class names, and how the checkpoint was trained.
"""

import hashlib
import importlib
import io
import json
import logging
import shlex
import sys
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from engine.checkpoint import load_checkpoint
from engine.folded import Folded, fast_form
from engine.logs import provenance
from safe.program import ArgumentParser, exit_on_error, whole
from tools.common import path_of
from util import UserError, atomic_write

TOLERANCE, TOLERANCE_FP16 = 1e-4, 2e-2
CHECKED = (1, 3, 64)  # clips in a batch


def random_clips(net, n, generator=None):
    """(n, seg, 3 * joints) float32: joints about half a metre around the origin, as in clips."""
    return 0.5 * torch.randn(n, net.seg, 3 * net.num_joint, generator=generator)


def trace(net):
    """The torch.export.ExportedProgram of SGN or Folded in evaluation mode, for any batch size."""
    batch = {"x": {0: torch.export.Dim("batch")}}
    with torch.no_grad():  # strict: the other way of tracing takes the batch size for a constant
        return torch.export.export(net.eval(), (random_clips(net, 2),), dynamic_shapes=batch, strict=True)


def to_onnx(net, about, opset=None):
    """The bytes of an .onnx, input "clips" and output "logits", and a function that runs them in onnxruntime.

    opset: None for the exporter's own. Raises UserError if it cannot be had.
    """
    try:
        onnx, runtime, _ = map(importlib.import_module, ("onnx", "onnxruntime", "onnxscript"))
    except ImportError as error:
        why = f"ONNX needs {error.name}: pip install -r requirements-extra.txt, or take --out FILE.pt2"
        raise UserError(why) from None
    names = {"input_names": ["clips"], "output_names": ["logits"], "dynamic_shapes": {"x": {0: "batch"}}}
    model = torch.onnx.export(trace(net), dynamo=True, verbose=False, opset_version=opset, **names).model_proto
    given = next(entry.version for entry in model.opset_import if not entry.domain)
    if opset not in (None, given):
        raise UserError(f"--opset {opset}: the exporter gives {given}")
    onnx.helper.set_model_props(model, about)
    content = model.SerializeToString()
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda clips: torch.from_numpy(session.run(["logits"], {"clips": clips.numpy()})[0])


def to_pt2(net, about, opset=None):
    """The bytes of a .pt2, and a function that runs them in torch."""
    content = io.BytesIO()
    torch.export.save(trace(net), content, extra_files={"about.json": json.dumps(about, indent=1)})
    return content.getvalue(), torch.export.load(io.BytesIO(content.getvalue())).module()


FORMATS = {".onnx": to_onnx, ".pt2": to_pt2}


@torch.inference_mode()
def largest_difference(run, net):
    """Of the logits of `run` and `net` on random clips: absolute, relative to the largest logit if that is above 1."""
    generator, worst = torch.Generator().manual_seed(0), 0.0
    for n in CHECKED:
        clips = random_clips(net, n, generator)
        logits, expected = run(clips), net(clips)
        if logits.shape != expected.shape or not logits.isfinite().all():
            return float("inf")
        worst = max(worst, ((logits - expected).abs().max() / expected.abs().max().clamp(min=1)).item())
    return worst


def describe(args, checkpoint, form):
    """What the exported file says of itself, {str: str}; a list or dict as JSON. form: the network that is exported."""
    net, names = checkpoint.net, checkpoint.class_names
    values = "joint by joint x - 0.5, y - 0.5, score" if checkpoint.skeleton.is_2d else "metres, joint by joint x y z"
    about = {
        "input": f"clips: float32 (batch, {net.seg}, {3 * net.num_joint}), {values}",
        "output": f"logits: float32 (batch, {net.num_classes})",
        "form": "module" if form is net else "folded, float16" if args.fp16 else "folded",
        "checkpoint": checkpoint.path.name,
        "checkpoint_sha256": hashlib.sha256(checkpoint.path.read_bytes()).hexdigest(),
        "trained": json.dumps({"epoch": checkpoint.epoch, "recipe": str(checkpoint.recipe)} | checkpoint.about),
    }
    about |= {"class_names": json.dumps(names)} if names else {}
    return provenance(args.command, torch.device("cpu"), **about)


def main(argv=None):
    gone = dict.fromkeys(["--runs", "--classes"], "gone: nothing is timed, and the names are those in the checkpoint")
    parser = ArgumentParser(description=__doc__, elsewhere=gone)
    add = parser.add_argument
    add("checkpoint", type=Path, help="a <case>_best.pth, ours or the release's")
    add("--out", type=path_of(*FORMATS), required=True, help="file to write, .onnx or .pt2")
    add("--form", choices=("module",), help="model.SGN as it is, in place of the fast form, engine.folded")
    add("--opset", type=whole(1, 99), help="version of ONNX's operators, from 18 on (the exporter's own)")
    add("--fp16", action="store_true", help="weights and products in float16, half the size; the error is printed")
    args = parser.parse_args(argv)
    args.command = shlex.join(["tools/export.py", *(sys.argv[1:] if argv is None else argv)])
    if args.opset and args.out.suffix != ".onnx":
        parser.error("--opset: of ONNX alone")
    checkpoint = load_checkpoint(args.checkpoint)
    net = checkpoint.net
    form = net if args.form else fast_form(net)
    if args.fp16 and form is net:
        raise UserError("--fp16: only of the fast form, which --form module, ablations and variants have not")
    form = Folded(net, torch.float16).eval() if args.fp16 else form
    about = describe(args, checkpoint, form)
    content, run = FORMATS[args.out.suffix](form, about, args.opset)
    difference = largest_difference(run, net)
    if not difference <= (TOLERANCE_FP16 if args.fp16 else TOLERANCE):
        raise UserError(f"{args.out}: not written: its logits differ from the module's by {difference:.1e}")
    with atomic_write(args.out) as part:
        part.write_bytes(content)
    print(f"{args.out}: {len(content) / 1e6:.1f} MB, {about['form']}, {about['input']} -> {about['output']}")
    print(f"logits of random clips differ from the module's by at most {difference:.0e}, relative for logits above 1")
    print(f"class names: {', '.join(json.loads(about.get('class_names', '[]'))) or 'not known'}")


if __name__ == "__main__":
    with exit_on_error():
        warnings.simplefilter("ignore")  # the exporters', which are not for users
        logging.disable(logging.WARNING)
        main()
