"""Times SGN beside the release's formulation of it on this machine, or counts what SGN costs.

    python benchmarks/benchmark.py                          # under two minutes on two idle cores
    python benchmarks/benchmark.py --device cuda --json speed.json
    python benchmarks/benchmark.py --compile                # compiled networks too, some minutes
    python benchmarks/benchmark.py --busy 2                 # while two other processes keep a core busy each
    python benchmarks/benchmark.py --count                  # parameters and multiply-adds; no timing

"release" computes the same logits from the same weights in the way of the authors' release, in float32 (release.py).
A time is the median of --runs after a warm-up, the two ways in turns, so that a machine that slows down slows both;
batches of 256 are timed three times and the epoch once.
"""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from safe import program

if __name__ == "__main__":
    program.let_threads_sleep()

import numpy as np
import torch
from tqdm import tqdm

from clips.skeletons import KINECT_V1, KINECT_V2
from counting import count_products
from engine import distributed
from engine.config import PAPER, Config
from engine.folded import Folded
from engine.logs import provenance
from engine.timing import timed
from model import SGN
from release import Release, make_clips, release_batch
from train import Trainer, criterion, make_optimizer, predict_logits, try_compile

CLASSES, JOINTS, SEG, BATCH, LARGE = 60, 25, 20, 64, 256


# ---- timing


@contextmanager
def busy_processes(n):
    """Keeps a core busy with each of n processes while the block runs."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


class Row(NamedTuple):
    """Two functions to be timed."""

    what: str
    clips: int
    release: callable
    ours: callable
    runs: int | None = None  # None: --runs
    repeat: int = 1  # calls in one timing
    training: bool = False


def training_step(net, forward, x, y, amp=False, fused=True):
    """A function that takes a training step, as train.Trainer does; not fused: with PyTorch's default optimizer."""
    optimizer = (
        make_optimizer(net, 1e-3, 1e-4) if fused else torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-4)
    )

    def step(x=x, y=y):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
            logits = forward(x)
        optimizer.zero_grad(set_to_none=True)
        criterion(logits.float(), y).backward()
        optimizer.step()

    return step


def make_rows(device, compiled):
    """Yields the rows of the table, each when its turn comes, so that only one takes memory."""
    torch.manual_seed(0)
    x = torch.randn(LARGE, SEG, JOINTS * 3).to(device)
    y, net = torch.arange(BATCH, device=device) % CLASSES, SGN(CLASSES).to(device)
    release = training_step(net, Release(net, BATCH), x[:BATCH], y, fused=False)
    for amp in (False, True):
        what = "training step, --amp" if amp else "training step"
        ours = training_step(net, net, x[:BATCH], y, amp)
        yield Row(what, BATCH, release, ours, training=True)
        if compiled:
            other = SGN(CLASSES).to(device)
            try_compile(other, x[:BATCH], amp)
            ours = training_step(other, other, x[:BATCH], y, amp)
            yield Row(f"{what} --compile", BATCH, release, ours, training=True)

    net.eval()
    forms = {"the module": net, "folded": Folded(net), "folded, --amp": Folded(net, amp=True)}
    check_forms(net, forms, x[:BATCH])
    for form, n, repeat, runs in (
        ("the module", BATCH, 1, None),
        ("folded", BATCH, 1, None),
        ("folded", LARGE, 1, 3),
        ("folded, --amp", LARGE, 1, 3),
        ("folded", 1, 20, None),
    ):
        release, ours = (lambda f=f, part=x[:n]: f(part) for f in (Release(net, n), forms[form]))
        yield Row(f"testing, {form}", n, release, ours, runs, repeat)

    dense, clips = make_clips(np.full(BATCH, 85), KINECT_V2, CLASSES, 0, device)
    generator, ids = torch.Generator(device).manual_seed(0), torch.arange(BATCH, device=device)

    def sample():
        PAPER.augment(clips.sample(ids, generator), 0.3, generator)

    yield Row("sampling and augmenting", BATCH, lambda: release_batch(dense).to(device), sample, repeat=10)
    yield make_epoch(device)


