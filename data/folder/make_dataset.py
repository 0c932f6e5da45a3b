"""A folder of clips to an h5 to train on: FOLDER/train/<class>/<clip> and FOLDER/test/<class>/<clip>.

    python data/folder/make_dataset.py FOLDER --out my.h5
    python main.py --dataset my.h5

The classes are the folders' names. FOLDER/valid/<class>/<clip> has the validation clips; without it they are 5% of the
training clips. A clip is one of these:

    .skeleton          of NTU RGB+D
    .json              of N-UCLA, MMPose, Ultralytics or MediaPipe; .jsonl has a frame a line (clips/poses.py)
    a folder of .json  of OpenPose, one file a frame
    .npy               (frames, joints, 3) or (frames, persons, joints, 3), zeros for an absent person: x, y, z in
                       metres with y up; of a 2D skeleton x - 0.5, y - 0.5, score, in widths and heights of the picture

All clips must have the same skeleton; --skeleton names that of the .npy files. With --skeleton mediapipe33 they hold
MediaPipe's world landmarks as they are, unless --up says which axis points up. Frames without a person are dropped.
Clips that cannot be read are skipped, reported, and listed in <name of the h5>_skipped.csv beside it.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import h5 as layout
from clips.h5 import ORIGIN, trim_and_center
from clips.recordings import add_arguments, default_origin, flags_of, read_any
from clips.skeletons import SKELETONS
from clips.skipped import EXIT_CODES, Skipped, report_skipped
from clips.units import describe_up, find_up
from safe.arguments import ArgumentParser
from safe.program import exit_on_error
from safe.progress import progress
from util import UserError, __version__

SPLITS = {"train": "", "valid": "valid_", "test": "test_"}  # folder: split of the h5


class Clip(NamedTuple):
    """What is known of a clip that can be read."""

    path: Path
    split: str
    label: str
    frames: int
    persons: int
    joints: int
    skeleton: str
    axes: str
    up: np.ndarray | None  # (3,) from an ankle to the head; None if these joints are not known
    stated: bool  # whether the format says the unit and the axis that points up


# ---- reading


def read_clip(path, args):
    """Reads one clip as Poses, trimmed and centered. Raises UserError, OSError."""
    if path.suffix == ".npy" and args.skeleton is None:
        raise UserError(f"{path}: say which skeleton the .npy files have, with --skeleton")
    poses = read_any(path, args.skeleton, **flags_of(args))
    origin = origin_of(poses, args)
    if origin > poses.clip.shape[2]:
        raise UserError(f"{path}: {poses.clip.shape[2]} joints, so joint {origin} cannot be the origin")
    clip = poses.clip if poses.centered else trim_and_center(poses.clip, origin)
    if clip.shape[1] > args.persons:
        raise UserError(f"{path}: {clip.shape[1]} persons, more than --persons {args.persons}")
    return poses._replace(clip=clip)


def origin_of(poses, args):
    """The joint, from 1, that becomes the origin of Poses or of a Clip, or 0."""
    if poses.axes == layout.AXES_2D or args.origin is None:
        return default_origin(poses.skeleton)
    return args.origin


def entries(folder):
    """The paths in a folder that are not hidden, in name order. Raises UserError."""
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    for name in names:
        if not name.isprintable():
            raise UserError(f"{folder}: {name!r} is not a printable name")
    return [folder / name for name in names]


def find_clips(folder):
    """Yields (path, split, class) of what is in the folders of classes; class None of what is beside them."""
    for side, split in SPLITS.items():
        if not (folder / side).is_dir() and side != "valid":
            raise UserError(f"{folder / side}: no such folder; {folder} must have train/<class>/ and test/<class>/")
        for entry in entries(folder / side) if (folder / side).is_dir() else ():
            yield from ((path, split, entry.name) for path in entries(entry)) if entry.is_dir() else [(entry, "", None)]


def read_all(folder, args):
    """[Clip] of those that can be read, and [Skipped]. Raises UserError with --strict."""
    clips, skipped, noted = [], [], {}
    for path, split, label in progress([*find_clips(folder)], desc="reading", unit="clip"):
        try:
            if label is None:
                raise UserError(f"{path}: not in the folder of a class")
            clip, skeleton, axes, _, stated, notes = read_clip(path, args)
            clips.append(Clip(path, split, label, *clip.shape[:3], skeleton, axes, find_up(clip, skeleton), stated))
            noted = {text: path for text in notes} | noted
        except (UserError, OSError) as error:
            reason = str(error) if isinstance(error, UserError) else f"cannot be read: {error.strerror or error}"
            reason = reason.removeprefix(str(path)).lstrip(":, ")
            skipped.append(Skipped(path.relative_to(folder).as_posix(), None, reason))
            if args.strict:
                raise UserError(str(skipped[0])) from None
    if not clips:
        raise UserError(f"{folder}: no clip that can be read{f' ({skipped[0]})' if skipped else ''}")
    for text, path in noted.items():
        note(f"{path}: {text}")
    return clips, skipped


# ---- checking


def note(text):
    if text:
        print(f"note: {text}", file=sys.stderr)


def check(clips, skipped, folder, args):
    """Raises UserError if the clips do not make a data set, and notes what is odd about it."""
    groups = {(clip.skeleton, clip.joints): clip.path for clip in clips}
    if len(groups) > 1:
        some = "; ".join(f"{name}, {n} joints, such as {path}" for (name, n), path in groups.items())
        raise UserError(f"{folder}: the clips have several skeletons ({some}); leave one kind of them")
    skeleton, is_2d = clips[0].skeleton, clips[0].axes == layout.AXES_2D
    is_open = not is_2d and not all(clip.stated for clip in clips)
    if args.skeleton not in (None, skeleton):
        raise UserError(f"--skeleton {args.skeleton}: {clips[0].path} has {skeleton}")
    if (args.up or args.scale != 1) and not is_open:
        raise UserError("--scale, --up: only for 3D files whose format does not say these, and there are none")
    if args.origin is not None and (is_2d or all(clip.path.suffix == ".skeleton" for clip in clips)):
        raise UserError("--origin: only for 3D files of pose tools and .npy, and there are none")
    if is_open and clips[0].up is not None:
        note(describe_up(np.median([clip.up for clip in clips], axis=0), args.up, skeleton))
    classes = {split: {clip.label for clip in clips if clip.split == split} for split in layout.SPLITS}
    if unknown := sorted({label for labels in classes.values() for label in labels} - classes[""]):
        why = next((f" that can be read ({row})" for row in skipped if f"train/{unknown[0]}/" in row.file), "")
        raise UserError(f"{folder}: no clip of the class {unknown[0]} in train{why}")
    if len(classes[""]) < 2:
        raise UserError(f"{folder / 'train'}: {len(classes[''])} class; at least two are needed")
    for side in ("train", "test"):
        folders = {entry.name for entry in entries(folder / side) if entry.is_dir()}
        if missing := sorted((classes[""] | folders) - classes[SPLITS[side]]):
            note(f"{side}: no clips of {', '.join(missing)}")
    if (short := sum(clip.frames == 1 for clip in clips)) * 2 > len(clips):
        note(f"{short} of {len(clips)} clips have 1 frame; the frames of a clip belong in a folder of its own")


# ---- writing


def write(clips, folder, args):
    """Writes the h5; the clips are read once more, so that memory holds one at a time."""
    classes, first = sorted({clip.label for clip in clips}), clips[0]
    index = {split: np.array([i for i, clip in enumerate(clips) if clip.split == split]) for split in layout.SPLITS}
    words = "valid/ is for validation" if (folder / "valid").is_dir() else "5% of train/ is for validation"
    if words.startswith("5%") and len(index[""]) > 1:
        index[""], index["valid_"] = layout.split_validation(index[""])
    for side, split in SPLITS.items():
        if not len(index[split]):
            raise UserError(f"{folder}: {len(clips)} clips can be read, too few: none is left for {side}")
    header = {
        "frames": max(clip.frames for clip in clips),
        "joints": first.joints,
        "persons": max(clip.persons for clip in clips),
        "class_names": classes,
        "protocol": f"train/ trains, test/ tests, {words}",
        "axes": first.axes,
        "skeleton": first.skeleton,
        "origin": origin_of(first, args),
        "made_by": f"make_dataset.py {__version__}",
    }
    labels = {split: np.array([classes.index(clips[i].label) for i in ids]) for split, ids in index.items()}
    places = [(split, place, i) for split, ids in index.items() for place, i in enumerate(ids)]
    with layout.open_writer(args.out, labels, **header) as write_clip:
        for split, place, i in progress(places, desc=args.out.name, unit="clip"):
            clip = read_clip(clips[i].path, args).clip
            write_clip(split, place, clip.reshape(len(clip), -1), what=clips[i].path)
    sizes = "{:,} training, {:,} validation and {:,} test clips".format(*map(len, index.values()))
    persons = "1 person" if header["persons"] == 1 else f"up to {header['persons']} persons"
    print(f"{args.out}: {sizes} of {len(classes)} classes; {first.skeleton}, {persons}")


def main(argv=None):
    parser = ArgumentParser(description=__doc__, epilog=EXIT_CODES)
    add = parser.add_argument
    add("folder", type=Path, help="contains train/ and test/, with a folder for each class")
    add("--out", type=Path, required=True, metavar="FILE.h5", help="file to write")
    add("--skeleton", choices=(*SKELETONS, "unknown"), help="of the .npy files; of the others it is known")
    add_arguments(parser)
    origin = "joint, from 1, of the first frame that becomes the origin of a 3D .npy or MediaPipe clip; 0: none"
    add("--origin", type=int, help=f"{origin} ({ORIGIN}; of MediaPipe 0: it is between the hips already)")
    add("--strict", action="store_true", help="stop at the first clip that would be skipped")
    args = parser.parse_args(argv)
    if args.out.suffix not in (".h5", ".hdf5"):
        raise UserError(f"--out {args.out}: must end in .h5")
    if args.origin is not None and args.origin < 0:
        raise UserError(f"--origin {args.origin}: a joint from 1, or 0")
    clips, skipped = read_all(args.folder, args)
    check(clips, skipped, args.folder, args)
    write(clips, args.folder, args)
    table = args.out.with_name(f"{args.out.stem}_skipped.csv")
    return report_skipped(skipped, table)


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
