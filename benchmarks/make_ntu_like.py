"""Writes random clips of the size and shape of NTU RGB+D, to measure preprocessing at any size.

    python benchmarks/make_ntu_like.py --clips 2000 --root DIR  # DIR/nturgb+d_skeletons/*.skeleton, 0.3 MB each

The lengths are distributed as in NTU (32 to 300 frames, 84 on average), about 20% of the clips have two persons, some
have a third body that is noise, and the numbers have as many digits as real ones. The figures only sway: data/demo has
figures that act. A clip depends only on --seed and its number.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from clips import protocols
from clips.skeletons import KINECT_V2
from data import Clips, as_ranges
from safe import program

PERFORMERS = [p for pair in zip(protocols.CS_TRAIN, protocols.CS_TEST, strict=True) for p in pair]


def names(clips):
    """That many names, spread over both sides of cross-subject, the cameras and the 60 actions."""
    groups = max(6, -(-clips // 120))
    for i in range(clips):
        group, k = i % groups // 3, i // groups
        setup, performer = group // 40 + 1, PERFORMERS[group % 40]
        yield f"S{setup:03}C{i % groups % 3 + 1:03}P{performer:03}R{k // 60 + 1:03}A{(k * 7 + group) % 60 + 1:03}"


def lengths(rng, n=None):
    """Frames of a clip, or of n clips."""
    return np.clip(32 + rng.gamma(1.7, 31, n), 32, 300).astype(int)


def skeleton_text(rng):
    """A clip of one or two persons, upright and swaying, and perhaps of noise, as the text of a .skeleton file."""
    frames = int(lengths(rng))
    persons, noise = 1 + (rng.random() < 0.2), int(rng.integers(3, 12)) * (rng.random() < 0.05)
    lines, bodies = [str(frames)], []
    for length in [frames] * persons + [noise] * (noise > 0):
        first = int(rng.integers(frames - length + 1))
        place = rng.normal([0, 0, 3], [0.5, 0.1, 0.5]) + rng.uniform([-0.3, -0.9, -0.1], [0.3, 0.7, 0.1], (25, 3))
        sway = 0.1 * np.sin(np.arange(length)[:, None, None] * rng.uniform(0.02, 0.2, (25, 3)))
        rest = rng.normal([300, 200, 1000, 500, 0, 0, 0, 0], [50, 50, 90, 90, 1, 1, 1, 1], (25, 8))
        rows = [" ".join(["%.7g"] * 3 + [f"{value:.7g}" for value in joint] + ["2"]) for joint in rest]
        head = f"{rng.integers(72057594037930000, 72057594037940000)} 0 1 1 1 1 0 {rng.uniform():.7g} 0.0712 2\n25\n"
        bodies.append((first, head + "\n".join(rows), place + sway + rng.normal(0, 0.003, (length, 25, 3))))
    for frame in range(frames):
        present = [(text, at[frame - first]) for first, text, at in bodies if first <= frame < first + len(at)]
        lines += [str(len(present)), *(text % tuple(joints.ravel().tolist()) for text, joints in present)]
    return "\n".join([*lines, ""])


def make_clips(frames_of_clips, test, device):
    """data.Clips of noise, of one person of so many frames each, on the device, the last `test` for testing."""
    length = torch.from_numpy(frames_of_clips).to(device)
    frames = 0.3 * torch.randn(int(length.sum()) + 1, 75, device=device)
    frames[-1] = 0  # the padding
    label, splits = torch.arange(len(length), device=device) % 60, as_ranges([len(length) - test, 0, test])
    header = {"joints": 25, "persons": 1, "class_names": tuple(map(str, range(60))), "protocol": ""}
    header |= {"axes": "x, y, z", "skeleton": KINECT_V2, "sha256": ""}
    return Clips(frames, length.cumsum(0) - length, length, label, splits, **header)


def write_skeletons(root, clips, seed):
    folder = root / "nturgb+d_skeletons"
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(program.progress(names(clips), total=clips, desc="writing", unit="clip")):
        text = skeleton_text(np.random.default_rng([seed, i]))
        (folder / f"{name}.skeleton").write_text(text, encoding="utf-8", newline="\n")


def main():
    parser = program.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=program.whole(1, 120 * 3 * 40 * 17), required=True, help="at most 244,800")
    parser.add_argument("--root", type=Path, required=True, help="folder for nturgb+d_skeletons/")
    parser.add_argument("--seed", type=program.seed, default=0, help="(%(default)s)")
    args = parser.parse_args()
    write_skeletons(args.root, args.clips, args.seed)


if __name__ == "__main__":
    with program.exit_on_error():
        main()
