"""Ablations and variants: each does what it says, and what is trained with it says so."""

import shutil
from itertools import pairwise

import pytest
import torch

import export
import main
from conftest import CLASSES, run, weights, write_toy
from engine.checkpoint import load_checkpoint
from engine.folded import Folded
from model import ABLATIONS, CONTRADICTIONS, SGN, VARIANTS, parse_ablations
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


CHANGES = {
    "joints": lambda x: x[:, :, [3, 0, 5, 1, 2, 4]],  # their order. The input's norms have learned nothing yet
    "frames": lambda x: x[:, [3, 0, 5, 1, 2, 4, 7, 6]],
    "place": lambda x: x + torch.tensor([0.3, -1.0, 2.0]),
}


@pytest.mark.parametrize(
    "names, change, same",
    [
        ((), "joints", False),
        (("joint-type",), "joints", True),
        (("position-only",), "frames", False),
        (("frame-index",), "frames", False),  # the velocity knows the order as well
        (("position-only", "frame-index"), "frames", True),
        ((), "place", False),
        (("velocity-only",), "place", True),
        (("velocity-only", "acceleration"), "place", True),
        (("late-max",), "place", False),
    ],
)
@torch.no_grad()
def test_what_a_network_cannot_tell_apart(names, change, same):
    net, x = network(*names), clips()
    net.cnn.cnn1.weight[..., [0, 2]] = 0  # the temporal convolution's view of the frames beside
    y = CHANGES[change](x.unflatten(2, (JOINTS, 3))).flatten(2)
    assert torch.allclose(net(x), net(y), rtol=0, atol=1e-9) == same


@pytest.mark.parametrize(
    "names, changed",
    [
        (("position-only",), [3]),
        (("velocity-only",), [3, 4]),
        (("joint-type",), [3, 4]),
        (("acceleration",), [3, 4, 5]),
    ],
)
def test_which_frames_a_frame_reaches(names, changed):
    net, x = network(*names), clips()
    later = x.clone()
    later[:, 3] += 1
    before, after = (output_of(net.gcn1, net, y).unflatten(0, (2, SEG)) for y in (x, later))
    assert (before != after).any(3).any(2).any(0).nonzero().flatten().tolist() == changed


@pytest.mark.parametrize(
    "names, reached",
    [
        ((), [0, 1, 2, 3, 4, 5]),
        (("identity-graph",), [1]),
        (("skeleton-graph",), [0, 1, 2, 3, 4]),  # three layers, three bones
        (("skeleton-graph", "two-gcn"), [0, 1, 2, 3]),
        (("skeleton-graph", "one-gcn", "joint-type"), [0, 1, 2]),
    ],
)
def test_how_far_a_joint_reaches(names, reached):
    net, x = network(*names), clips()
    y = x.clone()
    y[:, :, 3:6] += 1
    last = net.gcn3 or net.gcn2 or net.gcn1
    before, after = (output_of(last, net, z) for z in (x, y))
    assert ((before - after).abs() > 1e-9).any(2).any(0).nonzero().flatten().tolist() == reached


def test_the_fixed_graph_by_hand():
    g = network("skeleton-graph", joints=3, edges=[(0, 1), (1, 2)]).compute_g1.g
    by_hand = [[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 2, 1 / 2]]
    torch.testing.assert_close(g, torch.tensor(by_hand, dtype=torch.float64), rtol=0, atol=1e-7)
    assert torch.equal(network("identity-graph").compute_g1.g, torch.eye(JOINTS, dtype=torch.float64))
    for wrong in ({"ablate": ["skeleton-graph"]}, {"edges": [(0, 1)]}):
        with pytest.raises(ValueError, match="edges are for skeleton-graph"):
            SGN(**wrong)


def test_early_max_is_over_the_dynamics():
    net, x, given = network("early-max"), clips(), []
    p, v = (output_of(part, net, x).view(2 * SEG, JOINTS, 64) for part in (net.joint_embed, net.dif_embed))
    net.gcn1.register_forward_pre_hook(lambda _, args: given.extend(args))
    net(x)
    torch.testing.assert_close(given[0], (p + v).amax(1, keepdim=True))
    assert given[1].tolist() == [[1]]  # one node, and no joint type


def test_late_max_is_over_joints_and_frames_together():
    net, x = network("late-max"), clips()
    tokens = output_of(net.gcn3, net, x).unflatten(0, (2, SEG)) + net.tem_embed.all_types()[:, None]
    joint_by_joint = torch.stack([net.cnn(tokens[:, :, [joint]]) for joint in range(JOINTS)])
    torch.testing.assert_close(output_of(net.cnn, net, x), joint_by_joint.amax(0))
    net.train().cnn.dropout.p = 0.5
    dropped = (output_of(net.cnn.dropout, net, x) == 0).all(dim=2)  # a channel in all joints and frames
    assert 0.4 < dropped.float().mean() < 0.6


