"""All that a GPU has to show, in one command of at most eight minutes.

    python benchmarks/gpu.py --out DIR                          # writes DIR/gpu.json and a page, DIR/gpu.md
    python benchmarks/gpu.py --out DIR --nucla NUCLA_CV.h5      # trains on N-UCLA as well
    python benchmarks/gpu.py --out DIR --device cpu --small     # tries the check itself, where there is no GPU

Needs torch, numpy, h5py, scikit-learn, tqdm and pytest. What fails, and what there was no time for, is in the report,
and the next measurement starts. Exit code 1 if there is any.
"""

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from benchmark import CLASSES, SEG, in_turns, testing, training
from engine import logs
from engine.config import RECIPES, Config
from engine.device import keep_freed_memory, pick_device, use_tf32
from engine.graphed import graph_step
from engine.logs import provenance
from make_ntu_like import lengths, make_clips
from safe.program import ArgumentParser, exit_on_error
from train import Trainer
from util import ROOT, atomic_write, regular, shorten

SECONDS, OF_TESTS = 475, 180  # for all, and for the tests
NTU60 = 56_578, 16_487  # clips; those for testing of cross-subject
EPOCHS = 120  # of a whole run
# The commands of pretrained/results.csv that part nucla repeats, whose last rows have what a CPU gave
NUCLA = ["main.py --dataset NUCLA", "main.py --dataset NUCLA --recipe plus -b 16 --amp --select last"]
SILENT = SimpleNamespace(show=lambda *_: None, step=lambda: None)  # a Progress


# ---- the parts: each yields what it measures, and a function that yields rows of tables, (table, row)


def run_tests(args):
    """Each test that fails, and how many do not; also of tests that are stopped when their time is over."""
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-v", "--tb=short"]
    command += ["-m", "device", "--device", args.device, *["-k", "golden or by_hand or flipped"] * args.small]
    log, environment = args.out / "tests.txt", os.environ | {"TQDM_DISABLE": "1"}
    try:
        with open(log, "w", encoding="utf-8") as file:
            about = {"stdout": file, "stderr": subprocess.STDOUT, "cwd": ROOT, "env": environment}
            subprocess.run(command, check=True, timeout=OF_TESTS, **about)
    finally:
        text = log.read_text(encoding="utf-8")
        outcomes = re.findall(r"^(\S+::.*?) (PASSED|SKIPPED|FAILED|ERROR)\b", text, re.M)
        reasons = dict(re.findall(r"^(?:FAILED|ERROR) (\S+::.*?) - (.*)", text, re.M))
        failed = [test for test, outcome in outcomes if outcome in ("FAILED", "ERROR")]
        yield from (("Tests", {"test": test, "outcome": "failed", "why": reasons.get(test, "")}) for test in failed)
        yield "Tests", {"test": "all others", "outcome": f"{len(outcomes) - len(failed)} passed or skipped"}


def precisions(device):
    """Each with what its settings are, in turns: (name, amp)."""
    for name in ("float32", "tf32", "bfloat16") if device.type == "cuda" else ("float32", "bfloat16"):
        use_tf32(name == "tf32")
        yield name, name == "bfloat16"
    use_tf32(False)


def make_trainer(clips, recipe, **settings):
    about = {"theta": 0.3, "seg": SEG, "num_classes": CLASSES, "recipe": RECIPES[recipe]}
    return Trainer(Config(**about, **settings), clips)


def speed(args, device):
    """Testing and training steps, in the release's way and in ours, and what a step launches."""
    batches, how = ((2, 4), {"runs": 1}) if args.small else ((16, 64, 256), {"runs": 5, "repeat": 10})
    for precision, amp in precisions(device):
        for batch in batches:
            yield f"{precision}, batch {batch}", partial(time_batch, device, precision, amp, batch, how)
    for recipe in RECIPES:
        yield f"kernels of a step of {recipe}", partial(count_kernels, device, recipe, batches[1], how)


def time_batch(device, precision, amp, batch, how):
    about = {"precision": precision, "batch": batch}
    took = in_turns(testing(batch, device, amp, amp), device, **how)
    yield "Testing, ms", about | took | {"ratio": took["release"] / took["module"]}
    took = in_turns(training(batch, device, amp, amp) | whole_steps(device, batch, amp=amp), device, **how)
    yield "Training step, ms", about | took | {"ratio": took["release"] / took["ours"]}


def count_kernels(device, recipe, batch, how):
    """Of a step of each form: kernels on a GPU, what launched them, and the share of the step that they take."""
    for name, step in whole_steps(device, batch, recipe).items():
        took = in_turns({name: step}, device, **how)[name]
        with torch.profiler.profile() as found:
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        kernels = [e for e in found.events() if e.device_type.name == "CUDA" and not e.is_user_annotation]
        launches = sum(re.match("cu(da)?(Launch|GraphLaunch)", event.name) is not None for event in found.events())
        busy = sum(event.time_range.elapsed_us() for event in kernels) / 1e3
        row = {"recipe": recipe, "batch": batch, "step": name, "step_ms": took, "kernels": len(kernels)}
        yield "A step's kernels, float32", row | {"launches": launches, "kernels_ms": busy, "busy": busy / took}


