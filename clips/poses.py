"""Reads the files of pose tools (tools.py) as clips.

    poses = read_poses("walk.json", size=(1280, 720))                       # of its clip: (frames, 2, 17, 3)
    live = LivePoses(size=(1280, 720))
    poses = live.update(json.loads(line))                                   # (2, 17, 3), or None

A frame is, in JSON, a dict with its persons under a key of its tool ("people", "instances", ...), a list of persons, or
a person. A file is a list of frames, a dict of them by their numbers or the names of their pictures, a list of persons
that each name their picture (AlphaPose), or a .jsonl with a frame a line; or a folder has a file for each frame, in the
order of the last numbers in their names. Missing numbers are frames without a person.

A person of consecutive frames is told by the identities in the file, and where there are none by the poses
(tracking.py).

2D joints become x - 0.5, y - 0.5, in widths and heights of the picture, and the score, as in Kinetics-Skeleton. A joint
is zeros if its score is not above 0, or if it is at 0, 0, where tools put what they did not find. 3D joints become
metres in Kinect's axes: x to the camera's left, y up, z away from it. MediaPipe's have their origin between the hips,
in every frame, or at the camera where tools/video_to_skeleton.py --fov put it.
"""

import json
import re
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from clips.arrays import NAN
from clips.h5 import AXES_2D, AXES_3D
from clips.skeletons import SKELETONS, known_skeleton
from clips.skipped import BadFile, Skipped
from clips.tools import PERSONS, PICTURE, TOOLS, Tool, identity_of, to_kinect, tool_of
from clips.tracking import Places, assign_persons
from util import UserError, regular, shorten

LARGEST = 2**28  # bytes of a file, or of the files in a folder
FRAMES = 100_000  # most frames of a clip: an hour
CROWD = 20  # persons of a frame that are tracked: those of the highest mean score
WRONG = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError)


class Flags(NamedTuple):
    """What a user says of recordings that do not say it."""

    size: tuple | None = None  # (width, height) of the picture in pixels; not needed if all x and y are in 0...1
    persons: int = 2  # at most so many
    axes: str | None = None  # the order of an array's axes (arrays.py); of a list of persons: T frames, or M persons
    up: str | None = None  # the axis that points up, one of tools.UP
    scale: float = 1.0  # factor from the file's unit to metres
    nan: str | None = None  # "absent": joints with NaN or infinity are


class Poses(NamedTuple):
    clip: np.ndarray  # (frames, persons, joints, 3) float32, zeros for absent persons; live, of one frame
    skeleton: str  # its name in clips/skeletons.py
    axes: str  # what the three values of a joint are
    centered: bool = False  # as the clips of their data set for training
    stated: bool = True  # whether the format says the unit and the axis that points up
    notes: tuple[str, ...] = ()  # what a user should know of how the file was understood


class Found(NamedTuple):
    """The n persons in some frames, frame by frame, those of the highest mean score first."""

    tool: Tool | None  # None if nobody is there
    joints: int
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


def read_poses(path, size=None, persons=2, content=None, **flags):
    """Reads a file, or a folder of files of one frame each, as Poses, with the persons with the most joints seen.

    size, persons, flags: of Flags. content: of the file, if it is known already. Raises UserError with the file;
    OSError if the system cannot read it.
    """
    path, flags = Path(path), Flags(size, persons, **flags)
    try:
        if path.is_dir():
            frames, notes = _read_folder(path)
        else:
            content = load_json(path) if content is None else content
            frames, notes = _split(content, flags.axes, path.suffix == ".jsonl")
        return _to_clip(_collect(frames, flags.nan), flags, notes)
    except BadFile as error:
        raise UserError(str(Skipped(str(path), *error.args))) from None