@pytest.mark.parametrize("name", [*ABLATIONS, *VARIANTS])
def test_a_checkpoint_says_what_the_network_is_and_all_that_is_built_is_used(name, tmp_path):
    net, x = network(name), clips()
    kept = {"state_dict": net.state_dict(), "ablate": net.ablate, "variant": net.variant, "seg": SEG}
    torch.save(kept, tmp_path / "0_best.pth")
    again = load_checkpoint(tmp_path / "0_best.pth").net
    assert (again.ablate, again.variant, again.seg) == (net.ablate, net.variant, SEG)
    torch.testing.assert_close(again.double()(x), net(x), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="folded form"):
        Folded(net)
    net.train()(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_names():
    assert parse_ablations(["one-gcn", "joint-type", "one-gcn"]) == ("joint-type", "one-gcn")
    for wrong in (["gcn"], *CONTRADICTIONS):
        with pytest.raises(ValueError, match="is not one of|exclude each other"):
            parse_ablations(wrong)
    with pytest.raises(SystemExit):
        main.parse_args(["--ablate", "one-gcn,two-gcn"])


def test_an_ablated_run(tmp_path, capsys):
    toy = write_toy(tmp_path / "toy.h5", joints=20, skeleton="kinect_v1")
    flags = "--ablate", "skeleton-graph,joint-type"
    run(toy, tmp_path, *flags, epochs=1)
    path = tmp_path / "toy" / "SGN-joint-type+skeleton-graph" / "0_best.pth"
    net = load_checkpoint(path).net
    assert (net.num_classes, net.ablate) == (CLASSES, ("joint-type", "skeleton-graph"))
    assert (net.compute_g1.g > 0).sum() == 20 + 2 * 19  # the data's skeleton, a tree
    figure = capsys.readouterr().out.splitlines()[-1]
    run(toy, tmp_path, *flags, "--train", "0")
    assert figure in capsys.readouterr().out
    (tmp_path / "toy" / "SGN").mkdir()
    path.rename(tmp_path / "toy" / "SGN" / path.name)
    with pytest.raises(UserError, match="trained with --ablate joint-type,skeleton-graph"):
        run(toy, tmp_path, "--train", "0")
    with pytest.raises(UserError, match="does not state its skeleton"):
        run(write_toy(tmp_path / "no.h5"), tmp_path, "--ablate", "skeleton-graph", epochs=1)


def test_a_variant_starts_from_the_plain_network_and_the_other_way(toy, trained, tmp_path, capsys):
    plain, variant = trained / "0_best.pth", ("--variant", "acceleration")
    run(toy, tmp_path, *variant, "--init", str(plain), "--lr", "1e-12", epochs=1)
    out, err = capsys.readouterr()
    assert "with new weights in acc_embed\n" in err
    folder = tmp_path / "toy" / "SGN-acceleration-init"
    ours, before = weights(folder), weights(trained)
    for name in ("joint_embed.cnn.1.cnn.weight", "gcn1.w.cnn.weight", "fc.bias"):
        torch.testing.assert_close(ours[name], before[name])
    run(toy, tmp_path, *variant, "--init", "gone.pth", "--train", "0")
    assert out.splitlines()[-1] in capsys.readouterr().out
    shutil.copytree(folder, tmp_path / "toy" / "SGN")
    for flags, why in (
        (["--train", "0"], "trained with --variant acceleration"),
        ([*variant, "--init", str(plain), "--freeze"], "acc_embed would stay random"),
    ):
        with pytest.raises(UserError, match=why):
            run(toy, tmp_path, *flags)
    run(toy, tmp_path, "--init", str(folder / "0_best.pth"), epochs=1)
    assert "without its acc_embed\n" in capsys.readouterr().err


@pytest.mark.slow
def test_a_variant_is_exported_through_the_module(tmp_path, capsys):
    kept = {"state_dict": SGN(3, JOINTS, variant="acceleration").state_dict(), "variant": "acceleration"}
    torch.save(kept, tmp_path / "a.pth")
    export.main([str(tmp_path / "a.pth"), "--out", str(tmp_path / "a.pt2"), "--runs", "1"])
    assert "module" in capsys.readouterr().out and (tmp_path / "a.pt2").exists()
