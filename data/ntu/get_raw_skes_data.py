"""Step 1 of 3: reads the .skeleton files, and keeps the bodies of each clip.

    python get_raw_skes_data.py                      # in data/ntu, which holds nturgb+d_skeletons/
    python get_raw_skes_data.py --root DIR --dataset NTU120

Reads every SsssCcccPpppRrrrAaaa.skeleton in the folders of DIR called nturgb…skeletons…, so both halves of NTU120 may
lie in one folder or in two (nturgb+d_skeletons, nturgb+d_skeletons120, as their zips unpack). Writes DIR/raw_data/.
A file that is not whole is skipped, reported and listed in raw_data/skipped.csv. Killed and started again, it goes on
where it was; files that were added or changed since are noticed. (SPEC, "Step 1, the bodies of each clip".)
"""

import os
import sys
from collections import Counter
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]
import blocks  # noqa: E402
import protocols  # noqa: E402
from blocks import BadFile  # noqa: E402

from util import UserError, one_clear_line  # noqa: E402

SCRIPT = Path(__file__).name
JOINTS = 25
LARGEST = 64 * 2**20  # bytes; NTU's largest file has 4 MB. So what a worker holds stays bounded
TEXT_A_BLOCK = 256 * 2**20  # bytes; NTU's blocks have 36 MB
INFINITE = 2.0**128 - 2.0**103  # the smallest number that rounds to float32's infinity


class Body(NamedTuple):
    """What one clip's text says of one body ID."""

    id: bytes  # text: as a float64, IDs of two people can become equal
    first: int  # the valid frame where it is first seen; its interval counts on from there without holes
    joints: np.ndarray  # (rows, 25, 3) float32, metres in the camera's frame; one row a frame in which it is seen
    motion: np.float32  # variance over all its joint positions, summed over x, y, z; 0 if it is alone in the clip


def read_skeleton(data):
    """The text of a .skeleton file, bytes, to (number of valid frames, [Body] in the order of first appearance).

    Raises BadFile naming the line. Nothing is allocated by an announced count: what is there is read, then compared.
    """
    lines = data.split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    ids, frames, starts = [], [], []
    try:
        valid = walk(lines, ids, frames, starts)
    except BadFile:
        examine(lines, starts)  # a line too few or too many upsets the counts after it: it is that line to tell of
        raise
    joints = numbers(data, lines, starts)
    order = {}
    which = np.array([order.setdefault(id, len(order)) for id in ids])
    if len(order) == 1:
        return valid, [Body(ids[0], frames[0], joints, np.float32(0))]
    found = []
    for id, k in order.items():
        its = joints[which == k]
        with np.errstate(over="ignore", invalid="ignore"):
            found.append(Body(id, frames[ids.index(id)], its, its.reshape(-1, 3).var(axis=0).sum()))
    return valid, found


def read_file(path):
    """`read_skeleton` of a file. Raises BadFile, or OSError where the system cannot read it."""
    if os.path.getsize(path) > LARGEST:
        raise BadFile(None, f"larger than {LARGEST >> 20} MB")
    with open(path, "rb") as file:
        return read_skeleton(file.read())


def walk(lines, ids, frames, starts):
    """Goes from count to count, and returns the number of valid frames.

    Appends of each body in each frame: its ID, the number of the valid frame, and the index of its first joint's line.
    """
    at, valid = 1, 0
    announced = count(lines, 0, "the number of frames")
    for frame in range(1, announced + 1):  # over counts alone: where a frame begins depends on all before it
        bodies = count(lines, at, f"the number of bodies of frame {frame} of {announced}")
        at += 1
        for body in range(1, bodies + 1):
            if at + 2 + JOINTS > len(lines):
                raise BadFile(len(lines), f"cut short in frame {frame} of {announced}, body {body} of {bodies}")
            fields = lines[at].split()
            if len(fields) != 10 or not fields[0].isdigit() or len(fields[0]) > 20:
                raise BadFile(at + 1, f"{shown(lines[at])} is not a body's ID and its 9 numbers")
            if lines[at + 1].strip() != b"25":
                raise BadFile(at + 2, f"the number of joints is {shown(lines[at + 1])}, not 25")
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


def count(lines, at, what):
    """The count in line `at`, which announces `what`."""
    if not lines:
        raise BadFile(None, "the file is empty")
    if at >= len(lines):
        raise BadFile(len(lines), f"cut short: the file ends before {what}")
    token = lines[at].strip()
    if not token.isdigit() or len(token) > 18:
        raise BadFile(at + 1, f"{shown(token)} is not {what}")
    return int(token)


