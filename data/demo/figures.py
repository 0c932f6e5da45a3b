"""Human figures for the demo's clips: their kinematics, and the random differences between takes.

Coordinates of a figure: x to its left, y up, z forward, floor at y = 0, metres. The joints are those of Kinect v2, as
in NTU RGB+D. An action moves a `Figure` (pelvis, spine, and targets for hands and feet), which computes its joints by
forward kinematics for the trunk and two-bone inverse kinematics for the limbs, so that bones keep their lengths. All
arrays are over the frames of the clip.
"""

from functools import partial

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation

FPS, FRAMES = 30, (40, 110)  # frames a second; the shortest and the longest take
LEFT, RIGHT = 0, 1
turns = partial(Rotation.from_euler, "YXZ")  # of (n, 3) radians: turn to the left, tilt forward, tilt to the right
REST = (0.08, -0.98, 0.08)  # a hanging hand: outward, up, forward of the shoulder, in arm lengths


class Build:
    """The body (lengths in metres) and habits of a performer, random."""

    def __init__(self, rng):
        height = rng.uniform(1.56, 1.90)
        legs, arms, width = rng.normal(1, (0.025, 0.03, 0.06))
        self.thigh, self.shin, self.foot, self.ankle = height * legs * np.array([0.232, 0.222, 0.072, 0.046])
        self.upper_arm, self.forearm = height * arms * np.array([0.158, 0.142])
        self.hand, self.tip, self.thumb = height * arms * np.array([0.043, 0.047, 0.04])
        self.lower_spine, self.upper_spine, self.neck, self.head = height * np.array([0.165, 0.125, 0.042, 0.082])
        self.shoulder, self.hip = height * width * np.array([0.098, 0.048])
        self.hips = self.ankle + 0.985 * (self.thigh + self.shin) + 0.4 * self.hip  # height when standing
        self.pace = rng.uniform(0.85, 1.2)
        self.reach = rng.uniform(0.85, 1.15)  # how large the gestures are
        self.stoop, self.stance = rng.normal((0.05, 0.22), (0.05, 0.03))
        self.left = 0.75 if rng.random() < 0.2 else 0.25  # share of takes with the left hand


class Take:
    """One performance of an action: its clock, its random numbers rng, and the size of its gestures.

    u (n,): share of the action that is done, 0 before its start and 1 after its end. t (n,): seconds.
    """

    def __init__(self, rng, build, frames):
        self.n = int(np.clip(frames * rng.normal(1, 0.08) / build.pace, *FRAMES))
        start, end = rng.uniform(0, 0.12), rng.uniform(0.86, 1)
        self.rng, self.t = rng, np.arange(self.n) / FPS
        self.u = np.clip((np.arange(self.n) / (self.n - 1) - start) / (end - start), 0, 1)
        self.size = build.reach * rng.uniform(0.9, 1.1)

    def drift(self, *shape, scale):
        """(n, *shape): slow random sway, standard deviation about `scale`."""
        rate = self.rng.uniform(0.1, 0.6, (4, *shape))
        phase = self.rng.uniform(0, 2 * np.pi, (4, *shape))
        waves = np.sin(2 * np.pi * np.multiply.outer(self.t, rate) + phase)
        return scale * waves.sum(1) / np.sqrt(2)

    def path(self, *keys, vary=0.03):
        """From 0 at the start by way of the keys (share of the take, value), whose times and values change at random,
        and back to 0 unless the last key is at 1: a monotone cubic (Fritsch and Butland, 1984). The values are numbers,
        or tuples: (n,) or (n, len(value))."""
        zero = np.zeros_like(keys[0][1], dtype=float)
        keys = [(0, zero), *keys, *[(1, zero)] * (keys[-1][0] < 1)]
        times, values = np.array([time for time, _ in keys], float), np.array([value for _, value in keys], float)
        times[1:-1] += self.rng.uniform(-0.3, 0.3, len(times) - 2) * np.diff(times).min()
        values += self.rng.normal(0, vary, values.shape) * (values != 0)
        slope = (np.diff(values, axis=0).T / np.diff(times)).T
        before, after, speed = slope[:-1], slope[1:], np.zeros_like(values)
        np.divide(2 * before * after, before + after, out=speed[1:-1], where=before * after > 0)
        return CubicHermiteSpline(times, values, speed)(self.u)

    def part(self, begin, end):
        """(n,): from 0 at one share of the take to 1 at another, evenly."""
        return np.clip((self.u - begin) / (end - begin), 0, 1)


