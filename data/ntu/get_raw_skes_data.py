"""Step 1 of 3: reads the .skeleton files and finds the bodies of each clip.

    python get_raw_skes_data.py                      # in data/ntu, which holds nturgb+d_skeletons/
    python get_raw_skes_data.py --root DIR --dataset NTU120

Reads every SsssCcccPpppRrrrAaaa.skeleton in the folders of DIR named nturgb...skeletons..., so the two halves of NTU120
may be in one folder or in two (nturgb+d_skeletons, nturgb+d_skeletons120, as unpacked). Writes DIR/raw_data/NTU.h5. A
file that is damaged is skipped, reported and listed in raw_data/skipped.csv.
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import protocols
from clips.ntu import JOINTS, read_file
from clips.protocols import write_columns
from clips.skipped import BadFile, Skipped, read_groups, report_skipped
from safe.program import exit_on_error
from util import UserError


def read_files(paths):
    """Reads some files, in a worker: the columns of clips, of their bodies, and of each body's rows; and [Skipped]."""
    clips, bodies, skipped = [], [], []
    for path in paths:
        try:
            valid, its_bodies = read_file(path)
        except (BadFile, OSError) as error:
            skipped.append(Skipped.of(f"{path.parent.name}/{path.name}", error))
            continue
        clips.append((path.stem, valid, len(its_bodies)))
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
    }, skipped


def find_files(root, dataset):
    """The .skeleton files to read, [Path] in name order, and a Counter of why others are left out."""
    folders = sorted(p for p in root.glob("nturgb*skeletons*") if p.is_dir() and p.suffix != ".part")
    if not folders:
        raise UserError(f"{root}/nturgb+d_skeletons: no such folder; put the .skeleton files there, or name --root")
    files, excluded, more = {}, Counter(), " (--dataset NTU120 has more)" * (dataset.name == "NTU")
    for path in (path for folder in folders for path in folder.iterdir()):
        name = path.stem
        if path.suffix != ".skeleton" or not protocols.NAME.fullmatch(name):
            excluded["not named SsssCcccPpppRrrrAaaa.skeleton"] += 1
        elif name in dataset.missing:
            excluded["known to lack skeletons (missing_skeletons.txt)"] += 1
        elif not dataset.has(name):
            excluded[f"not one of the {len(dataset.classes)} actions of {dataset.name}{more}"] += 1
        elif name in files:
            excluded["a file of this name is in another of the folders too"] += 1
        else:
            files[name] = path
    if not files:
        there = "; ".join(f"{n:,} {why}" for why, n in excluded.items()) or "it is empty"
        raise UserError(f"{folders[0]}: no .skeleton file of --dataset {dataset.name} is in it ({there})")
    return [files[name] for name in sorted(files)], excluded


def main(argv=None):
    args = protocols.parse_arguments(__doc__, argv)
    dataset = protocols.dataset(args.dataset)
    files, excluded = find_files(args.root, dataset)
    out, skipped = args.root / "raw_data" / f"{dataset.name}.h5", []
    jobs = [(files[i : i + protocols.GROUP],) for i in range(0, len(files), protocols.GROUP)]
    write_columns(out, read_groups(read_files, jobs, args, skipped, "reading", len(files)))
    for why, n in excluded.items():
        print(f"{n:,} left out: {why}")
    print(f"{out}: {dataset.count(len(files) - len(skipped))}")
    return report_skipped(skipped, out.with_name("skipped.csv"))


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
