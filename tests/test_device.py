"""The second device finds what would be an error, or a wait, on a GPU; and a run on it has the bits of the CPU."""

import pytest
import torch

import main
import train
from conftest import BONES, flags, run, same, weights, write_toy
from engine.logs import read_log
from second_device import DEVICE, second_device

ONE, THERE = torch.ones(3), {"device": DEVICE}


@pytest.mark.parametrize(
    "mix",
    [
        lambda: torch.ones(3, **THERE) + ONE,
        lambda: torch.ones(3, **THERE)[torch.tensor([0])],
        lambda: torch.nn.Linear(3, 2).to(DEVICE)(ONE),
        lambda: torch.rand(3, generator=torch.Generator(), **THERE),
        lambda: torch.rand(3, generator=torch.Generator(DEVICE)),
        lambda: torch.ones(3, **THERE).numpy(),
    ],
)
def test_a_mix_of_devices_is_an_error(mix):
    with second_device(), pytest.raises((RuntimeError, TypeError)):
        mix()


@pytest.mark.parametrize(
    "operation, waits",
    [
        (lambda x: x.sum().item(), 1),
        (lambda x: x.cpu(), 1),
        (lambda x: x[x > 0], 1),
        (lambda x: x + torch.tensor([1.0], **THERE), 1),
        (lambda x: torch.where(x > 0, x, 0) + 1, 0),
        (lambda x: x[torch.arange(2, **THERE)] @ torch.rand(3, generator=torch.Generator(DEVICE), **THERE), 0),
    ],
)
def test_waits_are_counted(operation, waits):
    with second_device() as device:
        x = torch.zeros(3, 3, **THERE)
        device.waits.clear()
        operation(x)
        assert device.waits.total() == waits


@pytest.mark.slow
def test_a_run_there_has_the_bits_of_the_cpu_and_its_files_are_read_there(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "EVAL_BATCH", train.CPU_BATCH)
    h5 = write_toy(tmp_path / "toy.h5", **BONES)
    more = "--recipe", "plus,test_samples=2", "--views", "other", "-b", "28"
    here, there = (tmp_path / name / "toy" / "SGN-plus,test_samples=2" for name in ("here", "there"))
    run(h5, tmp_path / "here", *more, epochs=2)
    with second_device():
        command = flags(h5, tmp_path / "there", *more, "--device", DEVICE, epochs=2)
        main.main(command)
        main.main([*command, "--resume"])
    assert same(weights(here), weights(there))
    assert (here / "0_pred.txt").read_bytes() == (there / "0_pred.txt").read_bytes()
    assert read_log(here / "0_log.csv")[1] == read_log(there / "0_log.csv")[1]
    assert all(tensor.is_cpu for tensor in weights(there).values())  # loads where there is no such device