def _to_clip(found, flags, notes):
    there, values, points, seen = _locate(found, flags)
    if not len(values):
        raise BadFile(None, "nobody is in it")
    found = found.select(there)
    identities = found.identities()
    if identities is None and np.isfinite(found.identity).any():
        notes = *notes, SAME.format(found.tool.identity)
    person = assign_persons(found.frame, points, seen, flags.persons, identities)
    notes = (*notes, KEPT) if (person < 0).any() else notes
    clip = np.zeros((found.frames, flags.persons, *values.shape[1:]), np.float32)
    clip[found.frame[person >= 0], person[person >= 0]] = values[person >= 0]
    return _describe(found, clip, flags, notes)


class LivePoses:
    """Frames of one pose tool as they arrive. Arguments as in read_poses.

    Persons keep their places from frame to frame as far as that can be said without the later frames: those who are
    there first are kept, and a place is free again some frames after a person has left (tracking.Places).
    """

    def __init__(self, size=None, persons=2, **flags):
        self.flags, self.places = Flags(size, persons, **flags), Places(persons)
        self.kind = self.picture = None
        self.frames = 0
        self.trusted = True  # identities, until two of a frame are the same

    def update(self, frame):
        """The next frame, as in the JSON, as Poses with a clip (persons, joints, 3); None if nobody is in it.

        Raises ValueError, and ignores the frame, if it is none of a tool that is known, or another's.
        """
        picture = frame.get("image_id") if isinstance(frame, dict) else None
        if picture is not None and picture == self.picture:
            raise ValueError(
                f"a second line of the picture {shorten(picture)}; a line is a frame: a list of its persons"
            )
        self.picture = picture
        try:
            found = _collect([(0, frame)], self.flags.nan)
            kind = found.tool and (found.tool.name, found.joints)
            if kind and self.kind not in (None, kind):
                raise BadFile(None, f"{kind[1]} joints of {kind[0]}, and before {self.kind[1]} of {self.kind[0]}")
            there, values, points, seen = _locate(found, self.flags)
        except BadFile as error:
            raise ValueError(error.args[1].removeprefix("frame 0: ")) from None
        self.frames += 1
        if not len(values):
            return None
        self.kind = kind
        identities = found.select(there).identities()
        self.trusted &= identities is not None or np.isnan(found.identity).all()
        place = self.places.step(self.frames, points, seen, identities if self.trusted else None)
        clip = np.zeros((self.flags.persons, *values.shape[1:]), np.float32)
        clip[place[place >= 0]] = values[place >= 0]
        notes = () if self.trusted else (SAME.format(found.tool.identity),)
        poses = _describe(found, clip[None], self.flags, notes)
        return poses._replace(clip=poses.clip[0])


def _describe(found, clip, flags, notes):
    """A clip, NaN where joints are absent, as Poses, with what a user should know of it."""
    tool, stated = found.tool, found.tool.is_2d or found.tool.turn is not None
    skeleton = tool.skeletons[found.joints]
    if found.joints > clip.shape[2]:
        notes = *notes, f"of {tool.name}'s {found.joints} joints the first {clip.shape[2]} are taken: {skeleton}"
    if tool.is_2d and (clip[..., 2][clip.any(axis=3)] == 1).all():
        notes = *notes, "no scores of joints are in the file, or all are 1: each joint that was found has 1"
    if tool.is_2d and clip[..., 2].max() > 1.5:
        notes = *notes, f"scores of joints are up to {clip[..., 2].max():.3g}, expected are 0...1: are they scores?"
    if stated and (flags.up or flags.scale != 1):
        notes = *notes, f"--up and --scale are not for {tool.name}, whose form says what joints are"
    if np.isnan(clip).any():
        notes = *notes, ABSENT
    return Poses(fill_absent(clip, skeleton), skeleton, AXES_2D if tool.is_2d else AXES_3D, False, stated, notes)


