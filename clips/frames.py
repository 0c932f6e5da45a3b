"""The files of pose tools (tools.py), in the forms that people write, as the persons of each frame.

A frame is a dict with its persons under a key of its tool ("people", "instances", ...), a list of persons, or a person.
A file is a list of frames, a dict of them by their numbers or the names of their pictures, a list of persons that each
name their picture (AlphaPose), or a .jsonl with a frame a line; or a folder has a file for each frame, in the order of
the last numbers in their names. Missing numbers are frames without a person.
"""

import json
import re
from collections import defaultdict
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from clips.skeletons import SKELETONS
from clips.skipped import BadFile, Skipped, read_bytes
from clips.tools import PERSONS, PICTURE, Tool, identity_of, read_person, tool_of
from util import shorten

LARGEST = 2**28  # bytes of a file, or of the files in a folder
LONGEST = 100_000  # frames of a clip: an hour
CROWD = 20  # persons of a frame that are tracked: those of the highest mean score
NUMBERS = ("image_id", "frame_id", "frame_index", "frame")  # keys by which persons name their picture or frame
SCORES = "keypoint_scores"  # of a person of MMPose, or of all persons of a frame of rtmlib's
HOLDERS = ("instance_info", "frames", "data", "annotations")  # keys of lists of frames, or of persons with pictures
FOLDER = "each file of the folder is taken for a frame, and its list for persons; if each is a clip, name the files"
WRONG = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError)


# ---- files to frames: [(number, frame as in JSON)] and notes


def load_json(path):
    """The content of a file; of a .jsonl, a list of its lines, None for an empty one. Raises BadFile, OSError."""
    text = read_bytes(path, LARGEST)
    if path.suffix.lower() == ".jsonl":
        return [_parse(line, i) for i, line in enumerate(text.rstrip().splitlines(), 1)]
    return _parse(text)


def _parse(text, line=None):
    try:
        return json.loads(text if line is None else text.strip() or "null")
    except (ValueError, RecursionError) as error:
        raise BadFile(line, f"not JSON ({shorten(error, 100)})") from None


def is_folder_of_frames(folder):
    """Whether the .json files in a folder are frames of one clip: by the first that can be read and has somebody."""
    paths = sorted(folder.glob("*.json"))
    for path in paths if len(paths) > 1 else ():
        try:
            content = load_json(path)
        except (BadFile, OSError):  # which read_folder names, if the others are frames
            continue
        if key := numbering(content):
            return len({str(person[key]) for person in content}) == 1
        if isinstance(content, dict) or content:
            return _is_frame(content)
    return False


def _is_frame(content):
    if isinstance(content, dict):
        return not content.keys().isdisjoint({*PERSONS, *PICTURE, SCORES}) or tool_of(content) is not None
    persons = isinstance(content, list) and content and isinstance(content[0], dict)
    return bool(persons) and (tool_of(content) or tool_of(content[0])) is not None


def numbering(persons):
    """The key by which all in a list of persons name their picture or frame; None if there is none, or no such list."""
    if isinstance(persons, list) and persons and all(isinstance(one, dict) and tool_of(one) for one in persons):
        return next((key for key in NUMBERS if all(key in person for person in persons)), None)
    return None


def joint_names(content):
    """The names of joints in a file's content: of COCO's categories or in MMPose's meta_info; none if it has none."""
    try:
        if "categories" in content:
            return [str(name) for name in content["categories"][0]["keypoints"]]
        return [str(name) for name in content["meta_info"]["keypoint_id2name"].values()]
    except WRONG:
        return []


def _most(frames):
    """Of how many persons the longest list of frames is."""
    return max((len(frame) for frame in frames if isinstance(frame, list) and not tool_of(frame)), default=0)


def read_folder(folder):
    """The frames of a folder, and notes. Raises BadFile, OSError."""
    frames, size = {}, 0
    for path in sorted(folder.glob("*.json")):
        number = [int(digits) for digits in re.findall("[0-9]+", path.stem)][-1:]
        if not number or number[0] in frames:
            raise BadFile(None, f"{path.name}: the last number in its name must be that of a frame, each another")
        try:
            frames[number[0]] = load_json(path)
        except BadFile as error:
            raise BadFile(None, str(Skipped.of(path.name, error))) from None
        size += path.stat().st_size
        if size > LARGEST:
            raise BadFile(None, f"its files are larger than {LARGEST >> 20} MB")
    if not frames:
        raise BadFile(None, "a folder with no .json of a frame in it")
    return list(frames.items()), (FOLDER,) * (_most(frames.values()) >= max(len(frames), 2))


def split(content, axes, are_frames):
    """The frames in a file's content, and notes. axes: of poses.Flags. are_frames: whether a list is certain to be of
    frames. Raises BadFile."""
    if isinstance(content, dict):
        key = next((key for key in HOLDERS if isinstance(content.get(key), list)), None)
        if not key and not _is_frame(content):
            if not all(re.search("[0-9.]", name) for name in content):
                raise BadFile(None, f"none of its keys names a frame, or holds frames: {shorten(', '.join(content))}")
            if (most := _most(content.values())) > max(len(content), 2):
                how = "if these are frames of a person or video, save one list, of a list of persons for each frame"
                raise BadFile(None, f"{most} persons in a frame, of {len(content)} frames: {how}")
            return _by_name(content)
        content = content[key] if key else [content]
    if not isinstance(content, list):
        raise BadFile(None, "not a list of frames")
    if key := numbering(content):
        pictures = defaultdict(list)
        for person in content:
            pictures[str(person[key])].append(person)
        return _by_name(pictures)
    notes = ()
    if tool_of(content):
        content = [content]
    elif not are_frames and len(content) > 1 and all(map(tool_of, content)):
        are_frames, notes = _are_frames(content, axes)
        content = [[person] for person in content] if are_frames else [content]
    stated = [frame if isinstance(frame, dict) else {} for frame in content]
    numbers = [frame.get("frame_id", frame.get("frame_index", i)) for i, frame in enumerate(stated)]
    if not all(type(number) is int for number in numbers) or len(set(numbers)) < len(numbers):
        raise BadFile(None, "each frame_id must be another whole number")
    return list(zip(numbers, content, strict=True)), notes


