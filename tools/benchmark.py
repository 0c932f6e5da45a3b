"""Times SGN beside the release's formulation of it on this machine, or counts parameters and multiply-adds.

    python tools/benchmark.py                          # under two minutes on two idle cores
    python tools/benchmark.py --device cuda --json speed.json
    python tools/benchmark.py --compile                # compiled networks too, some minutes
    python tools/benchmark.py --busy 2                 # while two other processes keep a core busy each
    python tools/benchmark.py --count                  # parameters and multiply-adds, no timing

"release" computes the same logits from the same weights in the way of the authors' release, in float32: channels first,
1x1 convolutions, one-hot inputs repeated for every clip, permutations before each graph product, a loader that goes
frame by frame. A time is the median of --runs after a warm-up, the two ways in turns, so that a machine that slows
down slows both; batches of 256 are timed three times and the epoch once.
"""

import json
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

import _path

import distributed
import util
from data import Clips
from evaluate import predict_logits
from inference import Folded
from model import SGN
from recipes import PAPER, Config
from skeletons import unknown_skeleton
from train import Trainer, criterion, make_optimizer, try_compile

CLASSES, JOINTS, SEG, BATCH, LARGE = 60, 25, 20, 64, 256
PARAMETERS = {60: 691_048, 120: 721_828}  # of the release's network, by classes
GMAC = 0.17  # a clip, without the products that make and use G


# ---- the release's formulation


class Release(nn.Module):
    """SGN as the release computes it, on (batch, channels, joints, frames), with the weights of `net`.

    Takes and returns what SGN does, for one batch size.
    """

    def __init__(self, net, batch):
        super().__init__()
        self.net, weight = net, net.fc.weight
        joints, frames = (torch.eye(n, device=weight.device) for n in (net.num_joint, net.seg))
        self.register_buffer("spa", joints[None, :, :, None].repeat(batch, 1, 1, net.seg))
        self.register_buffer("tem", frames[None, :, None, :].repeat(batch, 1, net.num_joint, 1))

    def embed(self, embed, x):
        for layer in embed.cnn:
            if hasattr(layer, "bn"):
                x = layer.bn(x.flatten(1, 2)).view_as(x)
            else:
                x = layer.cnn(x) if hasattr(layer, "cnn") else layer(x)
        return x

    def forward(self, x):
        net, (b, t, _) = self.net, x.shape
        x = x.view(b, t, -1, 3).permute(0, 3, 2, 1).contiguous()
        velocity = torch.cat([torch.zeros_like(x[..., :1]), x[..., 1:] - x[..., :-1]], dim=-1)
        x = self.embed(net.joint_embed, x) + self.embed(net.dif_embed, velocity)
        x = torch.cat([x, self.embed(net.spa_embed, self.spa)], dim=1)
        theta = net.compute_g1.g1.cnn(x).permute(0, 3, 2, 1).contiguous()
        g = theta.matmul(net.compute_g1.g2.cnn(x).permute(0, 3, 1, 2).contiguous()).softmax(dim=-1)
        for gcn in (net.gcn1, net.gcn2, net.gcn3):
            y = g.matmul(x.permute(0, 3, 2, 1).contiguous()).permute(0, 3, 2, 1).contiguous()
            y = gcn.w.cnn(y) + gcn.w1.cnn(x)
            x = F.relu(gcn.bn(y.flatten(2)).view_as(y))
        x = F.adaptive_max_pool2d(x + self.embed(net.tem_embed, self.tem), (1, t))
        x = F.relu(net.cnn.bn1(net.cnn.cnn1(x).squeeze(2)))
        x = net.cnn.dropout(x).unsqueeze(2)
        x = F.relu(net.cnn.bn2(net.cnn.cnn2(x).squeeze(2)))
        return net.fc(x.amax(dim=-1))


def release_batch(clips, seg=SEG):
    """A batch in the way of the release's loader, from dense (frames, 2 * joints * 3) clips, frame by frame."""
    batch = []
    for clip in clips:
        rows = []
        for frame in clip:
            if not (frame == 0).all():
                rows += [person for person in np.split(frame, 2) if not (person == 0).all()]
        a = len(rows) // seg
        batch.append(np.stack([rows[i * a + np.random.randint(a)] for i in range(seg)]))
    return torch.from_numpy(np.stack(batch))


# ---- timing


