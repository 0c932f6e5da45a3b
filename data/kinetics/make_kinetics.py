"""Kinetics-Skeleton: converts `kinetics_train/` and `kinetics_val/`, one json for each clip, to `KINETICS_val.h5`.

    python data/kinetics/make_kinetics.py kinetics-skeleton              # the folder that contains the two

A clip is {"data": [{"frame_index", "skeleton": [{"pose": [x0, y0, ...], "score"}, ...]}, ...], "label", "label_index"}.
The clips of kinetics_train train, 5% of them as validation clips, and those of kinetics_val test. The h5 has x - 0.5,
y - 0.5 and the score of OpenPose's 18 joints, zeros for a joint of score 0, of the two persons of the highest mean
score in each frame. A json that cannot be read is skipped, and listed in skipped.csv. A temporary file beside the h5
needs as much room as it.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips.importing import scratch, write_set
from clips.kinetics import CLASSES, FRAMES, JOINTS, PERSONS, read_json
from clips.skipped import EXIT_CODES, BadFile, Skipped, add_arguments, read_groups, report_skipped
from safe.program import ArgumentParser, exit_on_error
from util import UserError, name_file_in_errors

HERE = Path(__file__).resolve().parent
SIDES, PROTOCOL = ("kinetics_train", "kinetics_val"), "kinetics_train trains, kinetics_val tests"
GROUP = 64  # clips that a worker reads at a time


def read_files(names, folder):
    """Reads some clips, in a worker: {"names": those that can be read, "clips": [(clip, label, class name)]}, and
    [Skipped]. A clip without a person has no frames."""
    found, clips, skipped = [], [], []
    for name in names:
        try:
            clip, label, class_name = read_json(folder / name)
        except (BadFile, OSError) as error:
            skipped.append(Skipped.of(name, error))
        else:
            found.append(name)
            clips.append((clip if clip.any() else clip[:0], label, class_name))
    return {"names": found, "clips": clips}, skipped


def find_files(folder):
    """The clips: ["kinetics_train/<name>.json"], in name order. Raises UserError."""
    if missing := [side for side in SIDES if not (folder / side).is_dir()]:
        raise UserError(f"{folder / missing[0]}: no such folder; {' and '.join(SIDES)} must be in {folder}")
    return [f"{side}/{path.name}" for side in SIDES for path in sorted((folder / side).glob("*.json"))]


def main(argv=None):
    parser = ArgumentParser(description=__doc__, epilog=EXIT_CODES)
    parser.add_argument("folder", type=Path, help="contains kinetics_train/ and kinetics_val/")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the h5 (%(default)s)")
    add_arguments(parser)
    args = parser.parse_args(argv)
    files, path, skipped = find_files(args.folder), args.out / "KINETICS_val.h5", []
    names, labels, frames, class_names = [], [], [], {}
    with scratch(path) as folder, name_file_in_errors(path), open(Path(folder, "clips"), "w+b") as store:
        jobs = [(files[i : i + GROUP], args.folder) for i in range(0, len(files), GROUP)]
        for group in read_groups(read_files, jobs, args, skipped, "reading", len(files)):
            names += group["names"]
            for clip, label, class_name in group["clips"]:
                store.write(clip.tobytes())
                frames.append(len(clip))
                labels.append(label)
                class_names[label] = class_name
        store.flush()
        end, there = np.cumsum(frames), np.array(frames, bool)
        train = np.array([name.startswith(SIDES[0]) for name in names], bool)
        rows = np.memmap(store, np.float32, "r").reshape(-1, PERSONS * JOINTS * 3) if any(frames) else None
        class_names = [class_names.get(label, f"class {label}") for label in range(CLASSES)]
        sides = {"": np.flatnonzero(there & train), "test_": np.flatnonzero(there & ~train)}
        dropped = [([names[i] for i in np.flatnonzero(~there)], "nobody is in them")]
        about = {"frames": FRAMES, "persons": PERSONS, "skeleton": "openpose18", "protocol": PROTOCOL}

        def read(i):
            return rows[end[i] - frames[i] : end[i]]

        write_set(path, read, labels, sides, class_names, dropped, names.__getitem__, **about)
    return report_skipped(skipped, args.out / "skipped.csv")


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
