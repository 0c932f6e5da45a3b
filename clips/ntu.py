"""NTU RGB+D: from the text of a .skeleton file to a clip of one or two actors, as in the release's three scripts."""

import warnings
from codecs import BOM_UTF8
from typing import NamedTuple

import numpy as np

from clips import h5 as layout
from clips.checks import FARTHEST
from clips.skipped import BadFile, read_bytes
from util import shorten

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


def read_file(path):
    """`read_skeleton` of a file. Raises BadFile, OSError."""
    return read_skeleton(read_bytes(path, LARGEST))


def read_skeleton(data):
    """Reads the text of a .skeleton file, bytes: (number of valid frames, [Body] in the order of first appearance).

    Valid frames are those with a body. Raises BadFile with the line. The counts in the text allocate no memory.
    """
    lines = data.removeprefix(BOM_UTF8).decode("ascii", "replace").rstrip().split("\n")
    valid, ids, frames, starts = find_bodies(lines)
    joints = read_joints(lines, starts)
    order = {}
    which = np.array([order.setdefault(id, len(order)) for id in ids])
    if len(order) == 1:
        return valid, [Body(ids[0].encode(), frames[0], joints, np.float32(0))]
    bodies = []
    for id, k in order.items():
        rows = joints[which == k]
        with np.errstate(over="ignore", invalid="ignore"):
            bodies.append(Body(id.encode(), frames[ids.index(id)], rows, rows.reshape(-1, 3).var(axis=0).sum()))
    return valid, bodies


def find_bodies(lines):
    """The number of valid frames by the counts in the text, and lists of the bodies in them: ID, number of the valid
    frame, index of the first joint's line."""
    ids, frames, starts = [], [], []

    def first(at, what, numbers=1):
        """The first of the numbers in a line, a text."""
        if at >= len(lines):
            raise BadFile(len(lines), f"cut short: no line with {what}")
        fields = lines[at].split()
        if len(fields) != numbers or not fields[0].isdigit() or len(fields[0]) > 20:
            raise BadFile(at + 1, f"{shorten(repr(lines[at]), 40)} is not {what}")
        return fields[0]

    valid, at = 0, 1
    for _ in range(int(first(0, "the number of frames"))):
        bodies = int(first(at, "the number of bodies in a frame"))
        at += 1
        for _ in range(bodies):
            ids.append(first(at, "a body's ID and its 9 numbers", 10))
            if first(at + 1, "the number of joints") != "25":
                raise BadFile(at + 2, f"{shorten(repr(lines[at + 1]), 40)} is not 25, the number of joints")
            frames.append(valid)
            starts.append(at + 2)
            at += 2 + JOINTS
        valid += bodies > 0
    if at != len(lines):
        raise BadFile(min(at + 1, len(lines)), "cut short, or more lines after the last frame")
    if not valid:
        raise BadFile(None, "nobody is in any frame")
    return valid, ids, frames, starts


def read_joints(lines, starts):
    """x, y, z of the 25 joints whose lines begin at each of `starts`: (len(starts), 25, 3) float32. Raises BadFile."""
    numbers = [at for start in starts for at in range(start, start + JOINTS)]
    joints = read_rows([lines[at] for at in numbers])
    if joints is None:
        at = next(at for at in numbers if read_rows([lines[at]]) is None)
        what = "not a joint: x, y, z in metres, 8 numbers, and 0, 1 or 2"
        raise BadFile(at + 1, f"{shorten(repr(lines[at]), 40)} is {what}")
    return joints.reshape(-1, JOINTS, 3)


def read_rows(rows):
    """The first three numbers of each row, (rows, 3) float32; None if the rows are not all those of joints.

    A joint has 12 numbers, of which the last is 0, 1 or 2 (not tracked, inferred, tracked); Kinect itself writes NaN
    in others.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of rows that are all blank
            values = np.loadtxt(rows, usecols=(0, 1, 2, 11), comments=None, ndmin=2)
    except (ValueError, UserWarning):
        return None
    xyz, state = values[:, :3], values[:, 3]
    good = (np.abs(xyz) < FARTHEST).all() and np.isin(state, (0, 1, 2)).all()
    return xyz.astype(np.float32) if good and len(xyz) == len(rows) else None


# ---- one or two actors

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
