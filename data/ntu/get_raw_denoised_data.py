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

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import blocks, protocols
from clips.ntu import Body, actors
from clips.skipped import BadFile
from safe.h5 import unreadable
from safe.program import exit_on_error

SCRIPT = Path(__file__).name
BEFORE = "get_raw_skes_data.py"


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
