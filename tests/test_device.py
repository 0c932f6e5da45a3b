"""The program on a second device, without a GPU: no mix-up of devices, no hidden wait, no more kernels than now."""

import inspect
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

import export
import main
import train
from clips.skeletons import KINECT_V2, STREAMS
from conftest import flags, run, same, weights, write_toy
from data import Clips
from engine.checkpoint import load_checkpoint
from engine.config import RECIPES, Config, Recipe, parse_recipe
from engine.logs import read_log
from model import ABLATIONS, SGN
from release import make_clips
from second_device import DEVICE, second_device
from train import Trainer, predict_logits

PLUS = ("--recipe", "plus,test_samples=2", "--views", "other", "-b", "28", "--print-freq", "2")


@pytest.fixture(scope="module")
def h5(tmp_path_factory):
    """Clips whose skeleton is known, so that they are flipped."""
    return write_toy(tmp_path_factory.mktemp("h5") / "toy.h5", joints=20, skeleton="kinect_v1")


def run_on_device(h5, results, *more):
    command = flags(h5, results, *PLUS, *more, epochs=2)
    command[command.index("cpu")] = DEVICE
    with second_device() as device:
        main.main(command)
    return results / "toy" / "SGN-plus,test_samples=2", device


def make_trainer(h5, folder, recipe="plus", **settings):
    clips = Clips.read(h5).to(DEVICE)
    fixed = dict(theta=0.3, seg=20, num_classes=4, batch_size=8)
    config = Config(recipe=parse_recipe(recipe), **fixed | settings)
    return Trainer(config, clips, folder)


# ---- mix-ups


def test_a_run_that_is_stopped_and_resumed_there_has_the_bits_of_the_cpu(h5, tmp_path, monkeypatch):
    run(h5, tmp_path / "cpu", *PLUS, epochs=2)
    cpu, step = tmp_path / "cpu" / "toy" / "SGN-plus,test_samples=2", Trainer.train_step

    def stop(self, *args):
        if self.log:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(Trainer, "train_step", stop)
    with pytest.raises(KeyboardInterrupt, match="1 of 2 epochs are in"):
        run_on_device(h5, tmp_path)
    monkeypatch.undo()
    folder, _ = run_on_device(h5, tmp_path, "--resume")
    assert same(weights(folder), weights(cpu))
    assert (folder / "0_pred.txt").read_bytes() == (cpu / "0_pred.txt").read_bytes()
    assert read_log(folder / "0_log.csv")[1] == read_log(cpu / "0_log.csv")[1]

    assert all(tensor.is_cpu for tensor in weights(folder).values())  # loads where there is no such device
    assert load_checkpoint(folder / "0_best.pth").about["device"] == DEVICE
    (cpu / "0_best.pth").rename(folder / "0_best.pth")
    (folder / "0_pred.txt").unlink()
    run_on_device(h5, tmp_path, "--train", "0")
    assert (folder / "0_pred.txt").read_bytes() == (cpu / "0_pred.txt").read_bytes()


def plant(monkeypatch, owner, name, old, new):
    """Puts a fault into a function, or a class's method: its source with `old` replaced."""
    function = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(function)).replace("super()", f"super({owner.__name__}, self)")
    assert source.count(old) == 1, f"{name} has no {old}"
    places = [module for module in (train,) if getattr(module, name, None) is function] or [owner]
    module = owner if inspect.ismodule(owner) else sys.modules[owner.__module__]
    names = {}
    exec(compile(source.replace(old, new), inspect.getsourcefile(function), "exec"), vars(module), names)
    for place in places:
        monkeypatch.setattr(place, name, names[name])


