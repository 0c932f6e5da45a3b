"""Reads recordings that are in no data set, and judges whether their numbers are those of persons.

poses = read_any("S001C001P001R001A010.skeleton")          # of its clip: (frames, persons, 25, 3) float32, metres
poses = read_any("walk.json", size=(1280, 720))            # of a pose tool
"""

import re
from pathlib import Path

import numpy as np

from clips import kinetics
from clips.arrays import ABSENT, LETTERS, absent_if_nan, fill_absent, order_axes, read_array
from clips.checks import FARTHEST, USUAL, find_extent, find_lost, scale_by, show_height
from clips.frames import is_folder_of_frames, load_json
from clips.h5 import AXES_2D, AXES_3D, ORIGIN
from clips.ntu import actors, center_clip, read_file
from clips.nucla import read_json
from clips.poses import Flags, Poses, is_numbers, is_seen, normalize, outside, read_poses
from clips.skeletons import SKELETONS, known_skeleton, named_skeleton
from clips.skipped import BadFile, named
from clips.tools import UP, from_mediapipe, to_kinect
from safe.program import argument_type, note, positive_float, whole
from util import shorten

SUFFIXES = (".skeleton", ".json", ".jsonl", ".npy", ".mat")  # that a recording is known by
ARRAYS = (".npy", ".mat", ".txt", ".csv")
LARGEST_CLIP = 2**30  # bytes of an array; an hour of two persons of 25 joints takes 65 MB


# ---- flags


def add_arguments(parser):
    """Adds the Flags, what a user says of recordings that do not say it, to a program's."""
    add_units(parser, "arrays and of files whose format does not say")
    most = "most persons of a recording of a pose tool (%(default)s)"
    parser.add_argument("--persons", type=whole(1, 100), default=2, help=most)


def add_units(parser, of, axes=True):
    """Adds the flags that say what the numbers of joints mean. of: whose, in words. axes: --axes and --size too."""
    add = parser.add_argument
    own = "a name, or a file as in docs/data.md, with joints, parents and perhaps flip_pairs"
    add("--skeleton", type=argument_type(named_skeleton), metavar="NAME|FILE.json", help=f"of {of}: {own}")
    if axes:
        order = "order of axes, as in VCT: frames T, persons M, joints V, coordinates C (by the sizes); "
        order += "T or M alone: whether a list of persons in a .json is frames of one, or one frame"
        add("--axes", type=argument_type(read_axes), help=order)
        add("--size", type=argument_type(picture_size), metavar="WxH", help="of the pictures, if joints are in pixels")
    add("--up", choices=UP, help=f"the axis that points up in {of}, as in --up=-z (y)")
    add("--scale", type=positive_float, default=1.0, help=f"factor from the unit of {of} to metres (%(default)s)")
    add("--nan", choices=("absent",), help="take a joint with NaN or infinity for absent")


def picture_size(text):
    """Reads "1280x720": (width, height). Raises ValueError."""
    found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if not found:
        raise ValueError(f"{text}: not a width and a height in pixels, such as 1280x720")
    return int(found[1]), int(found[2])


def read_axes(text):
    """An order of axes for --axes. Raises ValueError."""
    if text not in ("T", "M") and sorted(text) not in (sorted("TVC"), sorted(LETTERS)):
        why = "not T frames, V joints, C values and perhaps M persons in some order, nor T or M alone"
        raise ValueError(f"{text}: {why}")
    return text


def flags_of(args):
    """The Flags in a program's arguments, as keyword arguments."""
    return {name: getattr(args, name) for name in Flags._fields}


# ---- reading


def read_any(path, default="unknown", trained=None, **flags):
    """Reads a file: Poses, (frames, persons, joints, 3). Clips of NTU, N-UCLA and Kinetics are as in training; the
    others are as they are in the file (h5.trim_and_center).

    path: a `.skeleton` of NTU RGB+D; a `.json` of N-UCLA or Kinetics-Skeleton, with or without a label; a file or
    folder of a pose tool (frames.py); or an array (`arrays.read_array`): x, y, z, or of a 2D skeleton x - 0.5, y - 0.5,
    score; zeros for an absent person.
    default: the skeleton of an array, which does not say, without --skeleton (`as_poses`); None: it must be given.
    trained: as in `check_size`. flags: poses.Flags.
    Raises UserError with the file, also if coordinates are not those of persons; OSError if the system cannot read it.
    """
    path, flags = Path(path), Flags(**flags)
    skeleton = flags.skeleton or default
    with named(path):
        suffix = path.suffix.lower()
        if suffix in ARRAYS:
            poses = _read_array(*read_array(path), skeleton, flags)
        elif suffix == ".skeleton":
            clip = center_clip(actors(*read_file(path)))
            poses = Poses(clip.reshape(len(clip), -1, 25, 3), "kinect_v2", AXES_3D, centered=True)
        elif suffix in (".json", ".jsonl") or path.is_dir():
            poses = _read_json(path, skeleton, flags)
        else:
            path.stat()
            raise BadFile(None, "not a .skeleton, .json, .jsonl, .npy, .mat, .txt or .csv file, nor a folder")
        if not poses.clip.any():
            raise BadFile(None, "nobody is in it: all coordinates are 0")
        check_size(poses.clip, poses.skeleton, None if poses.stated else flags.scale, trained)
    if flags.skeleton not in (None, poses.skeleton):
        poses = poses._replace(notes=(*poses.notes, f"--skeleton is not for this file, whose is {poses.skeleton}"))
    return poses


