"""Ablations and variants: each does what it says, what is trained with it says so, and sweep.py makes their table."""

import csv
import shlex
from itertools import pairwise

import pytest
import torch

import main
import sweep
from conftest import CLASSES, flags, run, weights
from engine.checkpoint import load_checkpoint
from engine.folded import fast_form
from model import ABLATIONS, SGN, VARIANTS
from util import UserError

JOINTS, SEG = 6, 8
CHAIN = list(pairwise(range(JOINTS)))  # a skeleton in a row


def network(*names, joints=JOINTS, edges=CHAIN):
    """A network in evaluation whose weights are all at work: those of the graph convolutions begin at 0."""
    torch.manual_seed(0)
    variant = next((name for name in names if name in VARIANTS), None)
    ablate = [name for name in names if name != variant]
    edges = edges if "skeleton-graph" in names else None
    net = SGN(3, joints, SEG, ablate, edges, variant=variant).double().eval()
    for gcn in (net.gcn1, net.gcn2, net.gcn3):
        if gcn is not None:
            torch.nn.init.normal_(gcn.w.cnn.weight, 0, 0.1)
    return net


def clips():
    return torch.randn(2, SEG, 3 * JOINTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def output_of(module, net, x):
    """What a part of the network puts out for x."""
    kept = []
    with torch.no_grad(), module.register_forward_hook(lambda _, given, out: kept.append(out)):
        net(x)
    return kept[0]


def changed(part, net, x, y):
    """Where a part of the network makes something else of y than of x: (frames, joints)."""
    return ((output_of(part, net, x) - output_of(part, net, y)).abs() > 1e-9).any(2).unflatten(0, (2, SEG)).any(0)


CHANGES = {
    "joints": lambda x: x[:, :, [3, 0, 5, 1, 2, 4]],  # their order. The input's norms have learned nothing yet
    "frames": lambda x: x[:, [3, 0, 5, 1, 2, 4, 7, 6]],
    "place": lambda x: x + torch.tensor([0.3, -1.0, 2.0]),
}


@torch.no_grad()
def test_what_a_network_cannot_tell_apart():
    for names, change, same in (
        ("", "joints", False),
        ("joint-type", "joints", True),
        ("early-max", "joints", True),
        ("position-only", "frames", False),
        ("frame-index", "frames", False),  # the velocity knows the order as well
        ("position-only frame-index", "frames", True),
        ("", "place", False),
        ("velocity-only", "place", True),
        ("velocity-only acceleration", "place", True),
        ("late-max", "place", False),
    ):
        net, x = network(*names.split()), clips()
        net.cnn.cnn1.weight[..., [0, 2]] = 0  # the temporal convolution's view of the frames beside
        y = CHANGES[change](x.unflatten(2, (JOINTS, 3))).flatten(2)
        assert torch.allclose(net(x), net(y), rtol=0, atol=1e-9) == same, (names, change)


def test_how_far_a_frame_and_a_joint_reach():
    x = clips()
    other_frame, other_joint = x.clone(), x.clone()
    other_frame[:, 3] += 1
    other_joint[:, :, 3:6] += 1
    frames = {"position-only": [3], "velocity-only": [3, 4], "joint-type": [3, 4], "acceleration": [3, 4, 5]}
    for name, reached in frames.items():
        net = network(name)
        assert changed(net.gcn1, net, x, other_frame).any(1).nonzero().flatten().tolist() == reached, name
    for names, reached in {
        "": [0, 1, 2, 3, 4, 5],
        "identity-graph": [1],
        "skeleton-graph": [0, 1, 2, 3, 4],  # three layers, three bones
        "skeleton-graph two-gcn": [0, 1, 2, 3],
        "skeleton-graph one-gcn joint-type": [0, 1, 2],
    }.items():
        net = network(*names.split())
        last = net.gcn3 or net.gcn2 or net.gcn1
        assert changed(last, net, x, other_joint).any(0).nonzero().flatten().tolist() == reached, names


def test_the_fixed_graph_by_hand():
    g = network("skeleton-graph", joints=3, edges=[(0, 1), (1, 2)]).compute_g1.g
    by_hand = [[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 2, 1 / 2]]
    torch.testing.assert_close(g, torch.tensor(by_hand, dtype=torch.float64), rtol=0, atol=1e-7)


def test_late_max_is_over_joints_and_frames_together():
    net, x = network("late-max"), clips()
    tokens = output_of(net.gcn3, net, x).unflatten(0, (2, SEG)) + net.tem_embed.all_types()[:, None]
    joint_by_joint = torch.stack([net.cnn(tokens[:, :, [joint]]) for joint in range(JOINTS)])
    torch.testing.assert_close(output_of(net.cnn, net, x), joint_by_joint.amax(0))


@pytest.mark.parametrize("name", [*ABLATIONS, *VARIANTS])
def test_a_checkpoint_says_what_the_network_is_and_all_that_is_built_is_used(name, tmp_path):
    net, x = network(name), clips()
    kept = {"state_dict": net.state_dict(), "ablate": net.ablate, "variant": net.variant, "seg": SEG}
    torch.save(kept, tmp_path / "0_best.pth")
    again = load_checkpoint(tmp_path / "0_best.pth").net
    assert (again.ablate, again.variant, again.seg) == (net.ablate, net.variant, SEG)
    torch.testing.assert_close(again.double()(x), net(x), rtol=0, atol=1e-4)
    assert fast_form(net) is net  # which has no folded form
    net.train()(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_a_variant_starts_from_the_plain_network_and_the_other_way(toy, trained, tmp_path, capsys):
    init, variant = ("--init", trained / "0_best.pth"), ("--variant", "acceleration")
    run(toy, tmp_path, *variant, *init, "--lr", "1e-12", epochs=1)
    assert "but for acc_embed" in capsys.readouterr().err
    folder = tmp_path / "toy" / "SGN-acceleration-init"
    torch.testing.assert_close(*(weights(path)["gcn1.w.cnn.weight"] for path in (folder, trained)))
    with pytest.raises(UserError, match="acc_embed would stay random"):
        run(toy, tmp_path, *variant, *init, "--freeze")
    run(toy, tmp_path, "--init", folder / "0_best.pth", epochs=1)
    assert "but for acc_embed" in capsys.readouterr().err


# ---- tools/sweep.py


def train_and_test(run, options):
    """In place of training: the files that the table needs, and results by hand."""
    config, args = run.config, main.parse_args(shlex.split(run.command)[1:])  # of main.py, which gives the same run
    assert (args.ablate, args.batch_size) == (config.ablate, config.batch_size) and options.resume
    run.folder.mkdir(parents=True, exist_ok=True)
    net = SGN(CLASSES, 5, SEG, config.ablate)
    content = {"state_dict": net.state_dict(), "seg": SEG, "ablate": config.ablate}
    torch.save(content, run.folder / "0_best.pth")
    columns = "epoch,train_loss,train_acc,test_loss,test_acc,lr"
    (run.folder / "0_log.csv").write_text(f"{columns}\n1,0,0,{config.seed},0,0\n")
    top1 = (60 if config.ablate else 80) + 4 * config.seed
    return {"top1": top1, "last_top1": top1 - 1}, []


def test_the_table_by_hand(toy, tmp_path, monkeypatch, capsys):
    variant, path = "--ablate one-gcn,joint-type -b 8", tmp_path / "toy" / "0_sweep.csv"
    monkeypatch.setattr(sweep, "train_and_test", train_and_test)
    sweep.main(flags(toy, tmp_path, "--seeds", "2", f"--vary={variant}"))
    assert capsys.readouterr().out.endswith(path.with_suffix(".md").read_text())
    rows = list(csv.DictReader(line for line in path.read_text().splitlines() if not line.startswith("#")))
    of_plain, of_variant = (sweep.BASE, (), 86, 85, 0), (variant, ("one-gcn", "joint-type"), 66, 65, -20)
    for row, (name, ablate, *by_hand) in zip(rows, (of_plain, of_variant), strict=True):
        stated = [float(row[key]) for key in ("top1", "last_top1", "top1_difference", "top1_std", "loss")]
        assert row["variant"] == name and stated == pytest.approx([*by_hand, 8**0.5, 1.5], abs=1e-4)
        assert int(row["parameters"]) == sum(p.numel() for p in SGN(CLASSES, 5, SEG, ablate).parameters())
    assert (tmp_path / "sweep/ablate_one-gcn,joint-type_-b_8/toy/SGN-joint-type+one-gcn/seed2").is_dir()


def test_ablations_leave_out_what_the_data_do_not_allow(toy, tmp_path, capsys, monkeypatch):
    def stopped(runs, *_):
        assert len(runs) == 3 * (1 + len(ABLATIONS))  # all and both semantics, without skeleton-graph
        raise KeyboardInterrupt("stopped")

    monkeypatch.setattr(sweep, "run_all", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep.main(["--dataset", str(toy), "--results", str(tmp_path), "--device", "cpu", "--ablations"])
    assert "without --ablate skeleton-graph" in capsys.readouterr().out


def test_a_sweep_refuses_what_it_does_not_take(toy):
    for words in (
        *([], ["--vary=--ablate gcn"], ["--vary=-b 8", "--no-such-flag"], ["--vary=--recipe 'paper"]),
        *(["--vary=-b 8", "--train", "0"], ["--vary=--dataset DEMO"], ["--vary=-b 8", "--vary=--batch-size=8"]),
    ):
        with pytest.raises((UserError, SystemExit)):
            sweep.main(["--dataset", str(toy), *words])
