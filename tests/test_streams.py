"""Streams of joints and bones, and networks that answer together."""

import numpy as np
import pytest
import torch

import main
from clips.skeletons import SKELETONS, STREAMS, read_skeleton, unknown_skeleton
from conftest import DEVICE, flags, run, write_toy
from engine.checkpoint import load_checkpoint
from engine.ensemble import add_scores
from engine.folded import Folded
from model import ABLATIONS, SGN
from util import UserError


def network(stream, joints, seed=0):
    torch.manual_seed(seed)
    net = SGN(3, joints, 8, stream=stream).double().eval()
    for gcn in (net.gcn1, net.gcn2, net.gcn3):
        torch.nn.init.normal_(gcn.w.cnn.weight, 0, 0.1)
    return net


def test_a_bone_is_a_joint_minus_its_parent():
    chain = read_skeleton({"parents": [0, 0, 1, 3], "flip_pairs": [0, 1, 2, 3]}, 4)  # joint 3 is a root of its own
    points = np.array([[1.0, 2, 3], [4, 6, 8], [5, 5, 5], [7, 7, 7]])
    bones = np.einsum("cij,jc->ic", chain.stream("bone"), points)
    np.testing.assert_allclose(bones, [[1, 2, 3], [3, 4, 5], [1, -1, -3], [7, 7, 7]])
    relative = np.einsum("cij,jc->ic", chain.stream("root"), points)
    np.testing.assert_allclose(relative, [[1, 2, 3], [3, 4, 5], [4, 3, 2], [6, 5, 4]])
    with pytest.raises(ValueError, match="has no shoulders"):
        chain.stream("shoulder")


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda skeleton: skeleton.name)
def test_the_streams_of_all_skeletons(skeleton):
    n = len(skeleton.joints)
    moved = np.random.default_rng(0).normal(size=(n, 3)) + [1, 2, 3]
    assert skeleton.stream("joint") is None
    for name in set(STREAMS) - {"joint"}:
        maps = skeleton.stream(name, skeleton.is_2d)
        assert maps.shape == (3, n, n) and maps.dtype == np.float32
        assert (maps[2] == np.eye(n)).all() == skeleton.is_2d  # a score stays
        if name != "shoulder":
            assert np.linalg.matrix_rank(maps[0]) == n  # nothing is lost
        here, there = (np.einsum("cij,jc->ic", maps, points)[:, :2] for points in (moved, moved - [1, 2, 3]))
        assert np.isclose(here, there).all(axis=1).sum() >= n - 1  # but for the root, the place does not matter


@pytest.mark.parametrize("names", [(), *((name,) for name in ABLATIONS)], ids="+".join)
def test_the_first_layers_get_float32_under_autocast(names):
    kinect, taken = SKELETONS["kinect_v1"], []
    x = torch.randn(1, 8, 1, generator=torch.Generator().manual_seed(0)).cumsum(1) * 0.007 + torch.rand(60)
    for name in STREAMS:
        net = SGN(3, 20, 8, names, kinect.bones() if "skeleton-graph" in names else None, kinect.stream(name)).eval()
        layers = [embed.cnn[1] for embed in (net.joint_embed, net.dif_embed) if embed is not None]
        for layer in layers:
            layer.register_forward_pre_hook(lambda _, given: taken.append(given[0]))
        net(x)
        with torch.autocast("cpu", torch.bfloat16):
            net(x)
        half = len(layers)
        for one, other in zip(taken[:half], taken[half:], strict=True):
            assert one.dtype == other.dtype == torch.float32 and torch.equal(one, other)
        taken.clear()


def test_a_network_of_a_stream_is_one_of_joints_on_the_mapped_input():
    maps = SKELETONS["kinect_v1"].stream("bone")
    net, plain = network(maps, 20), network(None, 20)
    x = torch.randn(2, 8, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    bones = torch.einsum("cij,btjc->btic", torch.as_tensor(maps).double(), x.view(2, 8, 20, 3)).flatten(2)
    torch.testing.assert_close(net(x), plain(bones))
    assert not torch.allclose(net(x), plain(x))
    torch.testing.assert_close(Folded(net)(x), net(x))
    assert set(net.state_dict()) - set(plain.state_dict()) == {"stream"}


def test_the_stream_of_an_unknown_skeleton_is_refused(toy, tmp_path):
    with pytest.raises(ValueError, match="needs its bones"):
        unknown_skeleton(5).stream("bone")
    with pytest.raises(UserError, match="--stream bone: the skeleton is unknown"):
        run(toy, tmp_path, "--stream", "bone")


@pytest.mark.device
def test_a_run_of_a_stream_from_training_to_testing(tmp_path, capsys):
    toy = write_toy(tmp_path / "toy.h5", joints=20, skeleton="kinect_v1")
    run(toy, tmp_path, "--stream", "bone", epochs=1)
    figure = capsys.readouterr().out.splitlines()[-1]
    path = tmp_path / "toy" / "SGN-bone" / "0_best.pth"
    checkpoint = load_checkpoint(path)
    assert checkpoint.stream == "bone"
    np.testing.assert_array_equal(checkpoint.net.stream, SKELETONS["kinect_v1"].stream("bone"))
    run(toy, tmp_path, "--stream", "bone", "--train", "0")
    assert figure in capsys.readouterr().out
    (tmp_path / "toy" / "SGN").mkdir()
    (tmp_path / "toy" / "SGN" / "0_best.pth").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="trained with --stream bone; use the same"):
        run(toy, tmp_path, "--train", "0")
    content = torch.load(path, weights_only=True)
    for wrong in ("joint", "limb", ["bone"], 1):
        torch.save(content | {"stream": wrong}, path)
        with pytest.raises(UserError, match="its stream is"):
            load_checkpoint(path)
    content["state_dict"]["stream"] = torch.zeros(3, 5, 5)
    torch.save(content, path)
    with pytest.raises(UserError, match="stream is"):
        load_checkpoint(path)


