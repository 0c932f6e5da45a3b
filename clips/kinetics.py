"""Kinetics-Skeleton: reads a clip."""

import json

import numpy as np

from clips.arrays import NAN
from clips.skipped import BadFile, read_bytes

JOINTS, PERSONS, FRAMES, CLASSES = 18, 2, 300, 400
LARGEST = 2**26  # bytes of a json; one of 300 frames has 250,000


def parse(text, labelled=True, nan=None):
    """Reads one json, its text or what is in it: (frames, 108) float32, the class index and name. Raises BadFile.

    A row is x, y, score of the 18 joints of person 1, then of person 2, zeros for an absent one.
    labelled: False for a clip of any length that need not have a label; index and name are then None.
    nan: of poses.Flags.
    """
    try:
        clip = text if isinstance(text, dict) else json.loads(text)
        frames = sorted(clip["data"], key=lambda frame: frame["frame_index"])
        label, name = (clip["label_index"], clip["label"]) if labelled else (None, None)
        persons = [person for frame in frames for person in frame["skeleton"]]
        pose = np.array([person["pose"] for person in persons] or np.empty((0, JOINTS * 2)))
        score = np.array([person["score"] for person in persons] or np.empty((0, JOINTS)))
        frame = np.repeat(np.arange(len(frames)), [len(frame["skeleton"]) for frame in frames])
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise BadFile(None, f"not a clip of Kinetics-Skeleton ({type(error).__name__}: {error})"[:200]) from None
    if nan and pose.shape == (len(persons), JOINTS * 2) and pose.dtype.kind == "f":
        score = np.where(np.isfinite(pose.reshape(-1, JOINTS, 2)).all(axis=2), score, 0)
        pose, score = np.nan_to_num(pose), np.nan_to_num(score)
    if labelled:
        if type(label) is not int or not 0 <= label < CLASSES:
            raise BadFile(None, f"label_index {label!r:.30} is not 0 to {CLASSES - 1}")
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 100:
            raise BadFile(None, f"label {name!r:.30} is not a name")
        if len(frames) > FRAMES:
            raise BadFile(None, f"{len(frames)} frames, more than {FRAMES}")
    for what, values, width in (("pose", pose, JOINTS * 2), ("score", score, JOINTS)):
        if values.dtype.kind not in "fi" or values.shape != (len(persons), width):
            raise BadFile(None, f"{what} is not {width} numbers for each person")
        if not (np.abs(values) < 1e6).all():
            raise BadFile(None, f"a number in {what} is not finite, or too large{'' if labelled else NAN}")
    joints = np.concatenate([pose.reshape(-1, JOINTS, 2) - 0.5, score[..., None]], axis=2)
    joints[score == 0] = 0
    order = np.lexsort((-score.mean(axis=1), frame))  # frame by frame, the highest mean score first; stable
    frame, joints = frame[order], joints[order]
    rank = np.arange(len(frame)) - np.searchsorted(frame, frame)
    kept = rank < PERSONS
    rows = np.zeros((len(frames), PERSONS, JOINTS, 3), np.float32)
    rows[frame[kept], rank[kept]] = joints[kept]
    return rows.reshape(len(frames), PERSONS * JOINTS * 3), label, name


def read_json(path):
    """`parse` of a file. Raises BadFile, or OSError where the system cannot read it."""
    return parse(read_bytes(path, LARGEST))
