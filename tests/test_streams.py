"""Streams of joints and bones, and networks that answer together."""

import numpy as np
import pytest
import torch

import main
from clips.skeletons import SKELETONS, STREAMS, read_skeleton, unknown_skeleton
from conftest import BONES, JOINTS, flags, run, write_toy
from engine.checkpoint import load_checkpoint
from engine.ensemble import add_scores
from engine.folded import Folded
from model import SGN
from util import UserError

KINECT = SKELETONS["kinect_v1"]


def mapped(maps, points):
    return np.einsum("cij,jc->ic", maps, points)


def test_a_bone_is_a_joint_minus_its_parent():
    chain = read_skeleton({"parents": [0, 0, 1, 3], "flip_pairs": [0, 1, 2, 3]}, 4)  # joint 3 is a root of its own
    points = np.array([[1.0, 2, 3], [4, 6, 8], [5, 5, 5], [7, 7, 7]])
    np.testing.assert_allclose(mapped(chain.stream("bone"), points), [[1, 2, 3], [3, 4, 5], [1, -1, -3], [7, 7, 7]])
    np.testing.assert_allclose(mapped(chain.stream("root"), points), [[1, 2, 3], [3, 4, 5], [4, 3, 2], [6, 5, 4]])
    for skeleton, name, why in ((chain, "shoulder", "no shoulders"), (unknown_skeleton(5), "bone", "needs its bones")):
        with pytest.raises(ValueError, match=why):
            skeleton.stream(name)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda skeleton: skeleton.name)
def test_the_streams_of_all_skeletons(skeleton):
    n = len(skeleton.joints)
    moved = np.random.default_rng(0).normal(size=(n, 3)) + [1, 2, 3]
    assert skeleton.stream("joint") is None
    for name in set(STREAMS) - {"joint"}:
        maps = skeleton.stream(name, skeleton.is_2d)
        assert maps.shape == (3, n, n) and maps.dtype == np.float32
        assert (maps[2] == np.eye(n)).all() == skeleton.is_2d  # a score stays
        assert name == "shoulder" or np.linalg.matrix_rank(maps[0]) == n  # nothing is lost
        here, there = (mapped(maps, points)[:, :2] for points in (moved, moved - [1, 2, 3]))
        assert np.isclose(here, there).all(axis=1).sum() >= n - 1  # but for the root, the place does not matter


@pytest.mark.parametrize("name", STREAMS)
def test_the_first_layers_get_float32_under_autocast(name):
    """As without it, bit for bit: coordinates in bfloat16 would be steps of a centimetre."""
    x = torch.randn(1, 8, 1, generator=torch.Generator().manual_seed(0)).cumsum(1) * 0.007 + torch.rand(60)
    net, taken = SGN(3, 20, 8, stream=KINECT.stream(name)).eval(), []
    for layer in (net.joint_embed.cnn[1], net.dif_embed.cnn[1]):
        layer.register_forward_pre_hook(lambda _, given: taken.append(given[0]))
    for amp in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            net(x)
    for one, other in zip(taken[:2], taken[2:], strict=True):
        assert one.dtype == other.dtype == torch.float32 and torch.equal(one, other)


def test_a_network_of_a_stream_is_one_of_joints_on_the_mapped_input():
    maps = KINECT.stream("bone")
    net, plain = (SGN(3, 20, 8, stream=stream).double().eval() for stream in (maps, None))
    assert set(net.state_dict()) - set(plain.state_dict()) == {"stream"}
    net.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 8, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    bones = torch.einsum("cij,btjc->btic", torch.as_tensor(maps).double(), x.view(2, 8, 20, 3)).flatten(2)
    torch.testing.assert_close(net(x), plain(bones))
    assert not torch.allclose(net(x), plain(x))
    torch.testing.assert_close(Folded(net)(x), net(x))


