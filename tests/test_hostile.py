"""Files that were made to do harm: refused in one line, or harmless."""

import inspect
import os
import pickle
import signal
import socket
import struct
import sys
import time
import zipfile

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from clips import h5 as layout
from clips.ntu import read_file
from clips.poses import read_poses
from clips.recordings import find_recordings, read_recording
from conftest import JOINTS, write_toy
from data import Clips
from engine.checkpoint import load_checkpoint
from engine.classifier import read_class_names
from engine.logs import read_log
from from_pyskl import main as import_pickle
from from_pyskl import read_pickle
from helpers import start_script
from make_nucla import read_all
from model import SGN
from safe import mat, pickles
from safe.h5 import open_h5
from safe.torch_files import copy_tensors
from util import UserError, readable, regular, shorten

# ---- what is in the place of a file

READERS = {
    "a.skeleton": read_recording,
    "b.skeleton": read_file,
    "a.json": read_recording,
    "a.npy": read_recording,
    "b.json": read_poses,
    "a.h5": Clips.read,
    "names.txt": lambda path: read_class_names(path, 2),
    "a.pth": load_checkpoint,
    "a.csv": read_log,
    "a.pkl": read_pickle,
    "a.zip": lambda path: list(read_all(path)),
}


@pytest.mark.parametrize("name", READERS)
def test_no_reader_waits_for_a_fifo(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises((OSError, UserError), match="a FIFO"):
        READERS[name](tmp_path / name)


def test_only_regular_files_are_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the whole path may be too long for a socket
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    for name in ("device", "folder", "socket"):
        with pytest.raises(OSError, match=f"a {name}, not a file"):
            regular(name)


def test_folders_as_deep_as_can_be_hide_no_other_file(tmp_path, monkeypatch):
    path = tmp_path / "b.npy"
    path.touch()
    monkeypatch.chdir(tmp_path)
    depth, limit = 300, sys.getrecursionlimit()
    for _ in range(depth):
        os.mkdir("a")
        os.chdir("a")
    sys.setrecursionlimit(len(inspect.stack(0)) + depth // 2)
    try:
        assert find_recordings(tmp_path)[-1] == path
    finally:
        sys.setrecursionlimit(limit)
        for _ in range(depth):  # which pytest might not be able to remove
            os.chdir("..")
            os.rmdir("a")


# ---- h5 files that lead elsewhere, or ask for memory


def virtual(file, shape):
    sources = h5py.VirtualLayout(shape, "f4")
    sources[...] = h5py.VirtualSource("fifo", "x", shape)
    file.create_virtual_dataset("x", sources)


def through_a_group(file, shape):
    file["group"] = h5py.ExternalLink("fifo", "/")
    file["x"] = h5py.SoftLink("/group/x")


def larger(file, shape, **options):
    for split in layout.SPLITS:
        file.pop(f"{split}x", None)
        del file[f"{split}y"]
        file[f"{split}y"] = np.eye(4)[[0, 1]]
        file.create_dataset(f"{split}x", (2, *shape), "f4", **options)
    noise = np.random.default_rng(0).bytes(2**20)  # the rule of sizes compares with that of the file
    file["more"] = np.frombuffer(noise, "u1")


WIDTH = 3 * JOINTS
HOSTILE = {
    "external": lambda file, _: file.__setitem__("x", h5py.ExternalLink("fifo", "x")),
    "storage": lambda file, shape: file.create_dataset("x", shape, "f4", external=[("fifo", 0, 10**9)]),
    "virtual": virtual,
    "group": through_a_group,
    "circle": lambda file, _: file.__setitem__("x", h5py.SoftLink("/x")),
    "long clips": lambda file, _: larger(file, (10**8, WIDTH), chunks=(1, 50, WIDTH)),
    "large chunks": lambda file, _: larger(file, (10**7, WIDTH), chunks=(1, 10**7, WIDTH), compression="gzip"),
    "unpacks to much": lambda file, _: larger(file, (400_000, WIDTH), chunks=(1, 50, WIDTH), fillvalue=1.0),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_h5_that_leads_elsewhere_or_asks_for_memory_is_refused(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")  # opening it would wait for ever
    path = write_toy(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        shape = file["x"].shape
        del file["x"]
        HOSTILE[case](file, shape)
    with pytest.raises(UserError, match="a.h5: ") as raised:
        Clips.read(path)
    assert "\n" not in str(raised.value)


def test_a_link_to_a_data_set_beside_it_is_followed(tmp_path):
    path = write_toy(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["valid_x"], file["valid_y"]
        file["valid_x"], file["valid_y"] = h5py.SoftLink("/test_x"), h5py.SoftLink("test_y")
    assert len(Clips.read(path).splits["valid"]) == 18


# ---- pickles


class Runs:
    def __reduce__(self):
        return os.system, ("echo it ran",)


@pytest.mark.parametrize("protocol", range(6))
def test_what_a_pickle_would_run_is_not_run(tmp_path, capfd, protocol):
    content, paths = {"state_dict": SGN(3, 5).state_dict(), "more": Runs()}, [tmp_path / name for name in "abc"]
    for path, zipped in zip(paths, (True, False), strict=False):
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    paths[2].write_bytes(pickle.dumps([Runs()], protocol))
    named = r"would run (posix|nt)\.system"
    for read, path in [*((load_checkpoint, path) for path in paths), (read_pickle, paths[2])]:
        with pytest.raises(UserError, match=named if protocol or read is read_pickle else "safely"):
            read(path)
    assert "it ran" not in capfd.readouterr().out


PAIRS = b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))  # of an object with itself, and so on
NUMBERS = b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"K\x01" for k in range(1, 10_000))
PICKLES = {
    "a key without end": b"\x80\x02})" + PAIRS + b"K\x01s.",
    "keys without end": b"\x80\x02})" + PAIRS + b"q\xff(h\xffK\x01h\xffK\x01u.",
    "a dict of them": b"\x80\x02()" + PAIRS + b"K\x01d.",
    "members without end": b"\x80\x04()" + PAIRS + b"\x91.",
    "a set of them": b"\x80\x04\x8f()" + PAIRS + b"\x90.",
    "a set that is called": b"\x80\x02cbuiltins\nset\n](" + b")" + PAIRS + b"e\x85R.",
    "sets in sets": b"\x80\x04((K\x01\x91K\x02\x91.",
    "keys of one hash": b"\x80\x02}(" + NUMBERS + b"u.",
    "3 GB": b"\x80\x05\x96" + struct.pack("<Q", 3 * 10**9) + b"x" * 70 + b".",
    "3 GB in a frame": b"\x80\x05\x95\x20\0\0\0\0\0\0\0\x96" + struct.pack("<Q", 3 * 10**9) + b"x" * 70 + b".",
    "100 GB": b"cbuiltins\nbytes\n(I100000000000\ntR.",
    "a long text": b"\x80\x04\x8d" + struct.pack("<Q", 3 * 10**9) + b"x.",
}


@pytest.mark.parametrize("case", PICKLES)
def test_a_pickle_takes_no_more_time_and_memory_than_its_size(tmp_path, case):
    """Also as the content of a checkpoint."""
    (tmp_path / "a.pkl").write_bytes(PICKLES[case])
    (tmp_path / "old.pth").write_bytes(PICKLES[case])
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/data.pkl", PICKLES[case])
    start = time.process_time()
    for name, read in (("a.pkl", read_pickle), ("old.pth", load_checkpoint), ("a.pth", load_checkpoint)):
        with pytest.raises(UserError, match=name):
            read(tmp_path / name)
    assert time.process_time() - start < 2


@pytest.mark.slow
def test_a_reader_ends_when_it_is_told_to(tmp_path):
    """A pickle that takes long, but no longer than its 64 MB say."""
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02(" + b"K\x01" * 2**25 + b"l.")
    process = start_script("data/pyskl/from_pyskl.py", tmp_path / "a.pkl", "--out", tmp_path)
    time.sleep(4)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=3)
    assert process.returncode == 143 and err.count("\n") == 1


def test_a_pickle_names_no_file_elsewhere(tmp_path):
    path = tmp_path / "a.pkl"
    clips = [{"frame_dir": name, "label": i, "keypoint": np.ones((1, 3, 25, 3))} for i, name in enumerate("ab")]
    path.write_bytes(pickle.dumps({"split": {"/../../a/train": ["a"], "/../../a/test": ["b"]}, "annotations": clips}))
    with pytest.raises(UserError, match="a.pkl"):
        import_pickle([str(path), "--out", str(tmp_path / "out" / "more")])
    assert not list(tmp_path.rglob("*.h5"))


# ---- recordings, checkpoints, and states of runs


@pytest.mark.parametrize("claimed", [10**9, 10**8, 10**30])
def test_an_npy_larger_than_memory_is_named_with_its_size(tmp_path, claimed):
    """Of 10**8 frames: a file with a hole, which takes no place on the disk."""
    with open(tmp_path / "a.npy", "wb") as file:
        shape = {"descr": "<f8", "fortran_order": False, "shape": (claimed, 25, 3)}
        np.lib.format.write_array_header_1_0(file, shape)
        file.truncate(128 + 10**8 * 25 * 3 * 8)
    with pytest.raises(UserError, match=r"a.npy: .*(GB|size|mmap|large)"):
        read_recording(tmp_path / "a.npy")


def test_a_network_s_size_is_bounded(tmp_path):
    path, small = tmp_path / "a.pth", SGN(3, 5, ablate=("frame-index",)).state_dict()
    for content in (
        {"state_dict": small, "ablate": ["frame-index"], "seg": 10**9},
        {"state_dict": SGN(3, 20_000).state_dict()},
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match="more than SGN can take"):
            load_checkpoint(path)


def test_text_of_a_file_can_be_shown_everywhere(tmp_path):
    names = ["a\udcff", "\ud800", "\x1b[2J", "é\n"]
    torch.save({"state_dict": SGN(4, 5).state_dict(), "class_names": names}, tmp_path / "a")
    assert load_checkpoint(tmp_path / "a").class_names == (r"a\udcff", r"\ud800", r"\x1b[2J", r"é\n")
    assert readable("飲む, née") == "飲む, née"
    nested = ["ha"]
    for _ in range(12):
        nested = [nested] * 10  # a billion texts if it is written out
    assert len(shorten(nested, 100)) <= 100


@pytest.mark.parametrize(
    "wrong",
    [None, torch.zeros(4), torch.zeros(3, dtype=torch.float64), torch.tensor([0, 1, torch.nan]), -torch.ones(3)],
    ids=str,
)
def test_only_tensors_of_the_same_form_are_copied(wrong):
    target = {"a": {"step": torch.zeros(3)}}
    for source in ({"a": {"step": wrong}}, {"a": {}}, {}):
        with pytest.raises(ValueError, match="it"):
            copy_tensors(target, source, "it")
    copy_tensors(target, {"a": {"step": torch.ones(1).expand(3)}}, "it")
    assert target["a"]["step"].all() and target["a"]["step"].is_contiguous()


# ---- what is no fault of the file


def test_open_h5_names_what_cannot_be_read(tmp_path):
    (tmp_path / "a.h5").write_text("words")
    with pytest.raises(UserError, match="a.h5: cannot be read as h5"), open_h5(tmp_path / "a.h5"):
        pass
    path = write_toy(tmp_path / "b.h5")
    with pytest.raises(UserError, match="b.h5: cannot be read as h5"), open_h5(path) as file:
        file["nothing"]


@pytest.mark.parametrize("kind", [MemoryError, KeyError, ValueError, OSError])
def test_errors_of_our_own_code_are_no_fault_of_the_h5(tmp_path, kind):
    """They come out as they are: also what the system says of another file."""
    path = write_toy(tmp_path / "a.h5")
    error = kind("ours") if kind is not OSError else OSError(28, "No space left on device", "b.h5")
    with pytest.raises(kind) as raised, open_h5(path) as file:
        file["x"][:1]
        raise error
    assert raised.value is error


def test_a_lack_of_memory_is_no_fault_of_a_file(tmp_path, monkeypatch):
    def short_of_memory(*_, **__):
        raise MemoryError("array of 9 GB")

    for path in (tmp_path / name for name in ("a.pth", "a.pkl", "a.npy", "a.mat")):
        path.write_bytes(b"")
    for owner, name in ((pickles, "Unpickler"), (np, "load"), (scipy.io, "loadmat")):
        monkeypatch.setattr(owner, name, short_of_memory)
    for read, path in (
        (load_checkpoint, "a.pth"),
        (read_pickle, "a.pkl"),
        (read_recording, "a.npy"),
        (lambda path: mat.load(path, b""), "a.mat"),
    ):
        with pytest.raises(MemoryError, match="array of 9 GB"):
            read(tmp_path / path)