# ---- ensembles


def test_weights_need_a_sum(trained, toy, tmp_path):
    path = str(trained / "0_best.pth")

    def top1(weights):
        command = flags(toy, tmp_path, "--train", "0", "--ensemble", path, path, "--weights", weights)
        main.main(command)
        return np.loadtxt(tmp_path / "toy" / "ensemble" / "0_pred.txt")

    for tiny_or_large in ("1e-60,1e-60", "1e38,1e39"):
        np.testing.assert_array_equal(top1(tiny_or_large), top1("1,1"))
    for wrong in ("0,0", "1e308,1e308"):
        with pytest.raises(UserError, match="--weights: their sum"):
            top1(wrong)


def test_members_have_one_split_and_one_list_of_classes_and_other_data_is_said(trained, toy, tmp_path, capsys):
    content = torch.load(trained / "0_best.pth", weights_only=True)

    def together(**other):
        for i, more in enumerate(({}, other)):
            torch.save(content | more, tmp_path / f"{i}.pth")
        members = [str(tmp_path / f"{i}.pth") for i in range(2)]
        main.main(flags(toy, tmp_path, "--train", "0", "--ensemble", *members))
        return capsys.readouterr().err

    assert "note" not in together()
    with pytest.raises(UserError, match="0.pth of split none and .*1.pth of split 2 have other test clips"):
        together(about=content["about"] | {"split": "2"})
    with pytest.raises(UserError, match="have other classes"):
        together(class_names=list("abdc"))
    err = together(about=content["about"] | {"data_sha256": "0"})
    assert "different h5 files" in err and "1.pth was trained on another h5" in err
    content["class_names"] = list("abdc")
    assert "has other classes: its 2 is d, the h5's c" in together()


def test_scores_are_added():
    logits = [torch.tensor([[0.0, 0.0], [3.0, 0.0]]), torch.tensor([[np.log(3.0), 0.0], [0.0, 4.0]])]
    scores = add_scores(logits, [1.0, 0.5])
    torch.testing.assert_close(scores[0], torch.tensor([0.5 + 0.375, 0.5 + 0.125]).to(scores) / 1.5)
    assert scores.argmax(dim=1).tolist() == [0, 0]  # the surer one would win with the same weights
    assert add_scores(logits, [1.0, 1.0]).argmax(dim=1).tolist() == [0, 1]


@pytest.mark.device
def test_a_network_twice_is_the_network(trained, toy, tmp_path, capsys):
    path = str(trained / "0_best.pth")
    main.main(flags(toy, tmp_path, "--train", "0", "--ensemble", path, path, "--weights", "1,0.25"))
    *members, last = capsys.readouterr().out.splitlines()[1:]
    assert members[0] == members[1]
    main.main(["--dataset", str(toy), "--results", str(trained.parents[1]), "--train", "0", "--device", DEVICE])
    top1 = capsys.readouterr().out.splitlines()[-1].split("top-1 ")[1].split("%")[0]
    assert f"ensemble of 2, {2 * sum(p.numel() for p in SGN(4, 5).parameters()):,} parameters: top-1 {top1}%" in last
    scores = np.loadtxt(tmp_path / "toy" / "ensemble" / "0_pred.txt")
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-4)


def test_an_ensemble_refuses_what_does_not_fit(trained, toy, tmp_path):
    path = trained / "0_best.pth"
    for words, why in (
        (["--weights", "1,2"], "--weights: 2 numbers for 1 checkpoints"),
        (["--seeds", "2"], "without --seeds"),
    ):
        with pytest.raises(UserError, match=why):
            main.main(flags(toy, tmp_path, "--train", "0", "--ensemble", str(path), *words))
    other = write_toy(tmp_path / "toy.h5", joints=6)
    with pytest.raises(UserError, match="made for 5 joints"):
        main.main(flags(other, tmp_path, "--train", "0", "--ensemble", str(path)))
