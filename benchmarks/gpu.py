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
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from benchmark import CLASSES, SILENT, in_turns, make_trainer, testing, training
from clips.skeletons import KINECT_V2
from engine import logs
from engine.config import RECIPES
from engine.device import keep_freed_memory, pick_device, use_tf32
from engine.graphed import graph_step
from engine.logs import provenance
from make_ntu_like import lengths
from release import make_clips
from safe import program

# Seconds from the start by which each part ends. What one leaves over, the next may use
PARTS = {"machine": 30, "tests": 190, "speed": 275, "epochs": 375, "nucla": 475}
NTU60 = 56_578, 16_487  # clips; those for testing of cross-subject
EPOCHS = 120  # of a whole run
# A recipe's further flags, and the logs of its runs on a CPU, of the same seeds
NUCLA = {"paper": ([], "batch64_seed{}.csv"), "plus": (["-b", "16", "--amp", "--select", "last"], "plus_seed{}.csv")}


class Report:
    """What a part finds, a row of a table in a line of JSON each, which is on the disk at once."""

    def __init__(self, path):
        self.path = path

    def add(self, table, **row):
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps([table, row]) + "\n")

    @contextmanager
    def attempt(self, what):
        """Notes an error of the block, and lets the others go on."""
        print(f"... {what}", file=sys.stderr, flush=True)
        try:
            yield
        except Exception as error:
            self.add("Not measured", what=what, error=util.shorten(f"{type(error).__name__}: {error}", 300))


# ---- the parts, functions of the arguments, the device and a Report


def machine(args, device, report):
    about = provenance("benchmarks/gpu.py", device, device=device)
    if device.type == "cuda":
        about |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        about |= {"card": torch.cuda.get_device_properties(device)}
    for what, value in about.items():
        report.add("Machine", what=what, value=str(value))


def tests(args, device, report):
    """The tests marked `device`, one by one as they end."""
    import pytest

    def add(of, outcome):
        crash = getattr(of.longrepr, "reprcrash", None)
        reason = util.shorten(str(crash.message if crash else of.longrepr), 300) if of.failed else ""
        report.add("Tests", test=of.nodeid, outcome=outcome, reason=reason)

    class Plugin:
        def pytest_runtest_logreport(self, report):
            if report.when == "call" or not report.passed:
                add(report, "error" if report.when != "call" and report.failed else report.outcome)

        def pytest_collectreport(self, report):
            if report.failed:
                add(report, "error")

    os.environ["TQDM_DISABLE"] = "1"
    os.chdir(util.ROOT)
    words = ["-o", "addopts=", "-p", "no:xdist", "-p", "no:cacheprovider", "-v", "--tb=short", "-m", "device"]
    words += ["--device", args.device, *["-k", "golden or by_hand or flipped"] * args.small]
    with open(args.out / "tests.txt", "w", encoding="utf-8") as log, redirect_stdout(log):
        code = pytest.main(words, [Plugin()])
    if code not in (0, 1):
        raise RuntimeError(f"pytest ended with {code!r}: see tests.txt")


def precisions(device):
    """Each with what its settings are, in turns: (name, amp)."""
    for name in ("float32", "tf32", "bfloat16") if device.type == "cuda" else ("float32", "bfloat16"):
        use_tf32(name == "tf32")
        yield name, name == "bfloat16"
    use_tf32(False)


def speed(args, device, report):
    """Training steps and testing, in the release's way and in ours, and what a step launches."""
    batches, how = ((2, 4), {"runs": 1}) if args.small else ((16, 64, 256), {"runs": 5, "repeat": 10})
    for precision, amp in precisions(device):
        for batch in (1, *batches):
            about = {"precision": precision, "batch": batch}
            with report.attempt(f"testing, {precision}, batch {batch}"):
                took = in_turns(testing(batch, device, amp, amp), device, **how)
                report.add("Testing, ms", **about, **took, ratio=took["release"] / took["module"])
            if batch > 1:
                with report.attempt(f"training steps, {precision}, batch {batch}"):
                    steps = training(batch, device, amp, amp) | whole_steps(device, batch, amp=amp)
                    took = in_turns(steps, device, **how)
                    report.add("Training step, ms", **about, **took, ratio=took["release"] / took["ours"])
    for recipe in RECIPES:
        with report.attempt(f"kernels of a step of {recipe}"):
            for name, step in whole_steps(device, batches[1], recipe).items():
                took = in_turns({name: step}, device, **how)[name]
                row = {"recipe": recipe, "batch": batches[1], "step": name, "step_ms": took}
                report.add("A step's kernels, float32", **row, **profile(step, device, took))


