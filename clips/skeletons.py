"""The skeletons of data sets and pose estimators: names of joints, which hangs on which, and what is left and right.

An h5 and a checkpoint name their skeleton, or state its joint names, parents and flip pairs. Joints count from 0.
"""

import json
import re
from dataclasses import dataclass

import numpy as np

from safe.pickles import check_schema
from util import UserError, readable, regular, shorten

# What the input of a network may be, and so what several networks of an ensemble may differ in
STREAMS = {
    "joint": "each joint's position",
    "bone": "each joint relative to its parent; a root keeps its position",
    "root": "each joint relative to the skeleton's first root in the same frame; the root keeps its position",
    "shoulder": "the same with the middle of the shoulders, a joint that exists or the mean of both shoulders",
}


@dataclass(frozen=True)
class Skeleton:
    """joints: names. parents: the joint that each hangs on, its own number for a root. is_2d: of pictures, y down.

    pairs: each joint's counterpart on the other side, its own number in the middle; None if unknown.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    pairs: tuple[int, ...] | None
    is_2d: bool = False

    def bones(self):
        """(bones, 2) int64: the joints at each bone's ends."""
        return np.array([(i, parent) for i, parent in enumerate(self.parents) if i != parent], np.int64).reshape(-1, 2)

    def flip_pairs(self):
        """(joints,) int64: each joint's counterpart on the other side; None if unknown."""
        return None if self.pairs is None else np.array(self.pairs, np.int64)

    def bone_name(self, bone):
        return " - ".join(self.joints[joint] for joint in bone)

    def find(self, *names):
        """The first joint of one of these names, such as "left ankle", however it is written; None if there is none."""
        wanted = [_words(name) for name in names]
        return next((i for i, joint in enumerate(self.joints) if _words(joint) in wanted), None)

    def odd_name(self, names):
        """A line if a file's names of its joints, in their order, say left and right of others than these; or None."""
        its, own = ([{"left", "right"} & {*_words(name)} for name in some] for some in (names, self.joints))
        at = next((i for i, sides in enumerate(zip(its, own, strict=False)) if sides[0] != sides[1]), None)
        if at is not None and any(its):
            name = f"joint {at + 1} is {shorten(names[at])}, but in {self.name} {self.joints[at]}"
            return f"{name}: these are joints of another skeleton (--skeleton), or in another order"
        return None

    def stream(self, name, has_score=False):
        """The linear map of the joints for a stream of STREAMS: (3, joints, joints) float32, one matrix for each
        coordinate; None for "joint". has_score: the third value of a joint is a score, which stays as it is. Raises
        ValueError for an unknown skeleton."""
        if name == "joint":
            return None
        if not len(self.bones()):
            raise ValueError(f"the skeleton is unknown, and the stream {name!r} needs its bones")
        one = np.eye(len(self.joints))
        center = one[list(self.parents)] if name == "bone" else one[self._middle(name)].mean(axis=0)
        kept = (center == one).all(axis=1, keepdims=True)  # a joint that is its own center keeps its position
        relative = one - np.where(kept, 0, center)
        return np.stack([relative, relative, one if has_score else relative]).astype(np.float32)

    def _middle(self, name):
        """The joints whose mean all joints of a stream are relative to: of "root" or "shoulder"."""
        if name == "root":
            return [next(i for i, parent in enumerate(self.parents) if i == parent)]
        middle = self.find("shoulder centre", "spine at the shoulders")
        joints = [self.find("left shoulder"), self.find("right shoulder")] if middle is None else [middle]
        if None in joints:
            raise ValueError(f"the skeleton {self.name} has no shoulders: no joints of these names")
        return joints

    def is_another(self, other):
        """Whether two skeletons differ as far as is known: the order of joints in an unknown one may be any."""
        if "unknown" in (self.name, other.name):
            return False
        return self.parents != other.parents or None not in (self.pairs, other.pairs) and self.pairs != other.pairs

    def to_attributes(self):
        """How an h5 or a checkpoint states it: {"skeleton": name}, or what is known of its {"joint_names": [...],
        "parents": [...], "flip_pairs": [...]}."""
        if self.name in SKELETONS:
            return {"skeleton": self.name}
        if self.name == "unknown":
            return {}
        stated = {"joint_names": list(self.joints), "parents": list(self.parents)}
        stated |= {} if self.pairs is None else {"flip_pairs": list(self.pairs)}
        return stated | ({"is_2d": True} if self.is_2d else {})


