"""Human figures for the demo's clips: their kinematics, and the random differences between takes.

Coordinates of a figure: x to its left, y up, z forward, floor at y = 0, metres. The joints are those of Kinect v2, as
in NTU RGB+D. An action moves a `Pose` (pelvis, spine, and targets for hands and feet); `skeleton` computes the joints,
by forward kinematics for the trunk and two-bone inverse kinematics for the limbs, so that bones keep their lengths. All
arrays are over the frames of the clip.
"""

import numpy as np

from clips.skeletons import KINECT_V2

FPS, FRAMES = 30, (40, 110)  # frames a second; the shortest and the longest take
PARENT, FLIP = np.array(KINECT_V2.parents), KINECT_V2.flip_pairs()
LEFT, RIGHT = 0, 1
SIDES = np.array([1.0, -1.0])  # sign of x
REST = (0.08, -0.98, 0.08)  # a hanging hand: outward, up, forward of the shoulder, in arm lengths


class Build:
    """The body (lengths in metres) and habits of a performer, random."""

    def __init__(self, rng):
        height = rng.uniform(1.56, 1.90)
        legs, arms, width = rng.normal(1, (0.025, 0.03, 0.06))
        self.thigh, self.shin, self.foot, self.ankle = height * legs * np.array([0.232, 0.222, 0.072, 0.046])
        self.upper_arm, self.forearm, self.hand, self.tip, self.thumb = (
            height * arms * np.array([0.158, 0.142, 0.043, 0.047, 0.04])
        )
        self.lower_spine, self.upper_spine, self.neck, self.head = height * np.array([0.165, 0.125, 0.042, 0.082])
        self.shoulder, self.hip = height * width * np.array([0.098, 0.048])
        self.hips = self.ankle + 0.985 * (self.thigh + self.shin) + 0.4 * self.hip  # height when standing
        self.pace = rng.uniform(0.85, 1.2)
        self.reach = rng.uniform(0.85, 1.15)  # how large the gestures are
        self.stoop, self.stance = rng.normal((0.05, 0.22), (0.05, 0.03))
        self.left = 0.75 if rng.random() < 0.2 else 0.25  # share of takes with the left hand


class Pose:
    """What an action moves, over n frames. Lengths are in hip heights, those of hands in arm lengths."""

    def __init__(self, n):
        self.frames = n
        self.hips = np.zeros((n, 3))  # left, up, forward of where they are when standing
        self.pelvis = np.zeros((n, 3))  # radians: turn to the left, tilt forward, tilt to the right
        self.chest = np.zeros((n, 3))  # the same, against the pelvis
        self.head = np.zeros((n, 3))  # the same, against the chest
        self.hands = np.tile(np.array(REST), (2, n, 1))  # wrist: outward, up, forward of the shoulder
        self.elbows = np.full((2, n), 0.5)  # how far outward they point
        self.feet = np.zeros((2, n, 3))  # ankle: left, up, forward of where it is when standing
        self.toes = np.zeros((2, n))  # radians downward
        self.touch = np.zeros((2, n, 3))  # wrist, in metres in the figure's coordinates,
        self.touching = np.zeros((2, n))  # used where this is 1, instead of `hands`, which is used where it is 0


def ease(u):
    """0 below 0, 1 above 1, and a minimum-jerk path, as in human movements, in between."""
    u = np.clip(u, 0.0, 1.0)
    return u**3 * (10 - 15 * u + 6 * u * u)


def track(u, *keys):
    """Interpolates between keys (time, value) by a monotone cubic (Fritsch and Butland, 1984).

    The values are numbers or tuples; u (n,) -> (n,) or (n, len(value)).
    """
    times, values = np.array([t for t, _ in keys]), np.array([v for _, v in keys], dtype=float)
    step = np.diff(times).reshape(-1, *[1] * (values.ndim - 1))
    slope = np.diff(values, axis=0) / step
    onward = slope[:-1] * slope[1:]
    speed = np.zeros_like(values)
    speed[1:-1] = np.where(onward > 0, 2 * onward / np.where(onward > 0, slope[:-1] + slope[1:], 1), 0)
    i = np.clip(np.searchsorted(times, u, side="right") - 1, 0, len(times) - 2)
    w = np.clip((u - times[i]) / (times[i + 1] - times[i]), 0, 1).reshape(-1, *[1] * (values.ndim - 1))
    rest = values[i] + w * w * (3 - 2 * w) * (values[i + 1] - values[i])
    return rest + step[i] * w * (1 - w) * ((1 - w) * speed[i] - w * speed[i + 1])


