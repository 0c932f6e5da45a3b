"""Clips of what pose tools (tools.py) find in a video.

    poses = read_poses("walk.json", size=(1280, 720))                       # of its clip: (frames, 2, 17, 3)
    live = LivePoses(size=(1280, 720))
    poses = live.update(json.loads(line))                                   # (2, 17, 3), or None

Persons are told apart by the identities in the file, and where there are none by the poses (tracking.py). 2D joints
become x - 0.5, y - 0.5, in widths and heights of the picture, and the score, as in Kinetics-Skeleton; zeros if the
score is not above 0, or at 0, 0, where tools put what they did not find. 3D joints become metres in Kinect's axes: x to
the camera's left, y up, z away from it. MediaPipe's have their origin between the hips in every frame, or at the camera
where tools/video_to_skeleton.py --fov put it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from clips.arrays import ABSENT, fill_absent
from clips.frames import find_persons, joint_names, load_json, numbering, read_folder, split
from clips.h5 import AXES_2D, AXES_3D
from clips.skeletons import SKELETONS
from clips.skipped import BadFile, named
from clips.tools import to_kinect
from clips.tracking import Places, assign_persons
from util import shorten

SAME = "persons are told apart by their poses, as {} is missing for some, or the same for two in a frame"
KEPT = "more persons are found: of all those seen most are kept, --persons says how many"
OUTSIDE = 0.1  # of the joints that were found may lie outside of the picture, where tools guess


class Flags(NamedTuple):
    """What a user says of recordings that do not say it."""

    size: tuple | None = None  # (width, height) of the picture in pixels; not needed if all x and y are in 0...1
    persons: int = 2  # at most so many
    axes: str | None = None  # the order of an array's axes (arrays.py); of a list of persons: T frames, or M persons
    up: str | None = None  # the axis that points up, one of tools.UP
    scale: float = 1.0  # factor from the file's unit to metres
    nan: str | None = None  # "absent": joints with NaN or infinity are
    skeleton: object = None  # of an array: its name, or a Skeleton


class Poses(NamedTuple):
    clip: np.ndarray  # (frames, persons, joints, 3) float32, zeros for absent persons; live, of one frame
    skeleton: str  # its name in clips/skeletons.py
    axes: str  # what the three values of a joint are
    centered: bool = False  # as the clips of their data set for training
    stated: bool = True  # whether the format says the unit and the axis that points up
    notes: tuple[str, ...] = ()  # what a user should know of how the file was understood


def read_poses(path, size=None, persons=2, content=None, **flags):
    """Reads a file, or a folder of files of one frame each, as Poses, with the persons with the most joints seen.

    size, persons, flags: of Flags. content: of the file, if it is known already. Raises UserError with the file;
    OSError if the system cannot read it.
    """
    path, flags = Path(path), Flags(size, persons, **flags)
    with named(path):
        if path.is_dir():
            frames, notes = read_folder(path)
        else:
            content = load_json(path) if content is None else content
            frames, notes = split(content, flags.axes, path.suffix.lower() == ".jsonl")
        if not (located := _locate(find_persons(frames, flags.nan), flags)):
            raise BadFile(None, "nobody is in it")
        found, values, points, seen = located
        if odd := SKELETONS[found.tool.skeletons[found.joints]].odd_name(joint_names(content)):
            raise BadFile(None, odd)
        if (shown := len({*found.frame})) * 10 < found.frames:
            notes = *notes, f"{shown} of {found.frames:,} frames show somebody: is it of several videos?"
        identities = found.identities()
        if identities is None and np.isfinite(found.identity).any():
            notes = *notes, SAME.format(found.tool.identity)
        person = assign_persons(found.frame, points, seen, flags.persons, identities)
        if (person < 0).any():
            notes = *notes, KEPT
        return _to_poses(found, found.frames, found.frame, person, values, flags, notes)


class LivePoses:
    """Frames of one pose tool as they arrive, arguments as in read_poses. Persons keep places (tracking.Places)."""

    def __init__(self, size=None, persons=2, **flags):
        self.flags, self.places = Flags(size, persons, **flags), Places(persons)
        self.kind = self.picture = None
        self.frames = 0
        self.trusted = True  # identities, until two of a frame are the same

    def update(self, frame):
        """The next frame, as in the JSON, as Poses with a clip (persons, joints, 3); None if nobody is in it.

        Raises ValueError, and ignores the frame, if it is none of a tool that is known, or another's.
        """
        picture = frame[key] if (key := numbering([frame])) else None
        if picture is not None and picture == self.picture:
            raise ValueError(f"a second line of the picture {shorten(picture)}; a line is a list of a frame's persons")
        self.picture = picture
        try:
            found = find_persons([(0, frame)], self.flags.nan)
            kind = found and f"{found.joints} joints of {found.tool.name}"
            if kind and self.kind not in (None, kind):
                raise BadFile(None, f"{kind}, and before {self.kind}")
            located = _locate(found, self.flags)
        except BadFile as error:
            raise ValueError(error.args[1].removeprefix("frame 0: ")) from None
        self.frames += 1
        if not located:
            return None
        found, values, points, seen = located
        self.kind, identities = kind, found.identities()
        self.trusted &= identities is not None or np.isnan(found.identity).all()
        place = self.places.step(self.frames, points, seen, identities if self.trusted else None)
        notes = () if self.trusted else (SAME.format(found.tool.identity),)
        poses = _to_poses(found, 1, found.frame, place, values, self.flags, notes)
        return poses._replace(clip=poses.clip[0])


def _locate(found, flags):
    """The Found who have a joint, with values for the network, points and seen; None if nobody has.

    Values: NaN for 3D joints that are absent. Points (n, joints, 2 or 3) are for tracking; seen: (n, joints) bool.
    """
    if not found:
        return None
    values, seen = found.values, np.isfinite(found.values).all(axis=2)
    if found.tool.is_2d:
        seen &= is_seen(values)
        points, values = values[..., :2], normalize(values, seen, flags.size)
    else:
        seen &= (seen[..., None] & (values != 0)).any(axis=(1, 2))[:, None]  # not of a person of zeros
        points = values = found.tool.turn(values) if found.tool.turn else to_kinect(values, flags.up, flags.scale)
    points, there = np.where(seen[..., None], points, 0), seen.any(axis=1)
    return (found.select(there), values[there], points[there], seen[there]) if there.any() else None


def is_seen(values):
    """Which joints of a picture were found: (..., joints, 3) x, y, score -> (..., joints) bool."""
    return (values[..., 2] > 0) & (values[..., :2] != 0).any(axis=-1)


def normalize(values, seen, size):
    """(..., joints, 3) x, y, score -> x - 0.5, y - 0.5, score; zeros where not seen. Raises BadFile."""
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


def outside(clip):
    """A note in a tuple if many joints of x - 0.5, y - 0.5, score, (..., joints, 3), lie outside of the picture."""
    found = clip[is_seen(clip)][:, :2]
    share = (np.abs(found) > 0.5).any(axis=1).mean() if len(found) else 0
    return (f"{share:.0%} of the joints lie outside of the picture: is its size right?",) * bool(share > OUTSIDE)


def _to_poses(found, frames, frame, person, values, flags, notes):
    """Poses of so many frames from the frame, the person (-1: none) and the values of each of the Found, with notes on
    how they were understood."""
    tool, skeleton, kept = found.tool, found.tool.skeletons[found.joints], person >= 0
    clip = np.zeros((frames, flags.persons, *values.shape[1:]), np.float32)
    clip[frame[kept], person[kept]] = values[kept]
    stated, score = tool.is_2d or tool.turn is not None, clip[..., 2][clip.any(axis=3)]
    if found.joints > clip.shape[2]:
        notes = *notes, f"of {tool.name}'s {found.joints} joints the first {clip.shape[2]} are taken: {skeleton}"
    if tool.is_2d and len(score) and (score == 1).all():
        notes = *notes, "no scores of joints are in the file, or all are 1: each joint that was found has 1"
    if tool.is_2d and score.max(initial=0) > 1.5:
        notes = *notes, f"scores of joints are up to {score.max():.3g}, expected are 0...1: are they scores?"
    if tool.is_2d:
        notes = *notes, *outside(clip)
    if stated and (flags.up or flags.scale != 1):
        notes = *notes, f"--up and --scale are not for {tool.name}, whose form says what joints are"
    if np.isnan(clip).any():
        notes = *notes, ABSENT
    return Poses(fill_absent(clip, skeleton), skeleton, AXES_2D if tool.is_2d else AXES_3D, False, stated, notes)


def is_numbers(content):
    """Whether JSON is a number, or lists of lists that begin with one."""
    while isinstance(content, list) and content:
        content = content[0]
    return isinstance(content, int | float)
