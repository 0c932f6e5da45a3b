"""Reads the files of pose estimators as clips: OpenPose, MMPose, Ultralytics and MediaPipe.

    poses = read_poses("walk.json", size=(1280, 720))                       # of its clip: (frames, 2, 17, 3)
    live = LivePoses(size=(1280, 720))
    poses = live.update(json.loads(line))                                   # (2, 17, 3), or None

OpenPose     the folder that --write_json fills: NAME_000000000000_keypoints.json, ...; COCO's 18 joints or BODY_25's 25
MMPose       the inferencer's predictions, a list of {"frame_id", "instances"}, or the demos' {"meta_info",
             "instance_info"}; 17 joints of COCO
Ultralytics  a list of what results.to_json() gives, one a frame, or a .jsonl with one a line; 17 joints of COCO
MediaPipe    pose_world_landmarks: a list of frames, each 33 {"x", "y", "z"}, or {"landmark": [...]} as protobuf's
             MessageToDict gives them, or a list of persons of these, or null

Each also as a folder of files of one frame, in the order of the last numbers in their names. Missing numbers are frames
without a person. Persons of consecutive frames are joined by their poses (tracking.py); identities in the files are
not used.

2D joints become x - 0.5, y - 0.5, in widths and heights of the picture, and the score, as in Kinetics-Skeleton. A joint
is zeros if its score is not above 0, or if it is at 0, 0, where estimators put what they did not find.

MediaPipe's x points to the right of the picture, y down, z away from the camera. Turned by 180 degrees about z they are
Kinect's: x to the camera's left, y up, z away from it. The origin stays between the hips, in every frame, or at the
camera where tools/video_to_skeleton.py --fov put it.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clips.h5 import AXES_2D, AXES_3D
from clips.skipped import BadFile, Skipped
from clips.tracking import Places, assign_persons
from util import UserError, regular, shorten

SKELETONS = {
    ("OpenPose", 18): "openpose18",
    ("OpenPose", 25): "openpose25",
    ("MMPose", 17): "coco17",
    ("Ultralytics", 17): "coco17",
    ("MediaPipe", 33): "mediapipe33",
}
LARGEST = 2**28  # bytes of a file, or of the files in a folder
FRAMES = 100_000  # most frames of a clip: an hour
CROWD = 20  # persons of a frame that are tracked: those of the highest mean score
HIPS = [23, 24]  # of MediaPipe
NEAREST = 0.3  # metres from the camera to a person who is in the picture; pose_landmarks have the hips at z = 0
WRONG = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError)


class Poses(NamedTuple):
    clip: np.ndarray  # (frames, persons, joints, 3) float32, zeros for absent persons and joints; live, of one frame
    skeleton: str  # its name in clips/skeletons.py
    axes: str  # what the three values of a joint are
    centered: bool = False  # as the clips of their data set for training


def read_poses(path, size=None, persons=2):
    """Reads a file, or a folder of files of one frame each, as Poses.

    size: (width, height) of the picture in pixels; not needed if all x and y are in 0...1 already, and for MediaPipe.
    persons: at most so many; those with the most joints seen over the clip.
    Raises UserError with the file; OSError if the system cannot read it.
    """
    path = Path(path)
    try:
        kind, frames, frame, values = _collect(_read_folder(path) if path.is_dir() else _read_file(path))
        there, values, points, seen = _locate(kind, values, size)
        if not len(values):
            raise BadFile(None, "nobody is in it")
    except BadFile as error:
        raise UserError(str(Skipped(str(path), *error.args))) from None
    frame = frame[there]
    person = assign_persons(frame, points, seen, persons)
    clip = np.zeros((frames, persons, *values.shape[1:]), np.float32)
    clip[frame[person >= 0], person[person >= 0]] = values[person >= 0]
    return Poses(clip, SKELETONS[kind], _axes(kind))


def picture_size(text):
    """Reads "1280x720": (width, height). Raises ValueError."""
    found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if not found:
        raise ValueError(f"{text}: not a width and a height in pixels, such as 1280x720")
    return int(found[1]), int(found[2])


class LivePoses:
    """Frames of one pose estimator as they arrive. Arguments as in read_poses.

    Persons keep their places from frame to frame as far as that can be said without the later frames: those who are
    there first are kept, and a place is free again some frames after a person has left (tracking.Places).
    """

    def __init__(self, size=None, persons=2):
        self.size, self.persons, self.places = size, persons, Places(persons)
        self.kind = None
        self.frames = 0

    def update(self, frame):
        """The next frame, as in the JSON, as Poses with a clip (persons, joints, 3); None if nobody is in it.

        Raises ValueError, and ignores the frame, if it is none of an estimator that is known, or another's.
        """
        try:
            kind, _, _, values = _collect([(0, frame)])
            if kind and self.kind not in (None, kind):
                raise BadFile(None, f"{kind[1]} joints of {kind[0]}, and before {self.kind[1]} of {self.kind[0]}")
            _, values, points, seen = _locate(kind, values, self.size)
        except BadFile as error:
            raise ValueError(error.args[1].removeprefix("frame 0: ")) from None
        self.frames += 1
        if not len(values):
            return None
        self.kind = kind
        place = self.places.step(self.frames, points, seen)
        clip = np.zeros((self.persons, *values.shape[1:]), np.float32)
        clip[place[place >= 0]] = values[place >= 0]
        return Poses(clip, SKELETONS[kind], _axes(kind))


def _axes(kind):
    return AXES_3D if kind[0] == "MediaPipe" else AXES_2D


def _locate(kind, values, size):
    """What was found: which detections have a joint (n,), and of those (m): values for the network, points, seen.

    values: (n, joints, 3) as in the file. Points (m, joints, 2 or 3) are for tracking; seen: (m, joints) bool.
    """
    if kind is None:  # nobody
        return np.zeros(0, bool), values, values, values
    if kind[0] == "MediaPipe":
        points = values = from_mediapipe(values)
        seen = np.repeat(values.any(axis=(1, 2))[:, None], values.shape[1], axis=1)
    else:
        points, seen = values[..., :2], (values[..., 2] > 0) & (values[..., :2] != 0).any(axis=2)
        values = _normalize(values, seen, size)
    there = seen.any(axis=1)
    return there, values[there], points[there], seen[there]


def from_mediapipe(landmarks):
    """MediaPipe's world landmarks in Kinect's axes: (..., 33, 3) metres. Raises BadFile for other landmarks."""
    if landmarks.shape[-2:] != (33, 3):
        raise BadFile(None, f"landmarks of shape {landmarks.shape}, not (frames, 33, 3)")
    hips = landmarks[landmarks.any(axis=(-2, -1))][:, HIPS].mean(axis=1)
    if len(hips) and np.median(np.abs(hips).max(axis=1)) > 0.1 and np.median(hips[:, 2]) < NEAREST:
        raise BadFile(None, "the origin is not between the hips: save pose_world_landmarks, not pose_landmarks")
    return landmarks * np.array([-1, -1, 1], landmarks.dtype)


def _normalize(values, seen, size):
    """(n, joints, 3) x, y, score -> x - 0.5, y - 0.5, score; zeros where not seen."""
    found = values[seen][:, :2]
    if (found >= 0).all() and (found <= 1).all():
        size = (1, 1)
    elif np.abs(found).max() < 2:
        raise BadFile(None, "x and y are neither pixels nor all in 0...1 (OpenPose: --keypoint_scale 0 or 3)")
    elif size is None:
        raise BadFile(None, "x and y are pixels: give the size of the picture, width and height (--size 1280x720)")
    elif ((found < 0) | (found > size)).any(axis=1).mean() > 0.5:
        raise BadFile(None, "most joints lie outside a picture of {} x {} pixels".format(*size))
    values = np.concatenate([values[..., :2] / np.array(size, float) - 0.5, values[..., 2:]], axis=2)
    return np.where(seen[..., None], values, 0)


# ---- files to frames: [(number, frame as in JSON)]


def is_folder_of_frames(folder):
    """Whether the .json files in a folder are the frames of one clip: by the first that can be read and has somebody.

    OSError if the system cannot read it.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            content = _load(path, path.stat().st_size)
        except BadFile:  # which read_poses names, if the others are frames
            continue
        if isinstance(content, dict):
            return not content.keys().isdisjoint({"people", "instances", "landmark"})
        if content:
            return is_frame(content)
    return False


