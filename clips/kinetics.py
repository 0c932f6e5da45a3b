"""Kinetics-Skeleton: reads a clip."""

import numpy as np

from clips.arrays import NAN
from clips.frames import WRONG, load_json
from clips.skipped import BadFile

JOINTS, PERSONS, FRAMES, CLASSES = 18, 2, 300, 400


def read_json(path):
    """Reads a clip of the data set: `parse` as (frames, 108), the class index and name. Raises BadFile, OSError."""
    clip = load_json(path)
    rows = parse(clip, hint="")
    label, name = clip.get("label_index"), clip.get("label")
    if type(label) is not int or not 0 <= label < CLASSES:
        raise BadFile(None, f"label_index {label!r:.30} is not 0 to {CLASSES - 1}")
    if not isinstance(name, str) or not 0 < len(name) <= 100:
        raise BadFile(None, f"label {name!r:.30} is not a name")
    if len(rows) > FRAMES:
        raise BadFile(None, f"{len(rows)} frames, more than {FRAMES}")
    return rows.reshape(len(rows), PERSONS * JOINTS * 3), label, name


def parse(clip, nan=None, hint=NAN):
    """What is in a json, of any length, with a label or not: (frames, 2, 18, 3) float32, a joint x - 0.5, y - 0.5 and
    score, zeros for an absent person. nan: of poses.Flags. hint: of an error on NaN. Raises BadFile."""
    try:
        frames = sorted(clip["data"], key=lambda frame: frame["frame_index"])
        persons = [(i, person) for i, frame in enumerate(frames) for person in frame["skeleton"]]
        frame = np.array([i for i, _ in persons], int)
        pose = np.array([person["pose"] for _, person in persons] or np.empty((0, JOINTS * 2)))
        score = np.array([person["score"] for _, person in persons] or np.empty((0, JOINTS)))
    except WRONG as error:
        raise BadFile(None, f"not a clip of Kinetics-Skeleton ({type(error).__name__}: {error})"[:200]) from None
    for what, values, width in (("pose", pose, JOINTS * 2), ("score", score, JOINTS)):
        if values.dtype.kind not in "fi" or values.shape != (len(persons), width):
            raise BadFile(None, f"{what} is not {width} numbers for each person")
    joints = np.concatenate([pose.reshape(-1, JOINTS, 2) - 0.5, score[..., None]], axis=2)
    if nan:
        joints[~np.isfinite(joints).all(axis=2)] = 0
    if not (np.abs(joints) < 1e6).all():
        raise BadFile(None, f"a number is not finite, or too large{hint}")
    joints[joints[..., 2] == 0] = 0
    order = np.lexsort((-joints[..., 2].mean(axis=1), frame))  # by frame, the highest mean score first; stable
    frame, joints = frame[order], joints[order]
    rank = np.arange(len(frame)) - np.searchsorted(frame, frame)
    kept = rank < PERSONS
    rows = np.zeros((len(frames), PERSONS, JOINTS, 3), np.float32)
    rows[frame[kept], rank[kept]] = joints[kept]
    return rows
