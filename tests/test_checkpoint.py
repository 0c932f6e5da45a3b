"""Checkpoint files: ours, the release's, damaged ones, and ones made to do harm."""

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
    assert (ours.net.num_classes, ours.net.num_joint, ours.net.seg, ours.net.training) == (CLASSES, JOINTS, 20, False)
    assert ours.class_names == ("a", "b", "c", "d")
    assert (ours.seed, ours.recipe, ours.split) == (1, RECIPES["paper"], None)
    assert ours.selected == "best on the test clips, one sample each"
    assert ours.about["dataset"] == "toy"
    with pytest.raises(UserError, match="made for 5 joints and 4 classes, the data has 25 and 60"):
        ours.check_fits(25, 60)


def test_the_release_s_checkpoints_load(state, path):
    torch.save(
        {
            "epoch": 3,
            "state_dict": state,
            "best": np.float64(88.1),
            "monitor": "val_acc",
            "optimizer": torch.optim.Adam(SGN().parameters()).state_dict(),
        },
        path,
    )
    theirs = load_checkpoint(path)
    assert theirs.net.fc.weight.equal(state["fc.weight"])
    assert (
        theirs.class_names[8] == "standing up (from sitting position)" and theirs.selected == "selected by its authors"
    )


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


@pytest.mark.parametrize(
    "content, why",
    [
        ({"state_dict": Runs()}, r"cannot be read safely \(it would run (builtins\.)?print\)$"),
        ({"best": HostileScalar()}, "cannot be read safely"),
        ([1, 2], "not a checkpoint of SGN"),
        (torch.zeros(3), "not a checkpoint of SGN"),
        ({"state_dict": {"conv.weight": torch.zeros(3)}}, "not a checkpoint of SGN"),
        ({"state_dict": {"fc.weight": torch.zeros(1, 1).expand(10**10, 512)}}, "not a checkpoint of SGN"),
    ],
)
def test_what_is_no_checkpoint_is_refused(path, content, why, capfd):
    torch.save(content, path)
    assert_refused(path, why)
    assert "it ran" not in capfd.readouterr().out


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, on what it is about to give up
@pytest.mark.parametrize(
    "name, change, why",
    [
        ("gcn2.w.cnn.weight", None, "gcn2.w.cnn.weight is missing, in SGN"),
        ("another", lambda _: torch.zeros(3), "another is"),
        (3, lambda _: torch.zeros(3), "not a checkpoint of SGN"),
        ("fc.bias", lambda x: x * float("nan"), "fc.bias is not finite"),
        ("fc.weight", lambda x: torch.full_like(x, 1e300, dtype=torch.float64), "fc.weight is not finite"),
        ("gcn1.bn.running_var", lambda x: -x, "gcn1.bn.running_var is .*negative"),
        ("fc.bias", torch.Tensor.to_sparse, "cannot be read safely"),
        ("fc.bias", lambda x: x.to("meta"), "cannot be read safely"),
        ("fc.bias", lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "cannot be read safely"),
        ("fc.bias", lambda x: x.to(torch.complex64), "not a checkpoint of SGN"),
        ("fc.bias", torch.Tensor.tolist, "not a checkpoint of SGN"),
        ("fc.weight", lambda _: torch.zeros(0, 512), "not a checkpoint of SGN"),
        # Of one dimension, and as many classes would take 8 GB
        ("fc.weight", lambda _: torch.zeros(4_000_000), r"fc.bias is \(60,\), in SGN \(4000000,\)"),
        ("fc.weight", lambda _: torch.zeros(1, 1).expand(10**10, 512), "not a checkpoint of SGN"),
        (
            "tem_embed.cnn.0.cnn.weight",
            lambda _: torch.zeros(10**6).as_strided((64, 10**5, 1, 1), (1, 1, 1, 1)),
            "not a checkpoint of SGN",
        ),
    ],
)
def test_weights_that_are_not_sgn_s_are_refused(state, path, name, change, why):
    weights = dict(state)
    if change:
        weights[name] = change(weights.get(name))
    else:
        del weights[name]
    torch.save({"state_dict": weights}, path)
    assert_refused(path, why)


@pytest.mark.parametrize(
    "key, value",
    [
        *[("seed", value) for value in ("abc", 2**70, None)],
        ("select", [1]),
        ("epoch", "x\ny"),
        *[("about", value) for value in (5, {"dataset": ["NTU"]})],
        ("class_names", [1, 2]),
        *[("recipe", value) for value in (5, "minus", "paper," + "y" * 10**5)],
        *[("ablate", value) for value in ("joint-type", ["x\ny"], ["one-gcn", "two-gcn"])],
    ],
)
def test_metadata_of_other_types_are_refused(state, path, key, value):
    torch.save({"state_dict": state, key: value}, path)
    assert_refused(path, key if key != "ablate" else "not a checkpoint of SGN")


def test_what_the_release_pools_to_20_segments_is_refused(path):
    torch.save({"state_dict": SGN(60, 25, seg=30).state_dict(), "optimizer": {}}, path)
    assert_refused(path, "30 segments")


def test_damaged_files_are_refused(state, path, tmp_path):
    torch.save({"state_dict": state}, path)
    whole = path.read_bytes()
    for size in (0, 1000, 5000, 65536, len(whole) // 2, len(whole) - 1):
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


def test_a_checkpoint_is_tested_as_it_was_trained(toy, trained, tmp_path):
    folder = tmp_path / "toy" / "SGN"
    folder.mkdir(parents=True)
    content = torch.load(trained / "0_best.pth", weights_only=True)
    for change, more, why in (
        ({"recipe": "plus"}, (), "trained with --recipe plus; test it with the same"),
        ({"state_dict": SGN(6, JOINTS).state_dict()}, (), "made for 5 joints and 6 classes, the data has 5 and 4"),
        ({}, ("--seg", "30"), r"--seg 30: .*0_best.pth was trained with 20"),
    ):
        torch.save(content | change, folder / "0_best.pth")
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
    own = {"parents": [0] * 25, "flip_pairs": [1, 0, *range(2, 25)]}
    torch.save({"state_dict": state, "class_names": [], "skeleton": {"skeleton": "kinect_v2"}}, path)
    load_checkpoint(path).check_fits(25, 60, v2)
    load_checkpoint(path).check_fits(25, 60, unknown_skeleton(25))
    same = {"parents": list(v2.parents), "flip_pairs": list(v2.pairs)}
    load_checkpoint(path).check_fits(25, 60, read_skeleton(same, 25))
    for other, name in ((openpose, "openpose25"), (read_skeleton(own, 25), "custom")):
        with pytest.raises(UserError, match=f"made for the skeleton kinect_v2, the data has {name}"):
            load_checkpoint(path).check_fits(25, 60, other)
    torch.save({"state_dict": state, "class_names": [], "skeleton": own}, path)
    with pytest.raises(UserError, match="made for the skeleton custom, the data has another one"):
        load_checkpoint(path).check_fits(25, 60, read_skeleton(own | {"flip_pairs": list(range(25))}, 25))
    torch.save({"state_dict": state, "class_names": [], "skeleton": {}}, path)
    load_checkpoint(path).check_fits(25, 60, openpose)  # written from data of an unknown skeleton
