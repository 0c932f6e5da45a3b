"""The actions of the demo: each moves one figure, or two that face each other.

An action of one person is a function of a `Take` and a standing `Pose`, which it moves; one of two is a function of a
`Take` and the build of each, and returns both figures. Their order is that of the numbers A001, A002, ..., and of the
names in actions.txt. Times are shares of the take; hands and feet are in the units of `figures.Pose`.
"""

from functools import partial

import numpy as np

from figures import FLIP, LEFT, REST, RIGHT, Take, skeleton

ACTIONS = []  # (name, number of persons, usual frames, hand without a task, function), in the order of their numbers


def action(name, frames, persons=1, idle=None):
    def add(function):
        ACTIONS.append((name, persons, frames, idle, function))
        return function

    return add


def perform(number, builds, rng):
    """One take of action `number` (from 1): a list of (n, 25, 3) joints in metres, one array for each person.

    The floor is at y = 0. One person is at the origin and faces +z; two are on the z axis and face each other. builds:
    of the performer and of the partner, in a random order.
    """
    _, persons, frames, idle, function = ACTIONS[number - 1]
    builds = builds[:persons] if rng.random() < 0.5 else builds[:persons][::-1]
    take = Take(rng, builds[0], frames)
    if persons == 1:
        pose = take.stand(builds[0], idle)
        function(take, pose)
        figures = [skeleton(builds[0], pose)]
    else:
        figures = function(take, *builds)
    if rng.random() < builds[0].left and function is not handshake:  # everyone shakes the right hand
        figures = [f[:, FLIP] * [-1, 1, 1] for f in figures]
    return figures


@action("drink water", 80, idle=LEFT)
def drink(take, pose):
    carry, mouth = (0.0, -0.55, 0.45), (-0.24, 0.12, 0.34)
    take.hand(pose, RIGHT, (0, None), (0.2, carry), (0.4, mouth), (0.7, mouth), (0.85, carry), (1, None))
    pose.elbows[RIGHT] += take.path((0, 0), (0.4, 0.6), (0.7, 0.6), (1, 0), vary=0.15)
    pose.head[:, 1] += take.path((0, 0), (0.38, 0), (0.5, -0.4), (0.65, -0.4), (0.8, 0), (1, 0), vary=0.1)


@action("throw", 60)
def throw(take, pose):
    back, over, follow = (0.45, 0.25, -0.35), (0.0, 0.5, 0.75), (-0.45, -0.45, 0.6)
    take.hand(pose, RIGHT, (0, None), (0.35, back), (0.52, over), (0.65, follow), (1, None))
    pose.elbows[RIGHT] += take.path((0, 0), (0.35, 1.0), (0.65, 0), (1, 0))
    take.hand(pose, LEFT, (0, None), (0.35, (0.1, -0.35, 0.6)), (0.6, (0.2, -0.85, -0.2)), (1, None))
    turn = take.size * take.path((0, 0), (0.35, -0.6), (0.58, 0.5), (1, 0), vary=0.08)
    pose.chest[:, 0] += turn
    pose.pelvis[:, 0] += 0.4 * turn
    pose.chest[:, 1] += take.path((0, 0), (0.35, -0.12), (0.62, 0.3), (1, 0))
    if take.rng.random() < 0.6:
        length = take.rng.uniform(0.1, 0.4)
        take.steps(pose, (LEFT, 0.25, 0.5, length), (RIGHT, 0.6, 0.9, length))
        pose.hips[:, 2] += take.path((0, 0), (0.3, -0.03), (0.9, length), (1, length), vary=0)


SEAT = (-0.46, -0.42)  # the hips of someone who sits: up and forward
LAP = (-0.05, -0.62, 0.42)


def seat(take, pose, keys):
    """Sitting where the keys (time, share) are 1; the trunk leans forward between standing and sitting."""
    down = take.path(*keys, vary=0)
    height, back = np.array(SEAT) * take.rng.normal(1, 0.06, 2)
    pose.hips[:, 1] += height * down
    pose.hips[:, 2] += back * down**0.8
    lean = take.rng.uniform(0.45, 0.8)
    pose.pelvis[:, 1] += lean * 2.2 * down * (1 - down) + take.rng.uniform(-0.1, 0.12) * down
    pose.chest[:, 1] += lean * 2.2 * down * (1 - down) + take.rng.uniform(-0.05, 0.2) * down
    pose.head[:, 1] -= lean * 1.5 * down * (1 - down)
    for side in (LEFT, RIGHT):
        lap = np.array(LAP) + take.rng.normal(0, 0.06, 3)
        pose.hands[side] += down[:, None] ** 0.7 * (lap - REST)


action("sitting down", 65)(partial(seat, keys=((0, 0), (0.15, 0), (0.75, 1), (1, 1))))
action("standing up (from sitting position)", 65)(partial(seat, keys=((0, 1), (0.2, 1), (0.8, 0), (1, 0))))


