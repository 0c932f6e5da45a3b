"""Whether clips are of persons: in metres, with y up, and with their joints in the order of their skeleton.

A clip is judged when it is read (`check_size`), a set of clips by a sample of its persons (`pick`, `find_odd`).
"""

import math
from collections import Counter, defaultdict

import numpy as np

from clips.bad_files import BadFile
from clips.skeletons import SKELETONS, known_skeleton

FARTHEST = 1e6  # no coordinate of a person is as large, whatever its unit: a kilometre in millimetres
SAMPLE, FRAMES = 200, 8  # clips of a set that are looked at, and frames of a person in one
USUAL, HEIGHTS = 1.6, (0.5, 2.5)  # metres, of the median person of a set; some sit, and some are children
# Bones are judged by their lengths in multiples of the person's mean bone over the clip. In N-UCLA, UTD-MHAD and
# MSRAction3D, in the right order, the quartiles of a bone are up to 0.23 apart, left and right differ by up to 4%, and
# no exchange of two joints makes all bones together more than 0.7% shorter, in any class or of any performer. (In 30
# clips: up to 0.37, and 45%.) With joints in other orders it was 0.41 to 1.4; 1.7 to 10 times; or 6.8% to 13%, and from
# 2% on of two exchanged joints, but for a wrist with its hand and an ankle with its foot. The change in relation to the
# bone itself tells less: a thumb's length in correct data of a Kinect varies by half.
JOINTS, LARGEST = 500, 2**24  # of a skeleton that is looked at; distances of joints in memory
PEOPLE = 30  # fewer say little
SPREAD = 0.4  # between a bone's quartiles, of the mean bone, or of this one if it is longer
RATIO = 1.5  # of a bone's median length to that of its counterpart
SHORTER = 0.02, 0.05  # by an exchange; of few persons: single clips of N-UCLA reach 0.04, UTD-MHAD 0.01


def pick(clip):
    """A few frames of each person of a clip, (frames, persons, joints, 3): [(frames, joints, 3)]."""
    people = (person[person.any(axis=(1, 2))] for person in clip.swapaxes(0, 1))
    return [one[np.linspace(0, len(one) - 1, min(FRAMES, len(one))).astype(int)] for one in people if len(one)]


def find_extent(frames):
    """The median extent along x, y and z of persons, (n, joints, 3), none of them empty: (3,). A joint that is all 0 is
    absent."""
    seen = frames.any(axis=2, keepdims=True)
    return np.median(np.where(seen, frames, -np.inf).max(axis=1) - np.where(seen, frames, np.inf).min(axis=1), axis=0)


def person_size(people):
    """The median height of persons of a set in 3D, as from `pick`, lying down or upright; None if nobody is there."""
    return float(max(find_extent(np.concatenate(people)))) if people else None


def find_up(clip, skeleton, in_2d=False):
    """The median way from an ankle to the head, (3,); None if these joints are not known, and in 2D without in_2d.

    clip: (frames, persons, joints, 3). skeleton: its name, or a Skeleton.
    """
    known = known_skeleton(skeleton)
    ends = [known.find("head", "nose"), known.find("left ankle", "left foot")] if known else [None]
    if None in ends or known.is_2d and not in_2d:
        return None
    people = clip[clip[:, :, ends].any(axis=3).all(axis=2)]
    return np.median(people[:, ends[0]] - people[:, ends[1]], axis=0) if len(people) else None


def towards(way):
    """The axis along which a way, (3,), is longest: "y", "-z"."""
    axis = np.abs(way).argmax()
    return f"{'-' if way[axis] < 0 else ''}{'xyz'[axis]}"


# ---- a clip


def check_size(clip, skeleton, scale=None, trained=None):
    """Raises BadFile if a clip, (frames, persons, joints, 3), is not of persons: in metres; or in 2D, in pictures.

    A few odd joints, as Kinect gives them, are allowed: it is the median person that is judged. scale: the --scale that
    numbers without a unit were multiplied by; None where the file's format says the unit. trained: the `person_size` of
    the clips that a network was trained on, which were perhaps not in metres. Without it, smallness is judged of known
    skeletons alone, which are of whole bodies.
    """
    if not (np.abs(clip) < FARTHEST).all():
        raise BadFile(None, "NaN or infinity, or a coordinate too large for a person")
    extent, known = find_extent(clip[clip.any(axis=(2, 3))]), known_skeleton(skeleton)
    if known and known.is_2d:
        if extent[1] > 10:
            why = "pixels, not x / width - 0.5, y / height - 0.5, score; give the size of the picture (--size 1280x720)"
            raise BadFile(None, f"persons are about {extent[1]:,.0f} high: these look like {why}")
        return
    height = max(extent)
    lowest, highest = (trained / 5, trained * 3) if trained else (0.1 if known else 0, 10)
    if lowest <= height <= highest or height == 0:
        return
    why = f"those that the network was trained on are {_show(trained)}" if trained else "expected are metres"
    factor = _factor(height, trained or USUAL)
    if scale is None:
        why += f"; multiply the numbers in the file by {factor:g}" if factor else ""
    else:
        why += f"; use --scale {scale * factor:.6g}" if factor else "; correct --scale"
    raise BadFile(None, f"persons are about {_show(height)}: {why}")


