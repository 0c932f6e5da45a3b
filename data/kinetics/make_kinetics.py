"""Kinetics-Skeleton: from `kinetics_train/` and `kinetics_val/`, a json a clip, to `KINETICS_val.h5`.

    python data/kinetics/make_kinetics.py kinetics-skeleton              # the folder that holds the two

The clips of kinetics_train train, 5% of them held out, and those of kinetics_val test. A clip is {"data": [a frame:
{"frame_index": 1, "skeleton": [a person: {"pose": [x0, y0, x1, y1, ...], "score": [s0, s1, ...]}, ...]}, ...], "label":
text, "label_index": 0...399}, 18 joints in OpenPose's order, x and y in 0...1 of the picture, at most 300 frames.
Where other data sets have x, y, z in metres, the h5 has x - 0.5, y - 0.5 and the score; a joint of score 0 is zeros. Of
each frame the two persons of the highest mean score are kept, the higher one first. Clips in which nobody is seen are
left out.

Every file is read twice, in name order: to check it and to learn its label (this is kept in checked_data/, so stopped
at any moment the same command goes on), and to copy it. Memory holds a few clips at a time. (SPEC,
"Kinetics-Skeleton"; the data: Yan et al., AAAI 2018.)
"""

import argparse
import json
import os
import sys
from contextlib import closing
from itertools import chain
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "ntu"), str(HERE.parents[1])]
import blocks  # noqa: E402
from blocks import BadFile  # noqa: E402
from layout import hold_out, writing  # noqa: E402
from seq_transformation import finished  # noqa: E402

from util import UserError, __version__, one_clear_line, sweep  # noqa: E402

SCRIPT = Path(__file__).name
SIDES = ("kinetics_train", "kinetics_val")
JOINTS, PERSONS, FRAMES, CLASSES = 18, 2, 300, 400
LARGEST = 2**26  # bytes of a json; a full one has 250,000
A_BLOCK, A_JOB = 1000, 16  # clips


def parse(text):
    """(frames, 108) float32, the class index and the class name, from the text of one json. Raises BadFile.

    A row is x, y, score of 18 joints of the first person, then of the second; zeros where there is none.
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


def read(path):
    if os.path.getsize(path) > LARGEST:
        raise BadFile(None, f"larger than {LARGEST >> 20} MB")
    return parse(Path(path).read_bytes())


def check_block(files, skip):
    """[(name, path)] to the arrays of a block: a clip's label, its name, and whether anybody is seen."""
    rows = []
    for name, path in files:
        try:
            clip, label, text = read(path)
        except (BadFile, OSError) as error:
            skip(f"{name}.json", error)
        else:
            rows.append((name.encode(), label, text.encode(), clip.any()))
    names, labels, texts, seen = zip(*rows, strict=True) if rows else ((), (), (), ())
    return {
        "names": np.array(names, "S"),
        "label": np.array(labels, np.int64),
        "label_name": np.array(texts, "S"),
        "seen": np.array(seen, bool),
    }


def find(folder):
    """The clips' files: {"kinetics_train/<name>": (path, size, mtime)}, both sides in name order. Raises UserError."""
    files = {}
    for side in SIDES:
        if not (folder / side).is_dir():
            raise UserError(f"{folder / side}: no such folder; {SIDES[0]} and {SIDES[1]} must be in {folder}")
        with os.scandir(folder / side) as entries:
            found = sorted((entry for entry in entries if entry.name.endswith(".json")), key=lambda entry: entry.name)
        for entry in found:
            if not entry.name.isprintable():
                raise UserError(f"{folder / side}: {entry.name!r} in it is no name that can be printed")
            try:
                stat = entry.stat()
                about = (stat.st_size, stat.st_mtime_ns)
            except OSError:  # a link to nowhere: reading it will say so
                about = (-1, -1)
            files[f"{side}/{entry.name.removesuffix('.json')}"] = (entry.path, *about)
        if not found:
            raise UserError(f"{folder / side}: no .json in it")
    return files


def tasks(files):
    """Blocks of A_BLOCK files of one side each."""
    for side in SIDES:
        names = [name for name in files if name.startswith(f"{side}/")]
        for i in range(0, len(names), A_BLOCK):
            some = names[i : i + A_BLOCK]
            made_from = blocks.digest(SCRIPT, [(name, *files[name][1:]) for name in some])
            yield blocks.Task(
                f"{side}-{i // A_BLOCK:04}", made_from, len(some), [(name, files[name][0]) for name in some]
            )