def _locate(found, flags):
    """Which persons of Found have a joint (n,), and of those (m): values for the network, points, seen.

    Values: NaN for 3D joints that are absent. Points (m, joints, 2 or 3) are for tracking; seen: (m, joints) bool.
    """
    tool, values = found.tool, found.values
    if tool is None:  # nobody
        return np.zeros(0, bool), values, values, values
    seen = np.isfinite(values).all(axis=2)
    if tool.is_2d:
        points, seen = values[..., :2], seen & is_seen(values)
        points = np.where(seen[..., None], points, 0)
        values = normalize(values, seen, flags.size)
    else:
        seen &= (seen[..., None] & (values != 0)).any(axis=(1, 2))[:, None]  # not of a person of zeros
        values = tool.turn(values) if tool.turn else to_kinect(values, flags.up, flags.scale)
        points = np.where(seen[..., None], values, 0)
    there = seen.any(axis=1)
    return there, values[there], points[there], seen[there]


def is_seen(values):
    """Which joints of a picture were found: (..., joints, 3) x, y, score -> (..., joints) bool."""
    return (values[..., 2] > 0) & (values[..., :2] != 0).any(axis=-1)


def normalize(values, seen, size):
    """(..., joints, 3) x, y, score -> x - 0.5, y - 0.5, score; zeros where not seen."""
    found = values[seen][:, :2]
    if (found >= 0).all() and (found <= 1).all():
        size = (1, 1)
    elif np.abs(found).max() < 2:
        raise BadFile(None, "x and y are neither pixels nor all in 0...1 (OpenPose: --keypoint_scale 0 or 3)")
    elif size is None:
        raise BadFile(None, "x and y are pixels: give the size of the picture, width and height (--size 1280x720)")
    elif ((found < 0) | (found > size)).any(axis=1).mean() > 0.5:
        raise BadFile(None, "most joints lie outside a picture of {} x {} pixels".format(*size))
    values = np.concatenate([values[..., :2] / np.array(size, float) - 0.5, values[..., 2:]], axis=-1)
    return np.where(seen[..., None], values, 0)


SAME = "persons are told apart by their poses, as {} is missing for some, or the same for two in a frame"
KEPT = "more persons are found: of all those seen most are kept, --persons says how many"
FOLDER = "each file of the folder is taken for a frame, and its list for persons; if each is a clip, name the files"
ABSENT = "joints that are absent (NaN) are put where they are in the frames around, or at the joint they hang on"


def fill_absent(clip, skeleton):
    """A clip, (frames, persons, joints, 3), in which joints that are NaN get a place; in 2D, zeros.

    A joint moves evenly from the last frame that shows it to the next. If none does, it is where the joint is on which
    it hangs; if that has no place either, in the middle of the person. A person without joints becomes zeros.
    """
    absent, known = np.isnan(clip), known_skeleton(skeleton)
    if not absent.any() or known and known.is_2d:
        return np.where(absent, 0, clip)
    clip = np.where(absent.all(axis=(2, 3), keepdims=True), 0, clip)
    for person, joint in np.argwhere(np.isnan(clip[..., 0]).any(axis=0)):
        path, there = clip[:, person, joint], clip[:, person].any(axis=(1, 2))  # a view; NaN counts as any
        lost, shown = np.isnan(path[:, 0]), there & ~np.isnan(path[:, 0])
        for axis in range(3) if shown.any() else ():
            path[lost, axis] = np.interp(np.flatnonzero(lost), np.flatnonzero(shown), path[shown, axis])
    for _ in known.parents if known else ():
        clip = np.where(np.isnan(clip), clip[:, :, list(known.parents)], clip)
    return np.where(np.isnan(clip), np.nanmean(clip, axis=2, keepdims=True), clip)


def picture_size(text):
    """Reads "1280x720": (width, height). Raises ValueError."""
    found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if not found:
        raise ValueError(f"{text}: not a width and a height in pixels, such as 1280x720")
    return int(found[1]), int(found[2])


# ---- files to frames: [(number, frame as in JSON)] and notes


def is_numbers(content):
    """Whether JSON is a number, or lists of lists that begin with one."""
    while isinstance(content, list) and content:
        content = content[0]
    return isinstance(content, int | float)


