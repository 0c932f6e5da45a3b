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
from typing import NamedTuple

import numpy as np

import _path

import blocks
import protocols
from blocks import BadFile
from units import FARTHEST
from util import UserError, exit_on_error, regular

SCRIPT = Path(__file__).name
JOINTS = 25
LARGEST = 64 * 2**20  # bytes of a file; NTU's largest has 4 MB. Limits the memory of a worker
TEXT_A_BLOCK = 256 * 2**20  # bytes of the files of a block; NTU's blocks have 36 MB


class Body(NamedTuple):
    """The joints of one body ID in a clip."""

    id: bytes  # text: as float64, two IDs can become equal
    first: int  # the valid frame in which it is first seen
    joints: np.ndarray  # (rows, 25, 3) float32, metres, camera coordinates: one row for each frame in which it is seen
    motion: np.float32  # variance over all its joint positions, summed over x, y, z; 0 if it is the only body

    @property
    def last(self):
        """The end of its interval, which has no gaps even if the body does (as in the release)."""
        return self.first + len(self.joints) - 1


def read_skeleton(data):
    """Reads the text of a .skeleton file, bytes: (number of valid frames, [Body] in the order of first appearance).

    Valid frames are those with a body. Raises BadFile with the line. The counts in the text allocate no memory.
    """
    lines = data.split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    ids, frames, starts = [], [], []
    try:
        valid = find_bodies(lines, ids, frames, starts)
    except BadFile:
        check_fields(lines, starts)  # a missing or extra line makes the counts after it wrong: name that line
        raise
    joints = read_joints(data, lines, starts)
    order = {}
    which = np.array([order.setdefault(id, len(order)) for id in ids])
    if len(order) == 1:
        return valid, [Body(ids[0], frames[0], joints, np.float32(0))]
    bodies = []
    for id, k in order.items():
        rows = joints[which == k]
        with np.errstate(over="ignore", invalid="ignore"):
            bodies.append(Body(id, frames[ids.index(id)], rows, rows.reshape(-1, 3).var(axis=0).sum()))
    return valid, bodies


def read_file(path):
    """`read_skeleton` of a file. Raises BadFile, or OSError where the system cannot read it."""
    if os.path.getsize(path) > LARGEST:
        raise BadFile(None, f"larger than {LARGEST >> 20} MB")
    with open(regular(path), "rb") as file:
        return read_skeleton(file.read())


def find_bodies(lines, ids, frames, starts):
    """Finds the bodies of each frame by the counts in the text, and returns the number of valid frames.

    Appends for each body in each frame: its ID, the number of the valid frame, and the index of its first joint's line.
    """
    at, valid = 1, 0
    announced = read_count(lines, 0, "the number of frames")
    for frame in range(1, announced + 1):
        bodies = read_count(lines, at, f"the number of bodies of frame {frame} of {announced}")
        at += 1
        for body in range(1, bodies + 1):
            if at + 2 + JOINTS > len(lines):
                raise BadFile(len(lines), f"cut short in frame {frame} of {announced}, body {body} of {bodies}")
            fields = lines[at].split()
            if len(fields) != 10 or not fields[0].isdigit() or len(fields[0]) > 20:
                raise BadFile(at + 1, f"{quote(lines[at])} is not a body's ID and its 9 numbers")
            if lines[at + 1].strip() != b"25":
                raise BadFile(at + 2, f"the number of joints is {quote(lines[at + 1])}, not 25")
            ids.append(fields[0])
            frames.append(valid)
            starts.append(at + 2)
            at += 2 + JOINTS
        valid += bodies > 0
    if at < len(lines):
        raise BadFile(at + 1, f"more lines after the last of the {announced} frames announced in line 1")
    if not valid:
        raise BadFile(None, f"all {announced} frames are empty" if announced else "there are no frames")
    return valid


def read_count(lines, at, what):
    """The count in line `at`; `what` names it in errors."""
    if not lines:
        raise BadFile(None, "the file is empty")
    if at >= len(lines):
        raise BadFile(len(lines), f"cut short: the file ends before {what}")
    token = lines[at].strip()
    if not token.isdigit() or len(token) > 18:
        raise BadFile(at + 1, f"{quote(token)} is not {what}")
    return int(token)


def read_joints(data, lines, starts):
    """x, y, z of the 25 joints whose lines begin at each of `starts`: (len(starts), 25, 3) float32. Raises BadFile.

    Of the 12 fields of a joint only these three are converted, for speed. The others are checked by the characters of
    the whole text, and one by one only if there is an unusual one.
    """
    rows = list(chain.from_iterable([lines[at : at + JOINTS] for at in starts]))
    spaces = np.count_nonzero(np.frombuffer(data, np.uint8) == ord(" "))
    unusual = data.translate(None, b"0123456789+-.eE \t\r\n")
    if unusual or spaces != 11 * len(rows) + 9 * len(starts) or len(rows[-1].split()) != 12:
        check_fields(lines, starts)
    values = []
    add = values.append
    try:
        for row in rows:
            x, y, z, _ = row.split(None, 3)
            add(float(x))
            add(float(y))
            add(float(z))
    except ValueError:
        add(np.nan)
    with np.errstate(over="ignore"):
        values = np.fromiter(values, np.float32, len(values))
    if not (np.abs(values) < FARTHEST).all():
        check_fields(lines, starts)
    return values.reshape(-1, JOINTS, 3)


def check_fields(lines, starts):
    """Checks the bodies of a text field by field: raises BadFile for the first that is wrong.

    NaN, infinity and what is too large are wrong in x, y, z only: Kinect itself writes them in other fields, which are
    not used.
    """
    for start in starts:
        for at in (start - 2, *range(start, start + JOINTS)):
            fields, wanted = lines[at].split(), 12 if at >= start else 10
            if len(fields) != wanted:
                raise BadFile(at + 1, f"{len(fields)} numbers where {wanted} belong")
            for i, token in enumerate(fields):
                try:
                    value = float(token) if b"_" not in token else None
                except ValueError:
                    value = None
                if value is None:
                    raise BadFile(at + 1, f"{quote(token)} is not a number")
                if wanted == 12 and i < 3 and not abs(value) < FARTHEST:
                    raise BadFile(at + 1, f"{'xyz'[i]} of a joint is {quote(token)}")


def quote(text):
    """At most 30 bytes of a line, quoted for a message."""
    text = text.strip()
    return repr(text[:30])[1:] + ("…" if len(text) > 30 else "")


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
