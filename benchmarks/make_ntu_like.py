"""Writes random clips of the size and shape of NTU RGB+D, for measurements and tests at any size.

    python benchmarks/make_ntu_like.py --clips 2000 --root DIR  # DIR/nturgb+d_skeletons/*.skeleton, 0.3 MB each
    python benchmarks/make_ntu_like.py --clips 56578 --h5 like_NTU.h5    # an h5 at once

The lengths are distributed as in NTU (32 to 300 frames, 84 on average), about 20% of the clips have two persons, some
have a third body that is noise, and the numbers have as many digits as real ones. The figures only sway: data/demo has
figures that act. A clip depends only on --seed and its number.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from clips import protocols
from clips.h5 import SPLITS, split_validation, write_h5
from clips.ntu import Body, center_clip, place_bodies
from safe import arguments, program, progress
from safe.workers import parallel_map
from util import UserError

JOB = 100  # clips written by a worker at a time
PERFORMERS = [p for pair in zip(protocols.CS_TRAIN, protocols.CS_TEST, strict=True) for p in pair]
# A person upright, 25 joints in NTU's order, metres from the base of the spine.
UPRIGHT = np.array(
    [[0, 0, 0], [0, 0.3, 0], [0, 0.6, 0], [0, 0.75, 0], [-0.17, 0.52, 0], [-0.2, 0.25, 0], [-0.2, 0.02, 0]]
    + [[-0.2, -0.06, 0], [0.17, 0.52, 0], [0.2, 0.25, 0], [0.2, 0.02, 0], [0.2, -0.06, 0], [-0.08, -0.02, 0]]
    + [[-0.09, -0.42, 0], [-0.1, -0.8, 0], [-0.1, -0.85, -0.1], [0.08, -0.02, 0], [0.09, -0.42, 0], [0.1, -0.8, 0]]
    + [[0.1, -0.85, -0.1], [0, 0.52, 0], [-0.2, -0.12, 0], [-0.18, -0.06, 0], [0.2, -0.12, 0], [0.18, -0.06, 0]]
)


def names(clips):
    """Yields that many names, spread over both sides of cross-subject, the cameras and the 60 actions."""
    groups = max(6, -(-clips // 120))
    if groups > 17 * len(PERFORMERS) * 3:
        raise UserError(f"--clips {clips:,}: at most {17 * len(PERFORMERS) * 3 * 120:,}")
    for i in range(clips):
        group, k = i % groups, i // groups
        camera, group = group % 3 + 1, group // 3
        performer, setup = PERFORMERS[group % 40], group // 40 + 1
        yield f"S{setup:03}C{camera:03}P{performer:03}R{k // 60 + 1:03}A{(k * 7 + group) % 60 + 1:03}"


def lengths(rng, n=None):
    """Frames of a clip, or of n clips."""
    return np.clip(32 + rng.gamma(1.7, 31, n), 32, 300).astype(int)


def bodies(rng):
    """A clip: (valid frames, [Body]). One or two bodies are persons."""
    frames = int(lengths(rng))
    found = [make_body(rng, frames, 0)]
    if rng.random() < 0.2:
        found.append(make_body(rng, frames, 0))
    elif rng.random() < 0.05:
        n = int(rng.integers(3, 12))  # noise: seen in so few frames that step 2 removes it
        found.append(make_body(rng, n, int(rng.integers(frames - n))))
    return frames, found


def make_body(rng, frames, first):
    t = np.arange(frames)[:, None, None]
    sway = 0.1 * np.sin(t * rng.uniform(0.02, 0.2, (25, 3)) + rng.uniform(0, 6, (25, 3)))
    place = rng.uniform([-1, -0.2, 2.5], [1, 0.2, 4])
    joints = (UPRIGHT * rng.uniform(0.9, 1.1) + place + sway + rng.normal(0, 0.003, (frames, 25, 3))).astype(np.float32)
    id = b"%d" % rng.integers(72057594037930000, 72057594037940000)
    return Body(id, first, joints, joints.reshape(-1, 3).var(axis=0).sum())


def skeleton_text(rng, frames, found):
    """A clip as the text of a .skeleton file."""
    patterns = []  # of a body in a frame, to be filled with its joints
    for body in found:
        rest = rng.normal([300, 200, 1000, 500, 0, 0, 0, 0], [50, 50, 90, 90, 1, 1, 1, 1], (25, 8))
        rows = [" ".join(["%.7g"] * 3 + [f"{value:.7g}" for value in joint] + ["2\n"]) for joint in rest]
        head = f"{body.id.decode()} 0 1 1 1 1 0 {rng.uniform():.7g} {rng.uniform():.7g} 2\n25\n"
        patterns.append(head + "".join(rows))
    lines = [f"{frames}\n"]
    for frame in range(frames):
        present = [k for k, body in enumerate(found) if body.first <= frame <= body.last]
        lines.append(f"{len(present)}\n")
        lines += [patterns[k] % tuple(found[k].joints[frame - found[k].first].ravel().tolist()) for k in present]
    return "".join(lines)


def write_job(folder, seed, numbered_names):
    for i, name in numbered_names:
        rng = np.random.default_rng([seed, i])
        (folder / f"{name}.skeleton").write_text(skeleton_text(rng, *bodies(rng)), encoding="utf-8", newline="\n")


def write_skeletons(root, clips, seed, workers):
    folder = root / "nturgb+d_skeletons"
    folder.mkdir(parents=True, exist_ok=True)
    numbered = list(enumerate(names(clips)))
    jobs = [(folder, seed, numbered[i : i + JOB]) for i in range(0, clips, JOB)]
    with progress.progress(total=clips, desc="writing", unit="clip") as bar:
        for (_, _, written), _ in zip(jobs, parallel_map(write_job, jobs, workers), strict=True):
            bar.update(len(written))


def write_like_ntu(path, clips, seed):
    dataset = protocols.dataset("NTU")
    protocol, all_names = dataset.protocols[0], list(names(clips))
    train, test = protocol.split(all_names)
    if len(train) < 2 or not len(test):
        raise UserError(f"--clips {clips}: too few for training and test clips")
    with progress.progress(total=clips, desc=path.name, unit="clip") as bar:

        def make(order):
            for i in order:
                bar.update()
                yield center_clip(place_bodies(*bodies(np.random.default_rng([seed, int(i)]))))

        splits = {}
        for split, order in zip(SPLITS, (*split_validation(train), test), strict=True):
            splits[split] = make(order), [protocols.action(all_names[i]) - 1 for i in order]
        about = {"joints": 25, "persons": 2, "class_names": dataset.classes, "protocol": f"random; {protocol.words}"}
        write_h5(path, splits, frames=300, **about, made_by=f"make_ntu_like.py {util.__version__}")


def main():
    parser = arguments.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=arguments.positive_int, required=True)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--root", type=Path, help="folder for nturgb+d_skeletons/")
    target.add_argument("--h5", type=Path, help="or the h5 to write")
    parser.add_argument("--seed", type=arguments.seed, default=0, help="(%(default)s)")
    parser.add_argument(
        "--workers", type=arguments.positive_int, default=1, help="processes that write text (%(default)s)"
    )
    args = parser.parse_args()
    if args.root:
        write_skeletons(args.root, args.clips, args.seed, args.workers)
    else:
        write_like_ntu(args.h5, args.clips, args.seed)


if __name__ == "__main__":
    with program.exit_on_error("--workers"):
        main()
