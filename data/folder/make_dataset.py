"""A folder of clips to an h5 to train on: FOLDER/train/<class>/<clip> and FOLDER/test/<class>/<clip>.

    python data/folder/make_dataset.py FOLDER --out my.h5
    python main.py --dataset my.h5

The classes are the folders' names, 2 before 10. FOLDER/valid/<class>/<clip> has the validation clips; without it they
are 5% of the training clips. A clip is a recording as in docs/inference.md, or an array in a .npy, .mat, .txt or .csv:
frames, joints, x, y, z in metres with y up, zeros for an absent person; of a 2D skeleton x - 0.5, y - 0.5, score. All
must have the same skeleton; --skeleton names that of arrays (mediapipe33: world landmarks as they are, without --up).
Frames without a person are dropped. Clips that cannot be read are skipped, and listed in <name of the h5>_skipped.csv.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import h5
from clips.importing import named_skeleton, natural, origin_of, write_set
from clips.recordings import add_arguments, flags_of, read_any
from clips.skeletons import known_skeleton
from clips.skipped import EXIT_CODES, Skipped, report_skipped
from safe.arguments import ArgumentParser, argument_type
from safe.program import exit_on_error
from safe.progress import note, progress
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
    skeleton: object  # a name, or a Skeleton
    axes: str
    stated: bool  # whether the format says the unit and the axis that points up


# ---- reading


def read_clip(path, args):
    """Reads one clip as Poses, trimmed and centered. Raises UserError, OSError."""
    poses = read_any(path, args.skeleton, **flags_of(args))
    origin = origin_of(poses.skeleton, args)
    if origin > poses.clip.shape[2]:
        raise UserError(f"{path}: {poses.clip.shape[2]} joints, so joint {origin} cannot be the origin")
    clip = poses.clip if poses.centered else h5.trim_and_center(poses.clip, origin)
    if clip.shape[1] > args.persons:
        raise UserError(f"{path}: {clip.shape[1]} persons, more than --persons {args.persons}")
    return poses._replace(clip=clip)


def entries(folder):
    """The paths in a folder that are not hidden, in name order, 2 before 10. Raises UserError."""
    names = sorted((name for name in os.listdir(folder) if not name.startswith(".")), key=natural)
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
            poses = read_clip(path, args)
            shape, about = poses.clip.shape[:3], (poses.skeleton, poses.axes, poses.stated)
            clips.append(Clip(path, split, label, *shape, *about))
            for text in poses.notes:
                noted.setdefault(text, []).append(path)
        except (UserError, OSError) as error:
            reason = str(error) if isinstance(error, UserError) else f"cannot be read: {error.strerror or error}"
            reason = reason.removeprefix(str(path)).lstrip(":, ")
            skipped.append(Skipped(path.relative_to(folder).as_posix(), None, reason))
            if args.strict:
                raise UserError(str(skipped[0])) from None
    if not clips:
        raise UserError(f"{folder}: no clip that can be read{f' ({skipped[0]})' if skipped else ''}")
    for text, paths in noted.items():
        note(f"{len(paths)} clips, such as {paths[0].relative_to(folder)}: {text}")
    return clips, skipped


# ---- checking


def check(clips, skipped, folder, args):
    """Raises UserError if the clips do not make a data set, and notes what is odd about it."""
    groups = {(name_of(clip.skeleton), clip.joints): clip.path for clip in clips}
    if len(groups) > 1:
        some = "; ".join(f"{name}, {n} joints, such as {path}" for (name, n), path in groups.items())
        raise UserError(f"{folder}: the clips have several skeletons ({some}); leave one kind of them")
    skeleton, is_2d = clips[0].skeleton, clips[0].axes == h5.AXES_2D
    if args.skeleton not in (None, skeleton):
        raise UserError(f"--skeleton {name_of(args.skeleton)}: {clips[0].path} has {name_of(skeleton)}")
    if (args.up or args.scale != 1) and (is_2d or all(clip.stated for clip in clips)):
        raise UserError("--scale, --up: only for 3D files whose format does not say these, and there are none")
    if args.origin is not None and (is_2d or all(clip.path.suffix == ".skeleton" for clip in clips)):
        raise UserError("--origin: only for 3D files of pose tools and arrays, and there are none")
    classes = {split: {clip.label for clip in clips if clip.split == split} for split in h5.SPLITS}
    if unknown := sorted({label for labels in classes.values() for label in labels} - classes[""]):
        why = next((f" that can be read ({row})" for row in skipped if f"train/{unknown[0]}/" in row.file), "")
        raise UserError(f"{folder}: no clip of the class {unknown[0]} in train{why}")
    for side in ("train", "test"):
        folders = {entry.name for entry in entries(folder / side) if entry.is_dir()}
        if missing := sorted((classes[""] | folders) - classes[SPLITS[side]]):
            note(f"{side}: no clips of {', '.join(missing)}")
    if (short := sum(clip.frames == 1 for clip in clips)) * 2 > len(clips):
        note(f"{short} of {len(clips)} clips have 1 frame; the frames of a clip belong in a folder of its own")


def name_of(skeleton):
    known = known_skeleton(skeleton)
    return known.name if known else skeleton


# ---- writing


def write(clips, folder, args):
    """Writes the h5; the clips are read once more, so that memory holds one at a time."""
    classes, first = sorted({clip.label for clip in clips}, key=natural), clips[0]
    sides = {"": "train", "test_": "test"} | ({"valid_": "valid"} if (folder / "valid").is_dir() else {})
    known, origin = known_skeleton(first.skeleton), origin_of(first.skeleton, args)

    def rows():
        for i, clip in enumerate(clips):
            values = read_clip(clip.path, args).clip
            yield i, values.reshape(len(values), -1)

    write_set(
        args.out,
        rows(),
        [classes.index(clip.label) for clip in clips],
        {split: np.array([i for i, clip in enumerate(clips) if clip.split == split], int) for split in sides},
        classes,
        what=lambda i: clips[i].path,
        frames=max(clip.frames for clip in clips),
        joints=first.joints,
        persons=max(clip.persons for clip in clips),
        protocol=f"train/ trains, test/ tests, {'valid/' if 'valid_' in sides else '5% of train/'} is for validation",
        axes=first.axes,
        skeleton=first.skeleton,
        origin=origin,
        made_by=f"make_dataset.py {__version__}",
    )
    if origin and known and not all(clip.path.suffix == ".skeleton" for clip in clips):
        print(f"  joint {origin}, {known.joints[origin - 1]}, is the origin of each clip; --origin takes another")


def main(argv=None):
    parser = ArgumentParser(description=__doc__, epilog=EXIT_CODES)
    add = parser.add_argument
    add("folder", type=Path, help="contains train/ and test/, with a folder for each class")
    add("--out", type=Path, required=True, metavar="FILE.h5", help="file to write")
    of = "of arrays; of others it is known. docs/data.md has the form of one's own"
    add("--skeleton", type=argument_type(named_skeleton), metavar="NAME|FILE.json", help=of)
    add_arguments(parser)
    origin = "joint, from 1, of the first frame that becomes the origin of a 3D clip; 0: none"
    add("--origin", type=int, help=f"{origin} ({h5.ORIGIN}; of MediaPipe 0: it is between the hips already)")
    add("--strict", action="store_true", help="stop at the first clip that would be skipped")
    args = parser.parse_args(argv)
    if args.out.suffix not in (".h5", ".hdf5"):
        raise UserError(f"--out {args.out}: must end in .h5")
    clips, skipped = read_all(args.folder, args)
    check(clips, skipped, args.folder, args)
    write(clips, args.folder, args)
    return report_skipped(skipped, args.out.with_name(f"{args.out.stem}_skipped.csv"))


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
