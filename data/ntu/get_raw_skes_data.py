"""Step 1 of 3: reads the .skeleton files and finds the bodies of each clip.

    python get_raw_skes_data.py                      # in data/ntu, which holds nturgb+d_skeletons/
    python get_raw_skes_data.py --root DIR --dataset NTU120

Reads every SsssCcccPpppRrrrAaaa.skeleton in the folders of DIR named nturgb...skeletons..., so the two halves of NTU120
may be in one folder or in two (nturgb+d_skeletons, nturgb+d_skeletons120, as unpacked). Writes DIR/raw_data/. A file
that is damaged is skipped, reported and listed in raw_data/skipped.csv. After an interruption the same command
continues; files that were added or changed since are noticed.
"""

import os
import sys
from collections import Counter
from itertools import chain, groupby
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import blocks, protocols
from clips.ntu import JOINTS, read_file
from clips.skipped import BadFile
from safe.program import exit_on_error
from util import UserError

SCRIPT = Path(__file__).name
TEXT_A_BLOCK = 256 * 2**20  # bytes of the files of a block; NTU's blocks have 36 MB


def read_block(files, skip):
    """Reads [(name, path)] into the arrays of a block: of each clip, of each body, and of each row of a body."""
    clips, bodies = [], []
    for name, path in files:
        try:
            valid, its_bodies = read_file(path)
        except (BadFile, OSError) as error:
            skip(f"{Path(path).parent.name}/{name}.skeleton", error)
            continue
        clips.append((name, valid, len(its_bodies)))
        bodies += its_bodies
    names, valid, counts = zip(*clips, strict=True) if clips else ((), (), ())
    return {
        "names": np.array(names, "S20"),
        "valid_frames": np.array(valid, np.int64),
        "bodies": np.array(counts, np.int64),
        "body_id": np.array([body.id for body in bodies], "S20"),
        "body_first": np.array([body.first for body in bodies], np.int64),
        "body_rows": np.array([len(body.joints) for body in bodies], np.int64),
        "body_motion": np.array([body.motion for body in bodies], np.float32),
        "joints": np.concatenate([body.joints for body in bodies] or [np.empty((0, JOINTS, 3), np.float32)]),
    }


def find_files(root, dataset):
    """The .skeleton files to read, {name: file_state} in name order, and a Counter of why others are left out."""
    folders = sorted(p for p in root.glob("nturgb*skeletons*") if p.is_dir() and p.suffix != ".part")
    if not folders:
        raise UserError(f"{root}/nturgb+d_skeletons: no such folder; put the .skeleton files there, or name --root")
    files, excluded, other = {}, Counter(), f"not one of the {len(dataset.classes)} actions of {dataset.name}"
    for entry in chain.from_iterable(map(os.scandir, folders)):
        name = entry.name.removesuffix(".skeleton")
        if name == entry.name or not protocols.NAME.fullmatch(name):
            excluded["not named SsssCcccPpppRrrrAaaa.skeleton"] += 1
        elif name in dataset.missing:
            excluded["known to lack skeletons (missing_skeletons.txt)"] += 1
        elif not dataset.has(name):
            excluded[other] += 1
        elif name in files:
            excluded["a file of this name is in another of the folders too"] += 1
        else:
            files[name] = blocks.file_state(entry)
    if not files:
        there = "; ".join(f"{n:,} {why}" for why, n in excluded.items()) or "it is empty"
        flag = "; for clips of NTU RGB+D 120 add --dataset NTU120" * (other in excluded and dataset.name != "NTU120")
        raise UserError(f"{folders[0]}: no .skeleton file of {dataset.name} is in it ({there}){flag}")
    return dict(sorted(files.items())), excluded


def plan_blocks(files):
    """Tasks of one setup, camera and performer each, or parts of that, so that a new file changes one block only."""
    for key, group in groupby(files, key=lambda name: name[:12]):
        names = list(group)
        part = np.cumsum([files[name][1] for name in names]) // TEXT_A_BLOCK
        for i in np.unique(part):
            chosen = [names[k] for k in np.flatnonzero(part == i)]
            yield blocks.file_task(f"{key}-{i}" if i else key, SCRIPT, chosen, files)


def main(argv=None):
    args = protocols.parse_arguments(__doc__, argv)
    dataset = protocols.dataset(args.dataset)
    files, excluded = find_files(args.root, dataset)
    folder = args.root / "raw_data"
    options = {"workers": args.workers, "strict": args.strict, "title": "reading"}
    records = blocks.make_blocks(list(plan_blocks(files)), read_block, folder, dataset.name, **options)
    for why, n in excluded.items():
        print(f"{n:,} left out: {why}")
    print(f"{folder}: {dataset.count(sum(record.clips for record in records))}")
    return blocks.report_skipped(records, folder / "skipped.csv")


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
