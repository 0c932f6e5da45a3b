"""Step 2 of 3: from the bodies that Kinect saw to one or two actors a clip.

    python get_raw_denoised_data.py                  # in data/ntu, after get_raw_skes_data.py
    python get_raw_denoised_data.py --root DIR --dataset NTU120

Reads DIR/raw_data/, writes DIR/denoised_data/. A clip of which nobody is left is skipped, reported and listed in
denoised_data/skipped.csv. Killed and started again, it goes on where it was. (SPEC, "Step 2, one or two actors".)
"""

import sys
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]
import blocks  # noqa: E402
import protocols  # noqa: E402
from blocks import BadFile  # noqa: E402

from util import one_clear_line  # noqa: E402

SCRIPT = Path(__file__).name
BEFORE = "get_raw_skes_data.py"
FEWEST_FRAMES = 11  # a body seen in no more than these is noise
SPREAD = np.float32(0.8)  # a frame wider than this share of its height is noise: people are upright
NOISE_SHARE = 0.69754  # of a body's frames; from here on all of it is noise


class Body(NamedTuple):
    """As step 1 found it."""

    joints: np.ndarray  # (rows, 25, 3) float32, metres
    first: int  # its interval is first … first + rows - 1, in valid frames
    motion: np.float32

    @property
    def last(self):
        return self.first + len(self.joints) - 1


def actors(valid, bodies):
    """The clip of a number of valid frames and its bodies, in the order of first appearance.

    Returns (frames, 75) float32 for one actor, or (frames, 150) for two. Raises BadFile if nothing is left.
    """
    if len(bodies) == 1:
        clip = bodies[0].joints.reshape(-1, 75)
    else:
        if any(body.last >= valid for body in bodies):
            raise BadFile(None, "a body ID is there twice in a frame")
        bodies = without_noise([body for body in bodies if len(body.joints) > FEWEST_FRAMES])
        if not bodies:
            raise BadFile(None, f"nobody is left: no body is seen in more than {FEWEST_FRAMES} frames")
        clip = placed(valid, bodies)
        clip = clip[clip.sum(axis=1) != 0]
    if not clip[:, :75].any():
        raise BadFile(None, "all coordinates are 0")
    return clip


def without_noise(bodies):
    """Takes away the bodies that are too often too wide, as long as more than one is left."""
    left = dict(enumerate(bodies))
    for i, body in enumerate(bodies):
        if len(left) == 1:
            break
        low, high = body.joints[:, :, :2].min(axis=1), body.joints[:, :, :2].max(axis=1)
        width, height = (high - low).T
        good = width <= SPREAD * height
        noise = len(good) - np.count_nonzero(good)
        if noise / len(good) >= NOISE_SHARE:
            del left[i]
        elif noise:
            motion = body.joints[good].reshape(-1, 3).var(axis=0).sum()
            left[i] = body._replace(motion=min(body.motion, motion))
    return list(left.values())


def placed(valid, bodies):
    """Puts bodies, none of them noise, into the columns of one actor or two: (valid, 75 or 150) float32."""
    if len(bodies) == 1:
        clip = np.zeros((valid, 75), np.float32)
        clip[bodies[0].first : bodies[0].last + 1] = bodies[0].joints.reshape(-1, 75)
        return clip
    clip = np.zeros((valid, 150), np.float32)
    first, *others = sorted(bodies, key=lambda body: body.motion, reverse=True)  # stable: ties keep their order
    clip[first.first : first.last + 1, :75] = first.joints.reshape(-1, 75)
    taken = [[first.first, first.last], [0, 0]]  # kept from the release: actor 2's interval begins at frame 0
    for body in others:
        for actor, interval in enumerate(taken):
            if min(interval[1], body.last) - max(interval[0], body.first) <= 0:
                clip[body.first : body.last + 1, actor * 75 : actor * 75 + 75] = body.joints.reshape(-1, 75)
                interval[:] = min(interval[0], body.first), max(interval[1], body.last)
                break
    return clip


def denoise_block(source, skip):
    """The arrays of a block of step 1 to those of step 2: the clips' values one after another, row by row."""
    with blocks.open_block(*source, BEFORE) as file:
        raw = {name: file[name][()] for name in file if name != "skipped"}
    joints = np.split(raw["joints"], raw["body_rows"].cumsum())
    bodies = list(map(Body, joints, raw["body_first"].tolist(), raw["body_motion"]))
    names, clips, at = [], [], 0
    for name, valid, n in zip(raw["names"], raw["valid_frames"].tolist(), raw["bodies"].tolist(), strict=True):
        try:
            clips.append(actors(valid, bodies[at : at + n]))
            names.append(name)
        except BadFile as error:
            skip(f"{name.decode()}.skeleton", error)
        at += n
    return {
        "names": np.array(names, "S20"),
        "frames": np.array([len(clip) for clip in clips], np.int64),
        "width": np.array([clip.shape[1] for clip in clips], np.int64),
        "joints": np.concatenate([clip.ravel() for clip in clips] or [np.empty(0, np.float32)]),
    }


def main(argv=None):
    args = blocks.arguments(__doc__, argv)
    dataset = protocols.dataset(args.dataset, args.root)
    raw, folder = args.root / "raw_data", args.root / "denoised_data"
    tasks = [
        blocks.Task(key, blocks.digest(SCRIPT, made_from), clips, (raw, dataset.name, key, made_from))
        for key, made_from, clips in blocks.read_index(raw, dataset.name, BEFORE)
    ]
    records = blocks.run(
        tasks, denoise_block, folder, dataset.name, workers=args.workers, strict=args.strict, title="denoising"
    )
    print(f"{folder}: {blocks.full_or_not(dataset, sum(record.clips for record in records))}")
    return blocks.report(chain.from_iterable(record.skipped for record in records), folder / "skipped.csv")


if __name__ == "__main__":
    with one_clear_line():
        sys.exit(main())