def unknown_skeleton(joints):
    """Joints of which nothing is known: no bones, no left and right."""
    return Skeleton("unknown", tuple(f"joint {i}" for i in range(joints)), tuple(range(joints)), None)


def known_skeleton(skeleton):
    """The Skeleton of a name, or itself; None of "unknown"."""
    return skeleton if isinstance(skeleton, Skeleton) else SKELETONS.get(skeleton)


def read_skeleton(attributes, joints):
    """The Skeleton that attributes state (`Skeleton.to_attributes`), of so many joints. Raises ValueError."""
    name, numbers = attributes.get("skeleton", "unknown"), range(joints)
    if name not in ("unknown", *SKELETONS):
        raise ValueError(f"skeleton {name!r:.40} is not one of {', '.join(SKELETONS)}")
    known = SKELETONS.get(name, unknown_skeleton(joints))
    if len(known.joints) != joints:
        raise ValueError(f"skeleton {name} has {len(known.joints)} joints, not {joints}")
    if attributes.keys().isdisjoint({"joint_names", "parents", "flip_pairs"}):
        return known
    if name != "unknown":
        raise ValueError(f"{name}, and joint_names, parents or flip_pairs beside it; state one of the two")
    names = tuple(readable(str(joint)) for joint in attributes.get("joint_names", known.joints))
    parents, pairs = ([int(i) for i in attributes.get(key, numbers)] for key in ("parents", "flip_pairs"))
    if len(names) != joints or len(set(names)) < joints:
        raise ValueError(f"joint_names must be {joints} different names")
    for what, stated in (("parents", parents), ("flip_pairs", pairs)):
        if len(stated) != joints or not {*stated} <= {*numbers}:
            raise ValueError(f"{what} must be {joints} joints, counted from 0")
    if [pairs[i] for i in pairs] != list(numbers):
        raise ValueError("flip_pairs must swap joints in pairs: the counterpart of a joint's counterpart is itself")
    root = parents
    for _ in range(joints.bit_length()):
        root = [root[i] for i in root]
    if any(parents[i] != i for i in root):
        raise ValueError("parents must form trees: some joints hang on each other in a circle")
    pairs = tuple(pairs) if "flip_pairs" in attributes else None
    return Skeleton("custom", names, tuple(parents), pairs, bool(attributes.get("is_2d")))


def named_skeleton(text):
    """For --skeleton: a name, or the Skeleton of a JSON file. Raises ValueError."""
    if text.endswith(".json"):
        return read_skeleton_file(text)
    if text not in (*SKELETONS, "unknown"):
        raise ValueError(f"{text}: not a .json, and not one of {', '.join(SKELETONS)}, unknown")
    return text


def read_skeleton_file(path):
    """A Skeleton of one's own, from JSON: {"joints": [names], "parents": [...], "flip_pairs": [...], "is_2d": true}.

    The last two may be left out. Joints are numbers from 0, or names; null or -1 is the joint itself. Raises UserError,
    or the system's OSError.
    """
    try:
        with open(regular(path), "rb") as file:
            stated = json.loads(file.read(2**20))
        form = {"joints": [str], "parents": [object], "flip_pairs": [object], "is_2d": bool}
        optional = {"flip_pairs", "is_2d"} - {*stated}
        check_schema(stated, {key: kind for key, kind in form.items() if key not in optional}, "it")
        names = stated["joint_names"] = stated.pop("joints")
        number = {name: i for i, name in enumerate(names)}
        for key in stated.keys() & {"parents", "flip_pairs"}:
            joints = enumerate(stated[key])
            stated[key] = [i if joint in (None, -1) else number.get(joint, joint) for i, joint in joints]
            check_schema(stated[key], [int], key)
        return read_skeleton(stated, len(names))
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: not a skeleton ({shorten(error, 150)})") from None