def is_folder_of_frames(folder):
    """Whether the .json files in a folder are frames of one clip: by the first that can be read and has somebody."""
    paths = sorted(folder.glob("*.json"))
    for path in paths if len(paths) > 1 else ():
        try:
            content = load_json(path)
        except (BadFile, OSError):  # which read_poses names, if the others are frames
            continue
        if isinstance(content, list) and _name_pictures(content):
            return len({str(person["image_id"]) for person in content}) == 1
        if isinstance(content, dict) or content:
            return _is_frame(content)
    return False


def _is_frame(content):
    if isinstance(content, dict):
        return not content.keys().isdisjoint({*PERSONS, *PICTURE}) or tool_of(content) is not None
    persons = isinstance(content, list) and content and isinstance(content[0], dict)
    return bool(persons) and (tool_of(content) or tool_of(content[0])) is not None


def _name_pictures(content):
    """Whether a list is of persons that each name their picture."""
    return bool(content) and all(isinstance(person, dict) and "image_id" in person for person in content)


def _read_folder(folder):
    frames, size = {}, 0
    for path in sorted(folder.glob("*.json")):
        found = re.findall("[0-9]+", path.stem)
        if not found or int(found[-1]) in frames:
            why = f"a second file of frame {int(found[-1])}" if found else "no number of a frame in its name"
            raise BadFile(None, f"{path.name}: {why}")
        try:
            frames[int(found[-1])] = load_json(path, size)
            size += path.stat().st_size
        except BadFile as error:
            raise BadFile(None, str(Skipped(path.name, *error.args))) from None
    if not frames:
        raise BadFile(None, "a folder with no .json of a frame in it")
    lists = [len(frame) for frame in frames.values() if isinstance(frame, list) and not tool_of(frame)]
    odd = max(lists, default=0) >= max(len(frames), 2)
    return list(frames.items()), (FOLDER,) * odd


HOLDERS = ("instance_info", "frames", "data", "annotations")  # keys of lists of frames, or of persons with pictures


def _split(content, axes, are_frames):
    """What is in a file as frames and notes. are_frames: whether a list is certain to be of frames."""
    if isinstance(content, dict):
        key = next((key for key in HOLDERS if isinstance(content.get(key), list)), None)
        if not key and not _is_frame(content) and all(isinstance(frame, dict | list) for frame in content.values()):
            if all(re.search("[0-9.]", name) for name in content):
                return _by_name(list(content.items()))
            key = next(iter(content))
            if len(content) > 1 or not isinstance(content[key], list):
                raise BadFile(None, f"none of its keys names a frame, or holds frames: {shorten(', '.join(content))}")
        content = content[key] if key else [content]
    if not isinstance(content, list):
        raise BadFile(None, "not a list of frames")
    if _name_pictures(content):
        pictures = {}
        for person in content:
            pictures.setdefault(str(person["image_id"]), []).append(person)
        return _by_name(list(pictures.items()))
    notes = ()
    if tool_of(content):
        content = [content]
    elif not are_frames and len(content) > 1 and all(map(tool_of, content)):
        are_frames, notes = _which(content, axes)
        content = [[person] for person in content] if are_frames else [content]
    numbers = [_number(frame, i) for i, frame in enumerate(content)]
    if not all(type(number) is int for number in numbers) or len(set(numbers)) < len(numbers):
        raise BadFile(None, "each frame_id must be another whole number")
    return list(zip(numbers, content, strict=True)), notes


def _number(frame, i):
    keys = ("frame_id", "frame_index") if isinstance(frame, dict) else ()
    return next((frame[key] for key in keys if key in frame), i)


def _which(persons, axes):
    """Whether a list of persons is of frames with one person each, not of one frame; and notes."""
    tool, n = tool_of(persons[0]), len(persons)
    if axes in ("T", "M"):
        return axes == "T", ()
    identities = {identity_of(tool_of(person), person) for person in persons}
    if np.isfinite([*identities]).all():
        if 1 < len(identities) < n:
            why = "write a list of persons for each frame; if each is a frame of its own, use --axes T"
            raise BadFile(None, f"{n} persons, with {len(identities)} identities, do not say their frames: {why}")
        if len(identities) == n:
            return False, ("a list of persons is taken for one frame, as their identities differ; else use --axes T",)
        return True, ("a list of persons is taken for frames of one person, whose identity they have",)
    if tool.name != "MediaPipe":
        why = "is each a frame of one person (--axes T), or are they those of one frame (--axes M)?"
        raise BadFile(None, f"a list of {n} persons: {why}")
    return True, ("a list of persons is taken for frames of one person; else use --axes M",) * (n <= CROWD)


