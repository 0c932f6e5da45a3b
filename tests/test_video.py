"""From a video to class names, with a stand-in for MediaPipe; test_mediapipe.py has MediaPipe itself."""

import json
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest

import video_to_skeleton
from clips.recordings import read_any
from helpers import ROOT
from predict_run import run, save
from util import UserError

RNG = np.random.default_rng(0)


def landmarks(frames=30):
    """A person who moves, (33, 4) in each frame, and is away in frames 3 and 4."""
    points = RNG.normal(size=(33, 3)) * 0.3 + RNG.normal(size=(frames, 33, 3)).cumsum(axis=0) * 0.01
    points -= points[:, 23:25].mean(axis=1, keepdims=True)
    joints = np.concatenate([points, RNG.uniform(size=(frames, 33, 1))], axis=2)
    return [None if i in (3, 4) else frame for i, frame in enumerate(joints)]


def convert(source, *flags, frames=(), end=None):
    """A run with these frames in place of a video's, perhaps ended by an exception."""

    def read(*_):
        yield from frames
        if end:
            raise end

    video_to_skeleton.main([source, *map(str, flags)], read)


def test_npy_and_json_lines_are_what_predict_reads(tmp_path, capsys):
    frames, checkpoint = landmarks(), save(tmp_path / "a.pth", skeleton={"skeleton": "kinect_v2"})
    convert("walk.mp4", frames=frames)
    lines = capsys.readouterr().out.splitlines()
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    convert("walk.mp4", "--out", tmp_path / "a.npy", frames=frames)
    array = np.load(tmp_path / "a.npy")
    assert not array[3:5].any() and np.array_equal(array[5], frames[5][:, :3].astype(np.float32))
    assert lines[3] == "null" and json.loads(lines[5])[7]["visibility"] == pytest.approx(frames[5][7, 3], abs=1e-4)
    one, other = (read_any(tmp_path / name, "mediapipe33") for name in ("a.npy", "a.jsonl"))
    np.testing.assert_allclose(one.clip[:, 0], other.clip[:, 0], atol=1e-4)
    assert capsys.readouterr().out == ""
    given = [line.encode() for line in lines]
    code, out, _ = run(capsys, "--live", "--checkpoint", checkpoint, "--window", 25, "--json", lines=given)
    assert code == 0 and [json.loads(line)["frame"] for line in out] == list(range(25, 31))


STOPPED = [  # source, frames until the end, and whether they are written
    ("walk.mp4", landmarks(9), KeyboardInterrupt, True),  # then it is incomplete
    ("0", landmarks(9), KeyboardInterrupt, True),  # how a camera's recording ends
    ("walk.mp4", [None] * 5, None, False),
    ("walk.mp4", landmarks(5), UserError, False),  # a damaged video
]


@pytest.mark.parametrize("source, frames, end, written", STOPPED)
def test_what_was_read_before_ctrl_c_is_written(tmp_path, source, frames, end, written):
    with nullcontext() if source == "0" else pytest.raises(end or UserError):
        convert(source, "--out", tmp_path / "a.npy", frames=frames, end=end)
    assert [len(np.load(path)) for path in tmp_path.iterdir()] == [9] * written


def test_it_needs_none_of_the_project_s_packages():
    """Its environment has NumPy, and neither torch nor h5py nor tqdm."""
    code = "import sys; sys.path[:0] = ['tools']; import video_to_skeleton\n"
    code += "sys.exit(bool({'torch', 'h5py', 'sklearn', 'scipy', 'tqdm'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("origin", [(-0.4, 0.1, 3.0), (0.5, -0.2, 2.0)])
def test_a_person_is_placed_where_the_pictures_say(origin):
    """World landmarks, moved and projected by a camera of 70 degrees: the way is found again; noise moves it little."""
    world = RNG.normal(size=(33, 4)) * 0.3
    world[:, 3] = 0.9
    points = world[:, :3] + origin
    picture = 320 / np.tan(np.radians(35)) * points[:, :2] / points[:, 2:] + [320, 180]
    np.testing.assert_allclose(video_to_skeleton.place(world, picture, (640, 360), 70), origin, atol=1e-9)
    picture += RNG.normal(size=(33, 2)) * 2
    picture[5], world[5, 3] = (1e4, 1e4), 0  # not visible: it does not count
    np.testing.assert_allclose(video_to_skeleton.place(world, picture, (640, 360), 70), origin, atol=0.15)
