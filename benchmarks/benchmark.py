"""Times SGN beside the release's formulation of it on this machine, or counts what SGN costs.

    python benchmarks/benchmark.py                          # under two minutes on two idle cores
    python benchmarks/benchmark.py --device cuda --json speed.json
    python benchmarks/benchmark.py --count                  # parameters and multiply-adds; no timing

"release" computes the same logits from the same weights in the way of the authors' release, in float32 (release.py).
A time is the median of five after a warm-up, of 256 clips of three, the two ways in turns, so that a machine that slows
down slows both.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from safe.program import ArgumentParser, exit_on_error, let_threads_sleep

if __name__ == "__main__":
    let_threads_sleep()

import torch
from torch.utils.flop_counter import FlopCounterMode

from engine import logs
from engine.device import keep_freed_memory, pick_device, timed
from engine.folded import Folded
from engine.logs import provenance
from model import SGN
from release import Release
from train import criterion, make_optimizer

CLASSES, JOINTS, SEG, BATCH = 60, 25, 20, 64


@torch.no_grad()
def count_products(net):
    """What the forms of SGN cost a clip of a batch: {form: (parameters, GMAC, GMAC without the products with G)}. GMAC:
    1e9 multiply-adds of matrix products and convolutions."""
    folded, counts = Folded(net), {}
    for name, form, values in (
        ("the release's formulation", Release(net, BATCH), net.parameters()),
        ("the module", net, net.parameters()),
        ("the folded form", folded, folded.buffers()),
    ):
        with FlopCounterMode(display=False) as counter:
            form(torch.zeros(BATCH, net.seg, 3 * net.num_joint))
        flops = {str(op).split(".")[-1]: n / 2e9 / BATCH for op, n in counter.get_flop_counts()["Global"].items()}
        gmac, with_g = sum(flops.values()), flops.get("bmm", 0) + flops.get("baddbmm", 0)
        counts[name] = sum(value.numel() for value in values), gmac, gmac - with_g
    return counts


# ---- what is timed: {name: function}, of which "release" is the release's way


def in_turns(ways, device, runs=5, repeat=1):
    """The median milliseconds of each function, called in turns. repeat: calls in one timing."""

    def call(name, function):
        keep_freed_memory(name != "release")
        function()

    seconds = timed([partial(call, *way) for way in ways.items()], runs, device, repeat=repeat)
    return {name: 1e3 * value for name, value in zip(ways, seconds, strict=True)}


def step_of(net, forward, x, y, amp=False, fused=True):
    """A function that takes a training step, as train.Trainer does; not fused: with PyTorch's default optimizer."""
    adam = torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-4)
    optimizer = make_optimizer(net, 1e-3, 1e-4) if fused else adam

    def step():
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


def rows(device):
    """Yields what is timed, the number of clips, its ways, one of them ours, and how: each when its turn comes."""
    for what, amp in (("training step", False), ("training step, bfloat16", True)):
        yield what, BATCH, training(BATCH, device, amp), "ours", {}
    for what, form, n, amp, how in (
        ("testing, the module", "module", BATCH, False, {}),
        ("testing, folded", "folded", 4 * BATCH, False, {"runs": 3}),
        ("testing, folded, bfloat16", "folded", 4 * BATCH, True, {"runs": 3}),
        ("testing, folded", "folded", 1, False, {"repeat": 20}),
    ):
        yield what, n, testing(n, device, amp), form, how


def main(argv=None):
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--device", help="cpu, cuda, ... (cuda if there is a GPU, else cpu)")
    add("--count", action="store_true", help="count parameters and multiply-adds, without timing")
    add("--json", type=Path, help="file for the same numbers")
    args = parser.parse_args(argv)
    if args.count:
        result = {"products": count_products(SGN(CLASSES).eval())}
        print(f"| {CLASSES} classes | parameters | GMAC | without the products with G |\n{'| --- ' * 4}|")
        for name, numbers in result["products"].items():
            print("| {} | {:,} | {:.4f} | {:.4f} |".format(name, *numbers))
    else:
        device = pick_device(args.device)
        result = {"about": provenance("benchmarks/benchmark.py", device), "rows": []}
        print(", ".join(f"{key}: {value}" for key, value in result["about"].items() if key != "command"))
        print("| | clips | release, ms | ours, ms | ratio |\n| --- | --- | --- | --- | --- |")
        for what, n, ways, name, how in rows(device):
            took = in_turns({way: ways[way] for way in ("release", name)}, device, **how)
            release, ours = took["release"], took[name]
            print(f"| {what} | {n} | {release:.2f} | {ours:.2f} | {release / ours:.2f} |", flush=True)
            result["rows"].append({"what": what, "clips": n, "release_ms": release, "ours_ms": ours})
    if args.json:
        logs.write_json(result, args.json)


if __name__ == "__main__":
    with exit_on_error("the load of this machine"):
        main()
