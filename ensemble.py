"""Several networks that answer together, such as those of several streams: their softmax scores are added.

    python main.py --dataset NUCLA --train 0 --ensemble joint.pth bone.pth --weights 1,0.8

Each network is tested in its own way (its stream, its recipe's samples, its seed). Two sets of answers to the same
clips are compared clip by clip: most of the spread of top-1 over test sets is common to both.
"""

import math
from typing import NamedTuple

import distributed
from checkpoint import load_checkpoint
from evaluate import accuracy, evaluate, write_predictions
from util import UserError


class Member(NamedTuple):
    name: str
    top1: float  # percent
    pairs: str  # the comparison with the ensemble


class Result(NamedTuple):
    top1: float  # percent
    members: list[Member]
    parameters: int
    clips: int

    def lines(self):
        """What is printed of it."""
        error = 100 * math.sqrt(self.top1 / 100 * (1 - self.top1 / 100) / self.clips)
        size = f"{self.parameters:,} parameters"
        return [f"{member.name}: top-1 {member.top1:.2f}%; {member.pairs}" for member in self.members] + [
            f"ensemble of {len(self.members)}, {size}: top-1 {self.top1:.2f}% of {self.clips} test clips, "
            f"binomial standard error {error:.2f}"
        ]


def add_scores(logits, weights):
    """The weighted mean of the networks' softmax scores: [(clips, classes)] and [float] -> (clips, classes)."""
    total = sum(weights)
    return sum(weight / total * one.softmax(dim=1) for weight, one in zip(weights, logits, strict=True))


def check_together(checkpoints):
    """Raises UserError if their scores cannot be added: other splits are other clips, other names other classes."""
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if other.split != first.split:
            splits = " and ".join(f"{c.path} of split {c.split or 'none'}" for c in (first, other))
            raise UserError(f"--ensemble: {splits} have other test clips; take checkpoints of one split")
        if first.class_names and other.class_names and first.class_names != other.class_names:
            raise UserError(f"--ensemble: {first.path} and {other.path} have other classes")
        if first.about.get("data_sha256") != other.about.get("data_sha256"):
            distributed.warn_once(f"{first.path} and {other.path} were trained on different h5 files")


def compare(right, other):
    """How two sets of answers differ: (clips,) bool each, whether right. A text with the exact test of McNemar."""
    from scipy.stats import binomtest  # scikit-learn brings it

    more, fewer = int((right & ~other).sum()), int((~right & other).sum())
    p = binomtest(more, more + fewer).pvalue if more + fewer else 1.0
    return f"{more} clips that it has wrong are right in the ensemble, {fewer} the other way (p = {p:.2g})"


def test_ensemble(paths, weights, clips, classes, folder, case, seed=None, amp=False):
    """Tests the checkpoints in `paths` together on the test clips, and writes labels and scores to `folder`.

    weights: a float for each, by default the same for all. Returns a Result. Raises UserError for checkpoints that do
    not fit the clips or each other, or as many weights.
    """
    weights = weights or [1.0] * len(paths)
    if len(weights) != len(paths):
        raise UserError(f"--weights: {len(weights)} numbers for {len(paths)} checkpoints")
    if not 0 < sum(weights) < math.inf:
        raise UserError(f"--weights: their sum is {sum(weights)}; it must be above 0, and finite")
    checkpoints = distributed.run_on_main(lambda: [load_checkpoint(path) for path in paths])
    check_together(checkpoints)
    logits = []
    for checkpoint in checkpoints:
        checkpoint.check_fits(clips.joints, classes, clips.skeleton)
        of_one, label = evaluate(checkpoint, clips, seed, amp)
        logits.append(of_one)
    scores = add_scores(logits, weights)
    distributed.run_on_main(lambda: write_predictions(folder, case, label, scores))
    right = scores.argmax(dim=1) == label
    members = [
        Member(str(path), accuracy(one, label), compare(right, one.argmax(dim=1) == label))
        for path, one in zip(paths, logits, strict=True)
    ]
    parameters = sum(p.numel() for checkpoint in checkpoints for p in checkpoint.net.parameters())
    return Result(accuracy(scores, label), members, parameters, len(label))


test_ensemble.__test__ = False  # for pytest: no test
