"""The ablations: each switch does what it says."""

from itertools import pairwise

import pytest
import torch

import main
from conftest import CLASSES, run, write_toy
from data import Clips
from engine.checkpoint import load_checkpoint
from engine.config import PAPER
from engine.folded import Folded
from model import ABLATIONS, CONTRADICTIONS, SGN, parse_ablations
from train import predict_logits
from util import UserError

JOINTS, SEG = 6, 8
CHAIN = list(pairwise(range(JOINTS)))  # a skeleton in a row


def network(*names, joints=JOINTS, edges=CHAIN):
    """A network in evaluation whose weights are all at work: those of the graph convolutions begin at 0."""
    torch.manual_seed(0)
    net = SGN(3, joints, SEG, names, edges if "skeleton-graph" in names else None).double().eval()
    for gcn in (net.gcn1, net.gcn2, net.gcn3):
        if gcn is not None:
            torch.nn.init.normal_(gcn.w.cnn.weight, 0, 0.1)
    return net


def clips(joints=JOINTS, seed=0):
    return torch.randn(2, SEG, 3 * joints, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def output_of(module, net, x):
    """What a part of the network puts out for x."""
    kept = []
    with torch.no_grad(), module.register_forward_hook(lambda _, given, out: kept.append(out)):
        net(x)
    return kept[0]


def frames_alone(net):
    """Takes the temporal convolution's view of the frames beside."""
    with torch.no_grad():
        net.cnn.cnn1.weight[..., [0, 2]] = 0
    return net


@torch.no_grad()
def same(net, x, y):
    return torch.allclose(net(x), net(y), rtol=0, atol=1e-9)


def permuted(x, order, dim):
    return x.view(2, SEG, -1, 3).index_select(dim, torch.tensor(order)).flatten(2)


def test_without_joint_type_all_joints_are_alike():
    x = clips()  # the input's norms, which have numbers for each joint, have learned nothing yet
    y = permuted(x, [3, 0, 5, 1, 2, 4], dim=2)
    assert not same(network(), x, y)
    assert same(network("joint-type"), x, y)
    assert network("joint-type").spa_embed is None


def test_without_frame_index_all_frames_are_alike():
    x = clips()
    y = permuted(x, [3, 0, 5, 1, 2, 4, 7, 6], dim=1)
    assert not same(frames_alone(network("position-only")), x, y)  # the velocity knows the order as well
    assert not same(frames_alone(network("frame-index")), x, y)
    assert same(frames_alone(network("position-only", "frame-index")), x, y)


def test_position_only_and_velocity_only():
    x = clips()
    moved = (x.view(2, SEG, JOINTS, 3) + torch.tensor([0.3, -1.0, 2.0])).flatten(2)
    assert not same(network(), x, moved)
    assert same(network("velocity-only"), x, moved)
    later = x.clone()
    later[:, 3] += 1
    for name, changed in (("position-only", [3]), ("velocity-only", [3, 4]), ("joint-type", [3, 4])):
        net = network(name)
        before, after = (output_of(net.gcn1, net, y).unflatten(0, (2, SEG)) for y in (x, later))
        assert (before != after).any(3).any(2).any(0).nonzero().flatten().tolist() == changed


@pytest.mark.parametrize(
    "names, reached",
    [
        ((), [0, 1, 2, 3, 4, 5]),
        (("identity-graph",), [1]),
        (("skeleton-graph",), [0, 1, 2, 3, 4]),  # three layers, three bones
        (("skeleton-graph", "two-gcn"), [0, 1, 2, 3]),
        (("skeleton-graph", "one-gcn"), [0, 1, 2]),
        (("skeleton-graph", "one-gcn", "joint-type"), [0, 1, 2]),
    ],
)
def test_how_far_a_joint_reaches(names, reached):
    net = network(*names)
    x = clips()
    y = x.clone().view(2, SEG, JOINTS, 3)
    y[:, :, 1] += 1
    last = net.gcn3 or net.gcn2 or net.gcn1
    before, after = (output_of(last, net, z) for z in (x, y.flatten(2)))
    assert ((before - after).abs() > 1e-9).any(2).any(0).nonzero().flatten().tolist() == reached


def test_the_fixed_graph_by_hand():
    g = network("skeleton-graph", joints=3, edges=[(0, 1), (1, 2)]).compute_g1.g
    by_hand = [[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3], [0, 1 / 2, 1 / 2]]
    torch.testing.assert_close(g, torch.tensor(by_hand, dtype=torch.float64), rtol=0, atol=1e-7)
    assert torch.equal(network("identity-graph").compute_g1.g, torch.eye(JOINTS, dtype=torch.float64))
    with pytest.raises(ValueError, match="edges are for skeleton-graph"):
        SGN(ablate=["skeleton-graph"])
    with pytest.raises(ValueError, match="edges are for skeleton-graph"):
        SGN(edges=[(0, 1)])


def test_early_max_is_over_the_dynamics():
    net, x = network("early-max"), clips()
    p, v = (output_of(part, net, x).view(2 * SEG, JOINTS, 64) for part in (net.joint_embed, net.dif_embed))
    given = []
    net.gcn1.register_forward_pre_hook(lambda _, args: given.append(args))
    net(x)
    node, g, joint_type = given[0]
    torch.testing.assert_close(node, (p + v).amax(1, keepdim=True))
    assert g.tolist() == [[1]]
    assert joint_type.shape == (1, 0)


def test_late_max_is_over_joints_and_frames_together():
    net, x = network("late-max"), clips()
    tokens = output_of(net.gcn3, net, x).unflatten(0, (2, SEG)) + net.tem_embed.all_types()[:, None]
    joint_by_joint = torch.stack([net.cnn(tokens[:, :, [joint]]) for joint in range(JOINTS)])
    torch.testing.assert_close(output_of(net.cnn, net, x), joint_by_joint.amax(0))
    assert not same(net, x, x + 1)
    whole = network()
    net.load_state_dict(whole.state_dict())
    assert not torch.allclose(net(x), whole(x))
    one, late = network(joints=1), network("late-max", joints=1)  # of one joint there is one order only
    torch.testing.assert_close(one(clips(1)), late(clips(1)))
    net.train().cnn.dropout.p = 0.5
    dropped = (output_of(net.cnn.dropout, net, x) == 0).all(dim=2)  # a channel in all joints and frames
    assert 0.4 < dropped.float().mean() < 0.6


@pytest.mark.parametrize(
    "names, fewer",
    [
        ((), 0),
        (("joint-type",), (JOINTS + 1 + 65) * 64 + 2 * 64 * 256 + 2 * 64 * 128),
        (("frame-index",), (SEG + 1) * 64 + 65 * 256),
        (("position-only",), 2 * 3 * JOINTS + 4 * 64 + 65 * 64),
        (("velocity-only",), 2 * 3 * JOINTS + 4 * 64 + 65 * 64),
        (("identity-graph",), 2 * 129 * 256),
        (("skeleton-graph",), 2 * 129 * 256),
        (("two-gcn",), (2 * 256 + 3) * 256),
        (("one-gcn",), (2 * 256 + 3) * 256 + (2 * 128 + 3) * 128),
        (("early-max",), (JOINTS + 1 + 65) * 64 + 2 * 129 * 256 + 2 * 64 * 128),
        (("late-max",), 0),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_left_out_is_not_built(names, fewer):
    net, whole = network(*names), network()
    assert sum(p.numel() for p in whole.parameters()) - sum(p.numel() for p in net.parameters()) == fewer
    net.train()(clips()).sum().backward()  # and all that is built is used
    assert all(p.grad is not None for p in net.parameters())


def test_names():
    assert parse_ablations(["one-gcn", "joint-type", "one-gcn"]) == ("joint-type", "one-gcn")
    assert parse_ablations([]) == ()
    with pytest.raises(ValueError, match="'gcn' is not one of joint-type, frame-index"):
        parse_ablations(["gcn"])
    for group in CONTRADICTIONS:
        assert group <= set(ABLATIONS)
        with pytest.raises(ValueError, match="exclude each other"):
            parse_ablations(group)
    with pytest.raises(SystemExit):
        main.parse_args(["--ablate", "one-gcn,two-gcn"])


def test_a_checkpoint_says_what_is_ablated(tmp_path):
    path, x = tmp_path / "0_best.pth", clips()
    for names in [(name,) for name in ABLATIONS] + [("joint-type", "frame-index", "skeleton-graph", "one-gcn")]:
        net = network(*names)
        kept = {"state_dict": net.state_dict(), "ablate": names, "seg": SEG}
        torch.save(kept, path)
        again = load_checkpoint(path).net
        assert again.ablate == names and again.seg == SEG
        torch.testing.assert_close(again.double().eval()(x), net(x), rtol=0, atol=1e-4)

    def refused(why, **more):
        torch.save(kept | more, path)
        with pytest.raises(UserError, match=f"{path}: .*{why}"):
            load_checkpoint(path)

    refused("'gcn' is not one of", ablate=["gcn"])
    refused("one-gcn and two-gcn exclude each other", ablate=["one-gcn", "two-gcn"])
    refused("not a checkpoint of SGN", ablate="one-gcn")
    refused("not a checkpoint of SGN", ablate=[["one-gcn"]])
    refused("not a checkpoint of SGN", ablate=[])
    refused("not a checkpoint of SGN", ablate=names[1:])
    refused("not a checkpoint of SGN", seg=-1)
    refused("not a checkpoint of SGN", seg="8")
    # No matrix of 10^5 x 10^5 is made for a graph that the file does not hold
    many = {"joint_embed.cnn.0.bn.weight": torch.ones(3 * 10**5)}
    refused("not a checkpoint of SGN", state_dict=net.state_dict() | many)


def test_the_folded_form_is_of_the_whole_network():
    for name in ABLATIONS:
        with pytest.raises(ValueError, match="an ablated network has no folded form"):
            Folded(network(name))


def test_an_ablated_run(toy, tmp_path, capsys):
    flags = "--ablate", "one-gcn,joint-type"
    whole = run(toy, tmp_path, epochs=1)
    before = (whole / "0_best.pth").read_bytes()
    run(toy, tmp_path, *flags, epochs=1)
    folder = tmp_path / "toy" / "SGN-joint-type+one-gcn"
    assert (whole / "0_best.pth").read_bytes() == before
    net = load_checkpoint(folder / "0_best.pth").net
    assert net.ablate == ("joint-type", "one-gcn")
    assert "# ablate: ('joint-type', 'one-gcn')" in (folder / "0_log.csv").read_text()
    figure = capsys.readouterr().out.splitlines()[-1]
    run(toy, tmp_path, *flags, "--train", "0")
    assert figure in capsys.readouterr().out
    of_toy = Clips.read(toy)
    ids, rng = of_toy.ids("test"), torch.Generator().manual_seed(1)
    logits = predict_logits(net.train(), of_toy, ids, PAPER, seed=1, samples=1)
    x = of_toy.sample(ids, rng)
    torch.testing.assert_close(logits, net.eval()(x))
    (whole / "0_best.pth").write_bytes((folder / "0_best.pth").read_bytes())
    with pytest.raises(UserError, match="trained with --ablate joint-type,one-gcn; use the same"):
        run(toy, tmp_path, "--train", "0")
    with pytest.raises(UserError, match="does not state its skeleton, so its bones are not known"):
        run(toy, tmp_path, "--ablate", "skeleton-graph", epochs=1)


def test_the_skeleton_is_that_of_the_data(tmp_path):
    toy = write_toy(tmp_path / "toy.h5", joints=20, skeleton="kinect_v1")
    run(toy, tmp_path, "--ablate", "skeleton-graph", epochs=1)
    net = load_checkpoint(tmp_path / "toy" / "SGN-skeleton-graph" / "0_best.pth").net
    assert net.num_classes == CLASSES
    assert (net.compute_g1.g > 0).sum() == 20 + 2 * 19  # a tree
    torch.testing.assert_close(net.compute_g1.g.sum(1), torch.ones(20))
