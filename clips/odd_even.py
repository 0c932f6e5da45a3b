"""Data sets of one person a clip, of Kinect v1's joints, of which odd subjects train and even ones test."""

from pathlib import Path

import numpy as np

from clips.checks import FARTHEST
from clips.h5 import ORIGIN, trim_and_center
from clips.importing import write_set
from clips.skeletons import KINECT_V1
from safe.program import ArgumentParser, note
from util import UserError, shorten

LEFT_LEG, RIGHT_LEG = [12, 13], [16, 17]  # hip and knee of Kinect v1


def convert(argv, doc, out, read, class_names):
    """The main function of a script, whose docstring is `doc`: writes the h5, and says what is odd about its clips.

    out: the h5 that --out replaces. read: function of the zip or folder that yields (name, subject from 1, label from
    0, clip), a clip (frames, 20, 3) metres, y up, in Kinect v1's order. Joint 2, the spine, becomes its origin; 5% of
    the training clips are for validation. Clips without a person are left out and counted, those with crossed legs
    named. Raises UserError.
    """
    parser = ArgumentParser(description=doc)
    parser.add_argument("source", type=Path, help="the zip, or the folder unpacked from it")
    parser.add_argument("--out", type=Path, default=out, help="file to write (in the folder of this script)")
    args = parser.parse_args(argv)
    source, rows, empty, crossed = args.source, [], [], []
    for name, subject, label, joints in read(source):
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
        rows.append((subject, label, clip))
    subjects, labels, clips = zip(*rows, strict=True) if rows else [()] * 3
    odd, frames = np.array(subjects) % 2 == 1, max(map(len, clips), default=0)
    sides, dropped = {"": np.flatnonzero(odd), "test_": np.flatnonzero(~odd)}, [(empty, "nobody is in them")]
    about = {"frames": frames, "skeleton": KINECT_V1.name, "origin": ORIGIN}
    about["protocol"] = "cross-subject: odd subjects train, even subjects test"
    write_set(args.out, clips.__getitem__, labels, sides, class_names, dropped, **about)
    if crossed:
        note(f"{len(crossed)} clips have crossed legs, and are kept: {shorten(', '.join(crossed), 100)}")


def has_crossed_legs(clip):
    """Whether in the median frame each knee is nearer to the other hip than to its own. clip: (frames, 20, 3)."""
    pose = np.median(clip, axis=0)
    length = np.linalg.norm(pose[LEFT_LEG + RIGHT_LEG, None] - pose[LEFT_LEG + RIGHT_LEG], axis=2)
    return length[0, 1] + length[2, 3] > length[0, 3] + length[2, 1]