class Figure:
    """A person who stands and sways, and whom an action moves. idle: a hand without a task, which may be elsewhere."""

    def __init__(self, take, build, idle=None):
        n, rng, drift = take.n, take.rng, take.drift
        self.take, self.build = take, build
        # Lengths are in hip heights, those of hands in arm lengths
        self.hips = drift(2, scale=0.012) @ [[1, 0, 0], [0, 0, 1]]  # left, up, forward of where they are when standing
        self.hips[:, 1] -= abs(rng.normal(0, 0.004))
        self.pelvis = drift(3, scale=0.02)  # as `turns` takes it
        self.chest = drift(3, scale=0.03) + [0, build.stoop, 0]  # the same, against the pelvis
        self.head = drift(3, scale=0.08) + [0, rng.normal(0.1, 0.1), 0]  # the same, against the chest
        self.hands = REST + drift(2, 3, scale=0.025).swapaxes(0, 1)  # wrist: outward, up, forward of the shoulder
        self.hands += rng.normal(0, 0.03, (2, 1, 3))
        if idle is not None and rng.random() < 0.3:  # in a pocket, or on the hip
            self.hands[idle] += rng.normal((0, 0.3, 0.1), 0.06)
        self.elbows = np.full((2, n), 0.5) + rng.normal(0, 0.12, (2, 1))  # how far outward they point
        self.feet = np.zeros((2, n, 3))  # ankle: left, up, forward of where it is when standing
        self.feet[..., 2] += rng.normal(0, 0.03, (2, 1))
        self.toes = np.zeros((2, n))  # radians downward
        self.touch = np.zeros((n, 3))  # the right wrist, in metres in the figure's coordinates,
        self.touching = np.zeros((n, 1))  # where this is 1; where it is 0 it is as in `hands`

    def move_hand(self, side, *keys, vary=0.05):
        """Through keys (share of the take, wrist), from REST, and back unless the last key is at 1."""
        self.hands[side] += self.take.path(*((time, np.subtract(wrist, REST)) for time, wrist in keys), vary=vary)

    def step(self, side, begin, end, forward):
        """Moves a foot, not the trunk."""
        u = self.take.part(begin, end)
        done = u**3 * (10 - 15 * u + 6 * u * u)  # minimum jerk, as in human movements
        self.feet[side, :, 2] += forward * done
        self.feet[side, :, 1] += 0.3 * done * (1 - done)
        self.toes[side] += 1.6 * done * (1 - done) * np.sign(forward)

    def walk(self, metres, begin, end, first):
        """Walks forward between two shares of the take with swinging arms; ends with the feet together."""
        distance = metres / self.build.hips
        count = max(2, round(distance / 0.55)) + 1
        length, times = distance / (count - 1), np.linspace(begin, end, count + 1)
        for i in range(count):
            stride = length if i in (0, count - 1) else 2 * length
            self.step((first + i) % 2, times[i], times[i + 1] + 0.2 * (times[1] - begin), stride)
        done = self.take.part(begin, end)
        self.hips[:, 2] += distance * (done - np.sin(2 * np.pi * done) / (2 * np.pi) * 0.5)
        moving = np.sin(np.pi * done) ** 0.5
        swing = np.sin(np.pi * count * done) * moving * (1 if first == LEFT else -1) * 0.3 * self.take.size
        self.hips[:, 1] -= 0.03 * moving
        self.hands[LEFT, :, 2] -= swing
        self.hands[RIGHT, :, 2] += swing
        self.hands[:, :, 1] += 0.12 * np.abs(swing)
        self.chest[:, 0] += 0.3 * swing

    def joints(self):
        """(n, 25, 3), metres, in the figure's coordinates."""
        b, joints = self.build, np.empty((self.take.n, 25, 3))
        pelvis, heading = turns(self.pelvis), turns(self.pelvis * [1, 0, 0])
        half, chest = pelvis * turns(self.chest / 2), pelvis * turns(self.chest)
        head = chest * turns(self.head)
        joints[:, 0] = self.hips * b.hips + [0, b.hips, 0]
        joints[:, 1] = joints[:, 0] + half.apply([0, b.lower_spine, 0])
        joints[:, 20] = joints[:, 1] + chest.apply([0, b.upper_spine, 0])
        joints[:, 2] = joints[:, 20] + chest.apply([0, b.neck, 0])
        joints[:, 3] = joints[:, 2] + head.apply([0, b.head * 0.97, b.head * 0.24])
        for side, sign, arm, tip, leg in (LEFT, 1, 4, 21, 12), (RIGHT, -1, 8, 23, 16):
            shoulder = joints[:, 20] + chest.apply([sign * b.shoulder, -0.2 * b.shoulder, 0])
            wrist = shoulder + chest.apply(self.hands[side] * [sign, 1, 1] * (b.upper_arm + b.forearm))
            if side == RIGHT:
                wrist += self.touching * (self.touch - wrist)
            wrist[:, 1] = np.maximum(wrist[:, 1], 0.06)  # no hand goes through the floor
            reach = unit(wrist - shoulder)
            ahead = chest.apply(unit(np.array([0.3 * sign, -0.7, 0.65])))
            out = chest.apply(np.outer(self.elbows[side], [sign, 0, 0]) + [0, -0.65, -0.7])
            elbow, wrist = bend(shoulder, wrist, b.upper_arm, b.forearm, carry(out, ahead, reach))
            along = unit(unit(wrist - elbow) + 0.3 * reach)  # the hand half follows the reach
            thumb = unit(across(chest.apply([-0.35 * sign, 0.65, 0.65]), along))
            hand = wrist + b.hand * along
            joints[:, arm : arm + 4] = np.stack([shoulder, elbow, wrist, hand], axis=1)
            joints[:, tip], joints[:, tip + 1] = hand + b.tip * along, hand + b.thumb * (0.6 * along + 0.8 * thumb)

            hip = joints[:, 0] + pelvis.apply([sign * b.hip, -0.4 * b.hip, 0])
            ankle = self.feet[side] * b.hips + [sign * b.stance * b.hips / 2, b.ankle, 0]
            knee, ankle = bend(hip, ankle, b.thigh, b.shin, heading.apply([0.25 * sign, 0, 1]))
            pitch = self.toes[side] + np.arcsin(0.55 * b.ankle / b.foot)
            ahead = np.stack([0.2 * sign * np.cos(pitch), -np.sin(pitch), np.cos(pitch) * np.sqrt(0.96)], -1)
            joints[:, leg : leg + 4] = np.stack([hip, knee, ankle, ankle + b.foot * heading.apply(ahead)], axis=1)
        return joints


def unit(v):
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def across(v, way):
    """The part of v that is orthogonal to a unit vector."""
    return v - (v * way).sum(-1, keepdims=True) * way


def bend(start, target, first, second, pole):
    """Two bones from `start` towards `target`, bent towards `pole`: the middle joint and the end, (n, 3) each."""
    way = unit(target - start)
    length = np.linalg.norm(target - start, axis=-1, keepdims=True).clip(max=(first + second) * 0.9995)
    along = (first**2 - second**2 + length**2) / (2 * length)
    middle = start + along * way + np.sqrt(first**2 - along**2) * unit(across(pole, way))
    return middle, start + length * way


def carry(v, start, end):
    """Rotates the part of v orthogonal to `start` by the shortest rotation from `start` to `end`, unit vectors.

    For the direction of an elbow: it never jumps, unless the hand passes opposite `start`.
    """
    v = across(v, start)
    return v - (v * end).sum(-1, keepdims=True) / (1 + (start * end).sum(-1, keepdims=True)) * (start + end)
