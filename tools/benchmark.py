"""Times SGN on this machine beside the plain way to write it, in one run, and prints a table.

    python tools/benchmark.py                        # under two minutes on two quiet cores
    python tools/benchmark.py --device cuda --json speed.json
    python tools/benchmark.py --compile              # rows of compiled networks as well: some minutes
    python tools/benchmark.py --count                # parameters and multiply-adds, layer by layer

The plain way has the cost structure of the authors' release: channels first, 1x1 convolutions, one-hot inputs repeated
for every clip, permutations before each graph product, a loader that goes frame by frame, and the memory allocator as
it is. It is made from the same weights here, and its logits are compared before anything is timed; it is always in
float32. A figure is the median of --runs timings, taken in turns (plain, ours, plain, ours, ...) after a warm-up each,
so that a machine that slows down slows both; of large batches and of an epoch there are fewer turns.

The floor of a row is the time that its products would take at the pace of one large matrix product on this machine, or
its bytes at the pace of one large copy, whichever is longer. Both paces are measured first. The products are those of
our formulation, counted by PyTorch; the bytes are the least there can be: what a training step keeps for its gradients
is written and read once, and so are weights, gradients and Adam's two moments.
"""

import argparse
import json
import re
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

import _path

import main as command_line
from count import report
from data import Clips
from evaluate import predict
from folded import Folded
from model import SGN
from plain import Plain, plain_batch
from recipes import PAPER
from train import Run, adam, criterion, try_compile
from util import atomic_write, exit_on_error, keep_freed_memory, pick_device, provenance

CLASSES, JOINTS, SEG, BATCH = 60, 25, 20, 64
LARGE = 256  # clips
EPOCHS = 1  # timings of a whole epoch, without a warm-up


def made_up_clips(device, rng, lengths, joints=JOINTS, test=0):
    """Clips of one person, of these lengths: dense (clips, frames, 2 * joints * 3), and packed; the last ones test."""
    n, width = len(lengths), joints * 3
    dense = np.zeros((n, lengths.max(), 2 * width), np.float32)
    dense[np.arange(lengths.max()) < lengths[:, None], :width] = rng.normal(size=(lengths.sum(), width))
    frames = np.concatenate([dense[..., :width][(dense != 0).any(axis=-1)], np.zeros((1, width), np.float32)])
    frames, length, label = torch.from_numpy(frames), torch.from_numpy(lengths), torch.arange(n) % CLASSES
    splits = {"": range(n - test), "valid_": range(0), "test_": range(n - test, n)}
    names = tuple(map(str, range(CLASSES)))
    packed = Clips(frames, length.cumsum(0) - length, length, label, splits, joints, 2, names, "", "")
    return dense, packed.to(device)


class Row(NamedTuple):
    """A pair of functions to be timed, and the least work that ours can do."""

    what: str
    clips: int
    plain: callable
    ours: callable
    flops: float = 0.0
    moved: float = 0.0  # bytes
    amp: bool = False
    runs: int = 0  # turns; 0 stands for --runs
    repeat: int = 1  # calls of each function in a turn


def step_of(net, forward, x=None, y=None, amp=False, fused=True):
    """A training step on (x, y), as train.Run does it; fused: with its optimiser, else with PyTorch's plain one."""
    optimizer = adam(net, 1e-3, 1e-4) if fused else torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-4)

    def step(x=x, y=y):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
            logits = forward(x)
        optimizer.zero_grad(set_to_none=True)
        criterion(logits.float(), y).backward()
        optimizer.step()

    return step


