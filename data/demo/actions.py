"""The actions of the demo: each moves one figure, or two that face each other.

An action of one person is a function of a `Take` and a `Figure` that stands, which it moves; one of two is a function
of a `Take` and the build of each, and returns both figures and how many metres they are apart. Times are shares of the
take; hands and feet are in the units of `Figure`.
"""

import numpy as np

from figures import LEFT, REST, RIGHT, Figure


def drink(take, me):
    carry, mouth = (0.0, -0.55, 0.45), (-0.24, 0.12, 0.34)
    me.move_hand(RIGHT, (0.2, carry), (0.4, mouth), (0.7, mouth), (0.85, carry))
    me.elbows[RIGHT] += take.path((0.4, 0.6), (0.7, 0.6), vary=0.15)
    me.head[:, 1] += take.path((0.38, 0), (0.5, -0.4), (0.65, -0.4), (0.8, 0), vary=0.1)


def throw(take, me):
    me.move_hand(RIGHT, (0.35, (0.45, 0.25, -0.35)), (0.52, (0.0, 0.5, 0.75)), (0.65, (-0.45, -0.45, 0.6)))
    me.elbows[RIGHT] += take.path((0.35, 1.0), (0.65, 0))
    me.move_hand(LEFT, (0.35, (0.1, -0.35, 0.6)), (0.6, (0.2, -0.85, -0.2)))
    turn = take.size * take.path((0.35, -0.6), (0.58, 0.5), vary=0.08)
    me.chest[:, 0] += turn
    me.pelvis[:, 0] += 0.4 * turn
    me.chest[:, 1] += take.path((0.35, -0.12), (0.62, 0.3))
    if take.rng.random() < 0.6:
        length = take.rng.uniform(0.1, 0.4)
        me.step(LEFT, 0.25, 0.5, length)
        me.step(RIGHT, 0.6, 0.9, length)
        me.hips[:, 2] += take.path((0.3, -0.03), (0.9, length), (1, length), vary=0)


def sit_down(take, me, stands_up=False):
    """The trunk leans forward between standing and sitting."""
    start = 0.2 if stands_up else 0.15
    down = take.path((start, 0), (start + 0.6, 1), (1, 1), vary=0)
    down = 1 - down if stands_up else down
    height, back = np.array([-0.46, -0.42]) * take.rng.normal(1, 0.06, 2)
    me.hips[:, 1] += height * down
    me.hips[:, 2] += back * down**0.8
    between = take.rng.uniform(0.45, 0.8) * down * (1 - down)
    me.pelvis[:, 1] += 2.2 * between + take.rng.uniform(-0.1, 0.12) * down
    me.chest[:, 1] += 2.2 * between + take.rng.uniform(-0.05, 0.2) * down
    me.head[:, 1] -= 1.5 * between
    for side in (LEFT, RIGHT):
        lap = take.rng.normal((-0.05, -0.62, 0.42), 0.06)
        me.hands[side] += np.outer(down**0.7, lap - REST)


def stand_up(take, me):
    sit_down(take, me, stands_up=True)


def clap(take, me):
    up = take.path((0.2, 1), (0.85, 1), vary=0)
    height, rate = take.rng.uniform(-0.35, 0.05), take.rng.uniform(1.2, 3.0)
    gap = take.size * take.rng.uniform(0.06, 0.28) * (1 - np.cos(2 * np.pi * rate * take.t)) / 2
    for side in (LEFT, RIGHT):
        hand = np.outer(gap, [1, 0, 0]) + [-0.26, height, 0.55] + take.drift(3, scale=0.02)
        me.hands[side] += up[:, None] * (hand - REST)
    me.elbows += 0.3 * up


def wave(take, me):
    rate, wide = take.rng.uniform(0.9, 2.4), take.size * take.rng.uniform(0.08, 0.25)
    height = take.rng.uniform(-0.1, 0.6)
    up = take.path((0.22, 1), (0.85, 1), vary=0)
    swing = wide * np.sin(2 * np.pi * rate * take.t)
    hand = np.stack([0.3 + swing, height - 0.3 * np.abs(swing), np.full(take.n, 0.3)], -1)
    me.hands[RIGHT] += up[:, None] * (hand + take.rng.normal(0, 0.05, 3) - REST)
    me.elbows[RIGHT] += 0.5 * up


