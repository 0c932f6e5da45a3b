"""Joins the persons that a pose estimator found in each frame into tracks, and tracks into the persons of a clip."""

import numpy as np

LOST = 15  # frames for which a track without a person is continued
REACH = 0.5  # how far a person may be from where the track expects it, in diagonals of its bounding box


def assign_persons(frame, points, seen, persons):
    """Which person of the clip each detection is: (n,) int64 from 0, or -1 for none.

    frame: (n,) int64, ascending. points: (n, joints, 2 or 3). seen: (n, joints) bool, at least one joint of each.
    persons: tracks are taken in the order of the joints seen in them, and each becomes the first of so many persons
    whose earlier tracks do not overlap with it in time, as the release's get_raw_denoised_data.py does with bodies.
    """
    track = join(frame, points, seen)
    tracks = track.max(initial=-1) + 1
    first, last = np.zeros((2, tracks), np.int64)
    first[track[::-1]], last[track] = frame[::-1], frame  # of the frames of a track, the one that is written last stays
    taken = np.zeros((persons, frame.max(initial=-1) + 1), bool)
    person = np.full(tracks, -1)
    for i in np.argsort(-np.bincount(track, seen.sum(axis=1)), kind="stable"):
        span = slice(first[i], last[i] + 1)
        free = np.flatnonzero(~taken[:, span].any(axis=1))
        if len(free):
            person[i] = free[0]
            taken[free[0], span] = True
    return person[track]


def join(frame, points, seen):
    """The track of each detection, (n,) int64: persons nearest to where tracks are expected. Arguments as above.

    The distance is the mean over the joints seen in both; a track moves on at its last velocity. In each frame the sum
    of distances is the smallest possible.
    """
    from scipy.optimize import linear_sum_assignment  # scikit-learn brings it

    low, high = (np.where(seen[..., None], points, value) for value in (np.inf, -np.inf))
    diagonal = np.linalg.norm(high.max(axis=1) - low.min(axis=1), axis=1)
    track = np.full(len(frame), -1)
    tracks = 0
    last = np.zeros(0, np.int64)  # of each track that may continue: its last detection
    velocity = np.zeros((0, points.shape[2]))  # and its mean motion in a frame
    numbers, starts = np.unique(frame, return_index=True)
    for now, new in zip(numbers, np.split(np.arange(len(frame)), starts[1:]), strict=True):
        recent = now - frame[last] <= LOST
        last, velocity = last[recent], velocity[recent]
        gap = (now - frame[last])[:, None]
        both = seen[last][:, None] & seen[new]
        shared = np.maximum(both.sum(axis=2), 1)
        step = points[new] - points[last][:, None]  # (tracks, detections, joints, 2 or 3)
        distance = np.linalg.norm(step - (velocity * gap)[:, None, None], axis=3)
        distance = (distance * both).sum(axis=2) / shared
        size = np.maximum(diagonal[last][:, None], diagonal[new])
        cost = np.where(both.any(axis=2), np.minimum(distance / np.maximum(size, 1e-9), REACH), REACH)
        old, found = linear_sum_assignment(cost)
        near = cost[old, found] < REACH
        old, found = old[near], found[near]
        mean_step = (step * both[..., None]).sum(axis=2)[old, found] / shared[old, found, None]
        velocity[old] = (velocity[old] + mean_step / gap[old]) / 2
        track[new[found]] = track[last[old]]
        last[old] = new[found]
        others = new[track[new] < 0]
        track[others] = np.arange(tracks, tracks + len(others))
        tracks += len(others)
        last = np.concatenate([last, others])
        velocity = np.concatenate([velocity, np.zeros((len(others), points.shape[2]))])
    return track
