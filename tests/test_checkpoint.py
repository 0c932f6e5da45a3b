"""Checkpoint files: ours, the release's, those of others, damaged ones, and ones made to do harm."""

import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clips.skeletons import SKELETONS, read_skeleton, unknown_skeleton
from conftest import CLASSES, JOINTS, run
from engine.checkpoint import load_checkpoint
from engine.config import PAPER
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
    assert (ours.class_names, ours.seed, ours.recipe, ours.split) == (tuple("abcd"), 1, PAPER, None)
    assert ours.selected == "best on the test clips, one sample each" and ours.about["dataset"] == "toy"
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
        assert theirs.class_names[8] == "standing up (from sitting position)" and theirs.skeleton.name == "kinect_v2"
    own = SGN().state_dict()
    own._metadata = {"": {"version": "x"}, "gcn1.bn": 7}  # load_state_dict would trust it
    torch.save({"state_dict": own}, path)
    assert load_checkpoint(path).net.fc.weight.equal(own["fc.weight"])
    for dtype in (torch.float16, torch.bfloat16, torch.float64):  # are cast
        torch.save({name: value.to(dtype) for name, value in state.items()}, path)
        weight = load_checkpoint(path).net.fc.weight
        assert weight.dtype == torch.float32 and weight.to(dtype).equal(state["fc.weight"].to(dtype))


class HostileScalar:
    """A NumPy scalar that says that its eight bytes are the address of an object."""

    def __reduce__(self):
        return np._core.multiarray.scalar, (np.dtype([("a", "O")]), b"12345678")


WRONG = [  # content, made of the weights; and a word of the line that refuses it
    (lambda _: SGN(), "it would run model.SGN"),  # the whole module
    (lambda _: {"best": HostileScalar()}, "cannot be read safely"),
    (lambda _: {"weights": {"fc.weight": torch.zeros(3)}, "epoch": 3}, "among its keys: weights, epoch"),
    (lambda _: {"model": {"conv.weight": torch.zeros(3)}}, "among its keys: conv.weight"),
    (lambda w: {name: w[name] for name in ("fc.weight", "fc.bias")}, "among its keys: fc.weight, fc.bias"),
    (lambda _: SGN(60, 25, seg=30).state_dict(), "30 segments"),  # which the release pools to 20
    (lambda w: {name: w[name] for name in w if name != "gcn2.w.cnn.weight"}, "gcn2.w.cnn.weight"),
    (lambda w: w | {"another": torch.zeros(3)}, "another"),
    (lambda w: w | {"fc.bias": w["fc.bias"] * float("nan")}, "fc.bias is not finite"),
    (lambda w: w | {"gcn1.bn.running_var": -w["gcn1.bn.running_var"]}, "gcn1.bn.running_var is .*negative"),
    (lambda w: w | {"fc.weight": torch.zeros(0, 512)}, "0 classes"),
    (lambda w: w | {"fc.weight": torch.zeros(4_000_000)}, "4,000,000 classes"),  # they would take 8 GB
    (lambda w: w | {"tem_embed.cnn.0.cnn.weight": torch.zeros(1).expand(64, 10**5, 1, 1)}, "larger than the file"),
]
META = {"seed": 2**70, "class_names": [1, 2], "recipe": "minus", "variant": "acceleration", "stream": "limb"}
META |= {"epoch": "x\ny", "about": {"dataset": ["NTU"]}, "skeleton": {"parents": [[0]] * 25}}  # besides the weights
ABLATE = [{"ablate": names} for names in (["gcn"], ["one-gcn", "two-gcn"], ["frame-index"])]
ONE_WRONG = [*ABLATE, *({key: value} for key, value in META.items())]
WRONG += [(lambda w, more=more: {"state_dict": w, **more}, "") for more in ONE_WRONG]


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, on what it is about to give up
def test_what_is_no_checkpoint_is_one_line(state, path):
    for content, why in WRONG:
        torch.save(content(dict(state)), path)
        assert_refused(path, why)


def test_a_file_that_is_missing_or_unpacks_to_more_than_its_size(path):
    assert_refused(path, "no such checkpoint")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", bytes(10**6))
    assert_refused(path, "its parts are larger than the file")


def test_a_checkpoint_is_tested_as_it_was_trained(toy, trained, tmp_path):
    content = torch.load(trained / "0_best.pth", weights_only=True)

    def of(classes=CLASSES, **how):
        return {"state_dict": SGN(classes, JOINTS, 8, **how).state_dict()}

    for change, more, why in (
        ({"recipe": "plus,noise=0.5"}, (), "--recipe plus,noise=0.5"),
        (of(ablate=["one-gcn"]) | {"ablate": ["one-gcn"]}, (), "--ablate one-gcn"),
        (of(stream=()) | {"stream": "bone"}, (), "--stream bone"),
        (of(6), (), "6 classes"),
        ({}, ("--seg", "30"), "--seg 8"),
    ):
        save_torch_file(content | change, tmp_path / "toy" / "SGN" / "0_best.pth")
        with pytest.raises(UserError, match=rf"0_best.pth: .*{why}"):
            run(toy, tmp_path, "--train", "0", *more)


def test_a_checkpoint_refuses_data_of_another_skeleton_and_size(state, path):
    v2, openpose, unknown = SKELETONS["kinect_v2"], SKELETONS["openpose25"], unknown_skeleton(25)
    same = read_skeleton({"parents": list(v2.parents), "flip_pairs": list(v2.pairs)}, 25)
    mirrored = read_skeleton({"parents": list(v2.parents), "flip_pairs": list(range(25))}, 25)
    data = {"skeleton": v2, "joints": 25, "class_names": range(60)}
    for kept, fit, others in ((v2, (v2, unknown, same), (openpose, mirrored)), (unknown, (openpose,), ())):
        torch.save({"state_dict": state, "class_names": [], "skeleton": kept.to_attributes()}, path)
        checkpoint = load_checkpoint(path)
        for skeleton in fit:
            checkpoint.check_fits(SimpleNamespace(**data | {"skeleton": skeleton}))
        for wrong in (*({"skeleton": skeleton} for skeleton in others), {"joints": 24}, {"class_names": range(61)}):
            with pytest.raises(UserError, match="skeleton|joints|classes"):
                checkpoint.check_fits(SimpleNamespace(**data | wrong))