def is_frame(content):
    """Whether a list as in JSON is a frame: of its persons, or of one person's landmarks."""
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and not first.keys().isdisjoint({"keypoints", "x"})


def _read_folder(folder):
    frames, size = {}, 0
    for path in sorted(folder.glob("*.json")):
        found, size = re.findall("[0-9]+", path.stem), size + path.stat().st_size
        if not found or int(found[-1]) in frames:
            why = f"a second file of frame {int(found[-1])}" if found else "no number of a frame in its name"
            raise BadFile(None, f"{path.name}: {why}")
        try:
            frames[int(found[-1])] = _load(path, size)
        except BadFile as error:
            raise BadFile(None, str(Skipped(path.name, *error.args))) from None
    if not frames:
        raise BadFile(None, "a folder with no .json of a frame in it")
    return list(frames.items())


def _read_file(path):
    content = _load(path, path.stat().st_size)
    if isinstance(content, dict):
        content = content.get("instance_info", [content])
    if not isinstance(content, list):
        raise BadFile(None, "not a list of frames")
    if is_frame(content) and path.suffix != ".jsonl":
        if len(content) > CROWD and "keypoints" in content[0]:
            why = "if these are frames, make each a list of persons"
            raise BadFile(None, f"one frame with {len(content)} persons; {why}")
        content = [content]
    frames = [(frame.get("frame_id", i) if isinstance(frame, dict) else i, frame) for i, frame in enumerate(content)]
    if not all(type(number) is int for number, _ in frames) or len({number for number, _ in frames}) < len(frames):
        raise BadFile(None, "each frame_id must be another whole number")
    return frames


