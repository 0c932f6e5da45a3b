"""All that a GPU has to show, in one command of at most eight minutes.

    python benchmarks/gpu.py --out DIR                          # writes DIR/gpu.json and a page, DIR/gpu.md
    python benchmarks/gpu.py --out DIR --nucla NUCLA_CV.h5      # trains on N-UCLA as well
    python benchmarks/gpu.py --out DIR --parts tests            # one part alone
    python benchmarks/gpu.py --out DIR --device cpu --small     # tries the check itself, where there is no GPU

Needs torch, numpy, h5py, scikit-learn, tqdm and pytest. Each part is a process of its own with a time to end; what it
has found by then is in the report, and the next part starts. Exit code 1 if a test or a measurement failed.
"""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from safe import arguments, program

# Seconds from the start by which each part ends. What one leaves over, the next may use
PARTS = {"machine": 30, "tests": 190, "speed": 275, "epochs": 375, "nucla": 475}
CLASSES = 60
NTU60 = 56_578, 40_091  # clips; those for training of cross-subject
EPOCHS = 120  # of a whole run
# A recipe's further flags, and the logs of its runs on a CPU, of the same seeds
NUCLA = {"paper": ([], "batch64_seed{}.csv"), "plus": (["-b", "16", "--amp", "--select", "last"], "plus_seed{}.csv")}
SEEDS = (1, 2, 3)


class Report:
    """What a part finds, a line of JSON each, which is on the disk at once."""

    def __init__(self, path):
        self.path = path

    def add(self, table, **row):
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"table": table} | row) + "\n")

    @contextmanager
    def attempt(self, what):
        """Notes an error of the block, and lets the others go on."""
        print(f"... {what}", file=sys.stderr, flush=True)
        try:
            yield
        except Exception as error:
            self.add("errors", what=what, error=util.shorten(f"{type(error).__name__}: {error}", 300))


# ---- the parts. Each imports torch itself: the process that starts them needs none


def machine(args, report):
    import torch

    from engine.distributed import pick_device
    from engine.logs import provenance

    device = pick_device(args.device)
    about = provenance("benchmarks/gpu.py", device, device=device)
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        about |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "card": card}
        with suppress(OSError, subprocess.SubprocessError):
            ask = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
            about["driver, clock, power"] = subprocess.run(ask, capture_output=True, text=True, timeout=10).stdout
    report.add("about", **{key: str(value).strip() for key, value in about.items()})


def tests(args, report):
    """The tests marked `device`, one by one as they end."""
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:xdist", "-p", "no:cacheprovider", "-v"]
    command += ["-rfE", "--tb=short", "-m", "device", "--device", args.device]
    command += ["-k", "golden or by_hand or flipped"] * args.small
    environment = os.environ | {"TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"}
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, cwd=util.ROOT, env=environment, **pipe)
    with open(args.out / "tests.txt", "w", encoding="utf-8") as log:
        for line in process.stdout:
            print(line, end="", file=log, flush=True)
            if found := re.match(r"(tests/\S+?::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", line):
                report.add("tests", name=found[1], outcome=found[2].lower())
            elif found := re.match(r"(?:FAILED|ERROR) (tests/.+?) - (.*)", line):
                report.add("reasons", name=found[1], reason=util.shorten(found[2], 300))
    if (code := process.wait()) not in (0, 1):
        report.add("errors", what="tests", error=f"pytest ended with {code}: see tests.txt")


def precisions(device):
    return ("float32", "tf32", "bfloat16") if device.type == "cuda" else ("float32", "bfloat16")


