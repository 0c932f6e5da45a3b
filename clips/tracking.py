"""Joins the persons that a pose estimator found in each frame into tracks, and tracks into the persons of a clip.

Of a clip at once (`assign_persons`) or live, frame by frame (`Places`); both take the same steps (`Tracker`).
"""

from typing import NamedTuple

import numpy as np

LOST = 15  # frames for which a track without a person is continued
REACH = 0.5  # how far a person may be from where the track expects it, in diagonals of its bounding box


def assign_persons(frame, points, seen, persons, identity=None):
    """Which person of the clip each detection is: (n,) int64 from 0, or -1 for none.

    frame: (n,) int64 from 0, ascending, at least one. points: (n, joints, 2 or 3). seen: (n, joints) bool, at least one
    joint of each. identity: (n,) numbers, another for each person, of which the tracks are then made. persons: so many.
    Tracks are taken in the order of the joints seen in them, and each becomes the first person whose earlier tracks do
    not overlap with it in time, as in the release's get_raw_denoised_data.py.
    """
    if identity is None:
        tracker, starts = Tracker(), np.flatnonzero(np.diff(frame, prepend=-1))
        parts = zip(frame[starts], np.split(points, starts[1:]), np.split(seen, starts[1:]), strict=True)
        track = np.concatenate([tracker.step(*part) for part in parts])
    else:
        track = np.unique(identity, return_inverse=True)[1]
    tracks = track.max() + 1
    first, last = np.zeros((2, tracks), np.int64)
    first[track[::-1]], last[track] = frame[::-1], frame  # of the frames of a track, the one that is written last stays
    taken = np.zeros((persons, frame[-1] + 1), bool)
    person = np.full(tracks, -1)
    for i in np.argsort(-np.bincount(track, seen.sum(axis=1)), kind="stable"):
        span = slice(first[i], last[i] + 1)
        free = np.flatnonzero(~taken[:, span].any(axis=1))
        if len(free):
            person[i] = free[0]
            taken[free[0], span] = True
    return person[track]


class _Tracks(NamedTuple):
    """The last detection of each track that may continue: a row of each array."""

    number: np.ndarray
    frame: np.ndarray
    points: np.ndarray
    seen: np.ndarray
    diagonal: np.ndarray  # of the bounding box
    velocity: np.ndarray  # mean motion in a frame
    identity: np.ndarray  # NaN if it is not known

    def select(self, rows):
        return _Tracks(*(array[rows] for array in self))


class Tracker:
    """Joins the detections of one frame after another into tracks: persons nearest to where tracks are expected.

    The distance is the mean over the joints seen in both; a track moves on at its velocity. Their sum in a frame is the
    smallest possible.
    """

    def __init__(self):
        self.count = 0  # of tracks so far
        self.tracks = None  # those that may continue

    def step(self, now, points, seen, identity=None):
        """The track of each detection of frame `now`, (n,) int64: a new number for whoever continues none.

        now: larger than in the step before. points, seen, identity: as in `assign_persons`.
        """
        from scipy.optimize import linear_sum_assignment  # scikit-learn brings it

        n, _, axes = points.shape
        shown = np.where(seen[..., None], points, np.nan)
        diagonal = np.linalg.norm(np.nanmax(shown, axis=1) - np.nanmin(shown, axis=1), axis=1)
        known = np.full(n, np.nan) if identity is None else identity
        new = _Tracks(np.full(n, -1), np.full(n, now), points, seen, diagonal, np.zeros((n, axes)), known)
        old = new.select([]) if self.tracks is None else self.tracks.select(now - self.tracks.frame <= LOST)
        gap = (now - old.frame)[:, None]
        both = old.seen[:, None] & seen
        shared = np.maximum(both.sum(axis=2), 1)
        move = points - old.points[:, None]  # (tracks, detections, joints, 2 or 3)
        distance = np.linalg.norm(move - (old.velocity * gap)[:, None, None], axis=3)
        distance = (distance * both).sum(axis=2) / shared
        size = np.maximum(old.diagonal[:, None], diagonal)
        cost = np.where(both.any(axis=2), np.minimum(distance / np.maximum(size, 1e-9), REACH), REACH)
        if identity is not None:
            cost = np.where(old.identity[:, None] == identity, 0, REACH)
        from_, to = linear_sum_assignment(cost)
        near = cost[from_, to] < REACH
        from_, to = from_[near], to[near]

        mean_move = (move * both[..., None]).sum(axis=2)[from_, to] / shared[from_, to, None]
        new.velocity[to] = (old.velocity[from_] + mean_move / gap[from_]) / 2
        new.number[to] = old.number[from_]
        begins = new.number < 0
        new.number[begins] = self.count + np.arange(begins.sum())
        self.count += begins.sum()
        waits = np.ones(len(old.number), bool)
        waits[from_] = False
        self.tracks = _Tracks(*map(np.concatenate, zip(old.select(waits), new, strict=True)))
        return new.number


class Places:
    """Which person of a live feed each detection is, when later frames are not known yet.

    A track takes the first place that is free, older tracks before newer ones, and keeps it until it is lost: for LOST
    frames nobody else is in the place of a person who is hidden.
    """

    def __init__(self, persons):
        self.tracker = Tracker()
        self.taken = np.full(persons, -1)  # by this track

    def step(self, now, points, seen, identity=None):
        """The place of each detection of frame `now`, (n,) int64 from 0, or -1 for none. Arguments as in Tracker."""
        track = self.tracker.step(now, points, seen, identity)
        self.taken[~np.isin(self.taken, self.tracker.tracks.number)] = -1
        free, newcomers = np.flatnonzero(self.taken < 0), np.setdiff1d(track, self.taken)  # sorted: the oldest first
        n = min(len(free), len(newcomers))
        self.taken[free[:n]] = newcomers[:n]
        same = track[:, None] == self.taken
        return np.where(same.any(axis=1), same.argmax(axis=1), -1)