def _load(path, size):
    """The content of a file; of a .jsonl, a list of its lines, None for an empty one. size: of all files, in bytes."""
    if size > LARGEST:
        raise BadFile(None, f"more than {LARGEST >> 20} MB")
    text = regular(path).read_bytes()
    if path.suffix != ".jsonl":
        return _parse(text)
    lines = enumerate(text.rstrip().splitlines(), 1)
    return [_parse(line, number) if line.strip() else None for number, line in lines]


def _parse(text, line=None):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFile(line, f"not JSON ({shorten(error, 100)})") from None


# ---- frames to arrays


def _collect(frames):
    """[(number, frame)] -> the key of SKELETONS, number of frames, (n,) frame from 0, (n, joints, 3) float64.

    The key is None if nobody is in them. Raises BadFile.
    """
    numbers, poses, kinds = [], [], {}
    for number, frame in frames:
        try:
            for person in _persons(frame):
                estimator, pose = _pose(person)
                if pose.ndim != 2 or pose.shape[1] != 3 or pose.dtype.kind not in "fiu" or not (abs(pose) < 1e6).all():
                    raise ValueError("not three finite numbers for each joint")
                kinds.setdefault((estimator, len(pose)), number)
                numbers.append(number)
                poses.append(pose)
        except WRONG as error:
            why = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            why = f"not a frame of a pose estimator that is known ({why}{shorten(error, 100)})"
            raise BadFile(None, f"frame {number}: {why}") from None
    if not poses:
        return None, len(frames), np.zeros(0, int), np.zeros((0, 0, 3))
    names = [f"{joints} joints of {estimator}" for estimator, joints in kinds]
    if len(kinds) > 1:
        raise BadFile(None, f"{names[0]}, and in frame {list(kinds.values())[1]} {names[1]}")
    kind = next(iter(kinds))
    if kind not in SKELETONS:
        known = ", ".join(f"{joints} of {estimator}" for estimator, joints in SKELETONS)
        raise BadFile(None, f"{names[0]}; those that can be read are {known}")
    first, last = min(number for number, _ in frames), max(number for number, _ in frames)
    if last - first >= FRAMES:
        raise BadFile(None, f"frames {shorten(first)} to {shorten(last)}: more than {FRAMES:,}")
    frame, values = np.array([number - first for number in numbers]), np.array(poses, np.float64)
    score = np.zeros(len(frame)) if kind[0] == "MediaPipe" else values[..., 2].mean(axis=1)
    order = np.lexsort((-score, frame))  # frame by frame, the highest mean score first; stable
    frame, values = frame[order], values[order]
    kept = np.arange(len(frame)) - np.searchsorted(frame, frame) < CROWD
    return kind, last - first + 1, frame[kept], values[kept]


def _persons(frame):
    """The persons of a frame, as in JSON."""
    if not frame:
        return []
    if isinstance(frame, dict):
        if "landmark" in frame:
            return [frame["landmark"]] if frame["landmark"] else []
        if "keypoints" in frame:
            return [frame]
        if frame.keys().isdisjoint({"people", "instances"}):
            raise ValueError('no "people", "instances", "keypoints" or "landmark" in it')
        return frame["people"] if "people" in frame else frame["instances"]
    return [frame] if isinstance(frame[0], dict) and "x" in frame[0] else frame


def _pose(person):
    """The estimator that a person's form is of, and (joints, 3): x, y, score, or x, y, z."""
    if isinstance(person, list):
        return "MediaPipe", np.array([[joint["x"], joint["y"], joint["z"]] for joint in person])
    if "pose_keypoints_2d" in person:
        return "OpenPose", np.array(person["pose_keypoints_2d"]).reshape(-1, 3)
    keypoints = person["keypoints"]
    if isinstance(keypoints, dict):
        x = np.array(keypoints["x"])
        return "Ultralytics", np.stack([x, keypoints["y"], keypoints.get("visible", np.ones(len(x)))], axis=1)
    points, scores = np.array(keypoints), np.array(person["keypoint_scores"])
    if points.shape != (len(scores), 2):
        raise ValueError(f"keypoints of shape {points.shape}, but {len(scores)} keypoint_scores")
    return "MMPose", np.column_stack([points, scores])