def whole_steps(device, batch, recipe="paper", amp=False):
    """With sampling and augmentation: {"whole": a function}, and on a GPU also as a "graph"."""
    clips = make_clips(np.full(batch + 1, 85), KINECT_V2, CLASSES, 1, device)
    trainer = make_trainer(clips, batch_size=batch, amp=amp, recipe=RECIPES[recipe])
    trainer.net.train()
    steps = {"whole": trainer.train_step}
    if device.type == "cuda" and (graph := graph_step(trainer)):
        steps["graph"] = graph
    return {name: partial(step, trainer.train_ids) for name, step in steps.items()}


def profile(step, device, took):
    """The kernels of a step of `took` ms on a GPU, their time and what launched them; on a CPU there are none."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities if device.type == "cuda" else activities[:1]) as found:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    spans = ("Optimizer.", "ProfilerStep", "##")  # of time, which are no kernels
    on_card = [e for e in found.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    kernels = [e for e in on_card if not getattr(e, "is_user_annotation", False) and not e.name.startswith(spans)]
    launches = sum(re.match("cu(da)?(Launch|GraphLaunch)", e.name) is not None for e in found.events())
    took_kernels = sum(e.time_range.elapsed_us() for e in kernels) / 1e3
    return {"kernels": len(kernels), "launches": launches, "kernels_ms": took_kernels, "busy": took_kernels / took}


def epochs(args, device, report):
    """Two epochs of NTU60's size, lengths and persons, with the test after each, in the ways that a run can go."""
    clips, test = (400, 100) if args.small else NTU60
    rng, on_gpu = np.random.default_rng(0), device.type == "cuda"
    keep_freed_memory()
    clips = make_clips(lengths(rng, clips) * rng.choice([1, 2], clips, p=[0.8, 0.2]), KINECT_V2, CLASSES, test, device)
    graph, plain = ("paper", True), ("paper", False)
    ways = {"float32": [graph, plain], "tf32": [graph], "bfloat16": [graph, plain, ("plus", True)]}
    ways = ways if on_gpu else {"float32": [plain, ("plus", False)], "bfloat16": []}
    for precision, amp in precisions(device):
        for recipe, as_graph in ways[precision]:
            with report.attempt(f"epochs: {recipe}, {precision}, {'as a graph' if as_graph else 'step by step'}"):
                if on_gpu:
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats(device)
                times = [time.perf_counter()]
                trainer = make_trainer(clips, recipe=RECIPES[recipe], amp=amp, epochs=2)
                step = trainer.make_step() if as_graph else trainer.train_step
                for epoch in (1, 2):
                    trainer.train_epoch(step, epoch, SILENT)
                    trainer.evaluate(epoch)
                    times.append(time.perf_counter())
                first, second = (end - start for start, end in pairwise(times))
                row = {"recipe": recipe, "precision": precision, "graph": type(step).__name__ == "GraphedStep"}
                row |= {"first_s": first, "second_s": second, "run_s": first + (EPOCHS - 1) * second}
                row |= {"peak_gb": torch.cuda.max_memory_allocated(device) / 1e9} if on_gpu else {}
                report.add(f"Epochs of NTU60's size, each with its test; a run has {EPOCHS}", **row)


