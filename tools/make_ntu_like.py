"""Writes made-up clips of the size and shape of NTU RGB+D, to measure with and to test at any size.

    python tools/make_ntu_like.py --clips 2000 --root DIR           # DIR/nturgb+d_skeletons/*.skeleton, 0.3 MB each
    python tools/make_ntu_like.py --clips 56578 --h5 like_NTU.h5    # straight to an h5 in the layout of data/layout.py

Lengths are distributed like NTU's (32 to 300 frames, 84 on average), about 20% of the frames have two people, some
clips a third body that is noise, and the numbers have the digits and the noise of real ones. The figures sway and mean
nothing: for figures that act, see data/demo. A clip depends on --seed and its number alone.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

import _path

import blocks
import protocols
from get_raw_denoised_data import Body, placed
from layout import hold_out, write_h5
from seq_transformation import at_origin
from util import UserError, __version__, exit_on_error

A_JOB = 100
PERFORMERS = [p for pair in zip(protocols.CS_TRAIN, protocols.CS_TEST, strict=True) for p in pair]
# A person upright, 25 joints in NTU's order, metres from the base of the spine.
UPRIGHT = np.array(
    [[0, 0, 0], [0, 0.3, 0], [0, 0.6, 0], [0, 0.75, 0], [-0.17, 0.52, 0], [-0.2, 0.25, 0], [-0.2, 0.02, 0]]
    + [[-0.2, -0.06, 0], [0.17, 0.52, 0], [0.2, 0.25, 0], [0.2, 0.02, 0], [0.2, -0.06, 0], [-0.08, -0.02, 0]]
    + [[-0.09, -0.42, 0], [-0.1, -0.8, 0], [-0.1, -0.85, -0.1], [0.08, -0.02, 0], [0.09, -0.42, 0], [0.1, -0.8, 0]]
    + [[0.1, -0.85, -0.1], [0, 0.52, 0], [-0.2, -0.12, 0], [-0.18, -0.06, 0], [0.2, -0.12, 0], [0.18, -0.06, 0]]
)


def names(clips):
    """That many names, spread over performers of both sides of CS, over the cameras, and over the 60 actions."""
    groups = max(6, -(-clips // 120))
    if groups > 17 * len(PERFORMERS) * 3:
        raise UserError(f"--clips {clips:,}: at most {17 * len(PERFORMERS) * 3 * 120:,} names are to be had")
    for i in range(clips):
        group, k = i % groups, i // groups
        camera, group = group % 3 + 1, group // 3
        performer, setup = PERFORMERS[group % 40], group // 40 + 1
        yield f"S{setup:03}C{camera:03}P{performer:03}R{k // 60 + 1:03}A{(k * 7 + group) % 60 + 1:03}"


def bodies(rng):
    """(valid frames, [Body]) of one made-up clip, of which one or two are people."""
    frames = int(np.clip(32 + rng.gamma(1.7, 31), 32, 300))
    found = [body(rng, frames, 0)]
    if rng.random() < 0.2:
        found.append(body(rng, frames, 0))
    elif rng.random() < 0.05:
        n = int(rng.integers(3, 12))  # a ghost, seen so shortly that step 2 takes it away
        found.append(body(rng, n, int(rng.integers(frames - n))))
    return frames, found


def body(rng, frames, first):
    t = np.arange(frames)[:, None, None]
    sway = 0.1 * np.sin(t * rng.uniform(0.02, 0.2, (25, 3)) + rng.uniform(0, 6, (25, 3)))
    place = rng.uniform([-1, -0.2, 2.5], [1, 0.2, 4])
    joints = (UPRIGHT * rng.uniform(0.9, 1.1) + place + sway + rng.normal(0, 0.003, (frames, 25, 3))).astype(np.float32)
    return Body(joints, first, joints.reshape(-1, 3).var(axis=0).sum())


def text(rng, frames, found):
    """The clip as .skeleton text."""
    lines = []
    for k in range(len(found)):
        tails = rng.normal([300, 200, 1000, 500, 0, 0, 0, 0], [50, 50, 90, 90, 1, 1, 1, 1], (25, 8))
        rows = [" ".join(["%.7g"] * 3 + [f"{value:.7g}" for value in tail] + ["2\n"]) for tail in tails]
        id = 72057594037930000 + 100 * k + int(rng.integers(100))
        lines.append(f"{id} 0 1 1 1 1 0 {rng.uniform():.7g} {rng.uniform():.7g} 2\n25\n" + "".join(rows))
    written = [str(frames) + "\n"]
    for frame in range(frames):
        there = [k for k, body in enumerate(found) if body.first <= frame <= body.last]
        written.append(f"{len(there)}\n")
        written += [lines[k] % tuple(found[k].joints[frame - found[k].first].ravel().tolist()) for k in there]
    return "".join(written)


def write_some(folder, seed, some):
    for i, name in some:
        rng = np.random.default_rng([seed, i])
        (folder / f"{name}.skeleton").write_text(text(rng, *bodies(rng)), newline="\n")


def write_skeletons(root, clips, seed, workers):
    folder = root / "nturgb+d_skeletons"
    folder.mkdir(parents=True, exist_ok=True)
    numbered = list(enumerate(names(clips)))
    jobs = [(folder, seed, numbered[i : i + A_JOB]) for i in range(0, clips, A_JOB)]
    with tqdm(total=clips, desc="writing", unit="clip") as bar:
        for (_, _, some), _ in zip(jobs, blocks.parallel(write_some, jobs, workers), strict=True):
            bar.update(len(some))


def write_like_ntu(path, clips, seed):
    dataset = protocols.dataset("NTU")
    protocol = dataset.protocols[0]
    every = list(names(clips))
    train, test = protocol.split(every)
    if len(train) < 2 or not len(test):
        raise UserError(f"--clips {clips}: too few for training and test clips")
    with tqdm(total=clips, desc=path.name, unit="clip") as bar:

        def made(order):
            for i in order:
                bar.update()
                yield at_origin(placed(*bodies(np.random.default_rng([seed, int(i)]))))

        order = dict(zip(("", "valid_", "test_"), (*hold_out(train), test), strict=True))
        write_h5(
            path,
            {split: (made(ids), [protocols.action(every[i]) - 1 for i in ids]) for split, ids in order.items()},
            frames=300,
            joints=25,
            persons=2,
            class_names=dataset.classes,
            protocol=f"made-up clips; {protocol.words}",
            made_by=f"{Path(__file__).name} {__version__}",
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, required=True)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--root", type=Path, help="folder that gets nturgb+d_skeletons/")
    target.add_argument("--h5", type=Path, help="h5 to write instead")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that write text (%(default)s)")
    args = parser.parse_args()
    if args.clips < 1 or args.workers < 1 or args.seed < 0:
        raise UserError("--clips and --workers must be 1 or more, --seed 0 or more")
    if args.root:
        write_skeletons(args.root, args.clips, args.seed, args.workers)
    else:
        write_like_ntu(args.h5, args.clips, args.seed)


if __name__ == "__main__":
    with exit_on_error():
        main()
