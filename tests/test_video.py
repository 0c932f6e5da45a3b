"""From a video to class names, with a stand-in for MediaPipe; test_mediapipe.py has MediaPipe itself."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import video_to_skeleton
from clips.poses import from_mediapipe
from clips.recordings import read_any
from helpers import ROOT
from predict_run import run, save
from util import UserError
from video_to_skeleton import place

RNG = np.random.default_rng(0)


def landmarks(frames=30):
    """A person who moves, (33, 4) in each frame, and is away in frames 3 and 4."""
    points = RNG.normal(size=(33, 3)) * 0.3 + RNG.normal(size=(frames, 33, 3)).cumsum(axis=0) * 0.01
    points -= points[:, 23:25].mean(axis=1, keepdims=True)
    joints = np.concatenate([points, RNG.uniform(size=(frames, 33, 1))], axis=2)
    return [None if i in (3, 4) else frame for i, frame in enumerate(joints)]


def convert(source, *flags, frames=(), end=None):
    """A run with these frames in place of a video's, perhaps ended by an exception."""

    def read(given, fov):
        assert given == source and fov is None
        yield from frames
        if end:
            raise end

    video_to_skeleton.main([source, *map(str, flags)], read)


def test_npy_and_json_lines_are_what_predict_reads(tmp_path, capsys):
    frames = landmarks()
    convert("walk.mp4", "--out", tmp_path / "a.npy", "--jsonl", tmp_path / "a.jsonl", frames=frames)
    out, err = capsys.readouterr()
    assert out == "" and err == f"30 frames, 28 with a person: {tmp_path / 'a.npy'}, {tmp_path / 'a.jsonl'}\n"
    array = np.load(tmp_path / "a.npy")
    assert (array.shape, array.dtype) == ((30, 33, 3), np.float32)
    assert not array[3:5].any() and np.array_equal(array[5], frames[5][:, :3].astype(np.float32))
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert lines[3] == "null" and json.loads(lines[5])[7]["visibility"] == pytest.approx(frames[5][7, 3], abs=1e-4)
    one, other = (read_any(tmp_path / name, "mediapipe33") for name in ("a.npy", "a.jsonl"))
    assert one.skeleton == other.skeleton and one.clip.shape == (28, 1, 33, 3)
    np.testing.assert_allclose(one.clip, other.clip, atol=1e-4)
    convert("walk.mp4", frames=frames)
    assert capsys.readouterr().out.splitlines() == lines

    checkpoint = save(tmp_path / "a.pth", about={"dataset": "NTU"})
    stream = [line.encode() for line in lines]
    code, out, _ = run(capsys, "--stream", "--checkpoint", checkpoint, "--window", 25, "--json", stream=stream)
    assert code == 0 and [json.loads(line)["frame"] for line in out] == list(range(25, 31))
    code, out, _ = run(capsys, tmp_path / "a.npy", tmp_path / "a.jsonl", "--checkpoint", checkpoint, "--json")
    assert code == 0
    one, other = (json.loads(line)["top"] for line in out)
    assert [entry["label"] for entry in one] == [entry["label"] for entry in other]


@pytest.mark.parametrize("source", ["walk.mp4", "0"])
def test_what_was_read_before_ctrl_c_is_written(tmp_path, source):
    """Ctrl-C is how a camera's recording ends; a file's is then incomplete."""
    flags = ("--out", tmp_path / "a.npy", "--jsonl", tmp_path / "a.jsonl")
    if source == "0":
        convert(source, *flags, frames=landmarks(9), end=KeyboardInterrupt())
    else:
        with pytest.raises(KeyboardInterrupt):
            convert(source, *flags, frames=landmarks(9), end=KeyboardInterrupt())
    assert len(np.load(tmp_path / "a.npy")) == len((tmp_path / "a.jsonl").read_text().splitlines()) == 9


def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, capsys):
    flags = ("--out", tmp_path / "a.npy", "--jsonl", tmp_path / "a.jsonl")
    for frames in ([], [None] * 5):
        with pytest.raises(UserError, match=f"walk.mp4: nobody was found in {len(frames)} frames"):
            convert("walk.mp4", *flags, frames=frames)
    with pytest.raises(UserError, match="damaged"):
        convert("walk.mp4", *flags, frames=landmarks(5), end=UserError("damaged"))
    for wrong in (["--out", "a.txt"], ["--jsonl", "a.txt"], ["--fov", "180"], ["--fov", "0"]):
        with pytest.raises(SystemExit) as end:
            convert("walk.mp4", *wrong, frames=landmarks())
        assert end.value.code == 2
    assert not list(tmp_path.iterdir())


def test_without_mediapipe_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.pose", None)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with pytest.raises(UserError, match="cannot be imported .* install -r requirements-video.txt"):
        next(video_to_skeleton.read_landmarks("0"))


def test_it_needs_none_of_the_project_s_packages():
    """Its environment has NumPy, and neither torch nor h5py nor tqdm."""
    code = "import sys; sys.path[:0] = ['tools']; import video_to_skeleton; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"torch", "h5py", "sklearn", "scipy", "tqdm"} & set(loaded.split())


def test_a_person_is_placed_where_the_pictures_say(tmp_path):
    """World landmarks, moved and projected by a camera of 70 degrees: the way is found again; noise moves it little."""
    size, fov, way = (640, 360), 70, np.array([[-0.4, 0.1, 3.0], [0.5, -0.2, 2.0]])
    for origin in way:
        world = RNG.normal(size=(33, 4)) * 0.3
        world[:, 3] = 0.9
        points = world[:, :3] + origin
        focal = 320 / np.tan(np.radians(35))
        picture = focal * points[:, :2] / points[:, 2:] + [320, 180]
        np.testing.assert_allclose(place(world, picture, size, fov), origin, atol=1e-9)
        picture += RNG.normal(size=(33, 2)) * 2
        np.testing.assert_allclose(place(world, picture, size, fov), origin, atol=0.15)
        picture[5], world[5, 3] = (1e4, 1e4), 0  # not visible: it does not count
        np.testing.assert_allclose(place(world, picture, size, fov), origin, atol=0.15)
    placed = np.stack([frame[:, :3] + origin for frame, origin in zip(landmarks(2), way, strict=True)])
    assert np.array_equal(from_mediapipe(placed), placed * [-1, -1, 1])  # accepted, though the hips are elsewhere


def test_a_reader_that_ends_ends_it_with_one_line():
    """As in `video_to_skeleton.py walk.mp4 | head -n 1`."""
    code = "import sys; sys.path[:0] = ['tools']; import itertools, numpy, util, video_to_skeleton\n"
    code += "read = lambda source, fov: (numpy.ones((33, 4)) for _ in itertools.count())\n"
    code += "with program.exit_on_error(): video_to_skeleton.main(['0'], read)"
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1, text=True)
    assert process.stdout.readline().startswith("[{")
    process.stdout.close()
    assert process.stderr.read() == "error: whoever reads the lines has ended\n" and process.wait() == 2
    process.stderr.close()