@pytest.mark.parametrize(
    "owner, name, old, new, said",
    [
        (
            Clips,
            "sample_frames",
            "torch.arange(seg, device=ids.device)",
            "torch.arange(seg)",
            "tensors on cpu and second",
        ),
        (Clips, "sample_frames", "seg, generator=generator", "seg, generator=torch.Generator()", "rand on second: the"),
        (Clips, "flip_pairs", ".to(self.label.device)", "", "index: tensors on cpu and second"),
        (Clips, "to", '"start", ', "", "index: tensors on cpu and second"),
        (Recipe, "augment", "side < 0", "torch.rand(n) < 0.5", "tensors on cpu and second"),
        (Recipe, "augment", ", device=x.device) - 1", ") - 1", "rand on cpu: the generator is of another device"),
        (Trainer, "__init__", ".to(self.device)", "", "tensors on cpu and second"),
        (
            Trainer,
            "__init__",
            "torch.Generator(self.device)",
            "torch.Generator()",
            "the generator is of another device",
        ),
        (Trainer, "train_step", "self.clips.label[batch[mine]]", "torch.arange(8) % 4", "tensors on cpu and second"),
        (SGN, "forward", "x = self.cnn(x)", "x = self.cnn(x + torch.zeros(256))", "add: tensors on cpu and second"),
        (train, "predict_logits", ", device=ids.device", "", "tensors on cpu and second"),
    ],
)
def test_a_planted_mix_up_is_caught(owner, name, old, new, said, h5, tmp_path, monkeypatch):
    plant(monkeypatch, owner, name, old, new)
    with second_device(), pytest.raises(RuntimeError, match=said):
        train_and_test(h5, tmp_path)


def train_and_test(h5, folder, **settings):
    """A training step, and top-1 on the clips."""
    trainer = make_trainer(h5, folder, **settings)
    trainer.train_step(trainer.net, trainer.train_ids[:8])
    logits = train.predict_logits(trainer.net, trainer.clips, trainer.eval_ids, trainer.generator)
    return train.accuracy(logits, trainer.clips.label[trainer.eval_ids])


WITHOUT_FAULT = [{}, {"recipe": "paper"}, {"freeze": True}, {"seg": 30}]
WITHOUT_FAULT += [{"ablate": (name,)} for name in ABLATIONS] + [{"stream": name} for name in STREAMS]


@pytest.mark.parametrize("settings", WITHOUT_FAULT, ids=str)
def test_the_same_without_a_fault_runs(settings, h5, tmp_path):
    with second_device():
        assert 0 <= train_and_test(h5, tmp_path, **settings) <= 100


def test_what_a_device_wrote_is_fine_tuned_there_and_exported(h5, tmp_path):
    short = "--recipe", "paper", "--epochs", "1"
    run_on_device(h5, tmp_path, *short)
    first, second = (str(tmp_path / "toy" / name / "0_best.pth") for name in ("SGN", "SGN-init"))
    run_on_device(h5, tmp_path, *short, "--init", first)
    run_on_device(h5, tmp_path, *short, "--train", "0", "--ensemble", first, second)
    export.main([first, "--out", str(tmp_path / "sgn.pt2"), "--runs", "1"])
    assert (tmp_path / "sgn.pt2").is_file()


def test_an_optimizer_s_state_of_the_cpu_and_numpy_are_caught(h5, tmp_path):
    with second_device():
        trainer = make_trainer(h5, tmp_path)
        trainer.train_step(trainer.net, trainer.train_ids[:8])
        moments = next(iter(trainer.optimizer.state.values()))
        moments["exp_avg"] = moments["exp_avg"].cpu()
        with pytest.raises(RuntimeError, match="cpu"):
            trainer.train_step(trainer.net, trainer.train_ids[:8])
        with pytest.raises(RuntimeError, match="numpy"):
            trainer.clips.label.numpy()


# ---- waits for the device


def epoch(h5, folder):
    """The waits of an epoch of 7 steps, whose loss is shown after steps 3, 6 and 7."""
    with second_device() as device:
        trainer = make_trainer(h5, folder)
        trainer.print_freq = 3
        device.reset()
        trainer.train_epoch(trainer.net, 1, tqdm(disable=True))
    return dict(device.syncs)


LOSS = {("_to_copy", "train.py: mean_loss"): 3}


