"""A folder of clips to an h5 to train on: FOLDER/train/<class>/<clip> and FOLDER/test/<class>/<clip>.

    python data/folder/make_dataset.py FOLDER --out my.h5
    python main.py --dataset my.h5

The classes are the folders' names, 2 before 10. FOLDER/valid/<class>/<clip> (or val/) has the validation clips; else
they are 5% of the training clips. A clip is a recording as in docs/inference.md, or an array in a .npy, .mat, .txt or
.csv: frames, joints, x, y, z in metres with y up, zeros for an absent person; of a 2D skeleton x - 0.5, y - 0.5, score.
All must have the same skeleton; --skeleton names that of arrays (mediapipe33: world landmarks as they are, without
--up). Frames without a person are dropped. Clips that cannot be read are skipped, and listed in <name of the
h5>_skipped.csv. All clips must fit into memory together.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import h5
from clips.importing import natural, origin_of, write_set
from clips.poses import Poses
from clips.recordings import add_arguments, flags_of, read_any
from clips.skeletons import known_skeleton
from clips.skipped import EXIT_CODES, Skipped, report_skipped
from safe.program import ArgumentParser, exit_on_error, note, progress, without_numbers
from util import UserError, shorten

SPLITS = {"train": "", "valid": "valid_", "val": "valid_", "test": "test_"}  # folder: split of the h5


class Clip(NamedTuple):
    path: Path
    split: str
    label: str
    poses: Poses  # trimmed and centered


# ---- reading


def read_clip(path, args):
    """Reads one clip as Poses, trimmed and centered. Raises UserError, OSError."""
    poses = read_any(path, args.skeleton, **flags_of(args))
    if not poses.centered:
        if (origin := origin_of(poses.skeleton, args)) > poses.clip.shape[2]:
            raise UserError(f"{path}: {poses.clip.shape[2]} joints, so joint {origin} cannot be the origin")
        poses = poses._replace(clip=h5.trim_and_center(poses.clip, origin))
    if poses.clip.shape[1] > args.persons:
        raise UserError(f"{path}: {poses.clip.shape[1]} persons, more than --persons {args.persons}")
    return poses


def entries(folder):
    """The paths in a folder that are not hidden, in name order, 2 before 10."""
    return [folder / name for name in sorted(os.listdir(folder), key=natural) if not name.startswith(".")]


def find_clips(folder):
    """Yields (path, split, class) of what is in the folders of classes; class None of what is beside them."""
    for side, split in SPLITS.items():
        if not (folder / side).is_dir():
            if split == "valid_":
                continue
            raise UserError(f"{folder / side}: no such folder; {folder} must have train/<class>/ and test/<class>/")
        for entry in entries(folder / side):
            if entry.is_dir():
                yield from ((path, split, entry.name) for path in entries(entry))
            else:
                yield entry, split, None


def read_all(folder, args):
    """[Clip] of those that can be read, and [Skipped]. Raises UserError with --strict."""
    clips, skipped, noted = [], [], {}  # {kind of note: (text, names of clips)}
    if others := [path.name for path in entries(folder) if path.is_dir() and path.name not in SPLITS]:
        note(f"{folder}: left out are the folders {shorten(', '.join(others), 100)}, which are not {', '.join(SPLITS)}")
    for path, split, label in progress([*find_clips(folder)], desc="reading", unit="clip"):
        name = path.relative_to(folder).as_posix()
        try:
            if label is None:
                raise UserError("not in the folder of a class")
            poses = read_clip(path, args)
        except (UserError, OSError) as error:
            reason = str(error) if isinstance(error, UserError) else f"cannot be read: {error.strerror or error}"
            skipped.append(Skipped(name, None, reason.removeprefix(str(path)).lstrip(":, ")))
            if args.strict:
                raise UserError(str(skipped[0])) from None
            continue
        clips.append(Clip(path, split, label, poses))
        for text in poses.notes:
            noted.setdefault(without_numbers(text), (text, []))[1].append(name)
    if not clips:
        raise UserError(f"{folder}: no clip that can be read{f' ({skipped[0]})' if skipped else ''}")
    for text, names in noted.values():
        note(f"{len(names)} clips, such as {names[0]}: {text}")
    return clips, skipped


# ---- checking and writing


def check(clips, folder, args):
    """Raises UserError if the clips do not make a data set, and notes what is odd about it."""
    kinds = {name_of(args.skeleton): "--skeleton"} if known_skeleton(args.skeleton) else {}
    kinds |= {name_of(clip.poses.skeleton, clip.poses.clip.shape[2]): clip.path for clip in clips}
    if len(kinds) > 1:
        some = "; ".join(f"{name}, such as {path}" for name, path in kinds.items())
        raise UserError(f"{folder}: the clips have several skeletons ({some}); leave one kind of them")
    is_known = all(clip.poses.centered or clip.poses.axes == h5.AXES_2D for clip in clips)
    if is_known and (args.up or args.scale != 1 or args.origin is not None):
        raise UserError("--up, --scale, --origin: only for 3D files of pose tools and arrays, and there are none")
    labels = {clip.label for clip in clips}
    named = {path.name for side in SPLITS for path in (folder / side).glob("[!.]*") if path.is_dir()}
    if empty := sorted(named - labels, key=natural):
        note(f"{folder}: classes without a clip that can be read: {shorten(', '.join(empty), 100)}")
    if unknown := sorted(labels - {clip.label for clip in clips if clip.split == ""}):
        raise UserError(f"{folder}: no clip of the class {unknown[0]} in train")
    if (short := sum(len(clip.poses.clip) == 1 for clip in clips)) * 2 > len(clips):
        note(f"{short} of {len(clips)} clips have 1 frame; the frames of a clip belong in a folder of its own")


def name_of(skeleton, joints=None):
    known = known_skeleton(skeleton)
    return f"{known.name} of {len(known.joints)} joints" if known else f"{skeleton} of {joints} joints"


def write(clips, folder, args):
    """Writes the h5."""
    classes, one = sorted({clip.label for clip in clips}, key=natural), clips[0].poses
    sides = [split for side, split in SPLITS.items() if (folder / side).is_dir()]
    ids = {split: np.array([i for i, clip in enumerate(clips) if clip.split == split], int) for split in sides}
    known, origin = known_skeleton(one.skeleton), origin_of(one.skeleton, args)
    frames, persons, joints, _ = np.max([clip.poses.clip.shape for clip in clips], axis=0).tolist()
    about = {"frames": frames, "persons": persons, "joints": joints, "skeleton": one.skeleton, "origin": origin}
    validation = "valid/" if "valid_" in sides else "5% of train/"
    about["protocol"] = f"train/ trains, test/ tests, {validation} is for validation"
    labels = [classes.index(clip.label) for clip in clips]
    write_set(args.out, lambda i: clips[i].poses.clip, labels, ids, classes, what=lambda i: clips[i].path, **about)
    if origin and known and not one.centered:
        print(f"  joint {origin}, {known.joints[origin - 1]}, is the origin of each clip; --origin takes another")


def main(argv=None):
    parser = ArgumentParser(description=__doc__, epilog=EXIT_CODES)
    add = parser.add_argument
    add("folder", type=Path, help="contains train/ and test/, with a folder for each class")
    add("--out", type=Path, required=True, metavar="FILE.h5", help="file to write")
    add_arguments(parser)
    origin = "joint, from 1, of the first frame that becomes the origin of a 3D clip; 0: none"
    add("--origin", type=int, help=f"{origin} ({h5.ORIGIN}; of MediaPipe 0: it is between the hips already)")
    add("--strict", action="store_true", help="stop at the first clip that would be skipped")
    args = parser.parse_args(argv)
    clips, skipped = read_all(args.folder, args)
    code = report_skipped(skipped, args.out.with_name(f"{args.out.stem}_skipped.csv"))
    check(clips, args.folder, args)
    write(clips, args.folder, args)
    return code


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