def work(function):
    """Floating-point operations of a call, and bytes of the tensors that it keeps for gradients."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    saved = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with FlopCounterMode(display=False) as counter, saved:
        function()
    return counter.get_total_flops(), sum(kept.values())


def rows(device, compiled):
    """The rows of the table, one after another, so that no more than one needs memory."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(LARGE, SEG, JOINTS * 3)).astype(np.float32)).to(device)
    y = torch.arange(BATCH, device=device) % CLASSES
    some, net = x[:BATCH], SGN(CLASSES).to(device)
    weights = sum(parameter.numel() * 4 for parameter in net.parameters())

    plain = step_of(net, Plain(net, BATCH), some, y, fused=False)
    for amp in (False, True):
        step = step_of(net, net, some, y, amp)
        flops, kept = work(step)
        what = "training step" + ", --amp" * amp
        yield Row(what, BATCH, plain, step, flops, 2 * kept + 8 * weights, amp)
        if compiled:
            other = SGN(CLASSES).to(device)
            try_compile(other, some, amp)
            yield Row(f"{what} --compile", BATCH, plain, step_of(other, other, some, y, amp), flops, 0, amp)

    net.eval()
    with torch.inference_mode():
        forms = {"the module": net, "folded": Folded(net), "folded, --amp": Folded(net, amp=True)}
        logits = Plain(net, BATCH)(some)
        for name, form in forms.items():
            difference = (logits - form(some)).abs().max() / logits.abs().max()
            if not difference < (0.05 if "amp" in name else 1e-4):
                raise RuntimeError(f"the plain way and {name} differ by {difference}: nothing to compare")
        for form, n, repeat, runs in (
            ("the module", BATCH, 1, 0),
            ("folded", BATCH, 1, 0),
            ("folded", LARGE, 1, 3),
            ("folded, --amp", LARGE, 1, 3),
            ("folded", 1, 20, 0),
        ):
            pair = [lambda f=f, n=n: f(x[:n]) for f in (Plain(net, n), forms[form])]
            flops, _ = work(pair[1])
            what = ("one clip" if n == 1 else "testing") + f", {form}"
            yield Row(what, n, *pair, flops, weights + n * SEG * JOINTS * 12, "amp" in form, runs, repeat)

    dense, packed = made_up_clips(device, rng, np.full(BATCH, 85))
    generator, ids = torch.Generator(device).manual_seed(0), torch.arange(BATCH, device=device)
    pair = (lambda: plain_batch(dense).to(device), lambda: PAPER.vary(packed.draw(ids, generator), 0.3, generator))
    yield Row("drawing a batch", BATCH, *pair, moved=2 * BATCH * SEG * JOINTS * 12, repeat=10)
    yield epoch(device, rng)


def epoch(device, rng):
    """A training epoch of N-UCLA's size, and the test of one draw after it."""
    lengths = rng.lognormal(3.6, 0.6, 1020 + 464).astype(np.int64).clip(20, 201)
    dense, packed = made_up_clips(device, rng, lengths, joints=20, test=464)
    args = command_line.parse_args(["--seed", "1", "--seg", str(SEG), "--device", str(device)])
    args.command, args.split = "", None
    run = Run(args, packed, "", 0.5, Path())
    net, label = SGN(CLASSES, 20).to(device), packed.label
    forward = {n: Plain(net, n) for n in (BATCH, 464 % BATCH)}  # its one-hot inputs are made for one size of batch
    step = step_of(net, forward[BATCH], fused=False)

    def plain():
        net.train()
        sizes = [BATCH] * (1020 // BATCH)
        for some in np.split(rng.permutation(1020), np.cumsum(sizes))[:-1]:
            x = plain_batch(dense[some], width=60).to(device)
            step(PAPER.vary(x, 0.5, run.generator), label[some])
        net.eval()
        with torch.no_grad():
            for i in range(1020, 1484, BATCH):
                x = plain_batch(dense[i : i + BATCH], width=60).to(device)
                forward[len(x)](x)

    def ours():
        run.train_epoch(run.net, 1, tqdm(disable=True))
        predict(run.net, packed, run.watched, 1, run.generator)

    return Row("an epoch of N-UCLA's size", 1484, plain, ours, runs=EPOCHS)


def timed(functions, runs, device, warm_up=True):
    """The median seconds of each function, called in turns."""

    def once(function):
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    for function in functions if warm_up else ():
        once(function)
    turns = [[once(function) for function in functions] for _ in range(runs)]
    return [statistics.median(column) for column in zip(*turns, strict=True)]


def timed_row(row, runs, device):
    """The median seconds of the plain way, with the allocator as it is, and of ours."""

    def plain():
        keep_freed_memory(False)
        for _ in range(row.repeat):
            row.plain()

    def ours():
        keep_freed_memory()
        for _ in range(row.repeat):
            row.ours()

    with torch.inference_mode(mode=row.what.startswith(("testing", "one clip"))):
        seconds = timed((plain, ours), row.runs or runs, device, warm_up=row.runs != EPOCHS)
    return [turn / row.repeat for turn in seconds]


def paces(device, runs):
    """What this machine can do: operations a second, {False: in float32, True: in bfloat16}, and bytes a second."""
    flops = {}
    for amp, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        big = torch.ones(4096, 4096, device=device, dtype=dtype)
        flops[amp] = 2 * 4096**3 / timed([lambda big=big: big @ big], runs, device)[0]
    source, target = (torch.ones(2**26, device=device) for _ in range(2))
    return flops, 2 * 4 * 2**26 / timed([lambda: target.copy_(source)], runs, device)[0]


def peak_memory(device, amp):
    """The most memory, in MB, that training on batches of 64 takes: of the process, or on a GPU of its tensors."""
    keep_freed_memory()
    net = SGN(CLASSES).to(device)
    x, y = torch.ones(BATCH, SEG, JOINTS * 3, device=device), torch.zeros(BATCH, dtype=torch.int64, device=device)
    step = step_of(net, net, x, y, amp)
    for _ in range(3):
        step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1]) / 2**10


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="cpu, cuda, ... (cuda where there is one, else cpu)")
    parser.add_argument(
        "--runs", type=positive_int, default=5, help="timings of each, of which the median (%(default)s)"
    )
    parser.add_argument("--compile", action="store_true", help="time compiled networks as well")
    parser.add_argument("--count", action="store_true", help="count parameters and multiply-adds instead of timing")
    parser.add_argument("--json", type=Path, help="file to write the table to as well")
    args = parser.parse_args()
    device = pick_device(args.device)
    about = provenance("tools/benchmark.py", device)
    if args.count:
        result = {"counts": report(SGN(CLASSES).eval())}
    else:
        result = {"runs": args.runs} | table(device, args.runs, args.compile, about)
    if args.json:
        with atomic_write(args.json) as part:
            part.write_text(json.dumps({"about": about} | result, indent=1) + "\n")


