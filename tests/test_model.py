"""The network against the golden numbers of the release, and its properties; the loss, and what testing says of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

import train
from engine import logs
from engine.folded import Folded
from model import SGN
from train import balance, criterion

pytestmark = pytest.mark.device
FIXTURES, NTU60 = Path(__file__).parent / "fixtures", "sgn_ntu60_batch8.npz"


def load_golden(name, device):
    """The arrays of a fixture, and the release's network with its weights."""
    with np.load(FIXTURES / name, allow_pickle=False) as file:
        golden = {name: torch.from_numpy(np.asarray(file[name])).to(device) for name in file.files}
    net, state = SGN(golden["logits_eval"].shape[1]).to(device), SGN().state_dict()
    theirs = {name.removeprefix("state/"): value for name, value in golden.items() if name.startswith("state/")}
    assert list(theirs) == list(state) and all(theirs[name].dtype == state[name].dtype for name in state)
    net.load_state_dict(theirs, strict=True)
    return golden, net.eval()


@pytest.mark.parametrize("name", [NTU60, "sgn_ntu120_batch2.npz"])
@torch.no_grad()
def test_evaluation_logits_are_golden(name, device):
    golden, net = load_golden(name, device)
    for form in (net, Folded(net)):
        torch.testing.assert_close(form(golden["x"]), golden["logits_eval"], rtol=0, atol=1e-5)
    net.double()
    for form in (net, Folded(net)):
        torch.testing.assert_close(form(golden["x"].double()), golden["logits_eval64"], rtol=0, atol=1e-9)


def test_three_training_steps_are_golden(device):
    golden, net = load_golden(NTU60, device)
    net.double().train()
    net.cnn.dropout.p = 0.0
    x, y = golden["x"].double(), golden["y"]
    optimizer = train.make_optimizer(net, lr=0.001, weight_decay=0.0001)
    optimizer.param_groups[0]["lr"] = 0.001  # in float64, which the rate of a CUDA graph is not
    for step in range(3):
        logits = net(x)
        loss = criterion(logits, y)
        optimizer.zero_grad()
        loss.backward()
        torch.testing.assert_close(loss, golden[f"loss64_step{step}"], rtol=0, atol=1e-9)
        if step == 0:
            torch.testing.assert_close(logits, golden["logits_train64"], rtol=0, atol=1e-9)
            for name, parameter in net.named_parameters():
                norm = golden[f"grad_norm64/{name}"]
                torch.testing.assert_close(parameter.grad.norm(), norm, rtol=0, atol=1e-9, msg=name)
        optimizer.step()
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(net(x), golden["logits64_after3"], rtol=0, atol=1e-9)
    statistics = [name for name in golden if name.startswith("after3/")]
    assert len(statistics) == 7 * 2
    for name in statistics:
        ours = net.state_dict()[name.removeprefix("after3/")].double()
        torch.testing.assert_close(ours, golden[name].double(), rtol=0, atol=1e-9, msg=name)


@torch.no_grad()
def test_a_clip_s_logits_do_not_depend_on_the_batch(device):
    (golden, net), order = load_golden(NTU60, device), torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    x, logits = golden["x"], golden["logits_eval"]
    for form in (net, Folded(net)):
        torch.testing.assert_close(form(x[order]), logits[order], rtol=0, atol=1e-5)
        torch.testing.assert_close(form(x[:1]), logits[:1], rtol=0, atol=1e-5)
        torch.testing.assert_close(form(x.repeat(3, 1, 1)[:19])[8:16], logits, rtol=0, atol=1e-5)
        assert form(x[:0]).shape == (0, 60)


@torch.no_grad()
def test_other_joints_and_segments():
    net, x = SGN(num_classes=7, num_joint=17, seg=9).eval(), torch.randn(5, 9, 51)
    assert net(x).shape == (5, 7)
    torch.testing.assert_close(Folded(net)(x), net(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"\(batch, 9, 51\), not \(3, 9, 75\)"):
        net(torch.randn(3, 9, 75))


def test_initial_values():
    torch.manual_seed(0)
    net = SGN()
    assert not any(gcn.w.cnn.weight.any() for gcn in (net.gcn1, net.gcn2, net.gcn3))
    # sqrt(2 / (kernel * out channels)); the release counts the kernel's width
    assert net.gcn3.w1.cnn.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert net.cnn.cnn1.weight.std().item() == pytest.approx((2 / (3 * 256)) ** 0.5, rel=0.02)
    assert [sum(p.numel() for p in SGN(classes).parameters()) for classes in (60, 120)] == [691_048, 721_828]


def test_dropout_drops_whole_channels(device):
    dropped = SGN().train().cnn.dropout(torch.ones(50, 256, 20, device=device))
    assert ((dropped == 0).all(dim=2) | (dropped == 1.25).all(dim=2)).all()
    assert 0.15 < (dropped == 0).float().mean() < 0.25


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
