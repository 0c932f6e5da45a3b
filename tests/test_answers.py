"""The loss, what testing says (top-1, top-5, mean-class accuracy), and classes weighed alike in training."""

import pytest
import torch

from engine import logs
from train import balance, criterion


def test_the_loss_by_hand():
    logits, label = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 2])
    target = torch.tensor([[0.9, 0.05, 0.05], [0.05, 0.05, 0.9]])
    torch.testing.assert_close(criterion(logits, label), -(target * logits.log_softmax(1)).sum() / 2)


def test_balanced_classes_count_alike():
    label = torch.tensor([0] * 8 + [1] * 2)
    weights = balance(label, 3)
    assert weights[:2].tolist() == [10 / 16, 10 / 4] and weights[label].mean() == 1
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    of_class = [criterion(logits[of], label[of]) for of in (slice(8), slice(8, 10))]
    torch.testing.assert_close(criterion(logits, label, weights), sum(of_class) / 2)


def test_scores_by_hand():
    label = torch.tensor([0, 0, 0, 1, 2])
    logits = torch.eye(7)[[0, 0, 1, 1, 6]] + torch.arange(7) / 100  # top 5: the first choice, and the last classes
    scores = logs.score(logits, label, "abcdefg")
    assert scores["top1"] == 60 and scores["top5"] == 80  # label 2 comes after 6, 5, 4 and 3
    assert scores["mean_class"] == pytest.approx((200 / 3 + 100 + 0) / 3)
    assert scores["classes"][0] == {"class": "a", "clips": 3, "top1": pytest.approx(200 / 3)}
    assert [one["top1"] for one in scores["classes"][3:]] == [None] * 4  # without test clips
    assert "3 of 7 classes" in logs.in_words(scores)
    assert "top5" not in logs.score(logits[:, :5], label, "abcde")


def test_several_runs_have_a_mean_and_one_has_no_deviation(capsys):
    one, two = ({"top1": top1, "last_top1": top1, "last_top5": 90.0} for top1 in (80.0, 82.0))
    assert logs.summarize([one], "seeds", None) == {"top1_mean": 80, "last_top1_mean": 80, "last_top5_mean": 90}
    both = logs.summarize([one, two], "seeds", None)
    assert both["top1_mean"] == 81 and both["last_top1_std"] == pytest.approx(2**0.5) and both["last_top5_std"] == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("over 1 seed") and lines[3].endswith("81.00 +- 1.41%, top-5 90.00 +- 0.00% over 2 seeds")
