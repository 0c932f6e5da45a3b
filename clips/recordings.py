"""Reads recordings that are in no data set.

clip, skeleton, axes = read_any("S001C001P001R001A010.skeleton")     # (frames, persons, 25, 3) float32, metres
clip, skeleton, axes = read_any("walk.json", size=(1280, 720))       # of a pose estimator
"""

import json
from pathlib import Path

import numpy as np

from clips.h5 import ORIGIN, trim_and_center
from clips.ntu import actors, center_clip, read_file
from clips.nucla import read_json
from clips.poses import AXES_2D, AXES_3D, LARGEST, Poses, from_mediapipe, is_folder_of_frames, read_poses
from clips.skeletons import SKELETONS
from clips.skipped import BadFile, Skipped
from clips.units import check_size
from util import UserError, regular, shorten

SUFFIXES = (".skeleton", ".json", ".jsonl", ".npy")
LARGEST_NPY = 2**30  # bytes of an array; an hour of two persons of 25 joints takes 65 MB
# Rotations that turn the axis that points up to y
UP = {
    "x": [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
    "y": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "z": [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
    "-x": [[0, 1, 0], [-1, 0, 0], [0, 0, 1]],
    "-y": [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
    "-z": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
}


def read_any(path, skeleton="unknown", size=None, persons=2, up=None, scale=1.0):
    """Reads a file: Poses, (frames, persons, joints, 3). Clips of NTU and N-UCLA are centered as in training; the
    others are as they are in the file (h5.trim_and_center).

    path: a `.skeleton` of NTU RGB+D, of which one or two actors are chosen; a `.json` of N-UCLA, with or without a
    label; a file or folder of a pose estimator (poses.py); or a `.npy`, (frames, joints, 3) or (frames, persons,
    joints, 3): x, y, z, or of a 2D skeleton x - 0.5, y - 0.5, score; zeros for an absent person.
    skeleton, up, scale: of a `.npy`, which does not say (`as_poses`). size, persons: of poses, as in read_poses.
    Raises UserError with the file, and the line of a `.skeleton`, also if coordinates are not those of persons
    (units.check_size); OSError if the system cannot read it.
    """
    path = Path(path)
    try:
        if path.suffix == ".npy":
            poses = _read_npy(path, skeleton, up, scale)
        elif path.suffix == ".skeleton":
            clip = center_clip(actors(*read_file(path)))
            poses = Poses(clip.reshape(len(clip), -1, 25, 3), "kinect_v2", AXES_3D, centered=True)
        elif path.suffix == ".json" and _is_nucla(path):
            clip, _ = read_json(path.read_bytes(), path, labelled=False)
            poses = Poses(clip.reshape(len(clip), 1, 20, 3), "kinect_v1", AXES_3D, centered=True)
        elif path.suffix in (".json", ".jsonl") or path.is_dir():
            poses = read_poses(path, size, persons)
        else:
            path.stat()
            raise BadFile(None, "not a .skeleton, .json, .jsonl or .npy file, nor a folder")
        if not poses.clip.any():
            raise BadFile(None, "nobody is in it: all coordinates are 0")
        check_size(poses.clip, poses.skeleton, scale if path.suffix == ".npy" else None)
    except BadFile as error:
        raise UserError(str(Skipped(str(path), *error.args))) from None
    return poses


def read_recording(path, origin=ORIGIN, **options):
    """The clip of `read_any` alone, trimmed and centered."""
    poses = read_any(path, **options)
    return poses.clip if poses.centered else trim_and_center(poses.clip, origin)


def find_recordings(source):
    """The recordings in a folder and those below it, by name; of an empty folder, and of anything else, itself."""
    found, todo = [], [source]
    while todo:
        path = todo.pop()
        try:
            if not path.is_dir() or is_folder_of_frames(path):
                found.append(path)
                continue
            inside = sorted(path.iterdir(), reverse=True)
            todo += [entry for entry in inside if _may_be_recording(entry)]
        except OSError:  # whoever reads it says why
            found.append(path)
    return found or [source]


def _may_be_recording(entry):
    return not entry.name.startswith(".") and (entry.suffix in SUFFIXES or entry.is_dir() and not entry.is_symlink())


def _is_nucla(path):
    """Whether a .json is a clip of N-UCLA. Only a file with its word in it is parsed for this."""
    if not path.is_file() or path.stat().st_size > LARGEST or b'"skeletons"' not in (text := path.read_bytes()):
        return False
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "skeletons" in content


def _read_npy(path, skeleton, up, scale):
    try:  # mapped: no memory is allocated by the header alone
        array = np.load(regular(path), mmap_mode="r", allow_pickle=False)
        shape, dtype = array.shape, array.dtype
    except (OSError, MemoryError):
        raise
    except Exception as error:  # NumPy raises many types for a damaged header
        raise BadFile(None, f"not an array of numbers in NumPy's format ({shorten(error, 150)})") from None
    if len(shape) not in (3, 4) or shape[-1] != 3 or 0 in shape or dtype.kind not in "fiu":
        wanted = "(frames, joints, 3) or (frames, persons, joints, 3)"
        raise BadFile(None, f"{dtype} of shape {shape}, not {wanted}, metres")
    if array.nbytes > LARGEST_NPY:
        raise BadFile(None, f"{array.nbytes / 2**30:.1f} GB of numbers; at most {LARGEST_NPY >> 30} can be one clip")
    clip = np.array(array, np.promote_types(dtype, np.float32)).reshape(len(array), -1, *shape[-2:])
    if not (finite := np.isfinite(clip).all(axis=(1, 2, 3))).all():
        raise BadFile(None, f"NaN or infinity in frame {finite.argmin() + 1}; use zeros for an absent person")
    return as_poses(clip, skeleton, up, scale)


def as_poses(clip, skeleton, up=None, scale=1.0):
    """Numbers that do not say of what they are, (frames, persons, joints, 3), as Poses.

    skeleton: its name, or "unknown". Those of "mediapipe33" are MediaPipe's world landmarks, unless `up` is given, and
    so are those with 33 joints where the skeleton has another number. up: the axis that points up, one of UP. scale:
    factor from their unit to metres. Raises BadFile if they do not fit the skeleton.
    """
    joints, known = clip.shape[2], SKELETONS.get(skeleton)
    if known and joints != len(known.joints):
        if joints != 33:
            raise BadFile(None, f"{joints} joints, but {skeleton} has {len(known.joints)}")
        skeleton, known = "mediapipe33", SKELETONS["mediapipe33"]
    if known and known.is_2d:
        if up or scale != 1:
            raise BadFile(None, f"{skeleton} has no unit and no axis that points up: leave out --up and --scale")
        score = clip[clip.any(axis=(2, 3))][..., 2]
        if len(score) and not 0 <= np.median(score) <= 1.5:
            raise BadFile(None, f"the third value of a joint is not a score, but {skeleton} is 2D; is it another one?")
        return Poses(clip, skeleton, AXES_2D)
    if skeleton == "mediapipe33" and not up:
        clip = from_mediapipe(clip)
    elif up:
        clip = clip @ np.array(UP[up], clip.dtype).T
    return Poses(clip if scale == 1 else clip * clip.dtype.type(scale), skeleton, AXES_3D)


def default_origin(skeleton):
    """The joint, from 1, that becomes the origin: the spine; 0 where clips are not moved: in pictures, and those of
    MediaPipe, whose origin is between the hips already."""
    return 0 if skeleton == "mediapipe33" or (skeleton in SKELETONS and SKELETONS[skeleton].is_2d) else ORIGIN
