"""Checkpoint files: ours, the release's, those of others, damaged ones, and ones made to do harm."""

import zipfile

import numpy as np
import pytest
import torch

from clips.skeletons import SKELETONS, read_skeleton, unknown_skeleton
from conftest import CLASSES, JOINTS, run
from engine import checkpoint
from engine.checkpoint import find_checkpoint, load_checkpoint
from engine.config import RECIPES
from model import SGN
from safe.torch_files import copy_tensors, save_torch_file
from util import UserError


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return SGN().state_dict()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "0_best.pth"


def assert_refused(path, why):
    with pytest.raises(UserError, match=why) as raised:
        load_checkpoint(path)
    assert str(raised.value).startswith(f"{path}: ") and "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_a_run_s_checkpoint_says_how_it_was_trained(trained):
    ours = load_checkpoint(trained / "0_best.pth")
    assert (ours.net.num_classes, ours.net.num_joint, ours.net.seg, ours.net.training) == (CLASSES, JOINTS, 8, False)
    assert (ours.class_names, ours.seed, ours.recipe, ours.split) == (tuple("abcd"), 1, RECIPES["paper"], None)
    assert ours.selected == "best on the test clips, one sample each" and ours.about["dataset"] == "toy"
    with pytest.raises(UserError, match="made for 5 joints and 4 classes, the data has 25 and 60"):
        ours.check_fits(25, 60)
    assert_refused(trained / "0_state.pth", "state of a run")


def wrapped(state, prefix):
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "content",
    [
        lambda state: {"state_dict": state, "best": np.float64(88.1), "epoch": 3, "optimizer": {"state": {}}},
        lambda state: state,
        lambda state: wrapped(state, "module."),
        lambda state: {"model_state_dict": wrapped(state, "module._orig_mod."), "epoch": 3},
        lambda state: {"model": state, "optimizer": {"state": {}}},
        lambda state: {"net": wrapped(state, "module.")},
        lambda state: {"state_dict": wrapped(state, "model."), "hyper_parameters": {"lr": 0.1}},
    ],
    ids=["release", "bare", "DataParallel", "compiled", "model", "net", "Lightning"],
)
def test_checkpoints_as_others_save_them(state, path, content):
    torch.save(content(state), path)
    theirs = load_checkpoint(path)
    assert theirs.net.fc.weight.equal(state["fc.weight"]) and theirs.selected == "selected by its authors"
    assert theirs.class_names[8] == "standing up (from sitting position)"


def test_the_run_s_checkpoint_comes_before_the_shipped_one(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "ROOT", tmp_path)
    shipped, own = (tmp_path / folder / "NUCLA" / "SGN" / "0_best.pth" for folder in ("pretrained", "results"))
    assert find_checkpoint(tmp_path / "results", "NUCLA", "SGN", 0) == own  # the place to name in an error
    for path in (shipped, own):
        save_torch_file({}, path)
        assert find_checkpoint(tmp_path / "results", "NUCLA", "SGN", 0) == path


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_floating_types_are_cast(state, path, dtype):
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    torch.save({"state_dict": state}, path)
    weight = load_checkpoint(path).net.fc.weight
    assert weight.dtype == torch.float32 and weight.to(dtype).equal(state["fc.weight"])


def test_attributes_of_a_state_dict_are_ignored(state, path):
    hostile = SGN().state_dict()
    hostile.update(state)
    hostile._metadata = {"": {"version": "x"}, "gcn1.bn": 7}  # load_state_dict would trust it
    torch.save({"state_dict": hostile}, path)
    assert load_checkpoint(path).net.fc.weight.equal(state["fc.weight"])


class Runs:
    """Unpickled, it would run code."""

    def __reduce__(self):
        return print, ("it ran",)


class HostileScalar:
    """A NumPy scalar that says that its eight bytes are the address of an object."""

    def __reduce__(self):
        return np._core.multiarray.scalar, (np.dtype([("a", "O")]), b"12345678")