@action("clapping", 70)
def clap(take, pose):
    up = take.path((0, 0), (0.2, 1), (0.85, 1), (1, 0), vary=0)
    height, rate = take.rng.uniform(-0.35, 0.05), take.rng.uniform(1.2, 3.0)
    gap = take.size * take.rng.uniform(0.06, 0.28) * (1 - np.cos(2 * np.pi * rate * take.t)) / 2
    for side in (LEFT, RIGHT):
        at = np.stack([gap - 0.26, np.full(take.n, height), np.full(take.n, 0.55)], -1)
        pose.hands[side] += up[:, None] * (at + take.drift(3, scale=0.02) - REST)
    pose.elbows += 0.3 * up


@action("hand waving", 75, idle=LEFT)
def wave(take, pose):
    rate, wide = take.rng.uniform(0.9, 2.4), take.size * take.rng.uniform(0.08, 0.25)
    height = take.rng.uniform(-0.1, 0.6)
    up = take.path((0, 0), (0.22, 1), (0.85, 1), (1, 0), vary=0)
    swing = wide * np.sin(2 * np.pi * rate * take.t)
    at = np.stack([0.3 + swing, height - 0.3 * np.abs(swing), np.full(take.n, 0.3)], -1)
    pose.hands[RIGHT] += up[:, None] * (at + take.rng.normal(0, 0.05, 3) - REST)
    pose.elbows[RIGHT] += 0.5 * up


@action("make a phone call/answer phone", 80, idle=LEFT)
def phone(take, pose):
    pocket, front, ear = (0.05, -0.75, 0.25), (0.1, -0.3, 0.5), (-0.06, 0.15, 0.12)
    take.hand(pose, RIGHT, (0, None), (0.2, pocket), (0.3, front), (0.42, ear), (0.78, ear), (0.88, front), (1, None))
    pose.elbows[RIGHT] += take.path((0, 0), (0.4, 0.25), (0.8, 0.25), (1, 0), vary=0.15)
    pose.head[:, 2] += take.path((0, 0), (0.45, 0.15), (0.8, 0.15), (1, 0), vary=0.1)


@action("kicking something", 55)
def kick(take, pose):
    high = take.size * take.rng.uniform(0.08, 0.5)
    keys = ((0, (0, 0, 0)), (0.32, (0, 0.2, -0.35)), (0.52, (0.06, high, 0.65)), (0.85, (0, 0, 0)), (1, (0, 0, 0)))
    pose.feet[RIGHT] += take.path(*keys)
    pose.toes[RIGHT] += take.path((0, 0), (0.3, 0.9), (0.52, 0.1), (0.85, 0), (1, 0))
    effort = take.path((0, 0), (0.32, 0.5), (0.52, 1), (0.85, 0), (1, 0), vary=0)
    pose.hips += effort[:, None] * [0.05, -0.02, 0.03]
    pose.pelvis[:, 1] -= 0.25 * effort
    pose.chest[:, 1] += take.path((0, 0), (0.3, 0.15), (0.52, 0.25), (0.85, 0), (1, 0))
    take.hand(pose, LEFT, (0, None), (0.3, (0.4, -0.7, -0.2)), (0.52, (0.45, -0.6, 0.45)), (0.9, None), (1, None))
    take.hand(pose, RIGHT, (0, None), (0.3, (0.4, -0.7, 0.4)), (0.52, (0.5, -0.65, -0.35)), (0.9, None), (1, None))


@action("jump up", 60)
def jump(take, pose):
    high = take.size * take.rng.uniform(0.13, 0.32)
    crouch = take.path((0, 0), (0.3, 1), (0.42, 0), (0.6, 0), (0.72, 0.7), (1, 0), vary=0)
    air = np.clip((take.u - 0.4) / 0.22, 0, 1)
    air = 4 * air * (1 - air)
    pose.hips[:, 1] += high * air - take.rng.uniform(0.15, 0.28) * crouch
    pose.hips[:, 2] -= 0.1 * crouch
    pose.pelvis[:, 1] += 0.5 * crouch
    pose.chest[:, 1] += 0.35 * crouch
    pose.head[:, 1] -= 0.4 * crouch
    pose.feet[:, :, 1] += high * air
    pose.toes += 0.8 * np.minimum(air * 1.5, 1)
    back, top = (0.15, -0.8, -0.4), (0.15, take.rng.uniform(-0.4, 0.75), 0.55)
    for side in (LEFT, RIGHT):
        front, land = (0.15, -0.6, 0.7), (0.2, -0.75, 0.3)
        take.hand(pose, side, (0, None), (0.25, back), (0.38, front), (0.5, top), (0.74, land), (1, None))