def _words(name):
    """A joint's name to compare: "LeftAnkle", "L_ankle" and "ankle, left" are one."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+", " ", name)
    same = {"l": "left", "r": "right", "center": "centre"}
    return sorted(same.get(word, word) for word in spaced.lower().split())


def _skeleton(name, joints, parents, is_2d=False):
    """The counterpart of "left ..." is "right ..."."""
    other = {"left": "right", "right": "left"}
    names = [" ".join(other.get(word, word) for word in joint.split()) for joint in joints]
    return Skeleton(name, tuple(joints), tuple(parents), tuple(joints.index(joint) for joint in names), is_2d)


def _in_turn(*names):
    """Left, right of each name."""
    return [f"{side} {name}" for name in names for side in ("left", "right")]


def _sides(*names, first="left"):
    """All names of one side, then those of the other."""
    return sorted(_in_turn(*names), key=lambda joint: joint.split()[0] != first)  # stable


_ARM, _LEG = ("shoulder", "elbow", "wrist", "hand"), ("hip", "knee", "ankle", "foot")
_LIMBS = [*_sides(*_ARM), *_sides(*_LEG)]
_ARMS, _LEGS = _sides(*_ARM[:3], first="right"), _sides(*_LEG[:3], first="right")
_FACE = ["right eye", "left eye", "right ear", "left ear"]

KINECT_V2 = _skeleton(  # NTU RGB+D
    "kinect_v2",
    ["base of the spine", "middle of the spine", "neck", "head", *_LIMBS, "spine at the shoulders"]
    + _sides("hand tip", "thumb"),
    [0, 0, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 1, 7, 7, 11, 11],
)
KINECT_V1 = _skeleton(  # N-UCLA, SYSU
    "kinect_v1",
    ["hip centre", "spine", "shoulder centre", "head", *_LIMBS],
    [0, 0, 1, 2, 2, 4, 5, 6, 2, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18],
)
OPENPOSE18 = _skeleton(  # Kinetics-Skeleton
    "openpose18",
    ["nose", "neck", *_ARMS, *_LEGS, *_FACE],
    [1, 1, 1, 2, 3, 1, 5, 6, 1, 8, 9, 1, 11, 12, 0, 0, 14, 15],
    is_2d=True,
)
OPENPOSE25 = _skeleton(  # BODY_25
    "openpose25",
    ["nose", "neck", *_ARMS, "middle of the hips", *_LEGS, *_FACE, *_sides("big toe", "small toe", "heel")],
    [1, 1, 1, 2, 3, 1, 5, 6, 1, 8, 9, 10, 8, 12, 13, 0, 0, 15, 16, 14, 19, 14, 11, 22, 11],
    is_2d=True,
)
COCO17 = _skeleton(
    "coco17",
    ["nose", *_in_turn("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")],
    [0, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14],
    is_2d=True,
)
MEDIAPIPE33 = _skeleton(
    "mediapipe33",
    ["nose", *_sides("inner eye", "eye", "outer eye"), *_in_turn("ear", "mouth", "shoulder", "elbow", "wrist")]
    + _in_turn("little finger", "index finger", "thumb", "hip", "knee", "ankle", "heel", "foot"),
    [0, 0, 1, 2, 0, 4, 5, 3, 6, 0, 0, 0, 0, 11, 12, 13, 14, 15, 16, 15, 16, 15, 16]
    + [11, 12, 23, 24, 25, 26, 27, 28, 29, 30],
)
AZURE_KINECT = _skeleton(
    "azure_kinect",
    ["pelvis", "spine at the navel", "spine at the chest", "neck"]
    + [*_sides("clavicle", *_ARM, "hand tip", "thumb"), *_sides(*_LEG)]
    + ["head", "nose", "left eye", "left ear", "right eye", "right ear"],
    [0, 0, 1, 2, 2, 4, 5, 6, 7, 8, 7, 2, 11, 12, 13, 14, 15, 14, 0, 18, 19, 20, 0, 22, 23, 24, 3, 26, 26, 26, 26, 26],
)
ZED18 = _skeleton("zed18", OPENPOSE18.joints, OPENPOSE18.parents)  # in 3D
ZED34 = _skeleton("zed34", (*AZURE_KINECT.joints, "left heel", "right heel"), (*AZURE_KINECT.parents, 20, 24))
ZED38 = _skeleton(
    "zed38",
    ["pelvis", "lower spine", "middle of the spine", "upper spine", "neck", "nose", *_in_turn("eye", "ear", "clavicle")]
    + _in_turn("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "big toe", "small toe", "heel")
    + _in_turn("thumb", "index finger", "middle finger", "little finger"),
    [0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 3, 3, 10, 11, 12, 13, 14, 15, 0, 0, 18, 19, 20, 21]
    + [22, 23, 22, 23, 22, 23, 16, 17, 16, 17, 16, 17, 16, 17],
)
H36M17 = _skeleton(  # Human3.6M, in 3D
    "h36m17",
    ["pelvis", *_LEGS, "spine", "thorax", "neck", "head", *_sides(*_ARM[:3])],
    [0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15],
)
_ALL = (KINECT_V2, KINECT_V1, OPENPOSE18, OPENPOSE25, COCO17, MEDIAPIPE33, AZURE_KINECT, ZED18, ZED34, ZED38, H36M17)
SKELETONS = {s.name: s for s in _ALL}