def speed(args, report):
    """Training steps and testing, in the release's way and in ours, and what a step launches."""
    import numpy as np
    import torch

    from benchmark import training_step
    from clips.skeletons import KINECT_V2
    from engine import distributed, graphed
    from engine.config import RECIPES
    from engine.folded import Folded
    from engine.timing import timed
    from model import SGN
    from release import Release, make_clips

    device = distributed.pick_device(args.device)
    batches, runs, repeat = ((2, 4), 1, 1) if args.small else ((16, 64, 256), 5, 10)

    def milliseconds(functions):
        seconds = timed([*functions.values()], runs, device, repeat=repeat)
        return {name: 1e3 * value for name, value in zip(functions, seconds, strict=True)}

    def whole_steps(batch, recipe="paper", amp=False):
        """With sampling and augmentation: {"whole": a function}, and on a GPU also as a "graph"."""
        _, clips = make_clips(np.full(batch + 1, 85), KINECT_V2, CLASSES, 1, device)
        trainer = make_trainer(clips, batch_size=batch, amp=amp, recipe=RECIPES[recipe])
        trainer.net.train()
        graph = graphed.graph_step(trainer, trainer.net) if device.type == "cuda" else None
        steps = {"whole": partial(trainer.train_step, trainer.net)} | ({"graph": graph} if graph else {})
        return {name: partial(step, trainer.train_ids) for name, step in steps.items()}

    for precision in precisions(device):
        distributed.use_tf32(precision == "tf32")
        amp = precision == "bfloat16"
        for batch in (1, *batches):
            torch.manual_seed(0)
            x, y = torch.randn(batch, 20, 75).to(device), torch.arange(batch, device=device) % CLASSES
            net = SGN(CLASSES).to(device)
            if batch > 1:
                with report.attempt(f"training steps, {precision}, batch {batch}"):
                    ways = {
                        "release": training_step(net, Release(net, batch), x, y, amp, fused=False),
                        "ours": training_step(net, net, x, y, amp),
                    }
                    row = milliseconds(ways | whole_steps(batch, amp=amp))
                    report.add("steps", precision=precision, batch=batch, **row)
            with report.attempt(f"testing, {precision}, batch {batch}"), torch.inference_mode():
                net.eval()
                folded = Folded(net, torch.bfloat16 if amp else None)
                forms = {"release": Release(net, batch), "ours": net, "folded": folded}

                def test(form, x=x, amp=amp):
                    with torch.autocast(device.type, torch.bfloat16, enabled=amp and not isinstance(form, Folded)):
                        form(x)

                row = milliseconds({name: partial(test, form) for name, form in forms.items()})
                report.add("testing", precision=precision, batch=batch, **row)
    distributed.use_tf32(False)
    for recipe in RECIPES:
        with report.attempt(f"kernels of a step of {recipe}"):
            for name, step in whole_steps(batches[1], recipe).items():
                row = {"step_ms": milliseconds({name: step})[name]} | profile(step, device, repeat)
                report.add("kernels", recipe=recipe, batch=batches[1], step=name, **row)


def profile(step, device, repeat):
    """What a step computes: on a GPU its kernels, their time and what launched them, on a CPU its operations."""
    import torch
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity

    on_gpu = device.type == "cuda"
    with torch.profiler.profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu) as found:
        for _ in range(repeat):
            step()
        if on_gpu:
            torch.cuda.synchronize(device)
    events = found.events()
    if not on_gpu:
        return {"operations": sum(e.name.startswith("aten::") and not e.cpu_children for e in events) / repeat}
    spans = ("Optimizer.", "ProfilerStep", "##")  # of time, which are no kernels
    on_card = [e for e in events if e.device_type == DeviceType.CUDA and not getattr(e, "is_user_annotation", False)]
    kernels = [event for event in on_card if not event.name.startswith(spans)]
    launches = sum(re.match("cu(da)?(Launch|GraphLaunch)", event.name) is not None for event in events)
    busy = sum(event.time_range.elapsed_us() for event in kernels) / 1e3 / repeat
    return {"kernels": len(kernels) / repeat, "launches": launches / repeat, "kernels_ms": busy}


def make_trainer(clips, **settings):
    from engine.config import Config
    from train import Trainer

    return Trainer(Config(**{"theta": 0.3, "seg": 20, "num_classes": CLASSES} | settings), clips)


