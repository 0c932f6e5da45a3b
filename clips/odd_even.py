"""Data sets of one person a clip, of Kinect v1's joints, of which odd subjects train and even ones test."""

import sys

import numpy as np

from clips.checks import FARTHEST
from clips.h5 import ORIGIN, SPLITS, split_validation, trim_and_center, write_h5
from clips.skeletons import KINECT_V1
from util import UserError, shorten

LEFT_LEG, RIGHT_LEG = [12, 13], [16, 17]  # hip and knee of Kinect v1


def write_odd_even(out, source, clips, class_names, made_by):
    """Writes the h5 `out` of clips in Kinect v1's order of joints, and says what is odd about them.

    source: what they were read from, for errors. clips: iterable of (name, subject from 1, label from 0, clip), a clip
    (frames, 20, 3) metres, y up. Joint 2, the spine, becomes its origin; 5% of the training clips are for validation.
    Clips without a person are left out, and named. Raises UserError.
    """
    names, subjects, labels, arrays, empty, crossed = [], [], [], [], [], []
    for name, subject, label, joints in clips:
        if not 0 <= label < len(class_names):
            raise UserError(f"{source}: {name}: there are actions 1 to {len(class_names)}")
        if not (np.abs(joints) < FARTHEST).all():
            raise UserError(f"{source}: {name}: a coordinate is not finite, or too large for metres")
        clip = trim_and_center(joints[:, None], ORIGIN)
        if not len(clip):
            empty.append(name)
            continue
        if has_crossed_legs(clip[:, 0]):
            crossed.append(name)
        for values, value in zip((names, subjects, labels, arrays), (name, subject, label, clip), strict=True):
            values.append(value)
    odd = np.array(subjects) % 2 == 1
    if odd.sum() < 2 or odd.all():
        raise UserError(f"{source}: {odd.sum()} of {len(odd)} clips are of odd subjects; both kinds are needed")
    splits = dict(zip(SPLITS, (*split_validation(np.flatnonzero(odd)), np.flatnonzero(~odd)), strict=True))
    labels = np.array(labels)
    write_h5(
        out,
        {split: ((arrays[i].reshape(len(arrays[i]), -1) for i in ids), labels[ids]) for split, ids in splits.items()},
        frames=max(map(len, arrays)),
        joints=len(KINECT_V1.joints),
        persons=1,
        skeleton=KINECT_V1.name,
        class_names=class_names,
        protocol="cross-subject: odd subjects train, even subjects test",
        origin=ORIGIN,
        made_by=made_by,
    )
    for some, what in ((empty, "left out, as nobody is in them"), (crossed, "have crossed legs, and are kept")):
        if some:
            print(f"note: {len(some)} clips {what}: {shorten(', '.join(some), 100)}", file=sys.stderr)
    print("{}: {} training, {} validation and {} test clips".format(out, *map(len, splits.values())))


def has_crossed_legs(clip):
    """Whether in the median frame each knee is nearer to the other hip than to its own. clip: (frames, 20, 3)."""
    pose = np.median(clip, axis=0)
    length = np.linalg.norm(pose[LEFT_LEG + RIGHT_LEG, None] - pose[LEFT_LEG + RIGHT_LEG], axis=2)
    return length[0, 1] + length[2, 3] > length[0, 3] + length[2, 1]
