"""Step 2 of 3: chooses the one or two actors of each clip among the bodies that Kinect saw.

    python get_raw_denoised_data.py                  # in data/ntu, after get_raw_skes_data.py
    python get_raw_denoised_data.py --root DIR --dataset NTU120

Reads DIR/raw_data/NTU.h5, writes DIR/denoised_data/NTU.h5. The rules are those of the release's
get_raw_denoised_data.py. A clip in which no body is left is skipped, reported and listed in denoised_data/skipped.csv.
"""

import sys
from itertools import islice
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import protocols
from clips.ntu import Body, actors
from clips.protocols import read_columns, write_columns
from clips.skipped import BadFile, Skipped, read_groups, report_skipped
from safe.files import open_h5
from safe.program import exit_on_error


def denoise(path, start, stop):
    """Some clips of step 1 as columns of step 2: of each clip, and all its values in one row. And [Skipped]."""
    with open_h5(path) as file:
        (bodies,), (lengths,) = read_columns(file, "bodies"), read_columns(file, "body_rows")
        body = slice(bodies[:start].sum(), bodies[:stop].sum())
        row = slice(lengths[: body.start].sum(), lengths[: body.stop].sum())
        of_clips = [file[name][start:stop] for name in ("names", "valid_frames", "bodies")]
        ids, first, rows, motion = (file[f"body_{name}"][body] for name in ("id", "first", "rows", "motion"))
        joints = file["joints"][row]
    bodies = map(Body, ids.tolist(), first.tolist(), np.split(joints, rows.cumsum()[:-1]), motion)
    names, clips, skipped = [], [], []
    for name, valid, n in zip(*(column.tolist() for column in of_clips), strict=True):
        try:
            clips.append(actors(valid, list(islice(bodies, n))))
            names.append(name)
        except BadFile as error:
            skipped.append(Skipped.of(f"{name.decode()}.skeleton", error))
    return {
        "names": np.array(names, "S20"),
        "frames": np.array([len(clip) for clip in clips], np.int64),
        "width": np.array([clip.shape[1] for clip in clips], np.int64),
        "joints": np.concatenate([clip.ravel() for clip in clips] or [np.empty(0, np.float32)]),
    }, skipped


def main(argv=None):
    args = protocols.parse_arguments(__doc__, argv)
    dataset = protocols.dataset(args.dataset)
    out, skipped = args.root / "denoised_data" / f"{dataset.name}.h5", []
    source = protocols.made_by(args.root / "raw_data" / out.name, "get_raw_skes_data.py")
    with open_h5(source) as file:
        clips = len(file["names"])
    jobs = [(source, i, i + protocols.GROUP) for i in range(0, max(1, clips), protocols.GROUP)]
    write_columns(out, read_groups(denoise, jobs, args, skipped, "denoising", clips))
    print(f"{out}: {dataset.count(clips - len(skipped))}")
    return report_skipped(skipped, out.with_name("skipped.csv"))


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
