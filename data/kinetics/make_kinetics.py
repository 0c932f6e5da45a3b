"""Kinetics-Skeleton: converts `kinetics_train/` and `kinetics_val/`, one json for each clip, to `KINETICS_val.h5`.

    python data/kinetics/make_kinetics.py kinetics-skeleton              # the folder that contains the two

The clips of kinetics_train train, 5% of them as validation clips, and those of kinetics_val test. A clip is {"data": [a
frame: {"frame_index": 1, "skeleton": [a person: {"pose": [x0, y0, x1, y1, ...], "score": [s0, s1, ...]}, ...]}, ...],
"label": text, "label_index": 0...399}, with OpenPose's 18 joints, x and y in 0...1 of the picture, and at most 300
frames (Yan et al., AAAI 2018). Instead of x, y, z in metres the h5 has x - 0.5, y - 0.5 and the score; a joint of score
0 is zeros. Of each frame the two persons of the highest mean score are kept, the higher one first. Clips without any
person are left out.

Every file is read twice: to check it, and to copy it. After an interruption the same command continues, as the results
of the checks are kept in checked_data/. Memory holds a few clips at a time.
"""

import json
import os
import sys
from contextlib import closing
from itertools import chain
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import blocks
from clips import h5 as layout
from clips.skipped import BadFile
from safe.h5 import open_h5
from safe.program import exit_on_error
from safe.workers import parallel_map
from util import ArgumentParser, UserError, __version__, progress, regular, remove_stale_parts

HERE = Path(__file__).resolve().parent
SCRIPT = Path(__file__).name
SIDES = ("kinetics_train", "kinetics_val")
JOINTS, PERSONS, FRAMES, CLASSES = 18, 2, 300, 400
LARGEST = 2**26  # bytes of a json; one of 300 frames has 250,000
BLOCK, JOB = 1000, 16  # clips


def parse(text):
    """Reads the text of one json: (frames, 108) float32, the class index and the class name. Raises BadFile.

    A row is x, y, score of the 18 joints of person 1, then of person 2, zeros for an absent one.
    """
    try:
        clip = json.loads(text)
        frames = sorted(clip["data"], key=lambda frame: frame["frame_index"])
        label, name = clip["label_index"], clip["label"]
        persons = [person for frame in frames for person in frame["skeleton"]]
        pose = np.array([person["pose"] for person in persons] or np.empty((0, JOINTS * 2)))
        score = np.array([person["score"] for person in persons] or np.empty((0, JOINTS)))
        frame = np.repeat(np.arange(len(frames)), [len(frame["skeleton"]) for frame in frames])
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise BadFile(None, f"not a clip of Kinetics-Skeleton ({type(error).__name__}: {error})"[:200]) from None
    if type(label) is not int or not 0 <= label < CLASSES:
        raise BadFile(None, f"label_index {label!r:.30} is not 0 to {CLASSES - 1}")
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 100:
        raise BadFile(None, f"label {name!r:.30} is not a name")
    if len(frames) > FRAMES:
        raise BadFile(None, f"{len(frames)} frames, more than {FRAMES}")
    for what, values, width in (("pose", pose, JOINTS * 2), ("score", score, JOINTS)):
        if values.dtype.kind not in "fi" or values.shape != (len(persons), width):
            raise BadFile(None, f"{what} is not {width} numbers for each person")
        if not (np.abs(values) < 1e6).all():
            raise BadFile(None, f"a number in {what} is not finite, or too large")
    joints = np.concatenate([pose.reshape(-1, JOINTS, 2) - 0.5, score[..., None]], axis=2)
    joints[score == 0] = 0
    order = np.lexsort((-score.mean(axis=1), frame))  # frame by frame, the highest mean score first; stable
    frame, joints = frame[order], joints[order]
    rank = np.arange(len(frame)) - np.searchsorted(frame, frame)
    kept = rank < PERSONS
    rows = np.zeros((len(frames), PERSONS, JOINTS, 3), np.float32)
    rows[frame[kept], rank[kept]] = joints[kept]
    return rows.reshape(len(frames), PERSONS * JOINTS * 3), label, name


def read_json(path):
    if os.path.getsize(path) > LARGEST:
        raise BadFile(None, f"larger than {LARGEST >> 20} MB")
    return parse(regular(path).read_bytes())


def check_block(files, skip):
    """Reads [(name, path)] into the arrays of a block: name, label and its name, and whether there is a person."""
    rows = []
    for name, path in files:
        try:
            clip, label, label_name = read_json(path)
        except (BadFile, OSError) as error:
            skip(f"{name}.json", error)
        else:
            rows.append((name.encode(), label, label_name.encode(), clip.any()))
    names, labels, label_names, seen = zip(*rows, strict=True) if rows else ((), (), (), ())
    return {
        "names": np.array(names, "S"),
        "label": np.array(labels, np.int64),
        "label_name": np.array(label_names, "S"),
        "seen": np.array(seen, bool),
    }


