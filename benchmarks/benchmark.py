"""Times SGN beside the release's formulation of it on this machine, or counts what SGN costs.

    python benchmarks/benchmark.py                          # under two minutes on two idle cores
    python benchmarks/benchmark.py --device cuda --json speed.json
    python benchmarks/benchmark.py --compile                # compiled networks too, some minutes
    python benchmarks/benchmark.py --count                  # parameters and multiply-adds; no timing

"release" computes the same logits from the same weights in the way of the authors' release, in float32 (release.py).
A time is the median of --runs after a warm-up, the two ways in turns, so that a machine that slows down slows both;
batches of 256 are timed three times and the epoch once.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from safe import arguments, program

if __name__ == "__main__":
    program.let_threads_sleep()

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from clips.skeletons import KINECT_V1, KINECT_V2
from data import augment
from engine import distributed
from engine.accelerate import try_compile
from engine.config import PAPER, Config
from engine.folded import Folded
from engine.logs import provenance
from engine.timing import timed
from model import SGN
from release import Release, make_clips, release_batch
from train import Trainer, criterion, make_optimizer, predict_logits

CLASSES, JOINTS, SEG, BATCH, LARGE = 60, 25, 20, 64, 256
PARAMETERS = {60: 691_048, 120: 721_828}  # of the release's network, by classes
GMAC = 0.17  # a clip, without the products that make and use G


# ---- counting


@torch.no_grad()
def count_products(net):
    """Prints parameters and multiply-adds (of matrix products and convolutions). Returns them as dicts.

    Raises UserError if the release's formulation does not have the published numbers.
    """
    print(f"{'':28}{'parameters':>12}{'GMAC, one clip':>16}{'a clip of 64':>14}{'without G':>11}")
    parameters, folded = sum(p.numel() for p in net.parameters()), Folded(net)
    rows = []
    for name, form, number in (
        ("the release's formulation", lambda clips: Release(net, clips), parameters),
        ("the module", lambda clips: net, parameters),
        ("the folded form", lambda clips: folded, sum(buffer.numel() for buffer in folded.buffers())),
    ):
        row = {"form": name, "parameters": number, "gmac": {}, "gmac_without_graph": {}}
        for clips in (1, BATCH):
            network = form(clips)
            with FlopCounterMode(display=False) as counter:
                network(torch.zeros(clips, net.seg, 3 * net.num_joint))
            flops = {str(op).split(".")[-1]: value for op, value in counter.get_flop_counts()["Global"].items()}
            of_graph = flops.get("bmm", 0) + flops.get("baddbmm", 0)
            row["gmac"][clips] = sum(flops.values()) / 2e9 / clips
            row["gmac_without_graph"][clips] = row["gmac"][clips] - of_graph / 2e9 / clips
        cells = row["gmac"][1], row["gmac"][BATCH], row["gmac_without_graph"][BATCH]
        print(f"{name:28}{number:12,}{cells[0]:16.4f}{cells[1]:14.4f}{cells[2]:11.4f}")
        rows.append(row)
    counts = {classes: sum(p.numel() for p in SGN(classes).parameters()) for classes in PARAMETERS}
    if counts != PARAMETERS or round(rows[0]["gmac_without_graph"][1], 2) != GMAC:
        raise util.UserError(f"not the published numbers: {PARAMETERS} parameters by classes, {GMAC} GMAC a clip")
    print(f"as published: {counts[60]:,} parameters with 60 classes, {counts[120]:,} with 120; {GMAC} GMAC without G")
    return rows


# ---- timing


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
    forms = {"the module": net, "folded": Folded(net), "folded, --amp": Folded(net, torch.bfloat16)}
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
    rng, ids = torch.Generator(device).manual_seed(0), torch.arange(BATCH, device=device)

    def sample():
        augment(clips.sample(ids, rng), PAPER, 0.3, rng)

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
    trainer = Trainer(Config(theta=0.5, seg=SEG, num_classes=CLASSES), clips)
    net = SGN(CLASSES, clips.joints).to(device)
    forward = {n: Release(net, n) for n in (BATCH, test % BATCH)}
    step = training_step(net, forward[BATCH], None, None, fused=False)

    def release():
        net.train()
        for ids in np.random.permutation(train)[: train // BATCH * BATCH].reshape(-1, BATCH):
            x = release_batch(dense[ids]).to(device)
            step(augment(x, PAPER, 0.5, trainer.rng), clips.label[ids])
        net.eval()
        with torch.no_grad():
            for i in range(train, train + test, BATCH):
                x = release_batch(dense[i : i + BATCH]).to(device)
                forward[len(x)](x)

    def ours():
        trainer.net.train()
        for batch in trainer.train_ids[torch.randperm(train)[: train // BATCH * BATCH]].split(BATCH):
            trainer.train_step(trainer.net, batch)
        predict_logits(trainer.net, clips, trainer.eval_ids, PAPER, 0, 1)

    return Row("an epoch of N-UCLA's size", train + test, release, ours, runs=1, training=True)


def time_row(row, runs, device):
    """The median seconds of the release's way, with the system's handling of memory, and of ours."""

    def call(function, keep):
        distributed.keep_freed_memory(keep)
        function()

    functions = (lambda: call(row.release, False), lambda: call(row.ours, True))
    with torch.inference_mode(mode=not row.training):
        return timed(functions, row.runs or runs, device, row.runs != 1, row.repeat)


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
    parser = arguments.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--device", help="cpu, cuda, ... (cuda if there is a GPU, else cpu)")
    add("--runs", type=arguments.positive_int, default=5, help="timings, of which the median is taken (%(default)s)")
    add("--compile", action="store_true", help="time compiled networks too")
    add("--count", action="store_true", help="count parameters and multiply-adds, without timing")
    add("--json", type=Path, help="file for the same numbers")
    args = parser.parse_args(argv)
    if args.count:
        result = {"products": count_products(SGN(CLASSES).eval())}
    else:
        device = distributed.pick_device(args.device)
        about = provenance("benchmarks/benchmark.py", device, runs=args.runs)
        print(", ".join(f"{key}: {value}" for key, value in about.items() if key != "command"))
        result = {"about": about, "rows": print_table(device, args.runs, args.compile)}
    if args.json:
        with util.atomic_write(args.json) as part:
            part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with program.exit_on_error("the load of this machine"):
        main()