def phone(take, me):
    pocket, front, ear = (0.05, -0.75, 0.25), (0.1, -0.3, 0.5), (-0.06, 0.15, 0.12)
    me.move_hand(RIGHT, (0.2, pocket), (0.3, front), (0.42, ear), (0.78, ear), (0.88, front))
    me.elbows[RIGHT] += take.path((0.4, 0.25), (0.8, 0.25), vary=0.15)
    me.head[:, 2] += take.path((0.45, 0.15), (0.8, 0.15), vary=0.1)


def kick(take, me):
    high = take.size * take.rng.uniform(0.08, 0.5)
    me.feet[RIGHT] += take.path((0.32, (0, 0.2, -0.35)), (0.52, (0.06, high, 0.65)), (0.85, (0, 0, 0)))
    me.toes[RIGHT] += take.path((0.3, 0.9), (0.52, 0.1), (0.85, 0))
    effort = take.path((0.32, 0.5), (0.52, 1), (0.85, 0), vary=0)
    me.hips += np.outer(effort, [0.05, -0.02, 0.03])
    me.pelvis[:, 1] -= 0.25 * effort
    me.chest[:, 1] += take.path((0.3, 0.15), (0.52, 0.25), (0.85, 0))
    me.move_hand(LEFT, (0.3, (0.4, -0.7, -0.2)), (0.52, (0.45, -0.6, 0.45)), (0.9, REST))
    me.move_hand(RIGHT, (0.3, (0.4, -0.7, 0.4)), (0.52, (0.5, -0.65, -0.35)), (0.9, REST))


def jump(take, me):
    high = take.size * take.rng.uniform(0.13, 0.32)
    crouch = take.path((0.3, 1), (0.42, 0), (0.6, 0), (0.72, 0.7), vary=0)
    air = take.part(0.4, 0.62)
    air = 4 * air * (1 - air)
    me.hips[:, 1] += high * air - take.rng.uniform(0.15, 0.28) * crouch
    me.hips[:, 2] -= 0.1 * crouch
    me.pelvis[:, 1] += 0.5 * crouch
    me.chest[:, 1] += 0.35 * crouch
    me.head[:, 1] -= 0.4 * crouch
    me.feet[:, :, 1] += high * air
    me.toes += 0.8 * np.minimum(air * 1.5, 1)
    back, front, land = (0.15, -0.8, -0.4), (0.15, -0.6, 0.7), (0.2, -0.75, 0.3)
    top = (0.15, take.rng.uniform(-0.4, 0.75), 0.55)
    for side in (LEFT, RIGHT):
        me.move_hand(side, (0.25, back), (0.38, front), (0.5, top), (0.74, land))


def fall(take, me):
    down = take.path((0.2, 0.05), (0.65, 1), (1, 1), vary=0)
    late = take.path((0.3, 0), (0.72, 1), (1, 1), vary=0)
    aside = take.rng.choice([-1, 0, 1])  # to the right, on the back, to the left
    on_back = aside == 0
    me.hips += np.outer(down, [0.6 * aside, -0.85 if on_back else -0.77, -0.55 * on_back])
    me.pelvis += np.outer(late, [0.2 * aside, -0.8 * on_back, -0.75 * aside])
    me.chest += np.outer(late, [0.2 * aside, -0.6 * on_back, -0.6 * aside])
    me.head += np.outer(late, [0, 0.35, 0.3 * aside])
    for side, sign in ((LEFT, 1), (RIGHT, -1)):
        flung = (0.75, take.rng.uniform(-0.2, 0.3), 0.45)
        lying = (0.6, -0.55, 0.1) if on_back else (0.0, -0.1, 0.8) if aside == sign else (-0.3, -0.5, 0.6)
        me.move_hand(side, (0.4, flung), (0.7, lying), (1, lying), vary=0.1)
    me.feet[:, :, 2] += np.outer(take.rng.uniform(0, 0.25, 2), late)