def find_files(folder):
    """The files of the clips: {"kinetics_train/<name>": file_state}, in name order. Raises UserError."""
    files = {}
    for side in SIDES:
        if not (folder / side).is_dir():
            raise UserError(f"{folder / side}: no such folder; {SIDES[0]} and {SIDES[1]} must be in {folder}")
        with os.scandir(folder / side) as entries:
            found = sorted((entry for entry in entries if entry.name.endswith(".json")), key=lambda entry: entry.name)
        if not found:
            raise UserError(f"{folder / side}: no .json in it")
        for entry in found:
            if not entry.name.isprintable():
                raise UserError(f"{folder / side}: {entry.name!r} is not a printable name")
            files[f"{side}/{entry.name.removesuffix('.json')}"] = blocks.file_state(entry)
    return files


def plan_blocks(files):
    """Tasks of BLOCK files of one side each."""
    for side in SIDES:
        names = [name for name in files if name.startswith(f"{side}/")]
        for i in range(0, len(names), BLOCK):
            yield blocks.file_task(f"{side}-{i // BLOCK:04}", SCRIPT, names[i : i + BLOCK], files)


def read_checked(folder, records):
    """What the blocks say of all clips: names (clips,) str, label (clips,) int64, seen (clips,) bool, class names."""
    parts, classes = [], {}
    for record in records:
        with open_h5(folder / f"{record.key}.h5") as file:
            parts.append([file[key][()] for key in ("names", "label", "seen", "label_name")])
    names, label, seen, label_name = (np.concatenate(part) for part in zip(*parts, strict=True))
    for i in np.unique(label):
        found, first = np.unique(label_name[label == i], return_index=True)
        if len(found) > 1:
            a, b = (f"{found[k].decode()!r} in {names[label == i][first[k]].decode()}.json" for k in (0, 1))
            raise UserError(f"label_index {i} is {a}, but {b}")
        classes[int(i)] = found[0].decode()
    names = np.array([name.decode() for name in names], str)
    return names, label, seen, [classes.get(i, f"class {i}") for i in range(CLASSES)]


def read_some(paths):
    """The clips of these files, in a worker."""
    try:
        return [read_json(path)[0] for path in paths]
    except (BadFile, OSError) as error:
        raise UserError(f"{paths[0]}, or one of the next {JOB}, has changed ({error}): start again") from None


def write(path, paths, labels, splits, workers, **more):
    """Writes the h5. paths, labels: of all clips; splits: {"": indices, "valid_": ..., "test_": ...}."""
    order = [(split, i, paths[k]) for split, ids in splits.items() for i, k in enumerate(ids)]
    jobs = [([file for *_, file in order[i : i + JOB]],) for i in range(0, len(order), JOB)]
    header = {
        "frames": FRAMES,
        "joints": JOINTS,
        "persons": PERSONS,
        "skeleton": "openpose18",
        "made_by": f"{SCRIPT} {__version__}",
    }
    header |= {"protocol": "kinetics_train trains, kinetics_val tests", "axes": layout.AXES_2D} | more
    with (
        progress(total=len(order), desc=path.name, unit="clip") as bar,
        closing(parallel_map(read_some, jobs, workers)) as clips,
        layout.open_writer(path, {split: labels[ids] for split, ids in splits.items()}, **header) as write_clip,
    ):
        for (split, i, file), clip in zip(order, chain.from_iterable(clips), strict=True):
            write_clip(split, i, clip, what=file)
            bar.update()


def main(argv=None):
    parser = ArgumentParser(description=__doc__, epilog=blocks.EXIT_CODES)
    parser.add_argument("folder", type=Path, help="contains kinetics_train/ and kinetics_val/")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the h5 and checked_data/ (%(default)s)")
    blocks.add_arguments(parser)
    args = parser.parse_args(argv)

    files, folder, path = find_files(args.folder), args.out / "checked_data", args.out / "KINETICS_val.h5"
    options = {"workers": args.workers, "strict": args.strict, "title": "checking"}
    records = blocks.make_blocks(list(plan_blocks(files)), check_block, folder, "KINETICS", **options)
    names, labels, seen, classes = read_checked(folder, records)
    print(f"{len(names):,} clips, {(~seen).sum():,} of them left out: no person in them")
    train = np.char.startswith(names, f"{SIDES[0]}/")
    train, test = np.flatnonzero(seen & train), np.flatnonzero(seen & ~train)
    if len(train) < 2 or not len(test):
        raise UserError(f"{path} not written: at least two training clips and one test clip with a person are needed")
    splits = dict(zip(layout.SPLITS, (*layout.split_validation(train), test), strict=True))
    made_from = blocks.digest(SCRIPT, [record[:2] for record in records])
    remove_stale_parts(args.out)
    if layout.made_from(path) != made_from:
        paths = [files[name][0] for name in names]
        write(path, paths, labels, splits, args.workers, class_names=classes, made_from=made_from)
    print("{}: {:,} training, {:,} validation and {:,} test clips".format(path, *map(len, splits.values())))
    return blocks.report_skipped(records, folder / "skipped.csv")


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
