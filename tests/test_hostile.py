"""Files that were made to do harm: refused in one line, or harmless."""

import os
import pickle
import re
import struct
import time
import zipfile
from contextlib import suppress

import h5py
import numpy as np
import pytest
import torch

from clips import h5 as layout
from clips.recordings import find_recordings
from conftest import JOINTS, write_toy
from data import Clips
from engine.checkpoint import load_checkpoint
from from_pyskl import main as import_pickle
from from_pyskl import read_pickle
from made import read_recording
from model import SGN
from safe.zips import read_members
from tools.video_to_skeleton import read_landmarks
from util import UserError, regular


def test_only_regular_files_are_opened(tmp_path):
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "FIFO")
    for path in tmp_path.iterdir():
        for read in (regular, lambda path: next(read_landmarks(str(path)))):
            with pytest.raises(OSError, match=f"{path.name}.*, not a file"):
                read(path)


def test_what_cannot_be_opened_hides_no_recording_beside_it(tmp_path):
    (tmp_path / "dangling.json").symlink_to("none")
    (tmp_path / "loop.json").symlink_to("loop.json")
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "z.json").write_text('{"data": []}')
    assert find_recordings(tmp_path) == sorted(tmp_path.iterdir())


def test_whatever_byte_of_a_zip_is_changed_its_content_is_right_or_it_is_refused(tmp_path):
    with zipfile.ZipFile(path := tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", b"{}" * 9)
    data = path.read_bytes()
    for i, byte in enumerate(data):
        path.write_bytes(data[:i] + bytes([byte ^ 0x40]) + data[i + 1 :])
        with suppress(UserError, OSError):
            assert [content for _, content in read_members(path, re.compile(".*"), "a")] == [b"{}" * 9]


# ---- h5 files that lead elsewhere, or ask for memory


def virtual(file, shape):
    sources = h5py.VirtualLayout(shape, "f4")
    sources[...] = h5py.VirtualSource("fifo", "x", shape)
    file.create_virtual_dataset("x", sources)


def larger(file, _):
    for split in layout.SPLITS:
        file.pop(f"{split}x", None)
        del file[f"{split}y"]
        file[f"{split}y"] = np.eye(4)[[0, 1]]
        shape, chunks = (2, 10**7, 3 * JOINTS), (1, 10**7, 3 * JOINTS)
        file.create_dataset(f"{split}x", shape, "f4", chunks=chunks, compression="gzip")
    noise = np.random.default_rng(0).bytes(2**20)  # the rule of sizes compares with that of the file
    file["more"] = np.frombuffer(noise, "u1")


HOSTILE = {
    "in another file": lambda file, _: file.__setitem__("x", h5py.ExternalLink("fifo", "x")),
    "behind a link": lambda file, _: file.__setitem__("x", h5py.SoftLink("/test_x")),
    "raw": lambda file, shape: file.create_dataset("x", shape, "f4", external=[("fifo", 0, h5py.h5f.UNLIMITED)]),
    "virtual": virtual,
    "large chunks": larger,
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
    with pytest.raises(UserError, match="^.*a.h5: .*$"):
        Clips.read(path)


# ---- pickles, also as the content of a checkpoint


class Runs:
    def __reduce__(self):
        return os.system, ("echo it ran",)


PAIRS = b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))  # of an object with itself, and so on
NUMBERS = b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"K\x01" for k in range(1, 10_000))
PICKLES = {f"protocol {protocol}": pickle.dumps({"more": Runs()}, protocol) for protocol in (0, 2, 5)} | {
    "keys without end": b"\x80\x02()" + PAIRS + b"K\x01d.",
    "members without end": b"\x80\x04()" + PAIRS + b"\x91.",
    "keys of one hash": b"\x80\x02}(" + NUMBERS + b"u.",
    "3 GB": b"\x80\x05\x96" + struct.pack("<Q", 3 * 10**9) + b"x" * 70 + b".",
    "100 GB": b"cbuiltins\nbytes\n(I100000000000\ntR.",
}


@pytest.mark.parametrize("case", PICKLES)
def test_a_pickle_runs_nothing_and_takes_no_more_time_and_memory_than_its_size(tmp_path, capfd, case):
    (tmp_path / "a.pkl").write_bytes(PICKLES[case])
    (tmp_path / "old.pth").write_bytes(PICKLES[case])
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/data.pkl", PICKLES[case])
    start = time.process_time()
    for name, read in (("a.pkl", read_pickle), ("old.pth", load_checkpoint), ("a.pth", load_checkpoint)):
        with pytest.raises(UserError, match=name):
            read(tmp_path / name)
    assert time.process_time() - start < 2 and "it ran" not in capfd.readouterr().out


def test_a_pickle_names_no_file_elsewhere(tmp_path):
    path = tmp_path / "a.pkl"
    clips = [{"frame_dir": name, "label": i, "keypoint": np.ones((1, 3, 25, 3))} for i, name in enumerate("ab")]
    path.write_bytes(pickle.dumps({"split": {"/../../a/train": ["a"], "/../../a/test": ["b"]}, "annotations": clips}))
    with pytest.raises(UserError, match="a.pkl"):
        import_pickle([str(path), "--out", str(tmp_path / "out" / "more")])
    assert not list(tmp_path.rglob("*.h5"))


# ---- recordings, checkpoints, and states of runs


@pytest.mark.parametrize("claimed", [10**8, 10**30])
def test_an_npy_larger_than_memory_is_named_with_its_size(tmp_path, claimed):
    """Of 10**8 frames: a file with a hole, which takes no place on the disk."""
    with open(tmp_path / "a.npy", "wb") as file:
        shape = {"descr": "<f8", "fortran_order": False, "shape": (claimed, 25, 3)}
        np.lib.format.write_array_header_1_0(file, shape)
        file.truncate(128 + 10**8 * 25 * 3 * 8)
    with pytest.raises(UserError, match=r"a.npy: .*(GB|size|mmap|large)"):
        read_recording(tmp_path / "a.npy")


def test_a_network_s_size_is_bounded_and_its_names_can_be_shown(tmp_path):
    path, names = tmp_path / "a.pth", ["a\udcff", "\x1b[2J", "é\n", "飲む, née"]
    torch.save({"state_dict": SGN(4, 5).state_dict(), "class_names": names}, path)
    assert load_checkpoint(path).class_names == (r"a\udcff", r"\x1b[2J", r"é\n", "飲む, née")
    small = SGN(4, 5, ablate=("frame-index",)).state_dict()
    torch.save({"state_dict": small, "ablate": ["frame-index"], "seg": 10**9}, path)
    with pytest.raises(UserError, match="more than SGN can take"):
        load_checkpoint(path)
