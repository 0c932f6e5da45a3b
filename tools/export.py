"""Takes a trained SGN elsewhere: as ONNX, or as a program of torch.export. What fails its check is not written.

    python tools/export.py results/NUCLA/SGN/0_best.pth --out sgn.onnx      # needs requirements-extra.txt
    python tools/export.py results/NUCLA/SGN/0_best.pth --out sgn.pt2       # needs nothing more

    session = onnxruntime.InferenceSession("sgn.onnx")                      # anywhere onnxruntime runs
    (logits,) = session.run(["logits"], {"clips": clips})                   # float32 (batch, 20, 60) -> (batch, 10)
    logits = torch.export.load("sgn.pt2").module()(clips)                   # anywhere torch runs, without model.py

Any batch size runs. Before it is written, the file's content is loaded again and run on random clips, and its logits
must be those of the evaluation module; then its latency is printed beside that of model.SGN and folded.Folded. The
folded form is exported unless --form says otherwise. In the file: input and output, class names where they are known
(--class-names, the checkpoint's own, those of the data set that it tells of, or NTU RGB+D's for a release's checkpoint
of their shape), and what it was made from. ONNX keeps them in its metadata_props, .pt2 in an extra file, about.json.
"""

import argparse
import hashlib
import importlib
import io
import json
import logging
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import torch

import _path

ROOT = Path(__file__).resolve().parents[1]
from benchmark import timed
from checkpoint import load_checkpoint
from folded import Folded
from recognise import class_names
from util import UserError, atomic_write, exit_on_error, opened, provenance

TOLERANCE = 1e-4  # of logits up to 1, and relative to the largest above that
CHECKED = (1, 3, 64)  # clips in a batch
TIMED = (1, 64)


def random_clips(net, n, generator):
    """(n, seg, 3 * joints) float32: joints about half a metre around the origin, as clips are."""
    return 0.5 * torch.randn(n, net.seg, 3 * net.num_joint, generator=generator)


@contextmanager
def quiet():
    """Without the exporters' warnings and logging, none of which a user can do anything about."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def trace(net):
    """The torch.export.ExportedProgram of SGN or Folded, in evaluation, for any batch size."""
    clips = random_clips(net, 2, None)
    with quiet(), torch.no_grad():  # strict, because the other way to trace takes len(x) for a constant
        batch = {"x": {0: torch.export.Dim("batch")}}
        return torch.export.export(net.eval(), (clips,), dynamic_shapes=batch, strict=True)


def as_onnx(net, about):
    """The bytes of an .onnx, input "clips" and output "logits", and a function that runs them in onnxruntime."""
    onnx, runtime, _ = (needed(name) for name in ("onnx", "onnxruntime", "onnxscript"))
    program = trace(net)
    with quiet():
        names = {"input_names": ["clips"], "output_names": ["logits"], "dynamic_shapes": {"x": {0: "batch"}}}
        model = torch.onnx.export(program, dynamo=True, verbose=False, **names).model_proto
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return content, lambda clips: torch.from_numpy(session.run(["logits"], {"clips": clips.numpy()})[0])


def as_pt2(net, about):
    """The bytes of a .pt2, and a function that runs them in torch."""
    program, content = trace(net), io.BytesIO()
    with quiet():
        torch.export.save(program, content, extra_files={"about.json": json.dumps(about, indent=1)})
        return content.getvalue(), torch.export.load(io.BytesIO(content.getvalue())).module()


KINDS = {".onnx": (as_onnx, "onnxruntime"), ".pt2": (as_pt2, "torch")}


def needed(name):
    """An optional module. Raises UserError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"ONNX needs {name}: pip install -r requirements-extra.txt (--out FILE.pt2 does not)") from None


@torch.inference_mode()
def difference(run, net):
    """The largest difference between the logits of `run` and `net` on random clips, in the measure of TOLERANCE."""
    generator, worst = torch.Generator().manual_seed(0), 0.0
    for n in CHECKED:
        clips = random_clips(net, n, generator)
        theirs, ours = run(clips), net(clips)
        if theirs.shape != ours.shape or not theirs.isfinite().all():
            return float("inf")
        worst = max(worst, ((theirs - ours).abs().max() / ours.abs().max().clamp(min=1)).item())
    return worst