def _read_json(path, skeleton, flags):
    content = None if path.is_dir() else load_json(path)
    if isinstance(content, dict) and "skeletons" in content:
        clip, _ = read_json(content, path, labelled=False, nan=flags.nan)
        return Poses(clip.reshape(len(clip), 1, 20, 3), "kinect_v1", AXES_3D, centered=True)
    if isinstance(content, dict) and "data" in content:
        return Poses(kinetics.parse(content, flags.nan), "openpose18", AXES_2D, centered=True)
    if is_numbers(content):
        try:
            return _read_array(np.array(content), (), skeleton, flags)
        except ValueError:
            raise BadFile(None, "lists of numbers of different lengths") from None
    return read_poses(path, content=content, **flags._asdict())


def _read_array(array, names, skeleton, flags):
    if skeleton is None:
        raise BadFile(None, "say which skeleton arrays have, with --skeleton NAME or FILE.json")
    if array.ndim < 2 or 0 in array.shape or array.dtype.kind not in "fiu":
        raise BadFile(None, f"{array.dtype} of shape {array.shape}, not numbers of frames, joints and x, y, z")
    if array.ndim == 5:
        raise BadFile(None, f"shape {array.shape}: no recording, but a set, which data/arrays/from_arrays.py imports")
    if array.nbytes > LARGEST_CLIP:
        raise BadFile(None, f"{array.nbytes / 2**30:.1f} GB of numbers; at most {LARGEST_CLIP >> 30} can be one clip")
    clip, notes = order_axes(array, known_skeleton(skeleton), flags.axes)
    poses = as_poses(absent_if_nan(clip, flags.nan), skeleton, flags.up, flags.scale, flags.size, flags.nan)
    values, first = divmod(len(names), clip.shape[1] * clip.shape[2])  # of a joint; and columns before the joints
    known = known_skeleton(poses.skeleton) if names and not flags.axes else None
    if known and (odd := known.odd_name(names[first :: values or 1])):
        raise BadFile(None, odd)
    return poses._replace(notes=(*notes, *poses.notes))


def find_recordings(source):
    """The recordings in a folder and those below it, by name; of an empty folder, and of anything else, itself."""
    found, todo = [], [source]
    while todo:
        path = todo.pop()
        try:
            if not path.is_dir() or is_folder_of_frames(path):
                found.append(path)
                continue
            shown = [entry for entry in sorted(path.iterdir(), reverse=True) if not entry.name.startswith(".")]
            todo += [one for one in shown if one.suffix.lower() in SUFFIXES or one.is_dir() and not one.is_symlink()]
            if texts := [one.name for one in shown if one.suffix.lower() in (".txt", ".csv")]:
                note(f"{path}: {len(texts)} .txt and .csv files are left out, unless named: {shorten(texts[-1])}")
        except OSError:  # whoever reads it says why
            found.append(path)
    return found or [source]


# ---- numbers as persons


