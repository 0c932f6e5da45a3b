"""The pose tools whose files are read: what each is, and how a person in its JSON becomes numbers.

A new tool is a case and a row. What is common to all is in frames.py and poses.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clips.arrays import NAN
from clips.skeletons import SKELETONS
from clips.skipped import BadFile
from util import shorten

UP = {  # rotations that turn the axis that points up to y
    "x": [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
    "y": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "z": [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
    "-x": [[0, 1, 0], [-1, 0, 0], [0, 0, 1]],
    "-y": [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
    "-z": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
}
HIPS = [23, 24]  # of MediaPipe
NEAREST = 0.3  # metres from the camera to a person who is in the picture; pose_landmarks have the hips at z = 0


@dataclass(frozen=True, eq=False)
class Tool:
    name: str
    skeletons: dict  # number of joints in the file: name of the skeleton, which is the first of them
    persons: tuple = ()  # keys of a frame that hold its persons
    identity: str | None = None  # key of a person: a number from 0 that stays the same over the frames
    turn: Callable | None = None  # of 3D joints, to metres in Kinect's axes; None if the files do not say what they are
    gaps: bool = False  # whether joints that were not seen are NaN

    @property
    def is_2d(self):
        return SKELETONS[next(iter(self.skeletons.values()))].is_2d


def to_kinect(clip, up=None, scale=1.0):
    """Joints with this axis up, (..., 3), turned so that y is, and times scale; of the same type."""
    clip = clip @ np.array(UP[up], clip.dtype).T if up else clip
    return clip if scale == 1 else clip * clip.dtype.type(scale)


def from_mediapipe(landmarks):
    """MediaPipe's world landmarks in Kinect's axes: (..., 33, 3) metres. Raises BadFile for those of the picture."""
    hips = landmarks[landmarks.any(axis=(-2, -1))][:, HIPS].mean(axis=1)
    if len(hips) and np.median(np.abs(hips).max(axis=1)) > 0.1 and np.median(hips[:, 2]) < NEAREST:
        raise BadFile(None, "the origin is not between the hips: save pose_world_landmarks, not pose_landmarks")
    return to_kinect(landmarks, "-y")


COCO = dict.fromkeys((17, 26, 133, 136), "coco17")  # COCO, Halpe's bodies, COCO-WholeBody, Halpe
WORLD = ("worldLandmarks", "world_landmarks", "pose_world_landmarks", "poseWorldLandmarks")
PICTURE = {"landmarks", "pose_landmarks", "poseLandmarks"}  # of MediaPipe, which are no metres
OPENPOSE = Tool("OpenPose", {18: "openpose18", 25: "openpose25"}, ("people",), "person_id")
MMPOSE, MMPOSE_3D = Tool("MMPose", COCO, ("instances",), "track_id"), Tool("MMPose 3D", {17: "h36m17"}, (), "track_id")
ALPHAPOSE = Tool("AlphaPose", COCO | {18: "openpose18"}, ("bodies",), "idx")
ULTRALYTICS = Tool("Ultralytics", {17: "coco17"}, (), "track_id")
KINETICS = Tool("Kinetics-Skeleton", {18: "openpose18"}, ("skeleton",))
MEDIAPIPE = Tool("MediaPipe", {33: "mediapipe33"}, WORLD, turn=from_mediapipe)
AZURE = Tool("Azure Kinect", {32: "azure_kinect"}, ("bodies",), "body_id", lambda mm: to_kinect(mm, "-y", 0.001))
ZED = Tool("ZED", {18: "zed18", 34: "zed34", 38: "zed38"}, ("body_list",), "id", gaps=True)
TOOLS = (OPENPOSE, MMPOSE_3D, MMPOSE, ALPHAPOSE, ULTRALYTICS, KINETICS, MEDIAPIPE, AZURE, ZED)
PERSONS = tuple(dict.fromkeys(key for tool in TOOLS for key in tool.persons))


def recognise(person):
    """The Tool that wrote a person, as in JSON, and a function that gives its joints, an array; None if none did."""
    match person:
        case {"pose_keypoints_2d": values}:
            return OPENPOSE, lambda: _joints(values)
        case {"keypoints": [] | [[[*_], *_], *_], "keypoint_scores": _}:
            return None, None  # a frame of rtmlib's: one array of all persons
        case {"keypoints": [[_, _, _], *_] as points, "keypoint_scores": _}:
            return MMPOSE_3D, lambda: _joints(points)
        case {"keypoints": points, "keypoint_scores": scores}:
            return MMPOSE, lambda: np.column_stack([_joints(points, 2), _joints(scores, 1)])
        case {"joints": values} | {"keypoints": [int() | float(), *_] as values}:
            return ALPHAPOSE, lambda: _joints(values)
        case {"keypoints": {"x": x, "y": y, **more}}:
            return ULTRALYTICS, lambda: np.array([x, y, more.get("visible") or [1] * len(x)], float).T
        case {"pose": values, "score": scores}:
            return KINETICS, lambda: np.column_stack([_joints(values, 2), _joints(scores, 1)])
        case [{"x": _, "y": _, "z": _}, *_]:
            return MEDIAPIPE, lambda: _joints([[joint["x"], joint["y"], joint["z"]] for joint in person])
        case {"joint_positions": points}:
            return AZURE, lambda: _joints(points)
        case {"keypoint": points}:
            return ZED, lambda: _joints(points)
    return None, None


def _joints(values, axes=3):
    """Numbers, a list for each joint or one of all: (joints, axes) float64. null is NaN."""
    values = np.array(values, float)
    values = values if values.ndim > 1 else values.reshape(-1, axes)
    if values.shape[1:] != (axes,):
        raise ValueError(f"not {axes} numbers for each joint")
    return values


def tool_of(person):
    """The Tool that wrote a person, as in JSON; None if none is known to."""
    return recognise(person)[0]


def identity_of(tool, person):
    """A number from 0, or NaN if a person has none."""
    value = person.get(tool.identity) if tool.identity else None
    while isinstance(value, list) and len(value) == 1:  # AlphaPose's
        value = value[0]
    return float(value) if isinstance(value, int | float) and 0 <= value < 2**53 else np.nan


def read_person(person, nan=None):
    """(the Tool that wrote a person, as in JSON; its joints, (joints, 3), NaN for those that are absent).

    nan: of poses.Flags. Raises ValueError, and what Python raises for a dict or list that lacks something.
    """
    tool, read = recognise(person)
    if not tool:
        what = shorten(", ".join(person) if isinstance(person, dict) else type(person).__name__)
        raise ValueError(f"{', '.join(tool.name for tool in TOOLS)} write no person with {what}")
    pose = read()
    if len(pose) not in tool.skeletons:
        raise ValueError(f"{len(pose)} joints of {tool.name}, not {' or '.join(map(str, tool.skeletons))}")
    absent = ~np.isfinite(pose).all(axis=1)
    if absent.any() and not (tool.gaps or nan):
        raise ValueError(f"a joint is not finite{NAN}")
    if (abs(pose[~absent]) >= 1e6).any():
        raise ValueError("a number is too large")
    return tool, np.where(absent[:, None], np.nan, pose)
