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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from safe import program

# Seconds from the start by which each part ends. What one leaves over, the next may use
PARTS = {"machine": 30, "tests": 190, "speed": 275, "epochs": 375, "nucla": 475}
PRECISIONS = ("float32", "tf32", "bfloat16")
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
    import platform

    import torch

    from engine import distributed
    from engine.logs import provenance

    device = distributed.pick_device(args.device)
    about = provenance("benchmarks/gpu.py", device, device=device, python=platform.python_version())
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        about |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        about |= {"memory": f"{card.total_memory / 2**30:.0f} GiB", "capability": f"{card.major}.{card.minor}"}
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
    process = subprocess.Popen(
        command, cwd=util.ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with open(args.out / "tests.txt", "w", encoding="utf-8") as log:
        for line in process.stdout:
            print(line, end="", file=log, flush=True)
            if found := re.match(r"(tests/\S+?::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", line):
                report.add("tests", name=found[1], outcome=found[2].lower())
            elif found := re.match(r"(?:FAILED|ERROR) (tests/.+?) - (.*)", line):
                report.add("reasons", name=found[1], reason=util.shorten(found[2], 300))
    if (code := process.wait()) not in (0, 1):
        report.add("errors", what="tests", error=f"pytest ended with {code}: see tests.txt")


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
    on_gpu, batches = device.type == "cuda", (2, 4) if args.small else (16, 64, 256)
    runs, repeat = (1, 1) if args.small else (5, 10)

    def milliseconds(functions):
        repeated = [lambda f=f: [f() for _ in range(repeat)] for f in functions.values()]
        seconds = timed(repeated, runs, device)
        return {name: 1e3 * value / repeat for name, value in zip(functions, seconds, strict=True)}

    def make(batch, recipe="paper", amp=False):
        _, clips = make_clips(np.full(batch + 1, 85), KINECT_V2, CLASSES, 1, device)
        trainer = make_trainer(clips, args.out, batch_size=batch, amp=amp, recipe=RECIPES[recipe])
        trainer.net.train()
        return trainer, partial(trainer.train_step, trainer.net, trainer.train_ids)

    def graph(trainer):
        step = graphed.graph_step(trainer, trainer.net) if on_gpu else None
        return {"graph": partial(step, trainer.train_ids)} if step else {}

    def settle(precision, batch):
        distributed.use_tf32(precision == "tf32")
        torch.manual_seed(0)
        return precision == "bfloat16", torch.randn(batch, 20, 75).to(device)

    ways = [precision for precision in PRECISIONS if on_gpu or precision != "tf32"]
    for precision in ways:
        for batch in batches:
            with report.attempt(f"training steps, {precision}, batch {batch}"):
                amp, x = settle(precision, batch)
                y, net = torch.arange(batch, device=device) % CLASSES, SGN(CLASSES).to(device)
                trainer, whole = make(batch, amp=amp)
                functions = {
                    "release": training_step(net, Release(net, batch), x, y, amp, fused=False),
                    "ours": training_step(net, net, x, y, amp),
                    "whole": whole,
                } | graph(trainer)
                report.add("steps", precision=precision, batch=batch, **milliseconds(functions))
    for precision in ways:
        for batch in (1, *batches):
            with report.attempt(f"testing, {precision}, batch {batch}"), torch.inference_mode():
                amp, x = settle(precision, batch)
                net = SGN(CLASSES).to(device).eval()
                forms = {"release": Release(net, batch), "ours": net, "folded": Folded(net, amp)}

                def test(form, x=x, amp=amp):
                    with torch.autocast(device.type, torch.bfloat16, enabled=amp and not isinstance(form, Folded)):
                        form(x)

                functions = {name: partial(test, form) for name, form in forms.items()}
                report.add("testing", precision=precision, batch=batch, **milliseconds(functions))
    for recipe in RECIPES:
        with report.attempt(f"kernels of a step of {recipe}"):
            settle("float32", 1)
            trainer, whole = make(batches[1], recipe)
            for name, step in ({"plain": whole} | graph(trainer)).items():
                took = milliseconds({name: step})[name]
                row = profile(step, device, repeat)
                report.add("kernels", recipe=recipe, batch=batches[1], step=name, step_ms=took, **row)


def profile(step, device, repeat):
    """What a step computes: on a GPU its kernels, their time and what launched them, on a CPU its operations."""
    import torch
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity

    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with torch.profiler.profile(activities=kinds) as found:
        for _ in range(repeat):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    events = found.events()
    if device.type != "cuda":
        leaves = [event for event in events if event.name.startswith("aten::") and not event.cpu_children]
        return {"operations": len(leaves) / repeat}
    named = ("Optimizer.", "ProfilerStep", "##")  # spans of time, which are no kernels
    kernels = [
        event
        for event in events
        if event.device_type == DeviceType.CUDA
        and not getattr(event, "is_user_annotation", False)
        and not event.name.startswith(named)
    ]
    launches = [event for event in events if re.match("cu(da)?(Launch|GraphLaunch)", event.name)]
    busy = sum(event.time_range.elapsed_us() for event in kernels) / 1e3 / repeat
    return {"kernels": len(kernels) / repeat, "launches": len(launches) / repeat, "kernels_ms": busy}


def make_trainer(clips, folder, kind=None, **settings):
    from engine.config import Config
    from train import Trainer

    settings = {"theta": 0.3, "seg": 20, "num_classes": CLASSES} | settings
    return (kind or Trainer)(Config(**settings), clips, folder)


def epochs(args, report):
    """Two epochs of NTU60's size, with the test after each, in the ways that a run can go."""
    import torch

    from engine import distributed, graphed
    from engine.config import RECIPES
    from train import Trainer

    device = distributed.pick_device(args.device)
    on_gpu, is_wanted = device.type == "cuda", graphed.is_wanted
    distributed.keep_freed_memory()
    with report.attempt("made-up clips"):
        clips = made_up_clips(400 if args.small else NTU60[0], device)
        report.add("clips", clips=len(clips.label), frames=len(clips.frames), bytes=clips.frames.nbytes)

    class Timed(Trainer):
        def save_epoch(self, *args, **kwargs):
            super().save_epoch(*args, **kwargs)
            ends.append(time.perf_counter())

    ways = [("paper", precision, True) for precision in PRECISIONS] + [("plus", "bfloat16", True)]
    ways += [("paper", "float32", False), ("paper", "bfloat16", False)]
    if not on_gpu:
        ways = [("paper", "float32", False), ("plus", "float32", False)]
    for recipe, precision, as_graph in ways:
        what = f"{recipe}, {precision}, {'as a graph' if as_graph else 'step by step'}"
        with report.attempt(f"epochs: {what}"), tempfile.TemporaryDirectory() as folder:
            graphed.is_wanted = is_wanted if as_graph else lambda *_: False
            distributed.use_tf32(precision == "tf32")
            if on_gpu:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
            settings = {"recipe": RECIPES[recipe], "amp": precision == "bfloat16", "epochs": 2}
            ends, start = [], time.perf_counter()
            trainer = make_trainer(clips, Path(folder), Timed, **settings)
            trainer.train()
            first, second = ends[0] - start, ends[1] - ends[0]
            row = {"first_s": first, "second_s": second, "run_s": first + (EPOCHS - 1) * second}
            if on_gpu:
                row["peak_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
            got_graph = trainer.graphed is not None
            report.add("epochs", recipe=recipe, precision=precision, graph=got_graph, wanted=as_graph, **row)
            del trainer


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
    header = (25, 2, tuple(map(str, range(CLASSES))), "made up", "x, y, z", KINECT_V2, "")
    label = torch.arange(n, device=device) % CLASSES
    return Clips(frames, length.cumsum(0) - length, length, label, splits, *header)


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


def to_markdown(report):
    """The page of a report, {table: [rows]}."""
    about = report.get("about", [{}])[0]
    lines = [f"# {about.get('hardware', 'No device')}", ""]
    lines += [f"- {key}: {value}" for key, value in about.items() if key != "hardware"]
    tests, reasons = report.get("tests", []), {row["name"]: row["reason"] for row in report.get("reasons", [])}
    if tests:
        counts = {outcome: sum(row["outcome"] == outcome for row in tests) for outcome in {r["outcome"] for r in tests}}
        lines += ["", "## Tests", "", ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items()))]
        failed = [row["name"] for row in tests if row["outcome"] in ("failed", "error")]
        lines += [""] * bool(failed) + [f"- `{name}`: {reasons.get(name, 'see tests.txt')}" for name in failed]
    if errors := report.get("errors"):
        lines += ["", "## Not measured", "", *(f"- {row['what']}: {row['error']}" for row in errors)]
    times = ("release", "ours", "whole", "graph")
    lines += section(
        "Training step, ms",
        "`release` and `ours`: network, loss and optimizer in the release's way and in ours, of equal precision. "
        "`whole`: ours, with sampling and augmentation. `graph`: the same as one CUDA graph.",
        report.get("steps"),
        ("precision", "batch", *times),
        {"release / ours": ("release", "ours"), "whole / graph": ("whole", "graph")},
    )
    lines += section(
        "Testing, ms",
        "`ours`: model.py. `folded`: the form for deployment.",
        report.get("testing"),
        ("precision", "batch", "release", "ours", "folded"),
        {"release / ours": ("release", "ours")},
    )
    rows = [
        row | {"launch share": 1 - row["kernels_ms"] / row["step_ms"]} if "kernels_ms" in row else row
        for row in report.get("kernels", [])
    ]
    lines += section(
        "A step's kernels, float32",
        "`launch share`: the part of a step's time in which no kernel runs.",
        rows,
        ("recipe", "batch", "step", "step_ms", "operations", "kernels", "launches", "kernels_ms", "launch share"),
    )
    clips = report.get("clips", [{}])[0]
    rows = [row | {"120 epochs, minutes": row["run_s"] / 60} for row in report.get("epochs", [])]
    lines += section(
        "Epochs of NTU60's size",
        f"{clips.get('clips', 0):,} made-up clips, {clips.get('frames', 0):,} frames, batch 64; each epoch trains and "
        "tests. The first has the capture of the graph.",
        rows,
        ("recipe", "precision", "graph", "first_s", "second_s", "120 epochs, minutes", "peak_gb"),
    )
    rows = [
        {"recipe": row["recipe"], "seconds": row["seconds"], "here": spread(row["device"]), "CPU": spread(row["cpu"])}
        for row in report.get("nucla", [])
    ]
    text = f"Top-1 of the last epoch, seeds {SEEDS[0]} to {SEEDS[-1]} with `--jobs {len(SEEDS)}`."
    lines += section("N-UCLA", text, rows, ("recipe", "here", "CPU", "seconds"))
    parts = ", ".join(f"{row['part']} {row['seconds']:.0f}" for row in report.get("parts", []))
    return "\n".join([*lines, "", f"Seconds: {parts}.", ""])


def section(title, text, rows, columns, ratios=None):
    """A table of rows, without the columns that none has. ratios: {column: (key, key)}."""
    if not rows:
        return []
    for name, (above, below) in (ratios or {}).items():
        rows = [row | {name: row[above] / row[below]} if {above, below} <= row.keys() else row for row in rows]
    columns = [column for column in (*columns, *(ratios or ())) if any(column in row for row in rows)]
    cells = [[form(row.get(column, "")) for column in columns] for row in rows]
    table = [columns, ["---"] * len(columns), *cells]
    return ["", f"## {title}", "", text, "", *(f"| {' | '.join(line)} |" for line in table)]


def form(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if value < 100 else f"{value:.0f}"
    return str(value)


def spread(values):
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


# ---- the program


def parse_args(argv=None):
    parser = util.ArgumentParser(description=__doc__)
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