def as_poses(clip, skeleton, up=None, scale=1.0, size=None, nan=None):
    """Numbers that do not say of what they are, (frames, persons, joints, 3), as Poses.

    skeleton: its name, a Skeleton, or "unknown". Those of "mediapipe33" are MediaPipe's world landmarks, unless `up` is
    given, and so are those with 33 joints where the skeleton has another number. up: the axis that points up, one of
    UP. scale: factor from their unit to metres. size: of the picture in pixels, if 2D joints are. A joint of NaN is
    absent; nan: of Flags, whether those at 0 are, too. Raises BadFile if they do not fit the skeleton.
    """
    clip = np.array(clip, np.promote_types(clip.dtype, np.float32))
    joints, known = clip.shape[2], known_skeleton(skeleton)
    if known and joints != len(known.joints):
        if joints != 33:
            raise BadFile(None, f"{joints} joints, but {known.name} has {len(known.joints)}")
        skeleton, known = "mediapipe33", SKELETONS["mediapipe33"]
    if known and known.is_2d:
        if up or scale != 1:
            raise BadFile(None, f"{known.name} has no unit and no axis that points up: leave out --up and --scale")
        clip, what = _in_picture(fill_absent(clip, known), known.name, size)
        taken = f"{known.name} is 2D, so the values of a joint are taken for {what} and its score"
        return Poses(clip, skeleton, AXES_2D, stated=False, notes=(taken, *outside(clip)))
    lost, notes = find_lost(clip), ()
    if nan:
        clip[lost] = np.nan
    elif lost.any():
        where = f"{lost.sum():,} of {clip.any(axis=3).sum() + lost.sum():,} joints are at 0, 0, 0, as if not found"
        notes = (f"{where}; --nan absent takes them for absent",)
    notes += (ABSENT,) * bool(np.isnan(clip).any())
    if skeleton == "mediapipe33" and not up:
        clip = from_mediapipe(clip)
    clip = fill_absent(to_kinect(clip, up, scale), skeleton)
    return Poses(clip, skeleton, AXES_3D, stated=False, notes=notes)


def _in_picture(clip, name, size):
    """2D joints as x - 0.5, y - 0.5, score, and what they were taken for. Raises BadFile if they look like others."""
    what, seen = "x / width - 0.5, y / height - 0.5", is_seen(clip)
    if size and ((clip >= 0).all() or np.abs(clip[seen]).max() >= 2):  # else they are of that form already
        what = "pixels" if clip.max() > 2 else "x / width, y / height"
        clip = normalize(clip, seen, size).astype(clip.dtype)
    people = clip[clip.any(axis=(2, 3))]
    if not len(people):
        return clip, what
    size, score = np.median(np.ptp(people, axis=1)[:, :2].max(axis=1)), np.median(people[..., 2])
    if 1.1 < size <= 10 or not 0 <= score <= 1.5:
        why = f"{name} is 2D, but persons are {size:.2g} pictures large, and scores of joints {score:.2g}"
        raise BadFile(None, f"{why}; are these 3D joints of another skeleton?")
    points = people[people.any(axis=2)][:, :2]
    if (points < 0).mean() < 0.01 and (points <= 1).all() and (points > 0.5).mean() > 0.1:
        raise BadFile(None, "x and y are parts of the picture, without - 0.5; --size 1x1 reads a recording of such")
    return clip, what


def default_origin(skeleton):
    """The joint, from 1, that becomes the origin: the spine, or Human3.6M's pelvis; 0 where clips are not moved: in
    pictures, and those of MediaPipe, whose origin is between the hips already."""
    known = known_skeleton(skeleton)
    if known and (known.name == "mediapipe33" or known.is_2d):
        return 0
    return 1 if known and known.name == "h36m17" else ORIGIN


# ---- whether a clip is of persons


def check_size(clip, skeleton, scale=None, trained=None):
    """Raises BadFile if a clip, (frames, persons, joints, 3), is not of persons: in metres; or in 2D, in pictures.

    A few odd joints, as Kinect gives them, are allowed: it is the median person that is judged. scale: the --scale that
    numbers without a unit were multiplied by; None where the file's format says the unit. trained: the `person_size` of
    the clips that a network was trained on, which were perhaps not in metres. Without it, smallness is judged of known
    skeletons alone, which are of whole bodies.
    """
    if not (np.abs(clip) < FARTHEST).all():
        raise BadFile(None, "NaN or infinity, or a coordinate too large for a person")
    extent, known = find_extent(clip[clip.any(axis=(2, 3))]), known_skeleton(skeleton)
    if known and known.is_2d:
        if extent[1] > 10:
            why = "pixels, not x / width - 0.5, y / height - 0.5, score; give the size of the picture (--size 1280x720)"
            raise BadFile(None, f"persons are about {extent[1]:,.0f} high: these look like {why}")
        return
    height = max(extent)
    lowest, highest = (trained / 5, trained * 3) if trained else (0.1 if known else 0, 10)
    if lowest <= height <= highest or height == 0:
        return
    why = f"those that the network was trained on are {show_height(trained)}" if trained else "expected are metres"
    if factor := scale_by(height, trained or USUAL):
        why += f"; use --scale {scale * factor:.6g}" if scale else f"; multiply the numbers in the file by {factor:g}"
    raise BadFile(None, f"persons are about {show_height(height)}: {why}")