def whole_steps(device, batch, recipe="paper", amp=False):
    """With sampling and augmentation: {"whole": a function}, and on a GPU also as a "graph"."""
    clips = make_clips(np.full(batch + 1, 85), 1, device)
    trainer = make_trainer(clips, recipe, batch_size=batch, amp=amp)
    trainer.net.train()
    steps = {"whole": trainer.train_step}
    if device.type == "cuda" and (graph := graph_step(trainer)):
        steps["graph"] = graph
    return {name: partial(step, trainer.train_ids) for name, step in steps.items()}


def epochs(args, device):
    """Two epochs of NTU60's size, lengths and persons, with the test after each, as main.py trains."""
    keep_freed_memory()
    for precision, amp in precisions(device):
        for recipe in RECIPES if device.type == "cuda" or not amp else ():  # most CPUs take ten times as long
            yield f"epochs of {recipe}, {precision}", partial(two_epochs, args, device, recipe, precision, amp)


def two_epochs(args, device, recipe, precision, amp):
    rng, (clips, test) = np.random.default_rng(0), (400, 100) if args.small else NTU60
    clips = make_clips(lengths(rng, clips) * rng.choice([1, 2], clips, p=[0.8, 0.2]), test, device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    times = [time.perf_counter()]
    trainer = make_trainer(clips, recipe, amp=amp, epochs=2)
    step = trainer.make_step()
    for epoch in (1, 2):
        trainer.train_epoch(step, epoch, SILENT)
        trainer.evaluate(epoch)
        times.append(time.perf_counter())
    first, second = (end - start for start, end in pairwise(times))
    row = {"recipe": recipe, "precision": precision, "graph": type(step).__name__ == "GraphedStep"}
    row |= {"first_s": first, "second_s": second, "run_s": first + (EPOCHS - 1) * second}
    row |= {"peak_gb": torch.cuda.max_memory_allocated() / 1e9} if device.type == "cuda" else {}
    yield f"Epochs of NTU60's size, each with its test; a run has {EPOCHS}", row


def nucla(args, device):
    """Three runs of the paper's recipe and of plus, side by side, and what a CPU gave."""
    for command in NUCLA if args.nucla else ():
        yield command, partial(train_on_nucla, args, device, command)


def train_on_nucla(args, device, command):
    start, words = time.monotonic(), [word for word in command.split()[1:] if word != "--amp" or device.type != "cpu"]
    words += ["--device", args.device, "--json", "--seeds", "3", "--jobs", "3", *["--epochs", "1"] * args.small]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "NUCLA_CV.h5").symlink_to(args.nucla)
        words = [sys.executable, ROOT / "main.py", *words, "--data", folder, "--results", folder]
        done = subprocess.run(words, capture_output=True, text=True, timeout=max(1, args.end - start))
    if done.returncode:
        raise RuntimeError(done.stderr[-300:])
    result, took = json.loads(done.stdout), time.monotonic() - start
    with open(ROOT / "pretrained/results.csv", newline="", encoding="utf-8") as file:
        on_cpu = {row["command"]: row["last"] for row in csv.DictReader(file)}
    here = logs.with_spread(result["last_top1_mean"], result["last_top1_std"])
    yield "N-UCLA, top-1", {"command": command, "device": here, "cpu": on_cpu[command], "seconds": took}


# ---- the program


def to_markdown(report):
    """The page of a report, {table: [rows]}."""
    lines = ["# What a GPU shows"]
    for title, rows in report.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        cells = [columns, ["---"] * len(columns)]
        for row in rows:
            values = (row.get(column, "") for column in columns)
            cells.append([f"{value:.4g}" if isinstance(value, float) else str(value) for value in values])
        lines += ["", f"## {title}", "", *(f"| {' | '.join(row)} |" for row in cells)]
    return "\n".join([*lines, ""])


def parse_args(argv=None):
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for gpu.json, gpu.md and tests.txt")
    add("--device", default="cuda", help="(%(default)s)")
    add("--nucla", type=Path, metavar="FILE", help="N-UCLA's h5, to train on")
    add("--small", action="store_true", help="sizes for a try of the check itself")
    return parser.parse_args(argv)


def main(argv=None, parts=(speed, epochs, nucla)):
    """Returns the exit code."""
    args, start = parse_args(argv), time.monotonic()
    device, args.end = pick_device(args.device), start + SECONDS
    args.nucla = args.nucla and regular(args.nucla).resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    about = provenance("benchmarks/gpu.py", device, device=device, cuda=torch.version.cuda)
    report = {"Machine": [{"what": what, "value": value} for what, value in about.items()]}
    tests = [("the tests marked `device`", partial(run_tests, args))]
    for what, measure in chain(tests, *(part(args, device) for part in parts)):
        print(f"{time.monotonic() - start:3.0f} s: {what}", file=sys.stderr, flush=True)
        try:
            if time.monotonic() > args.end:
                raise TimeoutError("no time was left")
            for table, row in measure():
                report.setdefault(table, []).append(row)
        except Exception as error:
            why = shorten(f"{type(error).__name__}: {error}", 300)
            report.setdefault("Failed", []).append({"what": what, "why": why})
        logs.write_json(report, args.out / "gpu.json")
        with atomic_write(args.out / "gpu.md") as part:
            part.write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report), end="")
    return int("Failed" in report)


if __name__ == "__main__":
    with exit_on_error("--device to one with more memory"):
        sys.exit(main())
