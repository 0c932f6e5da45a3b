"""The pose tools whose files are read: a row of TOOLS for each, and how a person in its JSON becomes numbers.

A new tool is a function and a row. What is common to all is in frames.py and poses.py. docs/data.md shows the
table to users.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clips.arrays import NAN
from clips.bad_files import BadFile
from clips.skeletons import SKELETONS
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
    recognise: Callable  # whether a person, as in JSON, is of this tool
    pose: Callable  # person -> (joints, 3): x, y, score of a picture, or x, y, z
    skeletons: dict  # number of joints in the file: name of the skeleton, which is the first of them
    persons: tuple = ()  # keys of a frame that hold its persons
    identity: str | None = None  # key of a person: a number from 0 that stays the same over the frames
    turn: Callable | None = None  # of 3D joints, to metres in Kinect's axes; None if the files do not say what they are
    gaps: bool = False  # whether joints that were not seen are NaN

    @property
    def is_2d(self):
        return SKELETONS[next(iter(self.skeletons.values()))].is_2d


def tool_of(person):
    """The Tool that wrote a person, as in JSON; None if none is known to."""
    return next((tool for tool in TOOLS if tool.recognise(person)), None)


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
    if (tool := tool_of(person)) is None:
        found = shorten(", ".join(person) if isinstance(person, dict) else type(person).__name__)
        raise ValueError(f"{', '.join(row.name for row in TOOLS)} write no person with {found}")
    pose = tool.pose(person)
    if pose.ndim != 2 or pose.shape[1] != 3 or pose.dtype.kind not in "fiu":
        raise ValueError("not three numbers for each joint")
    absent = ~np.isfinite(pose).all(axis=1)
    if absent.any() and not (tool.gaps or nan):
        raise ValueError(f"a joint is not finite{NAN}")
    if (abs(pose[~absent]) >= 1e6).any():
        raise ValueError("a number is too large")
    return tool, np.where(absent[:, None], np.nan, pose)


def to_kinect(clip, up=None, scale=1.0):
    """Joints with this axis up, (..., 3), turned so that y is, and times scale; of the same type."""
    clip = clip @ np.array(UP[up], clip.dtype).T if up else clip
    return clip if scale == 1 else clip * clip.dtype.type(scale)


def from_mediapipe(landmarks):
    """MediaPipe's world landmarks in Kinect's axes: (..., 33, 3) metres. Raises BadFile for other landmarks."""
    if landmarks.shape[-2:] != (33, 3):
        raise BadFile(None, f"landmarks of shape {landmarks.shape}, not (frames, 33, 3)")
    hips = landmarks[landmarks.any(axis=(-2, -1))][:, HIPS].mean(axis=1)
    if len(hips) and np.median(np.abs(hips).max(axis=1)) > 0.1 and np.median(hips[:, 2]) < NEAREST:
        raise BadFile(None, "the origin is not between the hips: save pose_world_landmarks, not pose_landmarks")
    return to_kinect(landmarks, "-y")


def from_azure(joints):
    """Azure Kinect's millimetres in Kinect's axes and metres."""
    return to_kinect(joints, "-y", 0.001)


# ---- how a person of each tool is known, and read


def _has(*keys):
    return lambda person: isinstance(person, dict) and all(key in person for key in keys)


def _under(*keys):
    """Of numbers under the first of these keys: a list for each joint, or one of all."""

    def read(person):
        values = np.array(next(person[key] for key in keys if key in person), float)  # null is NaN
        return values if values.ndim > 1 else values.reshape(-1, 3)

    return read


def _starts_with(value, kind):
    return isinstance(value, list) and bool(value) and isinstance(value[0], kind)


def _is_alphapose(person):
    return _has("joints")(person) or _has("keypoints")(person) and _starts_with(person["keypoints"], (int, float))


def _is_lifted(person):
    points = person["keypoints"] if _has("keypoints", "keypoint_scores")(person) else None
    return _starts_with(points, list) and len(points[0]) == 3


def _mmpose(person):
    points, scores = np.array(person["keypoints"]), np.array(person["keypoint_scores"])
    if points.ndim != 2 or len(points) != len(scores) or points.shape[1] not in (2, 3):
        raise ValueError(f"keypoints of shape {points.shape}, but {len(scores)} keypoint_scores")
    return points if _is_lifted(person) else np.column_stack([points, scores])


def _is_ultralytics(person):
    return _has("keypoints")(person) and _has("x", "y")(person["keypoints"])


def _ultralytics(person):
    points, ones = person["keypoints"], [1] * len(person["keypoints"]["x"])
    return np.array([points["x"], points["y"], points.get("visible") or ones]).T


def _kinetics(person):
    return np.column_stack([np.array(person["pose"]).reshape(-1, 2), person["score"]])


def _is_mediapipe(person):
    return _starts_with(person, dict) and _has("x", "y", "z")(person[0])


def _mediapipe(person):
    return np.array([[joint["x"], joint["y"], joint["z"]] for joint in person])


FLAT, AZURE = "pose_keypoints_2d", "joint_positions"
COCO = dict.fromkeys((17, 26, 133, 136), "coco17")  # COCO, Halpe's bodies, COCO-WholeBody, Halpe
OPENPOSE, ZEDS = {18: "openpose18", 25: "openpose25"}, {18: "zed18", 34: "zed34", 38: "zed38"}
WORLD = ("worldLandmarks", "pose_world_landmarks", "poseWorldLandmarks", "landmark")
PICTURE = {"landmarks", "pose_landmarks", "poseLandmarks"}  # of MediaPipe, which are no metres
TOOLS = (  # the first that recognises a person is taken
    Tool("OpenPose", _has(FLAT), _under(FLAT), OPENPOSE, ("people",), "person_id"),
    Tool("MMPose 3D", _is_lifted, _mmpose, {17: "h36m17"}, (), "track_id"),
    Tool("MMPose", _has("keypoint_scores"), _mmpose, COCO, ("instances",), "track_id"),
    Tool("AlphaPose", _is_alphapose, _under("joints", "keypoints"), COCO | {18: "openpose18"}, ("bodies",), "idx"),
    Tool("Ultralytics", _is_ultralytics, _ultralytics, {17: "coco17"}, (), "track_id"),
    Tool("Kinetics-Skeleton", _has("pose", "score"), _kinetics, {18: "openpose18"}, ("skeleton",)),
    Tool("MediaPipe", _is_mediapipe, _mediapipe, {33: "mediapipe33"}, WORLD, turn=from_mediapipe),
    Tool("Azure Kinect", _has(AZURE), _under(AZURE), {32: "azure_kinect"}, ("bodies",), "body_id", from_azure),
    Tool("ZED", _has("keypoint"), _under("keypoint"), ZEDS, ("body_list",), "id", gaps=True),
)
PERSONS = tuple(dict.fromkeys(key for tool in TOOLS for key in tool.persons))