def rotation(angles):
    """(n, 3) turn, forward, right -> (n, 3, 3), columns the images of x, y, z."""
    (cy, cx, cz), (sy, sx, sz) = np.cos(angles.T), np.sin(angles.T)
    rows = [
        [cy * cz + sy * sx * sz, -cy * sz + sy * sx * cz, sy * cx],
        [cx * sz, cx * cz, -sx],
        [-sy * cz + cy * sx * sz, sy * sz + cy * sx * cz, cy * cx],
    ]
    return np.array(rows).transpose(2, 0, 1)


def unit(v):
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def bend(start, target, first, second, pole):
    """Two bones from `start` towards `target`, bent towards `pole`: the middle joint and the end, (n, 3) each."""
    way = target - start
    length = np.clip(np.linalg.norm(way, axis=-1), abs(first - second) + 1e-3, (first + second) * 0.9995)[:, None]
    way = unit(way)
    along = (first**2 - second**2 + length**2) / (2 * length)
    side = unit(pole - (pole * way).sum(-1, keepdims=True) * way)
    middle = start + along * way + np.sqrt(np.maximum(first**2 - along**2, 0)) * side
    return middle, start + length * way


def carry(v, start, end):
    """Rotates the part of v orthogonal to `start` by the shortest rotation from `start` to `end`, unit vectors.

    For the direction of an elbow: it never jumps, unless the hand passes opposite `start`.
    """
    v = v - (v * start).sum(-1, keepdims=True) * start
    share = (v * end).sum(-1, keepdims=True) / np.maximum(1 + (start * end).sum(-1, keepdims=True), 1e-6)
    return v - share * (start + end)


def skeleton(build, pose):
    """The joints of a pose: (n, 25, 3) float64, metres, in the figure's coordinates."""
    n, b = pose.frames, build
    joints = np.empty((n, 25, 3))
    pelvis = rotation(pose.pelvis)
    half, chest = pelvis @ rotation(pose.chest / 2), pelvis @ rotation(pose.chest)
    head = chest @ rotation(pose.head)
    heading = rotation(pose.pelvis * [1, 0, 0])
    joints[:, 0] = pose.hips * b.hips + [0, b.hips, 0]
    joints[:, 1] = joints[:, 0] + half @ [0, b.lower_spine, 0]
    joints[:, 20] = joints[:, 1] + chest @ [0, b.upper_spine, 0]
    joints[:, 2] = joints[:, 20] + chest @ [0, b.neck, 0]
    joints[:, 3] = joints[:, 2] + head @ [0, b.head * 0.97, b.head * 0.24]
    for side, (sign, arm, tip, leg) in enumerate(zip(SIDES, (4, 8), (21, 23), (12, 16), strict=True)):
        shoulder = joints[:, 20] + chest @ [sign * b.shoulder, -0.2 * b.shoulder, 0]
        free = pose.hands[side] * [sign, 1, 1] * (b.upper_arm + b.forearm)
        target = shoulder + (chest @ free[..., None])[..., 0]
        target += pose.touching[side][:, None] * (pose.touch[side] - target)
        target[:, 1] = np.maximum(target[:, 1], 0.06)  # no hand goes through the floor
        ahead = chest @ unit(np.array([0.3 * sign, -0.7, 0.65]))
        out = chest @ np.stack([sign * pose.elbows[side], np.full(n, -0.65), np.full(n, -0.7)], -1)[..., None]
        pole = carry(out[..., 0], ahead, unit(target - shoulder))
        elbow, wrist = bend(shoulder, target, b.upper_arm, b.forearm, pole)
        along = unit(unit(wrist - elbow) + 0.3 * unit(target - shoulder))  # the hand half follows the reach
        thumb = chest @ [-0.35 * sign, 0.65, 0.65]
        thumb = unit(thumb - (thumb * along).sum(-1, keepdims=True) * along)
        hand = wrist + b.hand * along
        joints[:, arm : arm + 4] = np.stack([shoulder, elbow, wrist, hand], axis=1)
        joints[:, tip], joints[:, tip + 1] = hand + b.tip * along, hand + b.thumb * (0.6 * along + 0.8 * thumb)

        hip = joints[:, 0] + pelvis @ [sign * b.hip, -0.4 * b.hip, 0]
        stand = [sign * b.stance * b.hips / 2, b.ankle, 0]
        knee_out = heading @ [0.25 * sign, 0, 1]
        knee, ankle = bend(hip, pose.feet[side] * b.hips + stand, b.thigh, b.shin, knee_out)
        pitch = pose.toes[side] + np.arcsin(0.55 * b.ankle / b.foot)
        ahead = np.stack([0.2 * sign * np.cos(pitch), -np.sin(pitch), np.cos(pitch) * np.sqrt(0.96)], -1)
        foot = ankle + b.foot * (heading @ ahead[..., None])[..., 0]
        joints[:, leg : leg + 4] = np.stack([hip, knee, ankle, foot], axis=1)
    return joints


