"""Several networks that answer together, such as those of several streams: their softmax scores are averaged.

    python main.py --dataset NUCLA --train 0 --ensemble joint.pth bone.pth --weights 1,0.8

Each network is tested in its own way (its stream, its recipe's samples, its seed).
"""

import math

from engine import logs
from engine.checkpoint import load_checkpoint
from util import UserError


def read_members(paths, weights, clips):
    """The Checkpoints in `paths`, which fit the clips and each other, and their weights, by default 1 each.

    Scores of other splits are of other clips, those of other names of other classes. Raises UserError. Which of them
    were trained on other data, train.test_checkpoint says.
    """
    weights = weights or [1.0] * len(paths)
    if len(weights) != len(paths) or not 0 < sum(weights) < math.inf:
        raise UserError(f"--weights: {len(paths)} numbers are needed, whose sum is above 0, and finite")
    first, *_ = checkpoints = [load_checkpoint(path) for path in paths]
    for other in checkpoints:
        other.check_fits(clips)
        if other.split != first.split:
            raise UserError(f"--ensemble: {first.path} and {other.path} are of other splits, and other test clips")
        if first.class_names and other.class_names and first.class_names != other.class_names:
            raise UserError(f"--ensemble: {first.path} and {other.path} have other classes")
    return checkpoints, weights


def add_scores(logits, weights):
    """The weighted mean of the networks' softmax scores: [(clips, classes)] and [float] -> (clips, classes)."""
    total = sum(weights)
    return sum(weight / total * one.softmax(dim=1) for weight, one in zip(weights, logits, strict=True))


def score_all(checkpoints, logits, mean, label, class_names):
    """As logs.score of the averaged scores, and {"parameters", "members": [{"checkpoint", "top1"}]}."""
    pairs = zip(checkpoints, logits, strict=True)
    members = [{"checkpoint": str(one.path), "top1": logs.accuracy(own, label)} for one, own in pairs]
    parameters = sum(p.numel() for checkpoint in checkpoints for p in checkpoint.net.parameters())
    return logs.score(mean, label, class_names) | {"parameters": parameters, "members": members}


def lines(result, clips):
    """What is printed of a result of so many clips."""
    each = [f"{member['checkpoint']}: top-1 {member['top1']:.2f}%" for member in result["members"]]
    about = f"ensemble of {len(each)}, {result['parameters']:,} parameters: {logs.in_words(result)}"
    return [*each, f"{about} of {clips} test clips"]