def _are_frames(persons, axes):
    """Whether a list of persons is of frames with one person each, not of one frame; and notes. Raises BadFile."""
    n, identities = len(persons), {identity_of(tool_of(person), person) for person in persons}
    if axes in ("T", "M"):
        return axes == "T", ()
    if np.isfinite([*identities]).all() and len(identities) == n:
        return False, ("a list of persons is taken for one frame, as their identities differ; else use --axes T",)
    if np.isfinite([*identities]).all() and len(identities) == 1 or tool_of(persons[0]).name == "MediaPipe":
        return True, ("a list of persons is taken for frames of one person; else use --axes M",) * (n <= CROWD)
    why = "is each a frame of one person (--axes T), or are they those of one frame (--axes M)?"
    raise BadFile(None, f"a list of {n} persons: {why} If neither, write a list for each frame")


def _by_name(named):
    """[(number, frame)] of {name: frame}, and notes. The number is the last in the name, or the frame's place in their
    order if they are further apart, such as times. Names without numbers count in the order of the file."""
    words = [re.findall("[0-9]{1,18}", PurePath(name).stem if "." in name else name) for name in named]
    numbers, notes = [int(found[-1]) if found else 0 for found in words], ()
    if len(set(numbers)) < len(numbers):
        numbers, notes = range(len(named)), ("frames are in the order of the file, as names do not number them",)
    frames = sorted(zip(numbers, named.values(), strict=True), key=lambda frame: frame[0])
    if np.diff(sorted(numbers)).min(initial=2) > 1:
        frames = [(i, frame) for i, (_, frame) in enumerate(frames)]
    return frames, notes


# ---- frames to arrays


class Found(NamedTuple):
    """The n persons in some frames, at least one, frame by frame, those of the highest mean score first."""

    tool: Tool
    joints: int  # in the file
    frames: int  # how many
    frame: np.ndarray  # (n,) int64 from 0
    identity: np.ndarray  # (n,) NaN where there is none
    values: np.ndarray  # (n, joints of the skeleton, 3) float64 as in the file, NaN for a joint that is absent

    def select(self, rows):
        """Some of the persons."""
        return self._replace(frame=self.frame[rows], identity=self.identity[rows], values=self.values[rows])

    def identities(self):
        """(n,), or None if some person has none, or two of a frame have the same."""
        pairs = np.unique(np.stack([self.frame, self.identity]), axis=1)
        return self.identity if np.isfinite(self.identity).all() and pairs.shape[1] == len(self.frame) else None


def find_persons(frames, nan=None):
    """[(number, frame)] -> Found; None if nobody is there. nan: of poses.Flags. Raises BadFile."""
    numbers, identities, poses, tool, joints = [], [], [], None, 0
    for number, frame in frames:
        try:
            for person in _persons(frame):
                found, pose = read_person(person, nan)
                if tool and (found, len(pose)) != (tool, joints):
                    raise ValueError(f"{len(pose)} joints of {found.name}, and before {joints} of {tool.name}")
                tool, joints = found, len(pose)
                numbers.append(number)
                identities.append(identity_of(tool, person))
                poses.append(pose)
        except WRONG as error:
            why = "" if isinstance(error, ValueError) else f"no person of {tool.name if tool else 'a pose tool'}: "
            raise BadFile(None, f"frame {number}: {why}{shorten(error, 250)}") from None
    if not poses:
        return None
    first, last = min(number for number, _ in frames), max(number for number, _ in frames)
    if last - first >= LONGEST:
        raise BadFile(None, f"frames {shorten(first)} to {shorten(last)}: more than {LONGEST:,}")
    frame, values = np.array([number - first for number in numbers]), np.array(poses, np.float64)
    values = values[:, : len(SKELETONS[tool.skeletons[joints]].joints)]
    score = np.nan_to_num(values[..., 2]).mean(axis=1) if tool.is_2d else np.zeros(len(frame))
    order = np.lexsort((-score, frame))  # stable
    kept = order[np.arange(len(frame)) - np.searchsorted(frame[order], frame[order]) < CROWD]
    return Found(tool, joints, last - first + 1, frame, np.array(identities), values).select(kept)


def _persons(frame):
    """The persons of a frame, as in JSON."""
    if isinstance(frame, str):  # as to_json() gives it
        frame = json.loads(frame)
    if not frame:
        return []
    if isinstance(frame, dict) and SCORES in frame and not tool_of(frame):
        return [{"keypoints": a, SCORES: b} for a, b in zip(frame["keypoints"], frame[SCORES], strict=True)]
    if isinstance(frame, dict) and (key := next((key for key in PERSONS if key in frame), None)):
        return _persons(frame[key])
    if isinstance(frame, dict) and not frame.keys().isdisjoint(PICTURE):
        raise ValueError("only landmarks of the picture: save pose_world_landmarks (worldLandmarks)")
    return frame if isinstance(frame, list) and not tool_of(frame) else [frame]