def timed(functions, runs, device, warm_up=True):
    """The median seconds of each function, called in turns."""

    def time_once(function):
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    for function in functions if warm_up else ():
        time_once(function)
    turns = [[time_once(function) for function in functions] for _ in range(runs)]
    return [statistics.median(column) for column in zip(*turns, strict=True)]


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


def make_clips(lengths, joints, test, device):
    """Random clips of one person, the last `test` for testing: dense (clips, frames, 2 * joints * 3), and as Clips."""
    rng, n, width = np.random.default_rng(0), len(lengths), joints * 3
    dense = np.zeros((n, lengths.max(), 2 * width), np.float32)
    dense[np.arange(lengths.max()) < lengths[:, None], :width] = rng.normal(size=(lengths.sum(), width))
    frames = np.concatenate([dense[..., :width][dense.any(axis=-1)], np.zeros((1, width), np.float32)])
    length = torch.from_numpy(lengths)
    splits = {"train": range(n - test), "valid": range(0), "test": range(n - test, n)}
    names = tuple(map(str, range(CLASSES)))
    start, label = length.cumsum(0) - length, torch.arange(n) % CLASSES
    clips = Clips(
        torch.from_numpy(frames),
        start,
        length,
        label,
        splits,
        joints,
        2,
        names,
        "",
        "x, y, z",
        unknown_skeleton(joints),
        "",
    )
    return dense, clips.to(device)


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

    dense, clips = make_clips(np.full(BATCH, 85), JOINTS, 0, device)
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
    train, test, joints = 1020, 464, 20
    lengths = np.random.default_rng(0).lognormal(3.6, 0.6, train + test).astype(np.int64).clip(20, 201)
    dense, clips = make_clips(lengths, joints, test, device)
    trainer = Trainer(Config(theta=0.5, seg=SEG, num_classes=CLASSES), clips, Path())
    net = SGN(CLASSES, joints).to(device)
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


# ---- counting


@torch.no_grad()
def count(net):
    """Prints parameters and multiply-adds (of matrix products and convolutions). Returns them as dicts.

    Raises UserError if the release's formulation does not have the published numbers.
    """
    print(f"{'':28}{'parameters':>12}{'GMAC, one clip':>16}{'a clip of 64':>14}{'without G':>11}")
    rows = []
    for name, form in (
        ("the release's formulation", lambda clips: Release(net, clips)),
        ("the module", lambda clips: net),
        ("the folded form", lambda clips: Folded(net)),
    ):
        total, layers = {}, {}
        for clips in (1, BATCH):
            network = form(clips)
            with FlopCounterMode(display=False) as counter:
                network(torch.zeros(clips, net.seg, 3 * net.num_joint))
            flops = {str(op).split(".")[-1]: value for op, value in counter.get_flop_counts()["Global"].items()}
            total[clips] = sum(flops.values()) / 2e9 / clips
            layers[clips] = total[clips] - (flops.get("bmm", 0) + flops.get("baddbmm", 0)) / 2e9 / clips
        parameters = sum(p.numel() for p in net.parameters())
        if name == "the folded form":
            parameters = sum(buffer.numel() for buffer in form(1).buffers())
        print(f"{name:28}{parameters:12,}{total[1]:16.4f}{total[BATCH]:14.4f}{layers[BATCH]:11.4f}")
        rows.append({"form": name, "parameters": parameters, "gmac": total, "gmac_without_graph": layers})
    counts = {classes: sum(p.numel() for p in SGN(classes).parameters()) for classes in PARAMETERS}
    if counts != PARAMETERS or round(rows[0]["gmac_without_graph"][1], 2) != GMAC:
        raise util.UserError(f"not the published numbers: {PARAMETERS} parameters by classes, {GMAC} GMAC a clip")
    known = ", ".join(f"{number:,} parameters with {classes} classes" for classes, number in PARAMETERS.items())
    print(f"as published: {known}, and {GMAC} GMAC a clip without G")
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
        result = count(SGN(CLASSES).eval())
    else:
        device = distributed.pick_device(args.device)
        about = util.provenance("tools/benchmark.py", device, runs=args.runs, busy=args.busy)
        print(", ".join(f"{key}: {value}" for key, value in about.items() if key != "command"))
        with busy_processes(args.busy):
            result = {"about": about, "rows": print_table(device, args.runs, args.compile)}
    if args.json:
        with util.atomic_write(args.json) as part:
            part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with util.exit_on_error("the load of this machine"):
        main()