@pytest.mark.device
def test_a_run_of_a_stream_and_a_fixed_graph_from_training_to_testing(toy, tmp_path):
    known, network = write_toy(tmp_path / "known.h5", **BONES), ("--stream", "bone", "--ablate", "skeleton-graph")
    folder = run(known, tmp_path, *network, epochs=1).with_name("SGN-bone-skeleton-graph")
    net, logits = load_checkpoint(folder / "0_best.pth").net, (folder / "0_pred.txt").read_bytes()
    np.testing.assert_array_equal(net.stream, read_skeleton(BONES, JOINTS).stream("bone"))
    assert (net.compute_g1.g > 0).sum() == JOINTS + 2 * (JOINTS - 1)  # a tree
    run(known, tmp_path, *network, "--train", "0")
    assert (folder / "0_pred.txt").read_bytes() == logits
    for flag in (network[:2], network[2:]):
        with pytest.raises(UserError, match="skeleton"):
            run(toy, tmp_path, *flag)  # whose skeleton is unknown


def test_scores_are_added():
    logits = [torch.tensor([[0.0, 0.0], [3.0, 0.0]]), torch.tensor([[np.log(3.0), 0.0], [0.0, 4.0]])]
    scores = add_scores(logits, [1.0, 0.5])
    torch.testing.assert_close(scores[0], torch.tensor([0.5 + 0.375, 0.5 + 0.125]).to(scores) / 1.5)
    assert scores.argmax(dim=1).tolist() == [0, 0]  # the surer one would win with the same weights
    assert add_scores(logits, [1.0, 1.0]).argmax(dim=1).tolist() == [0, 1]
    for weights in ([1e-60, 0.5e-60], [1e38, 0.5e38]):
        torch.testing.assert_close(add_scores(logits, weights), scores)


@pytest.fixture
def member(trained):
    """What a checkpoint has."""
    return torch.load(trained / "0_best.pth", weights_only=True)


def answer_together(h5, folder, *members, weights=""):
    """Tests checkpoints of these contents together: their scores."""
    paths = [folder / f"{i}.pth" for i in range(len(members))]
    for path, content in zip(paths, members, strict=True):
        torch.save(content, path)
    main.main(flags(h5, folder, "--train", "0", "--ensemble", *paths, *["--weights", weights] * bool(weights)))
    return np.loadtxt(folder / "toy" / "ensemble" / "0_pred.txt")


@pytest.mark.device
def test_a_network_twice_is_the_network(toy, trained, member, tmp_path, capsys):
    other = member | {"about": member["about"] | {"data_sha256": "0"}}
    scores = answer_together(toy, tmp_path, member, other, weights="1,0.25")
    logits = torch.from_numpy(np.loadtxt(trained / "0_pred.txt"))
    np.testing.assert_allclose(scores, logits.softmax(dim=1), atol=1e-5)
    out, err = capsys.readouterr()
    assert f"{2 * sum(p.numel() for p in SGN(4, 5, 8).parameters()):,} parameters" in out
    assert "1.pth was trained on another h5" in err and "0.pth was trained" not in err


def test_members_of_another_origin_are_said_or_refused(toy, member, tmp_path, capsys):
    about, renamed = member["about"], member | {"class_names": list("abdc")}
    answer_together(toy, tmp_path, renamed)
    assert "0.pth has classes of other names" in capsys.readouterr().err
    large = {name: value * 1e38 if name == "fc.weight" else value for name, value in member["state_dict"].items()}
    for members, weights, named in (
        ([member, member | {"about": about | {"split": "2"}}], "", "other test clips"),
        ([member, renamed], "", "other classes"),
        ([member | {"state_dict": large}], "", "0.pth: the logits of test clip 0 are not finite"),
        ([{"state_dict": SGN(4, 6, 8).state_dict(), "seg": 8}], "", "0.pth: .*joints"),
        ([member], "1,2", "--weights: "),
        ([member], "0", "--weights: "),
    ):
        with pytest.raises(UserError, match=named):
            answer_together(toy, tmp_path, *members, weights=weights)
