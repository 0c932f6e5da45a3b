"""A small data set that SGN learns in a few steps, and runs of main.py on it."""

import os
import tempfile
from contextlib import contextmanager

import numpy as np
import pytest

from clips.h5 import write_h5

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two tests run at a time, and networks as small gain nothing by threads
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", f"{tempfile.gettempdir()}/hypothesis")  # not the work tree

CLASSES, JOINTS, SEG = 4, 5, 8
BONES = {"parents": [0, 0, 1, 1, 1], "flip_pairs": [0, 1, 2, 4, 3]}  # for write_toy, where a test needs a skeleton
DEVICE = "cpu"  # that --device names


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="with -m device: where tests compute that are marked `device`")


def pytest_configure(config):
    global DEVICE
    DEVICE = config.getoption("device")
    if DEVICE != "cpu" and config.option.markexpr != "device":
        raise pytest.UsageError("--device: only with -m device")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # of --deterministic; read once in a process


def pytest_ignore_collect(collection_path, config):
    """With -m device: files without such tests, as they import what need not be there."""
    if config.option.markexpr == "device" and collection_path.name.startswith("test_"):
        return True if "mark.device" not in collection_path.read_text(encoding="utf-8") else None


@pytest.fixture(scope="session")
def device():
    """The torch.device that --device names."""
    from engine.device import pick_device

    return pick_device(DEVICE)


def toy_clips(n, seed, persons=1, joints=JOINTS):
    """n clips of 12 to 60 frames whose class is the axis, or the joint, along which they move: arrays and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    clips = []
    for label in labels:
        frames = int(rng.integers(12, 60))
        clip = rng.normal(scale=0.02, size=(frames, persons, joints, 3)) + np.arange(joints)[:, None] / joints
        clip[:, :, label % joints, label % 3] += np.linspace(-1, 1, frames)[:, None]
        clips.append(clip.reshape(frames, -1).astype(np.float32))
    return clips, labels


def write_toy(path, test=18, joints=JOINTS, **header):
    """An h5 of 48 training, 8 validation and `test` test clips. header: as in write_h5."""
    sizes = {"": 48, "valid_": 8, "test_": test}
    splits = {split: toy_clips(n, seed, joints=joints) for seed, (split, n) in enumerate(sizes.items())}
    about = dict(frames=60, joints=joints, persons=1, class_names=list("abcd"), protocol="toy", made_by="a test")
    write_h5(path, splits, **about | header)
    return path


def flags(h5, results, *more, epochs=3):
    """A command line of main.py for a run on the tests' device, on a GPU with bits that can be compared.

    A clip is cut into 8 segments, not 20: a run of an epoch then takes a quarter of a second.
    """
    words = ["--dataset", h5, "--results", results, "--seg", SEG, "--epochs", epochs, "-b", 16, "--device", DEVICE]
    return [*map(str, words), *["--deterministic"] * DEVICE.startswith("cuda"), *map(str, more)]


def run(h5, results, *more, epochs=3):
    """A run of main.py in this process. Returns the folder that it writes to without --recipe, --ablate and --seeds."""
    import main  # imports torch, which reads the variable above

    main.main(flags(h5, results, *more, epochs=epochs))
    return results / h5.stem / "SGN"


@contextmanager
def interrupted(epoch):
    """Within it, a run is stopped by Ctrl-C as that epoch begins."""
    import train

    train_epoch = train.Trainer.train_epoch

    def stop(trainer, step, number, progress):
        if number == epoch:
            raise KeyboardInterrupt
        return train_epoch(trainer, step, number, progress)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.Trainer, "train_epoch", stop)
        yield


def weights(folder):
    """The state dict of a run's checkpoint."""
    import torch

    return torch.load(folder / "0_best.pth", weights_only=True)["state_dict"]


def same(a, b):
    """Whether two state dicts have the same bits."""
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("toy") / "toy.h5")


@pytest.fixture(scope="session")
def trained(toy, tmp_path_factory):
    """The folder of a finished run of 12 epochs. Tests do not write to it."""
    return run(toy, tmp_path_factory.mktemp("my results"), epochs=12)


@pytest.fixture(scope="session")
def ntu(tmp_path_factory):
    """A folder in which the three scripts of NTU have run on the fixture. Tests do not write to it."""
    from ntu_text import run, write_root

    root = tmp_path_factory.mktemp("ntu")
    write_root(root)
    assert run(root) == [0, 0, None]
    return root
