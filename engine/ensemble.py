"""Several networks that answer together, such as those of several streams: their softmax scores are averaged.

    python main.py --dataset NUCLA --train 0 --ensemble joint.pth bone.pth --weights 1,0.8

Each network is tested in its own way (its stream, its recipe's samples, its seed).
"""

import math

from engine import answers, distributed
from engine.checkpoint import load_checkpoint
from util import UserError


def score_all(checkpoints, logits, mean, label, class_names):
    """As answers.score of the averaged scores, and {"parameters", "members": [{"checkpoint", "top1"}]}."""
    members = [
        {"checkpoint": str(checkpoint.path), "top1": answers.accuracy(own, label)}
        for checkpoint, own in zip(checkpoints, logits, strict=True)
    ]
    parameters = sum(p.numel() for checkpoint in checkpoints for p in checkpoint.net.parameters())
    return answers.score(mean, label, class_names) | {"parameters": parameters, "members": members}


def lines(result, clips):
    """What is printed of a result of so many clips."""
    share, members = result["top1"] / 100, result["members"]
    error = 100 * math.sqrt(share * (1 - share) / clips)
    return [f"{member['checkpoint']}: top-1 {member['top1']:.2f}%" for member in members] + [
        f"ensemble of {len(members)}, {result['parameters']:,} parameters: {answers.in_words(result)} of {clips} test "
        f"clips, binomial standard error of top-1 {error:.2f}"
    ]


def add_scores(logits, weights):
    """The weighted mean of the networks' softmax scores: [(clips, classes)] and [float] -> (clips, classes)."""
    total = sum(weights)
    return sum(weight / total * one.softmax(dim=1) for weight, one in zip(weights, logits, strict=True))


def read_members(paths, weights, clips):
    """The Checkpoints in `paths`, which fit the clips and each other, and their weights, by default 1 each.

    Scores of other splits are of other clips, those of other names of other classes. Raises UserError.
    """
    weights = weights or [1.0] * len(paths)
    if len(weights) != len(paths):
        raise UserError(f"--weights: {len(weights)} numbers for {len(paths)} checkpoints")
    if not 0 < sum(weights) < math.inf:
        raise UserError(f"--weights: their sum is {sum(weights)}; it must be above 0, and finite")
    checkpoints = distributed.run_on_main(lambda: [load_checkpoint(path) for path in paths])
    first = checkpoints[0]
    for other in checkpoints:
        other.check_fits(clips.joints, len(clips.class_names), clips.skeleton)
        if other.split != first.split:
            splits = " and ".join(f"{c.path} of split {c.split or 'none'}" for c in (first, other))
            raise UserError(f"--ensemble: {splits} have other test clips; take checkpoints of one split")
        if first.class_names and other.class_names and first.class_names != other.class_names:
            raise UserError(f"--ensemble: {first.path} and {other.path} have other classes")
        if first.about.get("data_sha256") != other.about.get("data_sha256"):
            distributed.warn_once(f"{first.path} and {other.path} were trained on different h5 files")
    return checkpoints, weights