def _by_name(frames):
    """[(number, frame)] of [(name, frame)], and notes. The number is the last in the name, or the frame's place in
    their order if they are further apart, such as times. Names without numbers count in the order of the file."""
    words = [re.findall("[0-9]{1,18}", PurePath(name).stem if "." in name else name) for name, _ in frames]
    numbers, notes = [int(found[-1]) if found else 0 for found in words], ()
    if len(set(numbers)) < len(numbers):
        numbers, notes = list(range(len(frames))), ("frames are in the order of the file, as names do not number them",)
    frames = sorted(zip(numbers, (frame for _, frame in frames), strict=True), key=lambda pair: pair[0])
    if np.diff(sorted(numbers)).min(initial=2) > 1:
        frames = [(i, frame) for i, (_, frame) in enumerate(frames)]
    return frames, notes


def load_json(path, more=0):
    """The content of a file; of a .jsonl, a list of its lines, None for an empty one. more: bytes of other files."""
    if path.stat().st_size + more > LARGEST:
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


def _collect(frames, nan):
    """[(number, frame)] -> Found. nan: of Flags. Raises BadFile."""
    numbers, poses, identities, kinds = [], [], [], {}
    for number, frame in frames:
        try:
            for person in _persons(frame):
                tool = tool_of(person)
                if tool is None:
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
                kinds.setdefault((tool, len(pose)), number)
                numbers.append(number)
                identities.append(identity_of(tool, person))
                poses.append(np.where(absent[:, None], np.nan, pose))
        except WRONG as error:
            why = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            why = f"not a frame of a pose tool that is known ({why}{shorten(error, 250)})"
            raise BadFile(None, f"frame {number}: {why}") from None
    if not poses:
        return Found(None, 0, len(frames), np.zeros(0, int), np.zeros(0), np.zeros((0, 0, 3)))
    names = [f"{joints} joints of {tool.name}" for tool, joints in kinds]
    if len(kinds) > 1:
        raise BadFile(None, f"{names[0]}, and in frame {list(kinds.values())[1]} {names[1]}")
    ((tool, joints),) = kinds
    if joints not in tool.skeletons:
        raise BadFile(None, f"{names[0]}, of which {', '.join(map(str, tool.skeletons))} can be read")
    first, last = min(number for number, _ in frames), max(number for number, _ in frames)
    if last - first >= FRAMES:
        raise BadFile(None, f"frames {shorten(first)} to {shorten(last)}: more than {FRAMES:,}")
    frame, values = np.array([number - first for number in numbers]), np.array(poses, np.float64)
    values = values[:, : len(SKELETONS[tool.skeletons[joints]].joints)]
    score = np.nan_to_num(values[..., 2]).mean(axis=1) if tool.is_2d else np.zeros(len(frame))
    order = np.lexsort((-score, frame))  # frame by frame, the highest mean score first; stable
    kept = order[np.arange(len(frame)) - np.searchsorted(frame[order], frame[order]) < CROWD]
    return Found(tool, joints, last - first + 1, frame[kept], np.array(identities)[kept], values[kept])


def _persons(frame):
    """The persons of a frame, as in JSON."""
    if isinstance(frame, str):  # as to_json() gives it
        frame = json.loads(frame)
    if not frame:
        return []
    if isinstance(frame, dict) and (key := next((key for key in PERSONS if key in frame), None)):
        return _persons(frame[key])
    if isinstance(frame, dict) and not frame.keys().isdisjoint(PICTURE):
        raise ValueError("only landmarks of the picture: save pose_world_landmarks (worldLandmarks)")
    return frame if isinstance(frame, list) and not tool_of(frame) else [frame]
