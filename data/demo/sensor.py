"""The depth cameras of the demo: their places, their errors, and the `.skeleton` text that they write.

Camera coordinates are those of Kinect v2: x to the camera's left, y up, z away from it, metres.
"""

import numpy as np

from figures import unit

# As in NTU RGB+D: camera 1 is in the middle, and the performers face camera 2 in R001, camera 3 in R002.
AZIMUTH = {1: 0.0, 2: -np.pi / 4, 3: np.pi / 4}
# Standard deviation of the jitter in metres, joint by joint
JITTER = np.array([4, 4, 5, 5, 5, 7, 9, 12, 5, 7, 9, 12, 5, 7, 10, 13, 5, 7, 10, 13, 4, 18, 18, 18, 18]) / 1000
LIMBS = [6, 7, 21, 22], [10, 11, 23, 24], [5, 6, 7, 21, 22], [9, 10, 11, 23, 24]  # joints that are misplaced together
LIMBS += [14, 15], [18, 19], [13, 14, 15], [17, 18, 19]
FIRST_ID = 72057594037927936  # 2**56: from here on float64 has only every 16th integer


def view(bodies, camera, rng):
    """The bodies, (n, 25, 3) each, in the coordinates of a camera that is at a random distance and height and looks at
    a random point of the trunk: a rotation and a shift."""
    azimuth = AZIMUTH[camera] + rng.normal(0, 0.06)
    distance, height = rng.uniform(2.8, 3.4), rng.uniform(0.9, 1.5)
    position = np.array([distance * np.sin(azimuth), height, distance * np.cos(azimuth)])
    away = unit(np.array([0, rng.uniform(0.75, 0.95), 0]) - position)
    left = unit(np.cross([0, 1, 0], away))
    axes = np.stack([left, np.cross(away, left), away], axis=1)
    return [(body - position) @ axes for body in bodies]


def sway(rng, n, frames=6):
    """(n, 25, 3): unit normal noise that changes over about `frames` frames."""
    knots = rng.standard_normal((n // frames + 2, 25, 3))
    knot, part = np.divmod(np.arange(n), frames)
    part = (part / frames)[:, None, None]
    return ((1 - part) * knots[knot] + part * knots[knot + 1]) / np.sqrt((1 - part) ** 2 + part**2)


def measure(joints, hidden, rng):
    """One body as the camera sees it, with jitter and misplaced limbs, more on the side away from the camera.

    joints: (n, 25, 3) in camera coordinates. hidden: (n,) bool, somebody stands in front.
    """
    n, depth = len(joints), joints[..., 2]
    behind = depth - depth[:, [0, 1, 20]].mean(1, keepdims=True)
    doubt = 1 + 2.5 / (1 + np.exp(-(behind - 0.13) / 0.03)) + 2.0 * hidden[:, None]
    scale = JITTER * doubt * (depth / 3) ** 2
    seen = joints + scale[..., None] * (0.8 * sway(rng, n) + 0.5 * rng.standard_normal((n, 25, 3)))
    weight = np.array([doubt[:, limb].mean() for limb in LIMBS])
    for _ in range(rng.poisson(n / 55 * weight.mean())):
        limb = LIMBS[rng.choice(len(LIMBS), p=weight / weight.sum())]
        start = rng.integers(n)
        astray = slice(start, start + rng.integers(2, 9))
        shift = rng.normal(0, 0.13, 3) * np.linspace(0.6, 1, len(limb))[:, None]
        seen[astray, limb] += shift + rng.normal(0, 0.02, (len(seen[astray]), len(limb), 3))
    return seen


def hides(other, body):
    """(n,) bool: the trunk of another body is between a body's own and the camera."""
    other, own = other[:, 1], body[:, 1]
    apart = np.linalg.norm(other[:, :2] / other[:, 2:] - own[:, :2] / own[:, 2:], axis=1)
    return (apart < 0.12) & (other[:, 2] < own[:, 2] - 0.2)


def record(bodies, rng):
    """A scene as the camera records it: [(ID, present (n,) bool, joints (n, 25, 3)), ...].

    bodies: (n, 25, 3) each, in camera coordinates. Has jitter and the errors of real recordings: body IDs that change,
    bodies that are lost for a while or found late, ghosts of a few frames, wide objects taken for bodies, and frames
    without any body.
    """
    n, tracks = len(bodies[0]), []
    frame, lost = np.arange(n), np.zeros(n, bool)
    ids = FIRST_ID + rng.integers(1, 60000) + np.cumsum(rng.integers(1, 12, 16))
    for body, other in zip(bodies, bodies[::-1], strict=True):
        seen, present = measure(body, hides(other, body), rng), frame >= 0
        cut, gap, chance = rng.integers(19, n - 14), rng.integers(1, 8), rng.random()
        if chance < 0.06:  # its ID changes
            tracks.append((frame < cut, seen))
            present = frame >= cut + gap * rng.integers(2)
        elif chance < 0.1:  # it leaves and comes back
            present = (frame < cut) | (frame >= cut + gap)
        elif chance < 0.2 and len(bodies) > 1:  # it is found late
            present = frame >= rng.integers(3, n // 3)
        tracks.append((present, seen))
    body = bodies[rng.integers(len(bodies))]
    if rng.random() < 0.12:  # a ghost of a few frames
        start = rng.integers(n - 3)
        ghost = body + rng.normal(0, 0.3, 3) + sway(rng, n) * 0.08
        tracks.append(((frame >= start) & (frame < start + rng.integers(1, 12)), ghost))
    if rng.random() < 0.06:  # furniture, which is wider than it is high
        shape = rng.uniform((1.2, 0.2, 0.5), (2.0, 0.4, 1.0))
        ghost = (body[:1] - body[:1, :1]) * shape * [1.8, 1, 1] + sway(rng, n, 3) * 0.02
        ghost = ghost + body[0, 0] + rng.uniform((-1, -0.6, 0.1), (1, -0.2, 0.6))
        ghost[..., 0] += 0.5 * np.linspace(-1, 1, 25)
        length = rng.integers(12, n // 2 + 1)
        start = rng.integers(n - length + 1)
        tracks.append(((frame >= start) & (frame < start + length), ghost))
    for start, length in ((0, 4), (n - 5, 5), (rng.integers(5, n - 8), 3)):
        if rng.random() < 0.08:  # nobody is found
            lost[start : start + rng.integers(1, length + 1)] = True
    order = rng.permutation(len(tracks))
    return [(ids[i], tracks[i][0] & ~lost, tracks[i][1]) for i in order]


# Of a joint x, y, z, and that it is tracked; of the rest, which no program here reads, nothing but zeros
BODY = "%d 0 0 0 0 0 0 0 0 2\n25\n" + "%.5f %.5f %.5f 0 0 0 0 0 0 0 0 2\n" * 25


def text(tracks):
    """What `record` returned as the text of a `.skeleton` file."""
    frames = [[] for _ in tracks[0][1]]
    for number, present, joints in tracks:
        for i in np.flatnonzero(present):
            frames[i].append(BODY % (number, *joints[i].flat))
    return f"{len(frames)}\n" + "".join(f"{len(frame)}\n{''.join(frame)}" for frame in frames)