def epochs(args, report):
    """Two epochs of NTU60's size, with the test after each, in the ways that a run can go."""
    import torch

    from engine import distributed
    from engine.accelerate import training_step
    from engine.config import RECIPES
    from engine.graphed import GraphedStep

    device = distributed.pick_device(args.device)
    on_gpu, silent = device.type == "cuda", SimpleNamespace(show=lambda *_: None, step=lambda: None)
    distributed.keep_freed_memory()
    with report.attempt("made-up clips"):
        clips = made_up_clips(400 if args.small else NTU60[0], device)
        report.add("clips", clips=len(clips.label), frames=len(clips.frames), bytes=clips.frames.nbytes)
    ways = [("paper", precision, True) for precision in precisions(device)] + [("plus", "bfloat16", True)]
    ways += [("paper", "float32", False), ("paper", "bfloat16", False)]
    for recipe, precision, as_graph in ways if on_gpu else [("paper", "float32", False), ("plus", "float32", False)]:
        with report.attempt(f"epochs: {recipe}, {precision}, {'as a graph' if as_graph else 'step by step'}"):
            distributed.use_tf32(precision == "tf32")
            if on_gpu:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
            times = [time.perf_counter()]
            trainer = make_trainer(clips, recipe=RECIPES[recipe], amp=precision == "bfloat16", epochs=2)
            step = training_step(trainer) if as_graph else partial(trainer.train_step, trainer.net)
            for epoch in (1, 2):
                trainer.train_epoch(step, epoch, silent)
                trainer.evaluate(epoch)
                times.append(time.perf_counter())
            first, second = (end - start for start, end in zip(times, times[1:], strict=False))
            row = {"first_s": first, "second_s": second, "run_s": first + (EPOCHS - 1) * second}
            if on_gpu:
                row["peak_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
            graph = isinstance(step, GraphedStep)
            report.add("epochs", recipe=recipe, precision=precision, graph=graph, wanted=as_graph, **row)
            del trainer, step


def made_up_clips(n, device):
    """Clips of NTU60's number, lengths and persons (benchmarks/make_ntu_like.py), of noise, made on the device."""
    import numpy as np
    import torch

    from clips.skeletons import KINECT_V2
    from data import Clips
    from make_ntu_like import lengths

    rng = np.random.default_rng(0)
    length = torch.from_numpy(lengths(rng, n) * np.where(rng.random(n) < 0.2, 2, 1)).to(device)
    generator = torch.Generator(device).manual_seed(0)
    frames = torch.empty(int(length.sum()) + 1, 75, device=device).normal_(0, 0.3, generator=generator)
    frames[-1] = 0
    train = n * NTU60[1] // NTU60[0]
    splits = {"train": range(train), "valid": range(train, train), "test": range(train, n)}
    header = {"joints": 25, "persons": 2, "class_names": tuple(map(str, range(CLASSES))), "protocol": "made up"}
    header |= {"axes": "x, y, z", "skeleton": KINECT_V2, "sha256": ""}
    label = torch.arange(n, device=device) % CLASSES
    return Clips(frames, length.cumsum(0) - length, length, label, splits, **header)


def nucla(args, report):
    """Three runs of the paper's recipe and of plus, side by side, and what a CPU gave for the same seeds."""
    for name, (flags, logs) in NUCLA.items():
        recipe = f"{name},test_samples=1" if args.small else name
        with report.attempt(f"N-UCLA, {name}"), tempfile.TemporaryDirectory() as folder:
            shutil.copy(args.nucla, Path(folder) / "NUCLA_CV.h5")
            flags = [flag for flag in flags if flag != "--amp" or args.device != "cpu"]
            command = [sys.executable, str(util.ROOT / "main.py"), "--dataset", "NUCLA", "--data", folder]
            command += ["--recipe", recipe, *flags]
            command += ["--device", args.device, "--results", folder, "--json"]
            command += ["--seeds", str(len(SEEDS)), "--jobs", str(len(SEEDS)), *["--epochs", "1"] * args.small]
            start = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr[-300:])
            result, took = json.loads(done.stdout), time.perf_counter() - start
            ours = [run["last_top1"] for run in result["runs"]]
            report.add("nucla", recipe=name, device=ours, cpu=[last_top1(logs.format(n)) for n in SEEDS], seconds=took)


def last_top1(log):
    text = (util.ROOT / "pretrained/NUCLA/logs" / log).read_text(encoding="utf-8")
    return float(re.search(r"last epoch \d+: top-1 ([\d.]+)%", text)[1])


# ---- the page

# Tables of a report: title, columns; and of which two there is a ratio
TABLES = {
    "steps": ("Training step, ms", ("precision", "batch", "release", "ours", "whole", "graph"), ("release", "ours")),
    "testing": ("Testing, ms", ("precision", "batch", "release", "ours", "folded"), ("release", "ours")),
    "kernels": (
        "A step's kernels, float32",
        ("recipe", "batch", "step", "step_ms", "operations", "kernels", "launches", "kernels_ms"),
        ("kernels_ms", "step_ms"),
    ),
    "epochs": (
        "Epochs of NTU60's size, each with its test; a run has 120",
        ("recipe", "precision", "graph", "first_s", "second_s", "run_s", "peak_gb"),
        (),
    ),
    "nucla": ("N-UCLA, top-1 of the last epoch, three seeds", ("recipe", "device", "cpu", "seconds"), ()),
}


