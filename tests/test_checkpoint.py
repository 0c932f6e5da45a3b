"""Checkpoint files: ours, the release's, those of others, damaged ones, and ones made to do harm."""

import zipfile

import numpy as np
import pytest
import torch

from clips.skeletons import SKELETONS, read_skeleton, unknown_skeleton
from conftest import CLASSES, JOINTS, run
from engine.checkpoint import load_checkpoint
from engine.config import RECIPES
from model import SGN
from safe.torch_files import save_torch_file
from util import UserError


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return SGN().state_dict()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "0_best.pth"


def assert_refused(path, why):
    with pytest.raises(UserError, match=f"^{path}: .*{why}.*$"):  # of one line
        load_checkpoint(path)


def test_a_run_s_checkpoint_says_how_it_was_trained(trained):
    ours = load_checkpoint(trained / "0_best.pth")
    assert (ours.net.num_classes, ours.net.num_joint, ours.net.seg, ours.net.training) == (CLASSES, JOINTS, 8, False)
    assert (ours.class_names, ours.seed, ours.recipe, ours.split) == (tuple("abcd"), 1, RECIPES["paper"], None)
    assert ours.selected == "best on the test clips, one sample each" and ours.about["dataset"] == "toy"
    with pytest.raises(UserError, match="made for 5 joints"):
        ours.check_fits(25, 60)
    assert_refused(trained / "0_state.pth", "state of a run")


def test_checkpoints_as_others_save_them(state, path):
    for holder, prefix, more in (
        ("state_dict", "", {"best": np.float64(88.1), "epoch": 3, "optimizer": {"state": {}}}),  # the release
        (None, "", {}),
        (None, "module.", {}),  # DataParallel
        ("model_state_dict", "module._orig_mod.", {"epoch": 3}),  # torch.compile
        ("model", "", {"optimizer": {"state": {}}}),
        ("net", "module.", {}),
        ("state_dict", "model.", {"hyper_parameters": {"lr": 0.1}}),  # Lightning
    ):
        weights = {prefix + name: value for name, value in state.items()}
        torch.save({holder: weights, **more} if holder else weights, path)
        theirs = load_checkpoint(path)
        assert theirs.net.fc.weight.equal(state["fc.weight"]) and theirs.selected == "selected by its authors"
        assert theirs.class_names[8] == "standing up (from sitting position)"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_floating_types_are_cast(path, dtype):
    state = SGN().to(dtype).state_dict()
    torch.save({"state_dict": state}, path)
    weight = load_checkpoint(path).net.fc.weight
    assert weight.dtype == torch.float32 and weight.to(dtype).equal(state["fc.weight"])


def test_attributes_of_a_state_dict_are_ignored(state, path):
    hostile = SGN().state_dict()
    hostile.update(state)
    hostile._metadata = {"": {"version": "x"}, "gcn1.bn": 7}  # load_state_dict would trust it
    torch.save({"state_dict": hostile}, path)
    assert load_checkpoint(path).net.fc.weight.equal(state["fc.weight"])


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
    "seed": ("abc", 2**70),
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
        (lambda _: {"best": HostileScalar()}, "cannot be read safely"),
        (lambda _: [1, 2], ""),
        (lambda _: torch.zeros(3), ""),
        (lambda _: {"weights": {"fc.weight": torch.zeros(3)}, "epoch": 3}, "among its keys: weights, epoch"),
        (lambda _: {"model": {"conv.weight": torch.zeros(3)}}, "among its keys: conv.weight"),
        (lambda _: SGN(60, 25, seg=30).state_dict(), "30 segments"),  # which the release pools to 20
        (lambda w: {name: w[name] for name in w if name != "gcn2.w.cnn.weight"}, "gcn2.w.cnn.weight"),
        (lambda w: w | {"another": torch.zeros(3)}, "another"),
        (lambda w: w | {3: torch.zeros(3)}, ""),
        (lambda w: w | {"fc.bias": w["fc.bias"] * float("nan")}, "fc.bias is not finite"),
        (lambda w: w | {"fc.weight": torch.full((60, 512), 1e300, dtype=torch.float64)}, "fc.weight is not finite"),
        (lambda w: w | {"gcn1.bn.running_var": -w["gcn1.bn.running_var"]}, "gcn1.bn.running_var is .*negative"),
        (lambda w: w | {"fc.weight": torch.zeros(0, 512)}, ""),
        # Of one dimension, and as many classes would take 8 GB
        (lambda w: w | {"fc.weight": torch.zeros(4_000_000)}, "fc.weight"),
        (lambda w: w | {"fc.weight": torch.zeros(1, 1).expand(10**10, 512)}, ""),
        (lambda w: w | {"tem_embed.cnn.0.cnn.weight": torch.zeros(1).expand(64, 10**5, 1, 1)}, ""),
        *[(lambda w, odd=odd: w | {"fc.bias": odd(w["fc.bias"])}, "") for odd in ODD],
        *[(lambda w, more={key: v}: {"state_dict": w, **more}, "") for key in META for v in META[key]],
    ],
)
def test_what_is_no_checkpoint_is_one_line(state, path, content, why):
    torch.save(content(dict(state)), path)
    assert_refused(path, why)


def test_damaged_files_are_refused(state, path, tmp_path):
    torch.save({"state_dict": state}, path)
    whole = path.read_bytes()
    for content in (b"", whole[:1000], whole[:65536], whole[:-1], b"words"):
        path.write_bytes(content)
        assert_refused(path, "cannot be read safely")
    assert_refused(tmp_path / "none.pth", "no such checkpoint")
    # A small file that unpacks to a large one
    torch.save({"state_dict": {"fc.weight": torch.zeros(10**6)}}, path)
    packed = tmp_path / "packed.pth"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert_refused(packed, "its parts are larger than the file")


def test_a_checkpoint_is_tested_as_it_was_trained(toy, trained, tmp_path):
    content = torch.load(trained / "0_best.pth", weights_only=True)

    def of(classes=CLASSES, **how):
        return {"state_dict": SGN(classes, JOINTS, 8, **how).state_dict()}

    for change, more, why in (
        ({"recipe": "plus,noise=0.5"}, (), "trained with --recipe plus,noise=0.5"),
        (of(ablate=["one-gcn"]) | {"ablate": ["one-gcn"]}, (), "trained with --ablate one-gcn"),
        (of(variant="acceleration") | {"variant": "acceleration"}, (), "trained with --variant acceleration"),
        (of(stream=()) | {"stream": "bone"}, (), "trained with --stream bone"),
        (of(6), (), "made for 6 classes"),
        ({}, ("--seg", "30"), r"--seg 30: .*0_best.pth was trained with 8"),
    ):
        save_torch_file(content | change, tmp_path / "toy" / "SGN" / "0_best.pth")
        with pytest.raises(UserError, match=why):
            run(toy, tmp_path, "--train", "0", *more)


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