def push(take, build, other):
    me, victim = Figure(take, build), Figure(take, other)
    metres = take.rng.uniform(1.0, 1.25)
    force = take.size * take.rng.uniform(0.1, 0.55)
    near = (metres - 0.5 * (build.upper_arm + build.forearm) - 0.35) / build.hips
    me.step(RIGHT, 0.12, 0.38, near)
    me.step(LEFT, 0.6, 0.95, near)
    me.hips[:, 2] += take.path((0.15, 0), (0.45, 0.8 * near), (0.95, near), (1, near), vary=0)
    me.pelvis[:, 1] += take.path((0.45, 0.2), (0.8, 0))
    drawn, out = (0.05, -0.45, 0.25), (-0.05, -0.05, 0.95)
    for side in (LEFT, RIGHT) if take.rng.random() < 0.6 else (RIGHT,):
        me.move_hand(side, (0.28, drawn), (0.45, out), (0.58, out), vary=0.04)
    thrown = take.path((0.4, 0), (0.7, 1), (1, 1), vary=0)
    jolt = take.path((0.38, 0), (0.52, 1), (0.85, 0), vary=0)
    victim.step(RIGHT, 0.42, 0.62, -force)
    victim.step(LEFT, 0.55, 0.82, -force)
    victim.hips[:, 2] -= force * thrown
    victim.pelvis[:, 1] -= 0.2 * jolt
    victim.chest[:, 1] -= (0.1 + 0.3 * force) * jolt
    victim.head[:, 1] += 0.4 * jolt
    for side in (LEFT, RIGHT):
        victim.move_hand(side, (0.4, REST), (0.58, (0.35, -0.5, 0.55)), vary=0.12)
    return me, victim, metres


def handshake(take, build, other):
    metres = take.rng.uniform(0.85, 1.05)
    walk = take.rng.uniform(0, 0.5) if take.rng.random() < 0.4 else 0.0  # metres that each comes nearer at first
    reached = 0.38 + 0.3 * walk
    hold = take.path((reached - 0.22, 0), (reached, 1), (0.8, 1), vary=0)
    shake = 0.05 * take.size * np.sin(2 * np.pi * take.rng.uniform(1.5, 3) * take.t)
    height = 0.6 * (build.hips + other.hips) + take.rng.normal(0, 0.04)
    both = []
    for one in (build, other):
        me = Figure(take, one)
        if walk > 0.1:
            me.walk(walk, 0, 0.35, first=RIGHT)
        reach = metres / 2 + walk - one.hand  # the wrists stay a hand short of the middle
        me.touch, me.touching = np.outer(shake * hold, [0, 1, 0]) + [-0.03, height, reach], hold[:, None]
        me.chest += np.outer(hold, [0.2, 0.12, 0])
        both.append(me)
    return *both, metres + 2 * walk


def approach(take, build, other):
    both, apart = [], take.rng.uniform(0.6, 1.0)
    for one in (build, other):
        me, metres = Figure(take, one), take.rng.uniform(0.3, 1.1)
        me.walk(metres, take.rng.uniform(0, 0.1), take.rng.uniform(0.85, 1), take.rng.integers(2))
        both.append(me)
        apart += metres
    return *both, apart


# In the order of the numbers A001, A002, ... and of actions.txt: persons, usual frames, a hand without a task
ACTIONS = (
    (drink, 1, 80, LEFT),
    (throw, 1, 60, None),
    (sit_down, 1, 65, None),
    (stand_up, 1, 65, None),
    (clap, 1, 70, None),
    (wave, 1, 75, LEFT),
    (phone, 1, 80, LEFT),
    (kick, 1, 55, None),
    (jump, 1, 60, None),
    (fall, 1, 65, None),
    (push, 2, 60, None),
    (handshake, 2, 80, None),
    (approach, 2, 75, None),
)
