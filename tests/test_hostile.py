"""Files that were made to do harm: refused in one line, or harmless."""

import io
import os
import pickle
import socket

import h5py
import numpy as np
import pytest
import torch

import make_sysu
from clips import h5 as layout
from clips.ntu import read_file
from clips.poses import read_poses
from clips.recordings import read_recording
from conftest import JOINTS, write_toy
from data import Clips
from engine.checkpoint import load_checkpoint
from engine.classifier import read_class_names
from engine.logs import read_log
from from_pyskl import read_pickle
from helpers import run_script
from make_nucla import read_all
from model import SGN
from ntu_text import STEPS, write_root
from ntu_text import run as run_steps
from safe import pickles
from safe.h5 import open_h5
from safe.pickles import pickled_globals
from util import UserError, readable, shorten

# ---- what is in the place of a file


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(path.parent)  # the whole path may be too long for a socket
        listener.bind(path.name)


KINDS = {
    "a FIFO": make_fifo,
    "a socket": make_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
}
READERS = {
    "a.skeleton": read_recording,
    "b.skeleton": read_file,
    "a.json": read_recording,
    "a.npy": read_recording,
    "b.json": read_poses,
    "a.h5": Clips.read,
    "b.h5": lambda path: read_class_names(path, 2),
    "names.txt": lambda path: read_class_names(path, 2),
    "a.pth": load_checkpoint,
    "a.csv": read_log,
    "a.pkl": read_pickle,
    "a.zip": lambda path: list(read_all(path)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_only_regular_files_are_opened(tmp_path, monkeypatch, name, kind):
    monkeypatch.chdir(tmp_path)
    if kind == "a folder" and name in ("a.json", "b.json", "a.zip"):
        return  # which these readers take
    KINDS[kind](tmp_path / name)
    with pytest.raises((OSError, UserError), match=f"{kind}, not a file"):
        READERS[name](tmp_path / name)


def test_other_things_than_files_are_skipped_and_step_1_is_checked(tmp_path, capsys):
    write_root(tmp_path)
    os.mkfifo(tmp_path / "nturgb+d_skeletons/S001C001P001R001A001.skeleton")
    (tmp_path / "nturgb+d_skeletons/S００1C001P001R001A001.skeleton").touch()  # digits of another script
    assert run_steps(tmp_path, steps=STEPS[:1]) == [3]
    assert "cannot be read: a FIFO, not a file" in (tmp_path / "raw_data/skipped.csv").read_text()
    step1 = tmp_path / "raw_data" / "NTU.h5"
    whole = step1.read_bytes()
    for change in (
        lambda file: file.__delitem__("joints"),
        lambda file: (file.__delitem__("bodies"), file.__setitem__("bodies", [1, 1])),
        lambda file: (file.__delitem__("joints"), file.__setitem__("joints", h5py.ExternalLink("a.h5", "x"))),
    ):
        step1.write_bytes(whole)
        with h5py.File(step1, "r+") as file:
            change(file)
        with pytest.raises(UserError, match="raw_data"):
            run_steps(tmp_path, steps=STEPS[1:2])


# ---- h5 files that lead elsewhere, or ask for memory


def elsewhere(make):
    def change(file):
        shape = file["x"].shape
        del file["x"]
        make(file, shape)

    return change


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
    file["more"] = np.frombuffer(
        np.random.default_rng(0).bytes(2**20), "u1"
    )  # the rule of sizes compares with that of the file


HOSTILE = {
    "external": (lambda file, _: file.__setitem__("x", h5py.ExternalLink("fifo", "x")), r"x is stored in .* \(fifo\)"),
    "storage": (lambda file, s: file.create_dataset("x", s, "f4", external=[("fifo", 0, 10**9)]), r"x is stored in"),
    "virtual": (virtual, r"x is stored in another file \(fifo\)"),
    "group": (through_a_group, r"group is stored in another file \(fifo\)"),
    "circle": (lambda file, _: file.__setitem__("x", h5py.SoftLink("/x")), "x is a link to 'x', which"),
    "dangling": (lambda file, _: file.__setitem__("x", h5py.SoftLink("/a/b")), "x is a link to 'a/b', which"),
    "long clips": (
        lambda file, _: larger(file, (10**8, 3 * JOINTS), chunks=(1, 50, 15)),
        "x: shape .* cannot hold|a clip or a chunk is larger than 256 MiB",
    ),
    "large chunks": (
        lambda file, _: larger(file, (10**7, 3 * JOINTS), chunks=(1, 10**7, 15), compression="gzip"),
        "cannot hold|larger than 256 MiB",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_h5_that_leads_elsewhere_is_refused(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")  # opening it would wait for ever
    change, why = HOSTILE[case]
    path = write_toy(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        elsewhere(change)(file)
    for read in (Clips.read, lambda path: read_class_names(path, 4)):
        with pytest.raises(UserError, match=why) as raised:
            read(path)
        assert "\n" not in str(raised.value)
    code, out, err = run_script("tools/check_h5.py", path)
    assert code == 2 and len(out + err) <= 6 and "Traceback" not in "".join(err)


def test_a_link_to_a_data_set_beside_it_is_followed(tmp_path):
    path = write_toy(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["valid_x"], file["valid_y"]
        file["valid_x"], file["valid_y"] = h5py.SoftLink("/test_x"), h5py.SoftLink("test_y")
    assert len(Clips.read(path).splits["valid"]) == 18


def test_what_unpacks_to_much_more_than_the_file_is_refused(tmp_path):
    path = write_toy(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        elsewhere(lambda file, _: larger(file, (400_000, 15), chunks=(1, 50, 15), fillvalue=1.0))(file)
    with pytest.raises(UserError, match="x unpacks to more than a hundred times the size|cannot hold"):
        Clips.read(path)


# ---- pickles with code


class Runs:
    def __reduce__(self):
        return os.system, ("echo it ran",)


FORMATS = {
    "zip": lambda content, path, n: torch.save(content, path, pickle_protocol=n),
    "legacy": lambda content, path, n: torch.save(
        content, path, pickle_protocol=n, _use_new_zipfile_serialization=False
    ),
    "bare": lambda content, path, n: path.write_bytes(pickle.dumps(content, n)),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", FORMATS)
def test_what_a_pickle_would_run_is_said_and_not_run(tmp_path, capfd, form, protocol):
    path = tmp_path / "a.pth"
    FORMATS[form]({"state_dict": SGN(3, 5).state_dict(), "more": Runs()}, path, protocol)
    with pytest.raises(UserError, match=r"cannot be read safely \(it would run (posix|nt)\.system\)$"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps([Runs()], protocol))
    with pytest.raises(UserError, match=r"it would run (posix|nt)\.system"):
        read_pickle(path)
    assert "it ran" not in capfd.readouterr().out


@pytest.mark.parametrize(
    "data, names",
    [
        (b"\x80\x04\x8c\x02os\x8c\x09path.join\x93.", ["os.path.join"]),
        (b"\x80\x04\x8c\x06system\x94\x8c\x02os\x94h\x01h\x00\x93\x8c\x04echo\x85R.", ["os.system"]),  # from the memo
        (b"(S'echo'\nios\nsystem\n.", ["os.system"]),
        (pickle.dumps(1) + b"cos\nsystem\n.", ["os.system"]),  # in the second of two
        (b"cos\nsystem\n", ["os.system"]),  # cut off
        (b"words", []),
    ],
)
def test_names_in_pickles(data, names):
    assert list(pickled_globals(io.BytesIO(data))) == names


def test_a_pickle_asks_for_no_memory_and_names_no_file_elsewhere(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"cbuiltins\nbytes\n(I100000000000\ntR.")
    with pytest.raises(UserError, match="cannot be read as a pickle of pyskl"):
        read_pickle(path)
    nested = ["ha"]
    for _ in range(12):
        nested = [nested] * 10  # a billion texts if it is written out
    assert len(shorten(nested, 100)) <= 100
    clips = [{"frame_dir": name, "label": i, "keypoint": np.ones((1, 3, 25, 3))} for i, name in enumerate("ab")]
    path.write_bytes(pickle.dumps({"split": {"/../../a/train": ["a"], "/../../a/test": ["b"]}, "annotations": clips}))
    code, _, err = run_script("data/pyskl/from_pyskl.py", path, "--out", tmp_path / "out" / "more")
    assert code == 2 and "not a name of a list" in err[-1] and not list(tmp_path.rglob("*.h5"))


# ---- checkpoints


def test_a_network_s_size_is_bounded(tmp_path):
    path, small = tmp_path / "a.pth", SGN(3, 5, ablate=("frame-index",)).state_dict()
    for content in (
        {"state_dict": small, "ablate": ["frame-index"], "seg": 10**9},
        {"state_dict": SGN(3, 20_000).state_dict()},
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match="more than SGN can take"):
            load_checkpoint(path)


def test_text_in_a_checkpoint_can_be_shown_everywhere(tmp_path):
    names = ["a\udcff", "\ud800", "\x1b[2J", "é\n"]
    torch.save(
        {"state_dict": SGN(4, 5).state_dict(), "class_names": names, "about": {"command": "\udcff"}}, tmp_path / "a"
    )
    checkpoint = load_checkpoint(tmp_path / "a")
    assert checkpoint.class_names == (r"a\udcff", r"\ud800", r"\x1b[2J", r"é\n")
    assert checkpoint.about == {"command": r"\udcff"}
    assert readable("飲む, née") == "飲む, née"


def test_open_h5_names_what_cannot_be_read(tmp_path):
    (tmp_path / "a.h5").write_text("words")
    with pytest.raises(UserError, match="a.h5: cannot be read as h5"), open_h5(tmp_path / "a.h5"):
        pass
    path = write_toy(tmp_path / "b.h5")
    with pytest.raises(UserError, match="b.h5: cannot be read as h5"), open_h5(path) as file:
        file["nothing"]


@pytest.mark.parametrize("kind", [MemoryError, TypeError, KeyError, ValueError, RuntimeError, OSError])
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

    torch.save({}, tmp_path / "a.pth")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([]))
    np.save(tmp_path / "a.npy", np.zeros((2, 5, 3)))
    for owner, name in ((torch, "load"), (pickles, "load"), (np, "load"), (make_sysu, "loadmat")):
        monkeypatch.setattr(owner, name, short_of_memory)
    for read, path in (
        (load_checkpoint, "a.pth"),
        (read_pickle, "a.pkl"),
        (read_recording, "a.npy"),
        (make_sysu.read_mat, "a.pkl"),
    ):
        with pytest.raises(MemoryError, match="array of 9 GB"):
            read(tmp_path / path)
