"""Step 2 of 3: chooses the one or two actors of each clip among the bodies that Kinect saw.

    python get_raw_denoised_data.py                  # in data/ntu, after get_raw_skes_data.py
    python get_raw_denoised_data.py --root DIR --dataset NTU120

Reads DIR/raw_data/, writes DIR/denoised_data/. The rules are those of the release's get_raw_denoised_data.py. A clip in
which no body is left is skipped, reported and listed in denoised_data/skipped.csv. After an interruption the same
command continues.
"""

import sys
from itertools import islice
from pathlib import Path

import numpy as np

import _path

import blocks
import protocols
from blocks import BadFile
from get_raw_skes_data import Body
from inputs import unreadable
from util import exit_on_error

SCRIPT = Path(__file__).name
BEFORE = "get_raw_skes_data.py"
FEWEST_FRAMES = 11  # a body seen in this many or fewer is noise
SPREAD = np.float32(0.8)  # a frame wider than this share of its height is noise: people are upright
NOISE_SHARE = 0.69754  # a body with this share of noise frames is noise


def actors(valid, bodies):
    """A clip from its number of valid frames and its bodies, in the order of first appearance.

    Returns (frames, 75) float32 for one actor, (frames, 150) for two, metres. Raises BadFile if nothing is left.
    """
    if len(bodies) == 1:
        clip = bodies[0].joints.reshape(-1, 75)
    else:
        if any(body.last >= valid for body in bodies):
            raise BadFile(None, "a body ID is there twice in a frame")
        bodies = remove_noise([body for body in bodies if len(body.joints) > FEWEST_FRAMES])
        if not bodies:
            raise BadFile(None, f"nobody is left: no body is seen in more than {FEWEST_FRAMES} frames")
        clip = place_bodies(valid, bodies)
        clip = clip[clip.sum(axis=1) != 0]
    if not clip[:, :75].any():
        raise BadFile(None, "all coordinates are 0")
    return clip


def remove_noise(bodies):
    """Removes the bodies that are too wide in too many frames, as long as more than one is left."""
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


def place_bodies(valid, bodies):
    """Writes the bodies into the columns of one actor or two: (valid, 75 or 150) float32."""
    clip = np.zeros((valid, 75 if len(bodies) == 1 else 150), np.float32)
    first, *others = sorted(bodies, key=lambda body: body.motion, reverse=True)  # stable for ties
    clip[first.first : first.last + 1, :75] = first.joints.reshape(-1, 75)
    taken = [[first.first, first.last], [0, 0]]  # as in the release: actor 2's interval starts at frame 0
    for body in others:
        for actor, interval in enumerate(taken):
            if min(interval[1], body.last) - max(interval[0], body.first) <= 0:
                clip[body.first : body.last + 1, actor * 75 : actor * 75 + 75] = body.joints.reshape(-1, 75)
                interval[:] = min(interval[0], body.first), max(interval[1], body.last)
                break
    return clip


def denoise_block(source, skip):
    """A block of step 1 as the arrays of a block of step 2: of each clip, and all its values in one row."""
    names, clips = [], []
    with blocks.open_block(*source, BEFORE) as file:
        clip_names, valid_frames, number = blocks.read_columns(file, "names", "valid_frames", "bodies")
        *about, rows = blocks.read_columns(file, "body_id", "body_first", "body_motion", "body_rows")
        joints = file["joints"][()]
        if (number.sum(), rows.sum()) != (len(rows), len(joints)):
            raise unreadable(file.filename, "other numbers of bodies or rows than it says")
    ids, first, motion = about
    bodies = map(Body, ids.tolist(), first.tolist(), np.split(joints, rows.cumsum()[:-1]), motion)
    for name, valid, n in zip(clip_names, valid_frames.tolist(), number.tolist(), strict=True):
        try:
            clips.append(actors(valid, list(islice(bodies, n))))
            names.append(name)
        except BadFile as error:
            skip(f"{name.decode()}.skeleton", error)
    return {
        "names": np.array(names, "S20"),
        "frames": np.array([len(clip) for clip in clips], np.int64),
        "width": np.array([clip.shape[1] for clip in clips], np.int64),
        "joints": np.concatenate([clip.ravel() for clip in clips] or [np.empty(0, np.float32)]),
    }


def main(argv=None):
    args = protocols.parse_arguments(__doc__, argv)
    dataset = protocols.dataset(args.dataset)
    raw, folder = args.root / "raw_data", args.root / "denoised_data"
    tasks = [
        blocks.Task(key, blocks.digest(SCRIPT, made_from), clips, (raw, dataset.name, key, made_from))
        for key, made_from, clips in blocks.read_index(raw, dataset.name, BEFORE)
    ]
    options = {"workers": args.workers, "strict": args.strict, "title": "denoising"}
    records = blocks.make_blocks(tasks, denoise_block, folder, dataset.name, **options)
    print(f"{folder}: {dataset.count(sum(record.clips for record in records))}")
    return blocks.report_skipped(records, folder / "skipped.csv")


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
