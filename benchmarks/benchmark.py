"""Times SGN beside the release's formulation of it on this machine, or counts what SGN costs.

    python benchmarks/benchmark.py                          # under two minutes on two idle cores
    python benchmarks/benchmark.py --device cuda --json speed.json
    python benchmarks/benchmark.py --count                  # parameters and multiply-adds; no timing

"release" computes the same logits from the same weights in the way of the authors' release, in float32 (release.py).
A time is the median of --runs after a warm-up, the two ways in turns, so that a machine that slows down slows both;
batches of 256 are timed at most three times and the epoch once.
"""

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from safe import program

if __name__ == "__main__":
    program.let_threads_sleep()

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from clips.skeletons import KINECT_V1, KINECT_V2
from data import augment
from engine import logs
from engine.config import PAPER, Config
from engine.device import keep_freed_memory, pick_device, timed
from engine.folded import Folded
from engine.logs import provenance
from model import SGN
from release import Release, make_clips, make_dense, release_batch
from train import Trainer, criterion, make_optimizer

CLASSES, JOINTS, SEG, BATCH = 60, 25, 20, 64
SILENT = SimpleNamespace(show=lambda *_: None, step=lambda: None)  # a Progress
COUNTED = ("parameters", "GMAC, one clip", "in a batch of 64", "without the products with G")


@torch.no_grad()
def count_products(net):
    """Parameters, and multiply-adds of matrix products and convolutions: {form: the numbers that COUNTED names}."""
    folded, counts = Folded(net), {}
    for name, form, values in (
        ("the release's formulation", partial(Release, net), net.parameters()),
        ("the module", lambda clips: net, net.parameters()),
        ("the folded form", lambda clips: folded, folded.buffers()),
    ):
        gmac = []
        for clips in (1, BATCH):
            network = form(clips)
            with FlopCounterMode(display=False) as counter:
                network(torch.zeros(clips, net.seg, 3 * net.num_joint))
            flops = {str(op).split(".")[-1]: n / 2e9 / clips for op, n in counter.get_flop_counts()["Global"].items()}
            gmac.append(sum(flops.values()))
        without = gmac[-1] - flops.get("bmm", 0) - flops.get("baddbmm", 0)
        counts[name] = sum(value.numel() for value in values), *gmac, without
    return counts


# ---- what is timed: {name: function}, of which "release" is the release's way


def in_turns(ways, device, runs=5, repeat=1):
    """The median milliseconds of each function, called in turns. repeat: calls in one timing."""

    def call(name, function):
        keep_freed_memory(name != "release")
        function()

    seconds = timed([partial(call, *way) for way in ways.items()], runs, device, runs > 1, repeat)
    return {name: 1e3 * value for name, value in zip(ways, seconds, strict=True)}


def step_of(net, forward, x, y, amp=False, fused=True):
    """A function that takes a training step, as train.Trainer does; not fused: with PyTorch's default optimizer."""
    adam = torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-4)
    optimizer = make_optimizer(net, 1e-3, 1e-4) if fused else adam

    def step(x=x, y=y):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
            logits = forward(x)
        optimizer.zero_grad(set_to_none=True)
        criterion(logits.float(), y).backward()
        optimizer.step()

    return step


def training(batch, device, amp=False, release_amp=False):
    """Training steps on a batch of clips."""
    torch.manual_seed(0)
    x, y = torch.randn(batch, SEG, 3 * JOINTS).to(device), torch.arange(batch, device=device) % CLASSES
    net, ours = SGN(CLASSES).to(device), SGN(CLASSES).to(device)
    release = step_of(net, Release(net, batch), x, y, release_amp, fused=False)
    return {"release": release, "ours": step_of(ours, ours, x, y, amp)}


def testing(batch, device, amp=False, release_amp=False):
    """Testing of a batch of clips, by the module and the folded form. Raises RuntimeError if their logits differ."""
    torch.manual_seed(0)
    x, net = torch.randn(batch, SEG, 3 * JOINTS).to(device), SGN(CLASSES).to(device).eval()

    @torch.inference_mode()
    def forward(form, amp):
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            return form(x).float()

    release, folded = Release(net, batch), Folded(net, torch.bfloat16 if amp else None)
    ways = {"release": partial(forward, release, release_amp), "module": partial(forward, net, amp)}
    ways["folded"] = partial(forward, folded, False)
    expected = forward(release, False)
    for name, way in ways.items():
        difference = (way() - expected).abs().max() / expected.abs().max()
        if not difference < (0.05 if amp or torch.backends.cuda.matmul.allow_tf32 else 1e-4):
            raise RuntimeError(f"{name} and the release's formulation differ by {difference}")
    return ways


