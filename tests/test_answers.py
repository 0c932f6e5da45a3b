"""The loss, what testing says (top-1, top-5, mean-class accuracy), and classes weighed alike in training."""

import json

import pytest
import torch

from conftest import run, write_toy
from engine import logs
from engine.checkpoint import load_checkpoint
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


@pytest.mark.parametrize("seeds", [1, 2])
def test_results_as_lines_and_as_json(tmp_path, capsys, seeds):
    six, more = write_toy(tmp_path / "six.h5", class_names=list("abcdef")), ("--seeds", str(seeds))
    run(six, tmp_path, *more, "--class-weights", "balanced", "--json", tmp_path / "a.json", epochs=1)
    lines = capsys.readouterr().out.splitlines()
    run(six, tmp_path, *more, "--train", "0", "--json")
    trained, tested = json.loads((tmp_path / "a.json").read_text()), json.loads(capsys.readouterr().out)
    for one, other in zip(trained["runs"], tested["runs"], strict=True):
        assert all(one[key] == other[key] for key in one.keys() & other.keys())
        assert [cls["clips"] for cls in one["classes"]] == [5, 5, 4, 4, 0, 0]  # two classes have no clips
        assert f"last epoch 1: {logs.in_words(one, 'last_')}" in lines and one["last_top5"] >= one["last_top1"]
        assert load_checkpoint(one["checkpoint"]).about["class_weights"] == "balanced"
    assert len(trained["runs"]) == seeds and ("top5_std" in trained) == (seeds > 1) == ("+-" in lines[-1])