@action("falling", 65)
def fall(take, pose):
    down = take.path((0, 0), (0.2, 0.05), (0.65, 1), (1, 1), vary=0)
    late = take.path((0, 0), (0.3, 0), (0.72, 1), (1, 1), vary=0)
    aside = take.rng.choice([-1.0, 0.0, 1.0])  # to the right, on the back, to the left
    pose.hips += down[:, None] * [0.6 * aside, -0.85 + 0.08 * abs(aside), -0.55 * (1 - abs(aside))]
    pose.pelvis += late[:, None] * [0.2 * aside, -0.8 * (1 - abs(aside)), -0.75 * aside]
    pose.chest += late[:, None] * [0.2 * aside, -0.6 * (1 - abs(aside)), -0.6 * aside]
    pose.head += late[:, None] * [0, 0.35, 0.3 * aside]
    for side, sign in ((LEFT, 1), (RIGHT, -1)):
        flung = (0.75, take.rng.uniform(-0.2, 0.3), 0.45)
        lying = (0.6, -0.55, 0.1) if aside == 0 else (0.0, -0.1, 0.8) if aside == sign else (-0.3, -0.5, 0.6)
        take.hand(pose, side, (0, None), (0.4, flung), (0.7, lying), (1, lying), vary=0.1)
    slide = take.rng.uniform(0, 0.25, 2)
    pose.feet[:, :, 2] += slide[:, None] * late


def facing(first, second, distance):
    """Sets two figures on the z axis, `distance` metres apart, looking at each other."""
    return [first + [0, 0, -distance / 2], second * [-1, 1, -1] + [0, 0, distance / 2]]


@action("pushing other person", 60, persons=2)
def push(take, build, other):
    pose, victim = take.stand(build), take.stand(other)
    distance = take.rng.uniform(1.0, 1.25)
    force = take.size * take.rng.uniform(0.1, 0.55)
    near = (distance - 0.5 * (build.upper_arm + build.forearm) - 0.35) / build.hips
    take.steps(pose, (RIGHT, 0.12, 0.38, near), (LEFT, 0.6, 0.95, near))
    pose.hips[:, 2] += take.path((0, 0), (0.15, 0), (0.45, 0.8 * near), (0.95, near), (1, near), vary=0)
    pose.pelvis[:, 1] += take.path((0, 0), (0.45, 0.2), (0.8, 0), (1, 0))
    for side in (LEFT, RIGHT) if take.rng.random() < 0.6 else (RIGHT,):
        drawn, out = (0.05, -0.45, 0.25), (-0.05, -0.05, 0.95)
        take.hand(pose, side, (0, None), (0.28, drawn), (0.45, out), (0.58, out), (1, None), vary=0.04)
    thrown = take.path((0, 0), (0.4, 0), (0.7, 1), (1, 1), vary=0)
    jolt = take.path((0, 0), (0.38, 0), (0.52, 1), (0.85, 0), (1, 0), vary=0)
    take.steps(victim, (RIGHT, 0.42, 0.62, -force), (LEFT, 0.55, 0.82, -force))
    victim.hips[:, 2] -= force * thrown
    victim.pelvis[:, 1] -= 0.2 * jolt
    victim.chest[:, 1] -= (0.1 + 0.3 * force) * jolt
    victim.head[:, 1] += 0.4 * jolt
    for side in (LEFT, RIGHT):
        take.hand(victim, side, (0, None), (0.4, None), (0.58, (0.35, -0.5, 0.55)), (1, None), vary=0.12)
    return facing(skeleton(build, pose), skeleton(other, victim), distance)


@action("handshaking", 80, persons=2)
def handshake(take, build, other):
    distance = take.rng.uniform(0.85, 1.05)
    walk = take.rng.uniform(0, 0.5) if take.rng.random() < 0.4 else 0.0  # metres that each comes nearer at first
    reached = 0.38 + 0.3 * walk
    hold = take.path((0, 0), (reached - 0.22, 0), (reached, 1), (0.8, 1), (1, 0), vary=0)
    shake = 0.05 * take.size * np.sin(2 * np.pi * take.rng.uniform(1.5, 3) * take.t)
    height = 0.6 * (build.hips + other.hips) + take.rng.normal(0, 0.04)
    figures = []
    for me in (build, other):
        pose = take.stand(me)
        if walk > 0.1:
            take.walk(pose, walk / me.hips, 0, 0.35, first=RIGHT)
        reach = distance / 2 + walk - me.hand  # the wrists stay a hand short of the middle
        pose.touch[RIGHT] = np.stack([0 * shake - 0.03, height + shake * hold, reach + 0 * shake], -1)
        pose.touching[RIGHT] = hold
        pose.chest[:, 1] += 0.12 * hold
        pose.chest[:, 0] += 0.2 * hold
        figures.append(skeleton(me, pose))
    return facing(*figures, distance + 2 * walk)


@action("walking towards each other", 75, persons=2)
def approach(take, build, other):
    figures, apart = [], take.rng.uniform(0.6, 1.0)
    for me in (build, other):
        pose = take.stand(me)
        metres = take.rng.uniform(0.3, 1.1)
        take.walk(pose, metres / me.hips, take.rng.uniform(0, 0.1), take.rng.uniform(0.85, 1), take.rng.integers(2))
        figures.append(skeleton(me, pose))
        apart += metres
    return facing(*figures, apart)