def _factor(height, wanted):
    """The power of ten by which a height becomes about the wanted one; None if there is none."""
    factor = 10.0 ** round(math.log10(wanted / max(height, 1e-9)))
    return factor if 0.5 < factor * height / wanted < 2 else None


def _show(height):
    unit = {0.01: ", as in centimetres", 0.001: ", as in millimetres"}.get(_factor(height, USUAL), "")
    return f"{height:{',.0f' if height > 10 else '.2g'}} high{unit}"


def odd_clip(clip, skeleton, flag=None, trained="y"):
    """Yields what is odd about a clip of numbers that do not say of what they are: ("up" or "order", a line).

    clip, skeleton: as in `find_up`. flag: the --up that it was turned by, or None; a clip of MediaPipe's is then turned
    to Kinect's axes. trained: the way up of the clips that a network was trained on, as of `towards`.
    """
    up, known = find_up(clip, skeleton), known_skeleton(skeleton)
    if up is not None and towards(up) != trained:
        name = towards(up * [-1, -1, 1] if skeleton == "mediapipe33" and not flag else up)
        use, what = "" if flag or trained != "y" else f"; use --up={name}", f"with --up={flag} " if flag else ""
        yield "up", f"{what}heads lie towards {name} from the feet, not {trained}{use}, if people stand in most clips"
    if known and not known.is_2d:
        yield from (("order", line) for line in find_odd_order(pick(clip), known))


# ---- a set of clips. people: of a sample of them, as from `pick`. skeleton: a Skeleton


def of_people(people, skeleton):
    """What a checkpoint keeps of the persons in 3D that it was trained on: {"person_size": "1.6", "up": "y"}."""
    if not people:
        return {}
    up = find_up(np.concatenate(people)[:, None], skeleton)
    return {"person_size": f"{person_size(people):.3g}"} | ({} if up is None else {"up": towards(up)})


def find_odd(people, skeleton, is_2d=False):
    """What is odd about a set of clips: a list of lines. is_2d: whether a joint is x, y and a score."""
    if len(skeleton.joints) > JOINTS:
        return []
    odd = [*_odd_pairs(skeleton)]
    if not people:
        return odd
    frames = np.concatenate(people)
    extent, up = find_extent(frames), find_up(frames[:, None], skeleton, in_2d=True)
    if is_2d:
        if extent[1] > 10:
            odd.append(f"persons are about {extent[1]:,.0f} high: expected are parts of the picture, not pixels")
        if up is not None and up[1] > 0:
            odd.append("heads are above feet, as if y pointed up; in pictures it points down")
        return odd
    height, (lowest, highest) = max(extent), HEIGHTS if up is not None else (0, 10)
    if not lowest <= height <= highest:
        odd.append(f"persons are about {_show(height)}: expected are metres (importers: --scale)")
    if up is not None and towards(up) != "y":
        why = "if people stand in most clips (importers: --up)"
        odd.append(f"heads lie towards {towards(up)} from the feet, not y, {why}")
    return [*odd, *find_odd_order(people, skeleton)]


def _odd_pairs(skeleton):
    """Lines about the parents and counterparts of a skeleton that fit, but look wrong."""
    parents, bones = skeleton.parents, skeleton.bones().tolist()
    if not bones or skeleton.name in SKELETONS:
        return
    roots = [joint for joint, parent in enumerate(parents) if joint == parent]
    if len(roots) > 1:
        yield f"{len(roots)} joints hang on no other, such as {skeleton.joints[roots[1]]}: are parents counted from 0?"
    if not skeleton.pairs or skeleton.pairs == tuple(range(len(parents))):
        return
    if alone := [bone for bone, other in zip(bones, _counterparts(skeleton), strict=True) if other is None]:
        yield f"flip_pairs make no bone of {skeleton.bone_name(alone[0])}"
    length, alike = Counter(), defaultdict(list)  # joints in the limb that begins with each
    for joint in range(len(parents)):
        while parents[joint] != joint:
            length[joint] += 1
            joint = parents[joint]
    for joint, joints in length.items():
        if joints > 1 and skeleton.pairs[joint] == joint:
            alike[parents[joint], joints].append(skeleton.joints[joint])
    if two := [names for names in alike.values() if len(names) > 1]:
        yield f"flip_pairs do not swap {two[0][0]} and {two[0][1]}, which look like left and right"


