"""The network against the golden numbers of the release, and its properties."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from checkpoint import load_checkpoint
from folded import Folded
from model import SGN, amax

GOLDEN = Path(__file__).parent / "fixtures" / "sgn_ntu60_batch8.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


@pytest.fixture
def net(golden):
    net = SGN()
    net.load_state_dict(state_of(golden), strict=True)
    return net


def state_of(golden):
    return {name.removeprefix("state/"): value for name, value in golden.items() if name.startswith("state/")}


def no_dropout(net):
    for module in net.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0


def test_state_dict_has_the_names_shapes_and_order_of_the_release(golden):
    ours, theirs = SGN().state_dict(), state_of(golden)
    assert list(ours) == list(theirs)
    assert all(ours[name].shape == theirs[name].shape and ours[name].dtype == theirs[name].dtype for name in ours)


@pytest.mark.parametrize("classes, parameters", [(60, 691_048), (120, 721_828)])
def test_number_of_parameters(classes, parameters):
    assert sum(p.numel() for p in SGN(classes).parameters()) == parameters


def test_evaluation_logits_are_golden(net, golden):
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(net(golden["x"]), golden["logits_eval"], rtol=0, atol=1e-5)
        torch.testing.assert_close(net.double()(golden["x"].double()), golden["logits_eval64"], rtol=0, atol=1e-9)


def test_evaluation_logits_with_120_classes_are_golden():
    with np.load(GOLDEN.with_name("sgn_ntu120_batch2.npz"), allow_pickle=False) as file:
        golden = {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
    net = SGN(120)
    net.load_state_dict(state_of(golden), strict=True)
    for form in (net.eval(), Folded(net)):
        torch.testing.assert_close(form(golden["x"]), golden["logits_eval"], rtol=0, atol=1e-5)
    logits = net.double()(golden["x"].double())
    torch.testing.assert_close(logits, golden["logits_eval64"], rtol=0, atol=1e-9)


def test_three_training_steps_are_golden(net, golden):
    net.double().train()
    no_dropout(net)
    x, y = golden["x"].double(), golden["y"]
    optimizer = train.adam(net, lr=0.001, weight_decay=0.0001)
    for step in range(3):
        logits = net(x)
        loss = train.criterion(logits, y)
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


def test_a_permuted_batch_gives_permuted_logits_and_any_batch_size_runs(net, golden):
    net.eval()
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    with torch.no_grad():
        logits = net(golden["x"])
        torch.testing.assert_close(net(golden["x"][order]), logits[order], rtol=0, atol=1e-5)
        torch.testing.assert_close(net(golden["x"][:1]), logits[:1], rtol=0, atol=1e-5)
        assert net(golden["x"][:0]).shape == (0, 60)


def test_the_folded_form_gives_the_same_logits(net, golden):
    folded = Folded(net)
    torch.testing.assert_close(folded(golden["x"]), golden["logits_eval"], rtol=0, atol=1e-5)
    torch.testing.assert_close(folded(golden["x"][:1]), golden["logits_eval"][:1], rtol=0, atol=1e-5)
    torch.testing.assert_close(folded(golden["x"].repeat(3, 1, 1)[:19])[8:16], golden["logits_eval"], rtol=0, atol=1e-5)
    x = golden["x"].double()
    torch.testing.assert_close(Folded(net.double())(x), golden["logits_eval64"], rtol=0, atol=1e-9)
    assert folded(golden["x"][:0]).shape == (0, 60)
    other = SGN(num_classes=7, num_joint=17, seg=9).eval()
    x = torch.randn(5, 9, 51)
    torch.testing.assert_close(Folded(other)(x), other(x), rtol=1e-4, atol=1e-5)


def test_other_joints_and_segments_run():
    net = SGN(num_classes=7, num_joint=17, seg=9)
    assert net(torch.randn(3, 9, 51)).shape == (3, 7)
    with pytest.raises(ValueError, match=r"\(batch, 9, 51\), not \(3, 9, 75\)"):
        net(torch.randn(3, 9, 75))


def test_initial_values():
    torch.manual_seed(0)
    net = SGN()
    assert all((gcn.w.cnn.weight == 0).all() for gcn in (net.gcn1, net.gcn2, net.gcn3))
    # sqrt(2 / (kernel * out channels)); the release counts the kernel's width
    assert net.gcn3.w1.cnn.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    assert net.cnn.cnn1.weight.std().item() == pytest.approx((2 / (3 * 256)) ** 0.5, rel=0.02)


def test_dropout_drops_whole_channels(net):
    net.train()
    dropped = net.cnn.dropout(torch.ones(50, 256, 20))
    assert ((dropped == 0).all(dim=2) | (dropped == 1.25).all(dim=2)).all()
    assert 0.15 < (dropped == 0).float().mean() < 0.25


class Runs:
    """Unpickled, it would run code."""

    def __reduce__(self):
        return print, ("run",)


class HostileScalar:
    """A NumPy scalar that says that its eight bytes are the address of an object."""

    def __reduce__(self):
        dtype = np.dtype([("a", "O")])
        return np._core.multiarray.scalar, (dtype, b"12345678")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_floating_types_are_cast(golden, tmp_path, dtype):
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state_of(golden).items()}
    torch.save({"state_dict": state}, tmp_path / "0_best.pth")
    net, _ = load_checkpoint(tmp_path / "0_best.pth")
    assert net.fc.weight.dtype == torch.float32
    torch.testing.assert_close(net.fc.weight.to(dtype), state["fc.weight"], rtol=0, atol=0)
    state["fc.weight"] = torch.full((60, 512), 1e300, dtype=torch.float64)
    torch.save({"state_dict": state}, tmp_path / "0_best.pth")
    with pytest.raises(ValueError, match="fc.weight holds values that are not finite"):
        load_checkpoint(tmp_path / "0_best.pth")


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(golden, tmp_path):
    path = tmp_path / "0_best.pth"
    torch.save({"state_dict": {"fc.weight": torch.zeros(10**6)}}, path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as small:
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    with pytest.raises(ValueError, match="smaller than what it says is in it"):
        load_checkpoint(tmp_path / "small.pth")


def test_checkpoints_of_the_release_load(golden, tmp_path):
    path = tmp_path / "0_best.pth"
    state = {
        "epoch": 3,
        "state_dict": state_of(golden),
        "best": np.float64(88.1),
        "monitor": "val_acc",
        "optimizer": {},
    }
    torch.save(state, path)
    net, checkpoint = load_checkpoint(path)
    assert checkpoint["best"] == 88.1
    torch.testing.assert_close(net.eval()(golden["x"]), golden["logits_eval"], rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, on what it is about to give up
def test_bad_checkpoints_are_refused(golden, tmp_path, capfd):
    path = tmp_path / "bad.pth"

    def refused(content, why):
        torch.save(content, path)
        with pytest.raises(ValueError, match=why):
            load_checkpoint(path)

    refused({"state_dict": Runs()}, r"not a checkpoint that can be read safely \(it would run print\)$")
    assert "run" not in capfd.readouterr().out.split()
    refused({"state_dict": {"conv.weight": torch.zeros(3)}}, "another network")
    refused([1, 2], "another network")
    refused({"state_dict": {"fc.weight": torch.zeros(1, 1).expand(10**10, 512)}}, "another network")
    refused({"state_dict": state_of(golden) | {"fc.weight": torch.zeros(1, 1).expand(10**10, 512)}}, "another network")
    state = state_of(golden)
    refused(
        {"state_dict": {n: v for n, v in state.items() if n != "gcn2.w.cnn.weight"}}, "gcn2.w.cnn.weight is missing"
    )
    refused({"state_dict": state | {"fc.bias": state["fc.bias"] * float("nan")}}, "fc.bias holds values that are not")
    refused({"state_dict": state | {"gcn1.bn.running_var": -state["gcn1.bn.running_var"]}}, "a variance below 0")
    for key, value in {
        "another": torch.zeros(3),
        3: torch.zeros(3),
        "fc.bias": state["fc.bias"].to_sparse(),
        "gcn1.w1.cnn.bias": state["gcn1.w1.cnn.bias"].to("meta"),
        "gcn2.w1.cnn.bias": torch.quantize_per_tensor(state["gcn2.w1.cnn.bias"], 0.1, 0, torch.qint8),
        "gcn3.w1.cnn.bias": state["gcn3.w1.cnn.bias"].to(torch.complex64),
        "cnn.bn1.bias": state["cnn.bn1.bias"].tolist(),
        "fc.weight": torch.zeros(0, 512),
        "tem_embed.cnn.0.cnn.weight": torch.zeros(10**6).as_strided((64, 10**5, 1, 1), (1, 1, 1, 1)),
    }.items():
        refused({"state_dict": state | {key: value}}, "a checkpoint of another network")
    refused({"best": HostileScalar()}, "not a checkpoint that can be read safely")
    torch.save({"state_dict": state}, path)
    whole = path.read_bytes()
    for size in (0, 1000, 5000, 65536, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="not a checkpoint"):
            load_checkpoint(path)
    path.write_text("words")
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("dim, size", [(1, 25), (-1, 20), (1, 300)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_largest_and_their_gradient_are_pytorch_s(dim, size, dtype):
    x = torch.randn(4, size, size, generator=torch.Generator().manual_seed(0)).relu().to(dtype)
    x[0], x[1, :, :5] = 1, x[1, :1, :1]  # all share it; and ties of some
    gradient = torch.randn(x.amax(dim).shape).to(dtype)

    def both(largest):
        y = x.clone().requires_grad_()
        largest(y).backward(gradient)
        return largest(y), y.grad

    of_func = torch.func.grad(lambda y: (amax(y, dim) * gradient).sum())(x)
    torch.testing.assert_close(of_func, both(lambda y: y.amax(dim))[1])
    for ours, theirs in zip(both(lambda y: amax(y, dim)), both(lambda y: y.amax(dim)), strict=True):
        assert torch.equal(ours, theirs)