def numbers(data, lines, starts):
    """x, y, z of the 25 joints whose lines begin at each of `starts`: (len(starts), 25, 3) float32. Raises BadFile.

    Of a joint's 12 fields only these three are converted. That the others are there and are no words is seen from
    the characters of the whole text, and only if these look odd are all fields gone through one by one.
    """
    rows = list(chain.from_iterable([lines[at : at + JOINTS] for at in starts]))
    spaces = np.count_nonzero(np.frombuffer(data, np.uint8) == ord(" "))
    odd = data.translate(None, b"0123456789+-.eE \t\r\n")
    if odd or spaces != 11 * len(rows) + 9 * len(starts) or len(rows[-1].split()) != 12:
        examine(lines, starts)
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
    if not np.isfinite(values).all():
        examine(lines, starts)
    return values.reshape(-1, JOINTS, 3)


def examine(lines, starts):
    """Goes through the bodies of a text field by field, and raises BadFile at the first that is not as it should be.

    NaN and infinity are wrong in x, y, z alone: elsewhere, where nothing reads them, Kinect itself may write them.
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
                    raise BadFile(at + 1, f"{shown(token)} is not a number")
                if wanted == 12 and i < 3 and not abs(value) < INFINITE:
                    raise BadFile(at + 1, f"{'xyz'[i]} of a joint is {shown(token)}")


def shown(text):
    """At most 30 bytes of a text, quoted for a message."""
    text = text.strip()
    return repr(text[:30])[1:] + ("…" if len(text) > 30 else "")


def read_block(files, skip):
    """[(name, path)] to the arrays of a block: clips one after another, bodies one after another, rows likewise."""
    clips, bodies = [], []
    for name, path in files:
        try:
            valid, found = read_file(path)
        except (BadFile, OSError) as error:
            skip(f"{Path(path).parent.name}/{name}.skeleton", error)
            continue
        clips.append((name, valid, len(found)))
        bodies += found
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


def find(root, dataset):
    """The .skeleton files to read: ({name: (path, size, mtime)} in name order, Counter of those left out and why)."""
    folders = sorted(p for p in root.glob("nturgb*skeletons*") if p.is_dir() and p.suffix != ".part")
    if not folders:
        raise UserError(f"{root}/nturgb+d_skeletons: no such folder; put the .skeleton files there, or name --root")
    files, left_out = {}, Counter()
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name.removesuffix(".skeleton")
                if name == entry.name or not protocols.NAME.fullmatch(name):
                    left_out["not named SsssCcccPpppRrrrAaaa.skeleton"] += 1
                elif name in dataset.left_out:
                    left_out["known to lack skeletons (missing_skeletons.txt)"] += 1
                elif not dataset.belongs(name):
                    left_out[f"their action is none of {dataset.name}'s {len(dataset.classes)}"] += 1
                elif name in files:
                    left_out["a file of this name is in another of the folders too"] += 1
                else:
                    try:
                        stat = entry.stat()
                        files[name] = (entry.path, stat.st_size, stat.st_mtime_ns)
                    except OSError:  # a link to nowhere: reading it will say so
                        files[name] = (entry.path, -1, -1)
    if not files:
        raise UserError(f"{folders[0]}: no .skeleton file of {dataset.name} is in it")
    return dict(sorted(files.items())), left_out


def tasks(files):
    """Blocks of one setup, camera and performer each, or parts of that: a new file changes no other one."""
    for key, group in groupby(files, key=lambda name: name[:12]):
        names = list(group)
        part = np.cumsum([files[name][1] for name in names]) // TEXT_A_BLOCK
        for i in np.unique(part):
            some = [names[k] for k in np.flatnonzero(part == i)]
            made_from = blocks.digest(SCRIPT, [(name, *files[name][1:]) for name in some])
            source = [(name, files[name][0]) for name in some]
            yield blocks.Task(f"{key}-{i}" if i else key, made_from, len(some), source)


def main(argv=None):
    args = blocks.arguments(__doc__, argv)
    dataset = protocols.dataset(args.dataset, args.root)
    files, left_out = find(args.root, dataset)
    folder = args.root / "raw_data"
    records = blocks.run(
        list(tasks(files)), read_block, folder, dataset.name, workers=args.workers, strict=args.strict, title="reading"
    )
    print(blocks.left_out(left_out), end="")
    print(f"{folder}: {blocks.full_or_not(dataset, sum(record.clips for record in records))}")
    return blocks.report(chain.from_iterable(record.skipped for record in records), folder / "skipped.csv")


if __name__ == "__main__":
    with one_clear_line():
        sys.exit(main())