def table(device, runs, compiled, about):
    """Prints the table, row by row, and returns what is in it."""
    flops, copied = paces(device, 3)
    print(", ".join(about.values()), f"; medians of {runs} after a warm-up, in turns")
    print(
        f"one large matrix product: {flops[False] / 1e9:.0f} GFLOP/s float32, {flops[True] / 1e9:.0f} bfloat16; ",
        end="",
    )
    print(f"one large copy: {copied / 1e9:.0f} GB/s read and written")
    print(f"{'':32}{'clips':>6}{'plain ms':>10}{'ours ms':>10}{'ratio':>7}{'clips/s':>9}{'floor ms':>10}{'reached':>9}")
    lines = []
    for row in rows(device, compiled):
        plain, ours = timed_row(row, runs, device)
        floor = max(row.flops / flops[row.amp], row.moved / copied)
        lines.append({"what": row.what, "clips": row.clips, "plain_s": plain, "ours_s": ours, "ratio": plain / ours})
        lines[-1] |= {"flops": row.flops, "bytes": row.moved, "floor_s": floor}
        reached = f"{1e3 * floor:10.2f}{floor / ours:9.0%}" if floor else ""
        shown = f"{row.what:32}{row.clips:6}{1e3 * plain:10.2f}{1e3 * ours:10.2f}"
        print(f"{shown}{plain / ours:7.2f}{row.clips / ours:9.0f}{reached}", flush=True)
    seconds = {line["what"]: line["ours_s"] for line in lines}
    share = seconds["drawing a batch"] / (seconds["drawing a batch"] + seconds["training step"])
    memory = {}
    for amp in (False, True):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # a process of its own, without the plain way
            memory["--amp" if amp else "float32"] = pool.submit(peak_memory, device, amp).result()
    print(f"drawing is {share:.1%} of a training step; training takes at most ", end="")
    print(", ".join(f"{value:.0f} MB ({name})" for name, value in memory.items()))
    return {"flop_s": list(flops.values()), "byte_s": copied, "rows": lines, "data_share": share, "memory_mb": memory}


if __name__ == "__main__":
    with exit_on_error():
        main()