class Take:
    """One performance of an action: its clock and its random numbers.

    u (n,): share of the action that is done, 0 before its start and 1 after its end. t (n,): seconds.
    """

    def __init__(self, rng, build, frames):
        n = int(np.clip(frames * rng.normal(1, 0.08) / build.pace, *FRAMES))
        start, end = rng.uniform(0, 0.12), rng.uniform(0.86, 1)
        self.rng, self.n, self.t = rng, n, np.arange(n) / FPS
        self.u = np.clip((np.arange(n) / (n - 1) - start) / (end - start), 0, 1)
        self.size = build.reach * rng.uniform(0.9, 1.1)

    def drift(self, *shape, scale):
        """(n, *shape): slow random sway, standard deviation about `scale`."""
        rate = self.rng.uniform(0.1, 0.6, (4, *shape))
        phase = self.rng.uniform(0, 2 * np.pi, (4, *shape))
        clock = self.t.reshape(-1, *[1] * (len(shape) + 1))
        return scale * np.sin(2 * np.pi * rate * clock + phase).sum(1) / np.sqrt(2)

    def stand(self, build, idle=None):
        """A standing pose that sways. idle: a hand without a task."""
        pose = Pose(self.n)
        pose.hips[:, [0, 2]] += self.drift(2, scale=0.012)
        pose.hips[:, 1] -= abs(self.rng.normal(0, 0.004))
        pose.pelvis += self.drift(3, scale=0.02)
        pose.chest += self.drift(3, scale=0.03) + [0, build.stoop, 0]
        pose.head += self.drift(3, scale=0.08) + [0, self.rng.normal(0.1, 0.1), 0]
        pose.hands += self.drift(2, 3, scale=0.025).transpose(1, 0, 2) + self.rng.normal(0, 0.03, (2, 1, 3))
        if idle is not None and self.rng.random() < 0.3:  # in a pocket, or on the hip
            pose.hands[idle] += self.rng.normal((0, 0.3, 0.1), 0.06)
        pose.elbows += self.rng.normal(0, 0.12, (2, 1))
        pose.feet[..., 2] += self.rng.normal(0, 0.03, (2, 1))
        return pose

    def path(self, *keys, vary=0.03):
        """As `track` over u, with random changes of the keys' times and values."""
        times = np.array([t for t, _ in keys], dtype=float)
        gap = np.diff(times).min()
        times[1:-1] += self.rng.uniform(-0.3, 0.3, len(times) - 2) * gap
        values = np.array([v for _, v in keys], dtype=float)
        moved = (values != values[:1]).astype(float)
        values += moved * self.rng.normal(0, vary, values.shape)
        return track(self.u, *zip(times, values, strict=True))

    def hand(self, pose, side, *keys, vary=0.05):
        """Moves a hand through keys of wrist positions; None: hanging at rest."""
        keys = [(t, REST if at is None else at) for t, at in keys]
        pose.hands[side] += self.path(*keys, vary=vary) - REST

    def steps(self, pose, *steps):
        """Moves the feet by steps (side, begin, end, forward), not the trunk."""
        for side, begin, end, forward in steps:
            done = ease((self.u - begin) / (end - begin))
            pose.feet[side, :, 2] += forward * done
            pose.feet[side, :, 1] += 0.3 * done * (1 - done)
            pose.toes[side] += 1.6 * done * (1 - done) * np.sign(forward)

    def walk(self, pose, distance, begin, end, first=LEFT):
        """Walks `distance` (hip heights) forward between two times with swinging arms; ends with the feet together."""
        count = max(2, round(distance / 0.55)) + 1
        times = np.linspace(begin, end, count + 1)
        length = distance / (count - 1)
        for i in range(count):
            stride = length if i in (0, count - 1) else 2 * length
            self.steps(pose, ((first + i) % 2, times[i], times[i + 1] + 0.2 * (times[1] - begin), stride))
        done = np.clip((self.u - begin) / (end - begin), 0, 1)
        pose.hips[:, 2] += distance * (done - np.sin(2 * np.pi * done) / (2 * np.pi) * 0.5)
        moving = np.sin(np.pi * done) ** 0.5
        swing = np.sin(np.pi * np.clip((self.u - begin) / (times[1] - begin), 0, count)) * moving
        swing = swing * (1 if first == LEFT else -1) * 0.3 * self.size
        pose.hips[:, 1] -= 0.03 * moving
        pose.hands[LEFT, :, 2] -= swing
        pose.hands[RIGHT, :, 2] += swing
        pose.hands[:, :, 1] += 0.12 * np.abs(swing)
        pose.chest[:, 0] += 0.3 * swing