def describe(args, net, checkpoint):
    """What the exported file says of itself, {str: str}; lists and dicts as JSON."""
    names = list(class_names(net, checkpoint, args.class_names))
    trained = {key: value for key, value in checkpoint.items() if isinstance(value, int | float | str | dict)}
    trained = {key: value for key, value in trained.items() if key not in ("state_dict", "optimizer")}
    about = {
        "input": f"clips: float32 (batch, {net.seg}, {3 * net.num_joint}), metres, joint by joint x y z",
        "output": f"logits: float32 (batch, {net.num_classes})",
        "num_classes": net.num_classes,
        "num_joint": net.num_joint,
        "seg": net.seg,
        "form": args.form,
        "checkpoint": args.checkpoint.name,
        "checkpoint_sha256": hashlib.sha256(args.checkpoint.read_bytes()).hexdigest(),
        "checkpoint_about": json.dumps(trained, default=str),
    } | ({"class_names": json.dumps(names)} if len(names) == net.num_classes else {})
    return provenance(args.command, torch.device("cpu"), **about)


def latencies(functions, net, runs):
    """Median seconds of each of `functions`, for each batch of TIMED: [(clips, [seconds, ...]), ...]."""
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for n in TIMED:
            clips, repeat = random_clips(net, n, generator), max(1, 20 // n)
            repeated = [lambda f=f, x=clips, r=repeat: [f(x) for _ in range(r)] for f in functions]
            yield n, [seconds / repeat for seconds in timed(repeated, runs, torch.device("cpu"))]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("checkpoint", type=Path, help="a <case>_best.pth, ours or the authors'")
    add("--out", type=Path, required=True, help="file to write; .onnx or .pt2 says which it is")
    add("--form", choices=("folded", "module"), default="folded", help="folded.Folded or model.SGN (%(default)s)")
    add("--class-names", type=Path, help="text with a name per line, or the h5 trained on")
    add("--runs", type=positive_int, default=9, help="timings of each, of which the median (%(default)s)")
    args = parser.parse_args(argv)
    args.command = " ".join(["tools/export.py", *(sys.argv[1:] if argv is None else argv)])
    if args.out.suffix not in KINDS:
        raise UserError(f"--out {args.out}: its name should end in {' or '.join(KINDS)}")
    convert, runtime = KINDS[args.out.suffix]

    net, checkpoint = opened(load_checkpoint, args.checkpoint)
    folded = opened(Folded, net.eval())
    about = describe(args, net, checkpoint)
    content, run = convert(folded if args.form == "folded" else net, about)
    apart = difference(run, net)
    if not apart <= TOLERANCE:
        raise UserError(f"{args.out}: not written, for its logits differ from PyTorch's by {apart:.1e}")
    with atomic_write(args.out) as part:
        part.write_bytes(content)
    batches = ", ".join(map(str, CHECKED))
    print(f"{args.out}: {len(content) / 1e6:.1f} MB, {about['input']} -> {about['output']}")
    print(f"loaded again and run on {batches} random clips: PyTorch's logits to {apart:.0e} ({TOLERANCE:.0e} passes)")
    print("class names: " + (", ".join(json.loads(about["class_names"])) if "class_names" in about else "not known"))
    version = importlib.import_module(runtime).__version__
    print(f"ms a batch, medians of {args.runs} in turns after a warm-up, {torch.get_num_threads()} threads:")
    print(f"{'clips':>8}{'model.SGN':>14}{'folded.Folded':>15}   {args.out.suffix[1:]} in {runtime} {version}")
    for n, seconds in latencies((net, folded, run), net, args.runs):
        print(f"{n:8}{1e3 * seconds[0]:14.2f}{1e3 * seconds[1]:15.2f}{1e3 * seconds[2]:14.2f}")


if __name__ == "__main__":
    with exit_on_error():
        main()
