"""video_to_skeleton.py with MediaPipe itself, on made videos. Skipped where MediaPipe is not installed.

It has an environment of its own (requirements-video.txt): these tests also need pytest, h5py and scikit-image there,
which has a photograph of a person.
"""

from functools import partial

import numpy as np
import pytest

from helpers import run_script

convert = partial(run_script, "tools/video_to_skeleton.py")
cv2 = pytest.importorskip("cv2")
pytest.importorskip("mediapipe")


def film(path, pictures):
    """A video of pictures, (height, width, 3) uint8 BGR."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 30, (320, 320))
    for picture in pictures:
        video.write(cv2.resize(picture, (320, 320)))
    video.release()
    return path


def test_a_photograph_of_an_astronaut_in_a_spacesuit(tmp_path):
    """She faces the camera and comes nearer as the picture is zoomed; the first frames are grey."""
    picture = pytest.importorskip("skimage.data").astronaut()[..., ::-1]
    cuts = np.linspace(0, 0.15 * len(picture), 20).astype(int)
    zoomed = [picture[cut : len(picture) - cut, cut : len(picture) - cut] for cut in cuts]
    path = film(tmp_path / "a.mp4", [np.full_like(picture, 128)] * 5 + zoomed)
    code, out, err = convert(path, "--out", tmp_path / "a.npy")
    assert (code, out) == (0, []) and len(err) == 1
    clip = np.load(tmp_path / "a.npy")
    there = clip.any(axis=(1, 2))
    assert clip.shape == (25, 33, 3) and not there[:5].any() and there[5:].sum() > 15
    nose, left, right, *hips = clip[there][:, [0, 11, 12, 23, 24]].transpose(1, 0, 2)
    assert np.abs(np.mean(hips, axis=0)).max() < 0.05  # the origin
    assert 0.2 < -np.median(nose[:, 1]) < 1 and (left[:, 0] > right[:, 0]).all()  # metres, y down, left to the right
    assert (nose[:, 2] < (left + right)[:, 2] / 2).all()  # she looks at the camera
    code, out, _ = convert(path, "--fov", 60)
    assert code == 0 and len(out) == 25 and out.count("null") == 25 - there.sum()
    assert convert(path, "--fov", 60, "--out", tmp_path / "b.npy")[0] == 0
    way = np.load(tmp_path / "b.npy")[there] - clip[there]
    np.testing.assert_allclose(way, way[:, :1].repeat(33, axis=1), atol=1e-5)  # all joints are moved by the same
    assert 0.5 < way[-1, 0, 2] < way[0, 0, 2] < 5
