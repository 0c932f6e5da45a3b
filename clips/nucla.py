"""Northwestern-UCLA: reads a clip."""

import json

import numpy as np

from clips.arrays import NAN, absent_if_nan, fill_absent
from clips.checks import FARTHEST
from clips.h5 import center
from util import UserError

ACTIONS = ("pick up with one hand", "pick up with two hands", "drop trash", "walk around", "sit down", "stand up")
ACTIONS += ("donning", "doffing", "throw", "carry")
JOINTS = 20


def read_json(text, name, labelled=True, nan=None):
    """Reads one json, its text or what is in it: (frames, 60) float32, metres, and the class index. Raises UserError.

    labelled: False for a clip that need not have a label; the index is then None. nan: of poses.Flags.
    """
    try:
        clip = text if isinstance(text, dict) else json.loads(text)
        skeletons = np.asarray(clip["skeletons"], dtype=np.float64)
        label = int(clip["label"]) if labelled else None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"{name}: not a clip of N-UCLA ({error})") from None
    if skeletons.ndim != 3 or skeletons.shape[1:] != (JOINTS, 3) or not len(skeletons):
        raise UserError(f"{name}: skeletons of shape {skeletons.shape}, not (frames, {JOINTS}, 3)")
    if nan:
        skeletons = fill_absent(absent_if_nan(skeletons, nan)[:, None], "kinect_v1")[:, 0]
    if not (np.abs(skeletons) < FARTHEST).all():
        raise UserError(f"{name}: a coordinate is not finite, or too large{'' if labelled else NAN}")
    if labelled and not 1 <= label <= len(ACTIONS):
        raise UserError(f"{name}: label {label}, not 1 to {len(ACTIONS)}")
    clip = center(skeletons[:, None], ~skeletons.any(axis=(1, 2))[:, None])
    return clip.astype(np.float32).reshape(len(clip), -1), label - 1 if labelled else None