@torch.no_grad()
def check_forms(net, forms, x):
    """Raises RuntimeError if they do not give the same logits: their times could not be compared."""
    logits = Release(net, len(x))(x)
    for name, form in forms.items():
        difference = (logits - form(x)).abs().max() / logits.abs().max()
        if not difference < (0.05 if "amp" in name else 1e-4):
            raise RuntimeError(f"{name} and the release's formulation differ by {difference}")


def make_epoch(device):
    """A training epoch on 1,020 clips and the test of 464 after it, in the size of N-UCLA."""
    train, test = 1020, 464
    lengths = np.random.default_rng(0).lognormal(3.6, 0.6, train + test).astype(np.int64).clip(20, 201)
    dense, clips = make_clips(lengths, KINECT_V1, CLASSES, test, device)
    trainer = Trainer(Config(theta=0.5, seg=SEG, num_classes=CLASSES), clips, Path())
    net = SGN(CLASSES, clips.joints).to(device)
    forward = {n: Release(net, n) for n in (BATCH, test % BATCH)}
    step = training_step(net, forward[BATCH], None, None, fused=False)

    def release():
        net.train()
        for ids in np.random.permutation(train)[: train // BATCH * BATCH].reshape(-1, BATCH):
            x = release_batch(dense[ids]).to(device)
            step(PAPER.augment(x, 0.5, trainer.generator), clips.label[ids])
        net.eval()
        with torch.no_grad():
            for i in range(train, train + test, BATCH):
                x = release_batch(dense[i : i + BATCH]).to(device)
                forward[len(x)](x)

    def ours():
        trainer.train_epoch(trainer.net, 1, tqdm(disable=True))
        predict_logits(trainer.net, clips, trainer.eval_ids, trainer.generator)

    return Row("an epoch of N-UCLA's size", train + test, release, ours, runs=1, training=True)


def time_row(row, runs, device):
    """The median seconds of the release's way, with the system's handling of memory, and of ours."""

    def repeat(function, keep):
        util.keep_freed_memory(keep)
        for _ in range(row.repeat):
            function()

    functions = (lambda: repeat(row.release, False), lambda: repeat(row.ours, True))
    with torch.inference_mode(mode=not row.training):
        seconds = timed(functions, row.runs or runs, device, warm_up=row.runs != 1)
    return [value / row.repeat for value in seconds]


def print_table(device, runs, compiled):
    """Prints the table row by row, and returns its rows as dicts."""
    print(f"{'':32}{'clips':>6}{'release ms':>12}{'ours ms':>10}{'ratio':>7}{'clips/s':>9}")
    rows = []
    for row in make_rows(device, compiled):
        release, ours = time_row(row, runs, device)
        line = f"{row.what:32}{row.clips:6}{1e3 * release:12.2f}{1e3 * ours:10.2f}{release / ours:7.2f}"
        print(f"{line}{row.clips / ours:9.0f}", flush=True)
        rows.append({"what": row.what, "clips": row.clips, "release_s": release, "ours_s": ours})
    return rows


def main(argv=None):
    parser = util.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--device", help="cpu, cuda, ... (cuda if there is a GPU, else cpu)")
    add("--runs", type=util.positive_int, default=5, help="timings, of which the median is taken (%(default)s)")
    add("--compile", action="store_true", help="time compiled networks too")
    add("--busy", type=int, choices=range(65), default=0, metavar="N", help="processes beside, 0 to 64 (%(default)s)")
    add("--count", action="store_true", help="count parameters and multiply-adds, without timing")
    add("--json", type=Path, help="file for the same numbers")
    args = parser.parse_args(argv)
    if args.count:
        result = {"products": count_products(SGN(CLASSES).eval())}
    else:
        device = distributed.pick_device(args.device)
        about = provenance("benchmarks/benchmark.py", device, runs=args.runs, busy=args.busy)
        print(", ".join(f"{key}: {value}" for key, value in about.items() if key != "command"))
        with busy_processes(args.busy):
            result = {"about": about, "rows": print_table(device, args.runs, args.compile)}
    if args.json:
        with util.atomic_write(args.json) as part:
            part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with program.exit_on_error("the load of this machine"):
        main()