def nucla(args, device, report):
    """Three runs of the paper's recipe and of plus, side by side, and what a CPU gave for the same seeds."""
    for name, (flags, log) in NUCLA.items():
        with report.attempt(f"N-UCLA, {name}"), tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "NUCLA_CV.h5").symlink_to(args.nucla)
            command = [sys.executable, str(util.ROOT / "main.py"), "--dataset", "NUCLA", "--data", folder]
            command += ["--recipe", f"{name},test_samples=1" if args.small else name, *["--epochs", "1"] * args.small]
            command += [flag for flag in flags if flag != "--amp" or device.type != "cpu"]
            command += ["--device", args.device, "--results", folder, "--json", "--seeds", "3", "--jobs", "3"]
            start = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr[-300:])
            took, ours = time.perf_counter() - start, [run["last_top1"] for run in json.loads(done.stdout)["runs"]]
            texts = [(util.ROOT / "pretrained/NUCLA/logs" / log.format(n)).read_text("utf-8") for n in (1, 2, 3)]
            cpu = [float(re.search(r"last epoch \d+: top-1 ([\d.]+)%", text)[1]) for text in texts]
            here, there = (logs.with_spread(*logs.mean_and_std(values)) for values in (ours, cpu))
            report.add("N-UCLA, top-1 of the last epoch", recipe=name, device=here, cpu=there, seconds=took)


# ---- the page


def to_markdown(report):
    """The page of a report, {table: [rows]}: what was measured, and no more. Tests that passed are counted."""
    lines = ["# What a GPU shows"]
    for title, rows in report.items():
        shown = [row for row in rows if row.get("outcome") != "passed"]
        columns = list(dict.fromkeys(column for row in shown for column in row))
        cells = [columns, ["---"] * len(columns), *([form(row.get(column, "")) for column in columns] for row in shown)]
        lines += ["", f"## {title}", "", *[f"{len(rows) - len(shown)} passed", ""] * (title == "Tests")]
        lines += [f"| {' | '.join(row)} |" for row in cells] if shown else []
    return "\n".join([*lines, ""])


def form(value):
    return (f"{value:.3g}" if value < 100 else f"{value:.0f}") if isinstance(value, float) else str(value)


# ---- the program


def parse_args(argv=None):
    parser = program.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for gpu.json, gpu.md and tests.txt")
    add("--device", default="cuda", help="(%(default)s)")
    add("--nucla", type=Path, metavar="FILE", help="N-UCLA's h5, to train on")
    add("--small", action="store_true", help="sizes for a try of the check itself")
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="(all)")
    add("--part", choices=PARTS, help="run this part in this process, which is what the program itself does")
    args = parser.parse_args(argv)
    args.nucla = args.nucla and util.regular(args.nucla).resolve()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def run_part(name, words, path, seconds):
    """A part in a process of its own, ended with all that it started after so many seconds. Returns [table, row]s."""
    path.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, __file__, *words, "--part", name], start_new_session=True)
    try:
        code = process.wait(max(1, seconds))
        error = f"ended with exit code {code}" if code else None
    except subprocess.TimeoutExpired:
        error = f"not finished after {seconds:.0f} s"
    finally:
        with suppress(ProcessLookupError):  # and the processes that it started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    rows = [json.loads(line) for line in lines if line.endswith("]")]  # the last may be cut off
    return rows + ([["Not measured", {"what": name, "error": error}]] if error else [])


def main(argv=None):
    words = sys.argv[1:] if argv is None else argv
    args = parse_args(words)
    if args.part:
        report = Report(args.out / f"{args.part}.jsonl")
        with report.attempt(args.part):
            globals()[args.part](args, pick_device(args.device), report)
        return 0
    start, report = time.monotonic(), {}
    for name in PARTS:
        if name not in ("machine", *args.parts) or (name == "nucla" and not args.nucla):
            continue
        began = time.monotonic()
        for table, row in run_part(name, words, args.out / f"{name}.jsonl", start + PARTS[name] - began):
            report.setdefault(table, []).append(row)
        if "Machine" not in report:  # without a device there is nothing to show
            raise util.UserError(report["Not measured"][0]["error"].removeprefix("UserError: "))
        report.setdefault("Parts", []).append({"part": name, "seconds": time.monotonic() - began})
        logs.write_json(report, args.out / "gpu.json")
        with util.atomic_write(args.out / "gpu.md") as part:
            part.write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report), end="")
    failed = any(row.get("outcome") in ("failed", "error") for row in report.get("Tests", []))
    return int(failed or "Not measured" in report)


if __name__ == "__main__":
    with program.exit_on_error("--device to one with more memory"):
        sys.exit(main())
