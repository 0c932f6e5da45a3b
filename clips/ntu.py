"""NTU RGB+D: from the text of a .skeleton file to a clip of one or two actors, as in the release's three scripts."""

import os
from itertools import chain
from typing import NamedTuple

import numpy as np

from clips import h5 as layout
from clips.checks import FARTHEST
from clips.skipped import BadFile
from util import regular

JOINTS = 25


LARGEST = 64 * 2**20  # bytes of a file; NTU's largest has 4 MB. Limits the memory of a worker


class Body(NamedTuple):
    """The joints of one body ID in a clip."""

    id: bytes  # text: as float64, two IDs can become equal
    first: int  # the valid frame in which it is first seen
    joints: np.ndarray  # (rows, 25, 3) float32, metres, camera coordinates: one row for each frame in which it is seen
    motion: np.float32  # variance over all its joint positions, summed over x, y, z; 0 if it is the only body

    @property
    def last(self):
        """The end of its interval, which has no gaps even if the body does (as in the release)."""
        return self.first + len(self.joints) - 1


def read_skeleton(data):
    """Reads the text of a .skeleton file, bytes: (number of valid frames, [Body] in the order of first appearance).

    Valid frames are those with a body. Raises BadFile with the line. The counts in the text allocate no memory.
    """
    lines = data.split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    ids, frames, starts = [], [], []
    try:
        valid = find_bodies(lines, ids, frames, starts)
    except BadFile:
        check_fields(lines, starts)  # a missing or extra line makes the counts after it wrong: name that line
        raise
    joints = read_joints(data, lines, starts)
    order = {}
    which = np.array([order.setdefault(id, len(order)) for id in ids])
    if len(order) == 1:
        return valid, [Body(ids[0], frames[0], joints, np.float32(0))]
    bodies = []
    for id, k in order.items():
        rows = joints[which == k]
        with np.errstate(over="ignore", invalid="ignore"):
            bodies.append(Body(id, frames[ids.index(id)], rows, rows.reshape(-1, 3).var(axis=0).sum()))
    return valid, bodies


def read_file(path):
    """`read_skeleton` of a file. Raises BadFile, or OSError where the system cannot read it."""
    if os.path.getsize(path) > LARGEST:
        raise BadFile(None, f"larger than {LARGEST >> 20} MB")
    with open(regular(path), "rb") as file:
        return read_skeleton(file.read())


def find_bodies(lines, ids, frames, starts):
    """Finds the bodies of each frame by the counts in the text, and returns the number of valid frames.

    Appends for each body in each frame: its ID, the number of the valid frame, and the index of its first joint's line.
    """
    at, valid = 1, 0
    announced = read_count(lines, 0, "the number of frames")
    for frame in range(1, announced + 1):
        bodies = read_count(lines, at, f"the number of bodies of frame {frame} of {announced}")
        at += 1
        for body in range(1, bodies + 1):
            if at + 2 + JOINTS > len(lines):
                raise BadFile(len(lines), f"cut short in frame {frame} of {announced}, body {body} of {bodies}")
            fields = lines[at].split()
            if len(fields) != 10 or not fields[0].isdigit() or len(fields[0]) > 20:
                raise BadFile(at + 1, f"{quote(lines[at])} is not a body's ID and its 9 numbers")
            if lines[at + 1].strip() != b"25":
                raise BadFile(at + 2, f"the number of joints is {quote(lines[at + 1])}, not 25")
            ids.append(fields[0])
            frames.append(valid)
            starts.append(at + 2)
            at += 2 + JOINTS
        valid += bodies > 0
    if at < len(lines):
        raise BadFile(at + 1, f"more lines after the last of the {announced} frames announced in line 1")
    if not valid:
        raise BadFile(None, f"all {announced} frames are empty" if announced else "there are no frames")
    return valid


def read_count(lines, at, what):
    """The count in line `at`; `what` names it in errors."""
    if not lines:
        raise BadFile(None, "the file is empty")
    if at >= len(lines):
        raise BadFile(len(lines), f"cut short: the file ends before {what}")
    token = lines[at].strip()
    if not token.isdigit() or len(token) > 18:
        raise BadFile(at + 1, f"{quote(token)} is not {what}")
    return int(token)


def read_joints(data, lines, starts):
    """x, y, z of the 25 joints whose lines begin at each of `starts`: (len(starts), 25, 3) float32. Raises BadFile.

    Of the 12 fields of a joint only these three are converted, for speed. The others are checked by the characters of
    the whole text, and one by one only if there is an unusual one.
    """
    rows = list(chain.from_iterable([lines[at : at + JOINTS] for at in starts]))
    spaces = np.count_nonzero(np.frombuffer(data, np.uint8) == ord(" "))
    unusual = data.translate(None, b"0123456789+-.eE \t\r\n")
    if unusual or spaces != 11 * len(rows) + 9 * len(starts) or len(rows[-1].split()) != 12:
        check_fields(lines, starts)
    values = []
    add = values.append
    try:
        for row in rows:
            x, y, z, _ = row.split(None, 3)
            add(float(x))
            add(float(y))
            add(float(z))
    except ValueError:
        add(np.nan)
    with np.errstate(over="ignore"):
        values = np.fromiter(values, np.float32, len(values))
    if not (np.abs(values) < FARTHEST).all():
        check_fields(lines, starts)
    return values.reshape(-1, JOINTS, 3)