def make_trainer(clips, **settings):
    return Trainer(Config(**{"theta": 0.3, "seg": SEG, "num_classes": CLASSES} | settings), clips)


def sampling(device):
    clips = make_clips(np.full(BATCH, 85), KINECT_V2, CLASSES, 0, device)
    dense, rng, ids = make_dense(clips), torch.Generator(device).manual_seed(0), torch.arange(BATCH, device=device)
    ways = {"release": lambda: release_batch(dense).to(device)}
    return ways | {"ours": lambda: augment(clips.sample(ids, rng), PAPER, 0.3, rng)}


def epoch(device):
    """A training epoch on 1,020 clips and the test of 464 after it, in the size of N-UCLA."""
    train, test = 1020, 464
    lengths = np.random.default_rng(0).lognormal(3.6, 0.6, train + test).astype(np.int64).clip(20, 201)
    clips = make_clips(lengths, KINECT_V1, CLASSES, test, device)
    trainer, dense = make_trainer(clips, theta=0.5), make_dense(clips)
    net = SGN(CLASSES, clips.joints).to(device)
    forward = {n: Release(net, n) for n in (BATCH, test % BATCH)}
    step = step_of(net, forward[BATCH], None, None, fused=False)

    def release():
        net.train()
        for ids in np.random.permutation(train)[: train // BATCH * BATCH].reshape(-1, BATCH):
            step(augment(release_batch(dense[ids]).to(device), PAPER, 0.5, trainer.rng), clips.label[ids])
        net.eval()
        with torch.no_grad():
            for i in range(train, train + test, BATCH):
                x = release_batch(dense[i : i + BATCH]).to(device)
                forward[len(x)](x)

    def ours():
        trainer.train_epoch(trainer.train_step, 1, SILENT)
        trainer.evaluate(1)

    return {"release": release, "ours": ours}


def rows(device, runs):
    """Yields what is timed, the number of clips, its ways, one of them ours, and how: each when its turn comes."""
    few = min(runs, 3)
    for what, amp in (("training step", False), ("training step, bfloat16", True)):
        yield what, BATCH, training(BATCH, device, amp), "ours", {"runs": runs}
    for what, form, n, amp, how in (
        ("testing, the module", "module", BATCH, False, {"runs": runs}),
        ("testing, folded", "folded", BATCH, False, {"runs": runs}),
        ("testing, folded", "folded", 4 * BATCH, False, {"runs": few}),
        ("testing, folded, bfloat16", "folded", 4 * BATCH, True, {"runs": few}),
        ("testing, folded", "folded", 1, False, {"runs": runs, "repeat": 20}),
    ):
        yield what, n, testing(n, device, amp), form, how
    yield "sampling and augmenting", BATCH, sampling(device), "ours", {"runs": runs, "repeat": 10}
    yield "an epoch of N-UCLA's size", 1484, epoch(device), "ours", {"runs": 1}


def main(argv=None):
    parser = program.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--device", help="cpu, cuda, ... (cuda if there is a GPU, else cpu)")
    add("--runs", type=program.positive_int, default=5, help="timings, of which the median is taken (%(default)s)")
    add("--count", action="store_true", help="count parameters and multiply-adds, without timing")
    add("--json", type=Path, help="file for the same numbers")
    args = parser.parse_args(argv)
    if args.count:
        result = {"products": count_products(SGN(CLASSES).eval())}
        print(f"| {CLASSES} classes | {' | '.join(COUNTED)} |\n{'| --- ' * 5}|")
        for name, numbers in result["products"].items():
            print("| {} | {:,} | {:.4f} | {:.4f} | {:.4f} |".format(name, *numbers))
    else:
        device = pick_device(args.device)
        result = {"about": provenance("benchmarks/benchmark.py", device, runs=args.runs), "rows": []}
        print(", ".join(f"{key}: {value}" for key, value in result["about"].items() if key != "command"))
        print("| | clips | release, ms | ours, ms | ratio |\n| --- | --- | --- | --- | --- |")
        for what, n, ways, name, how in rows(device, args.runs):
            took = in_turns({way: ways[way] for way in ("release", name)}, device, **how)
            release, ours = took["release"], took[name]
            print(f"| {what} | {n} | {release:.2f} | {ours:.2f} | {release / ours:.2f} |", flush=True)
            result["rows"].append({"what": what, "clips": n, "release_ms": release, "ours_ms": ours})
    if args.json:
        logs.write_json(result, args.json)


if __name__ == "__main__":
    with program.exit_on_error("the load of this machine"):
        main()