def to_markdown(report):
    """The page of a report, {table: [rows]}: what was measured, and no more."""
    about = report.get("about", [{}])[0]
    lines = [f"# {about.get('hardware', 'No device')}", ""]
    lines += [f"- {key}: {value}" for key, value in about.items() if key != "hardware"]
    if tests := report.get("tests"):
        outcomes = [row["outcome"] for row in tests]
        lines += ["", "## Tests", "", ", ".join(f"{outcomes.count(kind)} {kind}" for kind in sorted(set(outcomes))), ""]
        reasons = {row["name"]: row["reason"] for row in report.get("reasons", [])}
        failed = [row["name"] for row in tests if row["outcome"] in ("failed", "error")]
        lines += [f"- `{name}`: {reasons.get(name, 'see tests.txt')}" for name in failed]
    if errors := report.get("errors"):
        lines += ["", "## Not measured", "", *(f"- {row['what']}: {row['error']}" for row in errors)]
    for name, (title, columns, pair) in TABLES.items():
        rows, ratio = report.get(name, []), " / ".join(pair)
        rows = [row | {ratio: row[pair[0]] / row[pair[1]]} if pair and {*pair} <= row.keys() else row for row in rows]
        shown = [column for column in (*columns, ratio) if any(column in row for row in rows)]
        table = [shown, ["---"] * len(shown), *([form(row.get(column, "")) for column in shown] for row in rows)]
        lines += ["", f"## {title}", "", *(f"| {' | '.join(cells)} |" for cells in table)] if rows else []
    parts = ", ".join(f"{row['part']} {row['seconds']:.0f}" for row in report.get("parts", []))
    return "\n".join([*lines, "", f"Seconds: {parts}.", ""])


def form(value):
    if isinstance(value, list):
        return f"{statistics.mean(value):.2f} ± {statistics.stdev(value):.2f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (f"{value:.3g}" if value < 100 else f"{value:.0f}") if isinstance(value, float) else str(value)


# ---- the program


def parse_args(argv=None):
    parser = arguments.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for gpu.json, gpu.md and tests.txt")
    add("--device", default="cuda", help="(%(default)s)")
    add("--nucla", type=Path, metavar="FILE", help="N-UCLA's h5, to train on")
    add("--small", action="store_true", help="sizes for a try of the check itself")
    add("--parts", type=lambda text: text.split(","), default=list(PARTS), help=f"of {','.join(PARTS)}; all by default")
    add("--part", choices=PARTS, help="run this part in this process, which is what the program itself does")
    args = parser.parse_args(argv)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"--parts {min(unknown)}: not one of {', '.join(PARTS)}")
    if args.nucla:
        args.nucla = util.regular(args.nucla).resolve()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def run_part(name, words, path, seconds):
    """A part in a process of its own, ended with all that it started after so many seconds. Returns its table."""
    command = [sys.executable, __file__, *words, "--part", name]
    process = subprocess.Popen(command, start_new_session=True)
    rows = []
    try:
        if code := process.wait(max(1, seconds)):
            rows = [{"table": "errors", "what": name, "error": f"ended with exit code {code}"}]
    except subprocess.TimeoutExpired:
        rows = [{"table": "errors", "what": name, "error": f"not finished after {seconds:.0f} s"}]
    finally:
        with suppress(ProcessLookupError):  # and the processes that it started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")] + rows  # the last may be cut off


def main(argv=None):
    words = sys.argv[1:] if argv is None else argv
    args = parse_args(words)
    if args.part:
        report = Report(args.out / f"{args.part}.jsonl")
        with report.attempt(args.part):
            {part.__name__: part for part in (machine, tests, speed, epochs, nucla)}[args.part](args, report)
        return 0
    start, report = time.monotonic(), {}
    chosen = [name for name in PARTS if name in ("machine", *args.parts) and (args.nucla or name != "nucla")]
    for name in chosen:
        path, began = args.out / f"{name}.jsonl", time.monotonic()
        path.unlink(missing_ok=True)
        for row in run_part(name, words, path, start + PARTS[name] - began):
            report.setdefault(row.pop("table"), []).append(row)
        path.unlink(missing_ok=True)
        if "about" not in report:  # without a device there is nothing to show
            raise util.UserError(report["errors"][0]["error"].removeprefix("UserError: "))
        report.setdefault("parts", []).append({"part": name, "seconds": time.monotonic() - began})
        for file, text in (("gpu.json", json.dumps(report, indent=1) + "\n"), ("gpu.md", to_markdown(report))):
            with util.atomic_write(args.out / file) as part:
                part.write_text(text, encoding="utf-8")
    print(to_markdown(report), end="")
    return int("errors" in report or any(row["outcome"] in ("failed", "error") for row in report.get("tests", [])))


if __name__ == "__main__":
    with program.exit_on_error("--device to one with more memory"):
        sys.exit(main())