def test_an_epoch_waits_only_to_show_its_loss(h5, tmp_path):
    assert epoch(h5, tmp_path) == LOSS


@pytest.mark.parametrize(
    "owner, name, old, new, wait",
    [
        (Trainer, "train_step", "loss.detach()", "loss.item()", ("_local_scalar_dense", "train.py: train_step")),
        (Trainer, "train_step", "loss.backward()", "loss.backward() if loss > 0 else 1", "_local_scalar_dense"),
        (
            Trainer,
            "train_step",
            "label = self",
            "label = self.clips.label.cpu().to(batch.device); label = self",
            "_to_copy",
        ),
        (Recipe, "augment", "x = transform(x, maps)", "x = transform(x, maps); x[flipped] = x[flipped]", "index"),
        (Recipe, "augment", "x = transform(x, maps)", "x = transform(x, maps); flipped.nonzero()", "nonzero"),
        (Recipe, "augment", "x = transform(x, maps)", "x = transform(x, maps); x[maps.det() > 9] = 0", "index_put_"),
        (Recipe, "augment", "side < 0", "side < torch.tensor([0.0], device=x.device)", "_to_copy"),
    ],
)
def test_a_planted_wait_is_counted(owner, name, old, new, wait, h5, tmp_path, monkeypatch):
    plant(monkeypatch, owner, name, old, new)
    counted = epoch(h5, tmp_path)
    assert LOSS.items() <= counted.items()
    assert {7, 14} & {n for key, n in counted.items() if wait in (key, key[0])}


def test_a_run_waits_a_few_times_an_epoch(h5, tmp_path):
    with second_device() as device:
        trainer = make_trainer(h5, tmp_path, epochs=2)
        device.reset()
        trainer.train()
        tensors = len(trainer.net.state_dict())
    assert device.syncs.pop(("_to_copy", "checkpoint.py: _canonical")) > 2 * tensors  # a copy of each tensor
    assert device.syncs == {
        ("_to_copy", "train.py: mean_loss"): 2,  # at the end of 7 steps, fewer than print_freq
        ("_local_scalar_dense", "train.py: train"): 4,  # whether all is finite; the loss
        ("_local_scalar_dense", "train.py: accuracy"): 2,
    }


def test_testing_waits_for_nothing_however_many_clips_there_are(h5, tmp_path, monkeypatch):
    kernels = []
    with second_device() as device:
        trainer = make_trainer(h5, tmp_path)
        for batch in (18, 9, 6):
            monkeypatch.setattr(train, "EVAL_BATCH", batch)
            device.reset()
            predict_logits(trainer.net, trainer.clips, trainer.eval_ids, trainer.generator)
            assert not device.syncs
            kernels.append(device.kernels.total())
    a_batch = kernels[1] - kernels[0]
    assert a_batch == kernels[2] - kernels[1] <= 90, a_batch


# ---- kernels


@pytest.mark.parametrize("recipe, budget", [("paper", 289), ("plus", 314)])
def test_a_step_waits_for_nothing_and_keeps_to_its_budget_of_kernels(recipe, budget):
    device = launches(RECIPES[recipe])
    assert not device.syncs
    assert device.kernels.total() <= budget, "a step launches more than it did: fuse what is new, or raise the budget"
    assert device.kernels["_fused_adam_"] == 1
    assert launches(RECIPES[recipe], 7).kernels == device.kernels


def launches(recipe, batch_size=4):
    """The SecondDevice that counted a training step with this Recipe. The batch size makes no difference."""
    with second_device() as device:
        _, clips = make_clips(np.full(batch_size + 1, 30), KINECT_V2, 60, 1, DEVICE)
        config = Config(recipe=recipe, theta=0.3, seg=20, num_classes=60, batch_size=batch_size)
        trainer = Trainer(config, clips, Path())
        trainer.train_step(trainer.net, trainer.train_ids)  # the first creates the optimizer's state
        device.reset()
        trainer.train_step(trainer.net, trainer.train_ids)
    return device
