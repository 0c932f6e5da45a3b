"""Packed clips, the draw, and the rotation."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import data
import ntu_text
from data import Clips
from layout import write_h5
from util import UserError

SEG = 20


def write(path, clips, joints=25, persons=2, classes=3):
    """An h5 of these (frames, width) arrays in x, labels 0, 1, 2, 0, ..., and one frame with a 1 in test_x."""
    labels = np.arange(len(clips)) % classes
    splits = {"": (clips, labels), "valid_": ([], []), "test_": ([np.eye(1, clips[0].shape[1])], [0])}
    names = [f"class {i}" for i in range(classes)]
    frames = max(map(len, clips))
    about = dict(joints=joints, persons=persons, class_names=names, protocol="all test", made_by="a test")
    write_h5(path, splits, frames=frames, **about)
    return Clips.read(path)


def straight(length, joints=25):
    """A one-person clip whose frame i holds i + 1 everywhere."""
    frames = np.zeros((length, joints * 6), np.float32)
    frames[:, : joints * 3] = np.arange(1, length + 1)[:, None]
    return frames


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_persons_are_split_frame_by_frame_and_empty_frames_dropped(tmp_path):
    clip = np.zeros((5, 150), np.float32)
    clip[0, :75] = 1  # actor 1 alone
    clip[1, :75], clip[1, 75:] = 2, 3  # both
    clip[3, 149] = 4  # actor 2 alone, after an empty frame
    clips = write(tmp_path / "x.h5", [clip, straight(3)])
    assert clips.length.tolist() == [4, 3, 1]
    assert clips.start.tolist() == [0, 4, 7]
    packed = clips.frames[:4]
    assert packed[:, 0].tolist() == [1, 2, 3, 0]
    assert packed[3, 74] == 4
    assert (clips.frames[-1] == 0).all()
    assert clips.label.tolist() == [0, 1, 0]
    assert clips.splits == {"": range(0, 2), "valid_": range(2, 2), "test_": range(2, 3)}
    assert (clips.joints, clips.persons, clips.class_names[1]) == (25, 2, "class 1")


def test_persons_are_split_as_in_the_golden_clips(tmp_path):
    with np.load(Path(__file__).parent / "fixtures" / "persons.npz", allow_pickle=False) as golden:
        names, lengths, frames = (golden[name] for name in ("names", "lengths", "frames"))
    moved = [ntu_text.golden()[0][name]["moved"] for name in names]
    assert {clip.shape[1] for clip in moved} == {75, 150}
    clips = write(tmp_path / "x.h5", [np.pad(clip, ((0, 0), (0, 150 - clip.shape[1]))) for clip in moved])
    assert clips.length[:-1].tolist() == lengths.tolist()
    assert torch.equal(clips.frames[: len(frames)], torch.from_numpy(frames))


@pytest.mark.parametrize("block", [1, 3, 512])
def test_reading_does_not_depend_on_the_block(tmp_path, block):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(n, 150)).astype(np.float32) for n in (30, 1, 7, 64)]
    whole = write(tmp_path / "x.h5", arrays)
    again = Clips.read(tmp_path / "x.h5", block=block)
    assert torch.equal(again.frames, whole.frames)
    assert torch.equal(again.length, whole.length)
    assert whole.length.tolist() == [60, 2, 14, 128, 1]
    torch.testing.assert_close(whole.frames[:60].flatten(), torch.from_numpy(arrays[0].flatten()), rtol=0, atol=0)


def test_the_cache_gives_the_same_clips_and_is_never_stale(tmp_path, monkeypatch):
    path = tmp_path / "x.h5"
    write(path, [straight(30), straight(7)])
    first = Clips.read(path, cache=True)
    monkeypatch.setattr(Clips, "_read", None)  # the second time, the h5 is not read
    again = Clips.read(path, cache=True)
    monkeypatch.undo()
    for name in ("frames", "start", "length", "label"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert (first.splits, first.class_names, first.protocol) == (again.splits, again.class_names, again.protocol)
    assert torch.equal(first.draw(torch.arange(2), generator()), again.draw(torch.arange(2), generator()))
    stat = path.stat()
    with h5py.File(path, "a") as file:
        file["x"][0, 0, 0] = 9
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # not even with the time of the change hidden
    changed = Clips.read(path, cache=True)
    assert changed.frames[0, 0] == 9
    assert again.frames[0, 0] == 1
    cache = tmp_path / "x.packed.h5"
    for damaged in (b"cut", cache.read_bytes()[:-2000], cache.read_bytes()[:3000]):
        cache.write_bytes(damaged)
        assert Clips.read(path, cache=True).frames[0, 0] == 9


@pytest.mark.parametrize("length", [1, 19, 20, 21, 39, 40, 85])
def test_a_draw_takes_one_frame_of_each_segment(tmp_path, length):
    clips = write(tmp_path / "x.h5", [straight(50), straight(length)])
    ids = torch.ones(2000, dtype=torch.long)
    x = clips.draw(ids, generator())
    assert x.shape == (2000, SEG, 75)
    drawn = x[:, :, 0] - 1  # the frame's number; -1 is an appended zero frame
    if length <= SEG:
        expected = torch.cat([torch.arange(length), torch.full((SEG - length,), -1)]).float()
        assert torch.equal(drawn, expected.expand(2000, SEG))
        return
    a = length // SEG
    offset = drawn - a * torch.arange(SEG)
    assert offset.min() == 0
    assert offset.max() == a - 1
    assert drawn.max() == SEG * a - 1  # the last L - 20a frames are never drawn
    # Uniform, and drawn anew for each segment of each clip
    counts = torch.stack([(offset == i).float().mean(dim=0) for i in range(a)])
    assert (counts - 1 / a).abs().max() < 0.05
    if a > 1:
        correlation = torch.corrcoef(offset.t())
        assert (correlation - torch.eye(SEG)).abs().max() < 0.1


def test_an_empty_clip_is_drawn_as_zeros(tmp_path):
    clips = write(tmp_path / "x.h5", [straight(30), np.zeros((30, 150), np.float32)])
    assert clips.length.tolist() == [30, 0, 1]
    assert (clips.draw(torch.tensor([1]), generator()) == 0).all()


def test_same_generator_same_draw(tmp_path):
    clips = write(tmp_path / "x.h5", [straight(200)])
    ids = torch.zeros(8, dtype=torch.long)
    assert torch.equal(clips.draw(ids, generator(3)), clips.draw(ids, generator(3)))
    assert not torch.equal(clips.draw(ids, generator(3)), clips.draw(ids, generator(4)))


def test_case_and_dataset_are_checked(tmp_path):
    path, name, theta = data.resolve("NTU", 1, tmp_path)
    assert (path, name, theta) == (tmp_path / "NTU_CV.h5", "NTU", 0.5)
    assert data.resolve("NTU120", 1)[0].name == "NTU120_CSet.h5"
    assert data.resolve("/some/mine.h5", 0)[1] == "mine"
    for dataset, case in (("NTU", 7), ("NUCLA", 1), ("NTU", -1), ("mine.h5", 1), ("KTH", 0)):
        with pytest.raises(UserError):
            data.resolve(dataset, case)


def test_what_is_no_h5_is_refused(tmp_path):
    path = tmp_path / "x.h5"
    with pytest.raises(UserError, match="no such file"):
        Clips.read(path)
    path.write_text("words")
    with pytest.raises(UserError, match="cannot be read as h5"):
        Clips.read(path)


def test_bad_values_are_found_when_the_file_is_opened(tmp_path):
    path = tmp_path / "x.h5"

    def refused(name, place, value, why):
        write(path, [straight(30), straight(7)])
        with h5py.File(path, "a") as file:
            file[name][place] = value
        with pytest.raises(UserError, match=why):
            Clips.read(path)

    refused("x", (1, 3, 7), np.nan, "x.h5: x: clip 1 has NaN or infinity")
    refused("test_x", (0, 0, 149), -np.inf, "test_x: clip 0 has NaN or infinity")
    refused("y", (1, 0), 1, "y: the label of clip 1 is not one-hot")
    refused("test_y", (0, 0), 0.5, "test_y: the label of clip 0 is not one-hot")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "x.h5"
    write(path, [straight(30, 5)[:, :30], straight(7, 5)[:, :30]], joints=5)
    return path


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_h5_is_opened_or_refused_in_a_line(good, data):
    content = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=8))
    damaged = good.with_name("damaged.h5")
    damaged.write_bytes(content)
    try:
        clips = Clips.read(damaged)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert clips.frames.isfinite().all()