ODD = [  # conversions of the last layer's bias
    torch.Tensor.to_sparse,
    torch.Tensor.tolist,
    lambda x: x.to("meta"),
    lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
    lambda x: x.to(torch.complex64),
]
META = {
    "seed": ("abc", 2**70, None),
    "select": ([1],),
    "epoch": ("x\ny",),
    "about": (5, {"dataset": ["NTU"]}),
    "class_names": ([1, 2],),
    "recipe": (5, "minus", "paper," + "y" * 10**5),
    "ablate": ("one-gcn", [["one-gcn"]], ["gcn"], ["one-gcn", "two-gcn"], ["frame-index"]),
    "variant": (5, "wide", "acceleration"),
    "skeleton": (
        [1],
        {"skeleton": ["kinect_v2"]},
        {"parents": [[0]] * 25},
        {"joint_names": [[1]] * 25, "parents": [0] * 25},
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, on what it is about to give up
@pytest.mark.parametrize(
    "content, why",
    [
        (lambda _: SGN(), "it would run model.SGN"),  # the whole module
        (lambda _: {"state_dict": Runs()}, "it would run .*print"),
        (lambda _: {"best": HostileScalar()}, "cannot be read safely"),
        (lambda _: [1, 2], ""),
        (lambda _: torch.zeros(3), ""),
        (lambda _: {"weights": {"fc.weight": torch.zeros(3)}, "epoch": 3}, "among its keys: weights, epoch"),
        (lambda _: {"model": {"conv.weight": torch.zeros(3)}}, "among its keys: conv.weight"),
        (lambda _: SGN(60, 25, seg=30).state_dict(), "30 segments"),  # which the release pools to 20
        (lambda w: {name: w[name] for name in w if name != "gcn2.w.cnn.weight"}, "gcn2.w.cnn.weight is missing"),
        (lambda w: w | {"another": torch.zeros(3)}, "another is"),
        (lambda w: w | {3: torch.zeros(3)}, ""),
        (lambda w: w | {"fc.bias": w["fc.bias"] * float("nan")}, "fc.bias is not finite"),
        (lambda w: w | {"fc.weight": torch.full((60, 512), 1e300, dtype=torch.float64)}, "fc.weight is not finite"),
        (lambda w: w | {"gcn1.bn.running_var": -w["gcn1.bn.running_var"]}, "gcn1.bn.running_var is .*negative"),
        (lambda w: w | {"fc.weight": torch.zeros(0, 512)}, ""),
        # Of one dimension, and as many classes would take 8 GB
        (lambda w: w | {"fc.weight": torch.zeros(4_000_000)}, r"fc.bias is \(60,\), in SGN \(4000000,\)"),
        (lambda w: w | {"fc.weight": torch.zeros(1, 1).expand(10**10, 512)}, ""),
        (lambda w: w | {"tem_embed.cnn.0.cnn.weight": torch.zeros(1).expand(64, 10**5, 1, 1)}, ""),
        *[(lambda w, odd=odd: w | {"fc.bias": odd(w["fc.bias"])}, "") for odd in ODD],
        *[(lambda w, more={key: v}: {"state_dict": w, **more}, "") for key in META for v in META[key]],
    ],
)
def test_what_is_no_checkpoint_is_one_line(state, path, content, why, capfd):
    torch.save(content(dict(state)), path)
    assert_refused(path, why)
    assert "it ran" not in capfd.readouterr().out


def test_damaged_files_are_refused(state, path, tmp_path):
    torch.save({"state_dict": state}, path)
    whole = path.read_bytes()
    for size in (0, 1000, 65536, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert_refused(path, "cannot be read safely")
    path.write_text("words")
    assert_refused(path, "not written by torch.save")
    assert_refused(tmp_path / "none.pth", "no such checkpoint")
    # A small file that unpacks to a large one
    torch.save({"state_dict": {"fc.weight": torch.zeros(10**6)}}, path)
    packed = tmp_path / "packed.pth"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert_refused(packed, "its parts are larger than the file")


@pytest.mark.parametrize(
    "change, more, why",
    [
        ({"recipe": "plus"}, (), "trained with --recipe plus"),
        ({"state_dict": SGN(6, JOINTS).state_dict()}, (), "made for 5 joints and 6 classes, the data has 5 and 4"),
        ({}, ("--seg", "30"), r"--seg 30: .*0_best.pth was trained with 8"),
    ],
)
def test_a_checkpoint_is_tested_as_it_was_trained(toy, trained, tmp_path, change, more, why):
    content = torch.load(trained / "0_best.pth", weights_only=True)
    save_torch_file(content | change, tmp_path / "toy" / "SGN" / "0_best.pth")
    with pytest.raises(UserError, match=why):
        run(toy, tmp_path, "--train", "0", *more)


def test_tensors_are_copied_only_into_the_same_structure():
    target = {"a": torch.zeros(2, 3), "b": {"c": torch.zeros(())}}
    copy_tensors(target, {"a": torch.ones(1).expand(2, 3), "b": {"c": torch.tensor(2.0)}}, "net")
    assert target["a"].sum() == 6 and target["b"]["c"] == 2
    for source, why in (
        ({"a": torch.ones(2, 3)}, "net has other entries"),
        ({"a": torch.ones(2, 3), "b": {"c": 1}}, "net.b.c is no tensor"),
        ({"a": torch.ones(3, 2), "b": target["b"]}, r"net.a is \(3, 2\) torch.float32, not \(2, 3\)"),
    ):
        with pytest.raises(ValueError, match=why):
            copy_tensors(target, source, "net")


def test_a_checkpoint_refuses_data_of_another_skeleton(state, path):
    v2, openpose = SKELETONS["kinect_v2"], SKELETONS["openpose25"]
    same = read_skeleton({"parents": list(v2.parents), "flip_pairs": list(v2.pairs)}, 25)
    own = {"parents": [0] * 25, "flip_pairs": [1, 0, *range(2, 25)]}
    for kept, fit, others in (
        (v2.to_attributes(), (v2, unknown_skeleton(25), same), (openpose, read_skeleton(own, 25))),
        (own, (), [read_skeleton(own | {"flip_pairs": list(range(25))}, 25)]),
        ({}, [openpose], ()),  # written from data of an unknown skeleton
    ):
        torch.save({"state_dict": state, "class_names": [], "skeleton": kept}, path)
        for skeleton in fit:
            load_checkpoint(path).check_fits(25, 60, skeleton)
        for skeleton in others:
            with pytest.raises(UserError, match="made for the skeleton"):
                load_checkpoint(path).check_fits(25, 60, skeleton)