def _counterparts(skeleton):
    """The number of each bone's counterpart, or None if that is no bone."""
    bones, sides = skeleton.bones().tolist(), skeleton.pairs or range(len(skeleton.joints))
    number = {frozenset(bone): i for i, bone in enumerate(bones)}
    return [number.get(frozenset(sides[joint] for joint in bone)) for bone in bones]


def find_odd_order(people, skeleton):
    """At most three lines: the bone that changes most, the pair that differs most, the exchange that helps most; of few
    persons the last alone.

    Left and right exchanged altogether cannot be seen so: all lengths stay the same.
    """
    bones, joints = skeleton.bones(), skeleton.joints
    people = people[:: 1 + sum(map(len, people)) * len(joints) ** 2 // LARGEST]
    if not people or not len(bones):
        return
    quartiles = _distances(people, bones)
    low, median, high = quartiles[:, bones[:, 0], bones[:, 1]]
    name = "the stated skeleton" if skeleton.name == "custom" else skeleton.name

    def line(what, alike=0):
        more = f" ({alike} bones like this)" if alike > 1 else ""
        return f"are the joints in the order of {name}? {what}{more}"

    if len(people) >= PEOPLE:
        spread = (high - low) / np.maximum(median, 1)
        if (alike := (spread > SPREAD).sum()) > 0:
            i = np.nanargmax(spread)
            what = f"changes its length: its quartiles are {low[i]:.2f} and {high[i]:.2f} of the mean bone"
            yield line(f"{skeleton.bone_name(bones[i])} {what}", alike)
        pairs = [(i, k) for i, k in enumerate(_counterparts(skeleton)) if k is not None and i < k]
        pairs = np.array(pairs, np.int64).reshape(-1, 2)
        length = np.maximum(median[pairs], 1e-9)
        ratio = np.max(length / length[:, ::-1], axis=1, initial=1)
        if (alike := (ratio > RATIO).sum()) > 0:
            i = np.nanargmax(ratio)
            one, other = (skeleton.bone_name(bones[bone]) for bone in pairs[i][np.argsort(-length[i])])
            yield line(f"{one} is {ratio[i]:.1f} times as long as {other}", alike)
    gain, i, k = max(_exchanges(quartiles[1], skeleton), default=(0, 0, 0))
    if gain > SHORTER[len(people) < PEOPLE]:
        what = f"with {joints[i]} and {joints[k]} exchanged, all bones together would be {gain:.0%} shorter"
        yield line(what)


def _distances(people, bones):
    """Quartiles of the distances of all joints, in multiples of each person's mean bone: (3, joints, joints), NaN for
    joints that are never there together."""
    parts = []
    for one in people:
        seen = one.any(axis=2)
        apart = np.linalg.norm(one[:, :, None] - one[:, None], axis=3)
        apart[~(seen[:, :, None] & seen[:, None])] = np.nan
        lengths = apart[:, bones[:, 0], bones[:, 1]]
        if np.nansum(lengths) > 0:
            parts.append(apart / np.nanmean(lengths))
    apart = np.concatenate(parts or [np.full((1, *2 * people[0].shape[1:2]), np.nan)])
    apart.sort(axis=0)  # NaN comes last
    last = np.isfinite(apart).sum(axis=0) - 1
    at = (np.array([0.25, 0.5, 0.75])[:, None, None] * last).clip(0).astype(int)
    return np.take_along_axis(apart, at, axis=0)


def _exchanges(distance, skeleton):
    """Yields (by which part all bones together become shorter, joint, other) of exchanges of two joints.

    Not of the left arm or leg with the right one: such joints can be close to each other.
    """
    bones, joints = skeleton.bones(), len(skeleton.joints)
    pairs, parents, limb = np.array(skeleton.pairs or range(joints)), np.array(skeleton.parents), np.arange(joints)
    for _ in range(joints):  # the limb is its first joint
        limb = np.where(pairs[parents] != parents, limb[parents], np.arange(joints))
    total, order = np.nansum(distance[bones[:, 0], bones[:, 1]]) or 1, np.arange(joints)
    for i, k in zip(*np.triu_indices(joints, 1), strict=True):
        if np.isfinite(distance[i, k]) and not pairs[limb[i]] == limb[k] != limb[i]:
            order[[i, k]] = k, i
            yield 1 - np.nansum(distance[order[bones[:, 0]], order[bones[:, 1]]]) / total, i, k
            order[[i, k]] = i, k