def check_fields(lines, starts):
    """Checks the bodies of a text field by field: raises BadFile for the first that is wrong.

    NaN, infinity and what is too large are wrong in x, y, z only: Kinect itself writes them in other fields, which are
    not used.
    """
    for start in starts:
        for at in (start - 2, *range(start, start + JOINTS)):
            fields, wanted = lines[at].split(), 12 if at >= start else 10
            if len(fields) != wanted:
                raise BadFile(at + 1, f"{len(fields)} numbers where {wanted} belong")
            for i, token in enumerate(fields):
                try:
                    value = float(token) if b"_" not in token else None
                except ValueError:
                    value = None
                if value is None:
                    raise BadFile(at + 1, f"{quote(token)} is not a number")
                if wanted == 12 and i < 3 and not abs(value) < FARTHEST:
                    raise BadFile(at + 1, f"{'xyz'[i]} of a joint is {quote(token)}")


def quote(text):
    """At most 30 bytes of a line, quoted for a message."""
    text = text.strip()
    return repr(text[:30])[1:] + ("…" if len(text) > 30 else "")


FEWEST_FRAMES = 11  # a body seen in this many or fewer is noise


SPREAD = np.float32(0.8)  # a frame wider than this share of its height is noise: people are upright


NOISE_SHARE = 0.69754  # a body with this share of noise frames is noise


def actors(valid, bodies):
    """A clip from its number of valid frames and its bodies, in the order of first appearance.

    Returns (frames, 75) float32 for one actor, (frames, 150) for two, metres. Raises BadFile if nothing is left.
    """
    if len(bodies) == 1:
        clip = bodies[0].joints.reshape(-1, 75)
    else:
        if any(body.last >= valid for body in bodies):
            raise BadFile(None, "a body ID is there twice in a frame")
        bodies = remove_noise([body for body in bodies if len(body.joints) > FEWEST_FRAMES])
        if not bodies:
            raise BadFile(None, f"nobody is left: no body is seen in more than {FEWEST_FRAMES} frames")
        clip = place_bodies(valid, bodies)
        clip = clip[clip.sum(axis=1) != 0]
    if not clip[:, :75].any():
        raise BadFile(None, "all coordinates are 0")
    return clip


def remove_noise(bodies):
    """Removes the bodies that are too wide in too many frames, as long as more than one is left."""
    left = dict(enumerate(bodies))
    for i, body in enumerate(bodies):
        if len(left) == 1:
            break
        low, high = body.joints[:, :, :2].min(axis=1), body.joints[:, :, :2].max(axis=1)
        width, height = (high - low).T
        good = width <= SPREAD * height
        noise = len(good) - np.count_nonzero(good)
        if noise / len(good) >= NOISE_SHARE:
            del left[i]
        elif noise:
            motion = body.joints[good].reshape(-1, 3).var(axis=0).sum()
            left[i] = body._replace(motion=min(body.motion, motion))
    return list(left.values())


def place_bodies(valid, bodies):
    """Writes the bodies into the columns of one actor or two: (valid, 75 or 150) float32."""
    clip = np.zeros((valid, 75 if len(bodies) == 1 else 150), np.float32)
    first, *others = sorted(bodies, key=lambda body: body.motion, reverse=True)  # stable for ties
    clip[first.first : first.last + 1, :75] = first.joints.reshape(-1, 75)
    taken = [[first.first, first.last], [0, 0]]  # as in the release: actor 2's interval starts at frame 0
    for body in others:
        for actor, interval in enumerate(taken):
            if min(interval[1], body.last) - max(interval[0], body.first) <= 0:
                clip[body.first : body.last + 1, actor * 75 : actor * 75 + 75] = body.joints.reshape(-1, 75)
                interval[:] = min(interval[0], body.first), max(interval[1], body.last)
                break
    return clip


def center_clip(clip):
    """Moves the spine of actor 1 in its first frame to the origin: (frames, 75 or 150) float32, metres.

    As in the release: in a clip of two actors, one whose values in a frame sum to 0 is absent and set to 0.
    """
    persons = clip.reshape(len(clip), -1, 25, 3)
    absent = clip.reshape(len(clip), -1, 75).sum(axis=2) == 0
    return layout.center(persons, absent & (persons.shape[1] == 2)).reshape(clip.shape)
