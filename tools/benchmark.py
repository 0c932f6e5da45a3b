"""Times SGN on this machine beside the plain way to write it, in one run, and prints a table.

    python tools/benchmark.py                        # under two minutes on two cores
    python tools/benchmark.py --device cuda --json speed.json

The plain way has the cost structure of the authors' release: channels first, 1x1 convolutions, one-hot inputs repeated
for every clip, permutations before each graph product, and a loader that goes frame by frame. It is made from the same
weights here, and its logits are compared before anything is timed. A figure is the median of --runs timings, taken in
turns (plain, ours, plain, ours, ...) after one warm-up each, so that a machine that slows down slows both.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from data import Clips, rotate  # noqa: E402
from folded import Folded  # noqa: E402
from model import SGN  # noqa: E402
from train import criterion  # noqa: E402
from util import count, one_clear_line, pick_device, provenance, replacing  # noqa: E402

CLASSES, JOINTS, SEG, BATCH = 60, 25, 20, 64


class Plain(nn.Module):
    """SGN as the release computes it, on (batch, channels, joints, frames), with the weights of `net`."""

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


def plain_batch(clips, seg=SEG):
    """A training batch the plain way, from dense (300, 150) clips: frame by frame, in Python."""
    batch = []
    for clip in clips:
        rows = []
        for frame in clip:
            if not (frame == 0).all():
                rows += [actor for actor in (frame[:75], frame[75:]) if not (actor == 0).all()]
        a = len(rows) // seg
        batch.append(np.stack([rows[i * a + np.random.randint(a)] for i in range(seg)]))
    return torch.from_numpy(np.stack(batch))


def made_up_clips(device, rng, n=BATCH):
    """n one-person clips of 85 frames, dense and packed."""
    dense = np.zeros((n, 300, 150), np.float32)
    dense[:, :85, :75] = rng.normal(size=(n, 85, 75))
    frames = torch.from_numpy(np.concatenate([dense[:, :85, :75].reshape(-1, 75), np.zeros((1, 75), np.float32)]))
    length, label = torch.full((n,), 85), torch.zeros(n, dtype=torch.int64)
    names = tuple(map(str, range(CLASSES)))
    packed = Clips(frames, length.cumsum(0) - length, length, label, {"": range(n)}, JOINTS, 2, names, "", "")
    return dense, packed.to(device)


def timed(functions, runs, device):
    """The median seconds of each function, called in turns."""

    def once(function):
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    for function in functions:
        once(function)
    return [
        statistics.median(column) for column in zip(*[[once(f) for f in functions] for _ in range(runs)], strict=True)
    ]


def training_step(net, trained, x, y):
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-4, fused=trained is net)

    def step():
        optimizer.zero_grad(set_to_none=True)
        criterion(trained(x), y).backward()
        optimizer.step()

    return step


def rows(device, runs):
    """Yields a row of the table: what, clips, plain seconds, our seconds."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(512, SEG, JOINTS * 3)).astype(np.float32)).to(device)
    y = torch.arange(BATCH, device=device) % CLASSES

    one, other = SGN(CLASSES).to(device), SGN(CLASSES).to(device)
    functions = training_step(other, Plain(other, BATCH), x[:BATCH], y), training_step(one, one, x[:BATCH], y)
    yield "training step", BATCH, *timed(functions, runs, device)

    one.eval()
    folded = Folded(one)
    difference = (Plain(one, BATCH)(x[:BATCH]) - folded(x[:BATCH])).abs().max().item()
    if not difference < 1e-3:
        raise RuntimeError(f"the plain way and the folded form differ by {difference}: nothing to compare")
    with torch.inference_mode():
        for what, net, n, repeat in (
            ("testing, the module", one, BATCH, 1),
            ("testing, folded", folded, BATCH, 1),
            ("testing, folded", folded, 512, 1),
            ("one clip, folded", folded, 1, 10),
        ):
            plain, clips = Plain(one, n), x[:n]
            pair = [lambda f=f, c=clips, r=repeat: [f(c) for _ in range(r)] for f in (plain, net)]
            yield what, n, *(seconds / repeat for seconds in timed(pair, runs, device))

    dense, packed = made_up_clips(device, rng)
    generator, ids = torch.Generator(device).manual_seed(0), torch.arange(BATCH, device=device)
    pair = (lambda: plain_batch(dense).to(device), lambda: rotate(packed.draw(ids, generator), 0.3, generator))
    yield "drawing a batch", BATCH, *timed(pair, runs, device)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="cpu, cuda, ... (cuda where there is one, else cpu)")
    parser.add_argument("--runs", type=count, default=9, help="timings of each, of which the median (%(default)s)")
    parser.add_argument("--json", type=Path, help="file to write the table to as well")
    args = parser.parse_args()
    device = pick_device(args.device)
    about = provenance("tools/benchmark.py", device)
    print(", ".join(about.values()), f"; medians of {args.runs} after a warm-up, in turns, float32")
    print(f"{'':22}{'clips':>6}{'plain ms':>11}{'ours ms':>10}{'ratio':>8}{'clips/s':>11}")
    table = []
    for what, clips, plain, ours in rows(device, args.runs):
        table.append({"what": what, "clips": clips, "plain_s": plain, "ours_s": ours, "ratio": plain / ours})
        print(f"{what:22}{clips:6}{1e3 * plain:11.2f}{1e3 * ours:10.2f}{plain / ours:8.2f}{clips / ours:11.0f}")
    if args.json:
        with replacing(args.json) as part:
            part.write_text(json.dumps({"about": about, "runs": args.runs, "rows": table}, indent=1) + "\n")


if __name__ == "__main__":
    with one_clear_line():
        main()