def checked(folder, records):
    """What the blocks say of all clips: names (clips,) str, label (clips,) int64, seen (clips,) bool, class names."""
    parts, classes = [], {}
    for record in records:
        with h5py.File(folder / f"{record.key}.h5") as file:
            parts.append([file[key][()] for key in ("names", "label", "seen", "label_name")])
    names, label, seen, text = (np.concatenate(part) for part in zip(*parts, strict=True))
    for i in np.unique(label):
        said, first = np.unique(text[label == i], return_index=True)
        if len(said) > 1:
            a, b = (f"{said[k].decode()!r} in {names[label == i][first[k]].decode()}.json" for k in (0, 1))
            raise UserError(f"label_index {i} is {a}, but {b}")
        classes[int(i)] = said[0].decode()
    names = np.array([name.decode() for name in names], str)
    return names, label, seen, [classes.get(i, f"class {i}") for i in range(CLASSES)]


def copied(paths):
    """The clips of these files (in a worker)."""
    try:
        return [read(path)[0] for path in paths]
    except (BadFile, OSError) as error:
        raise UserError(f"{paths[0]} or one soon after it has changed ({error}): start again") from None


def write(path, clips, splits, workers, **more):
    """Writes the h5. clips: the paths and labels of all; splits: {"": indices, "valid_": …, "test_": …}."""
    paths, labels = clips
    order = [(split, i, paths[k]) for split, ids in splits.items() for i, k in enumerate(ids)]
    jobs = [([file for *_, file in order[i : i + A_JOB]],) for i in range(0, len(order), A_JOB)]
    about = {"frames": FRAMES, "joints": JOINTS, "persons": PERSONS, "made_by": f"{SCRIPT} {__version__}"}
    about |= {"protocol": "kinetics_train trains, kinetics_val tests", "axes": "x - 0.5, y - 0.5, score"} | more
    with (
        tqdm(total=len(order), desc=path.name, unit="clip") as bar,
        closing(blocks.parallel(copied, jobs, workers)) as made,
        writing(path, {split: labels[ids] for split, ids in splits.items()}, **about) as put,
    ):
        for (split, i, file), clip in zip(order, chain.from_iterable(made), strict=True):
            put(split, i, clip, what=file)
            bar.update()


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=blocks.EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="holds kinetics_train/ and kinetics_val/")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the h5 and checked_data/ (%(default)s)")
    parser.add_argument("--workers", type=int, default=blocks.cores(), help="processes (all cores: %(default)s)")
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first file that would be skipped, exit code 2"
    )
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error(f"--workers {args.workers}: at least 1")

    files, folder, path = find(args.folder), args.out / "checked_data", args.out / "KINETICS_val.h5"
    sweep(args.out)  # what a killed run left of the h5
    options = {"workers": args.workers, "strict": args.strict, "title": "checking"}
    records = blocks.run(list(tasks(files)), check_block, folder, "KINETICS", **options)
    names, labels, seen, classes = checked(folder, records)
    print(f"{len(names):,} clips, {(~seen).sum():,} of them left out: nobody is seen in them")
    train = np.char.startswith(names, f"{SIDES[0]}/")
    ids = np.flatnonzero(seen & train), np.flatnonzero(seen & ~train)
    if len(ids[0]) < 2 or not len(ids[1]):
        raise UserError(f"{path} not written: at least two training clips and one test clip with somebody are needed")
    kept, apart = hold_out(ids[0])
    made_from = blocks.digest(SCRIPT, [record[:2] for record in records])
    if not finished(path, made_from):
        clips = [files[name][0] for name in names], labels
        splits = {"": kept, "valid_": apart, "test_": ids[1]}
        write(path, clips, splits, args.workers, class_names=classes, made_from=made_from)
    print(f"{path}: {len(kept):,} training, {len(apart):,} validation and {len(ids[1]):,} test clips")
    return blocks.report(chain.from_iterable(record.skipped for record in records), folder / "skipped.csv")


if __name__ == "__main__":
    with one_clear_line():
        sys.exit(main())
