"""Files as strangers bring them: read for what they are, or refused with what to do."""

import json
import pickle

import h5py
import numpy as np
import pytest

import from_arrays
import from_pyskl
from clips.poses import LivePoses
from clips.recordings import read_any
from util import UserError

POSE = np.stack([np.linspace(500, 900, 17), np.linspace(100, 700, 17), np.full(17, 0.9)], axis=1)  # in 1280 x 720
PIXELS = POSE + np.arange(30)[:, None, None] * [1, 0, 0]
PARTS = PIXELS / [1280, 720, 1]
SHOWN = PARTS - [0.5, 0.5, 0]
LANDMARKS = np.random.default_rng(0).normal(scale=0.3, size=(30, 33, 3))
LANDMARKS[:, [23, 24]] = [[0.1, 0, 0], [-0.1, 0, 0]]


COCO = [{"image_id": i, "keypoints": pose.ravel().tolist()} for i, pose in enumerate(PIXELS)]


def person(i, track):
    return {"keypoints": dict(zip(("x", "y", "visible"), PIXELS[i].T.tolist(), strict=True)), "track_id": track}


def write(path, content):
    if path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix == ".csv":
        names = ",".join(f"{axis}{i}" for i in range(33) for axis in "xyz")
        np.savetxt(path, content.reshape(len(content), -1), delimiter=",", header=names, comments="")
    else:
        path.write_text(json.dumps(content.tolist() if isinstance(content, np.ndarray) else content))
    return path


@pytest.mark.parametrize(
    "name, content, skeleton, size, wanted",
    [
        ("a.npy", PIXELS, "coco17", (1280, 720), SHOWN),
        ("a.npy", PARTS, "coco17", (1, 1), SHOWN),
        ("a.npy", SHOWN, "coco17", (1280, 720), SHOWN),  # it has this form already
        ("a.npy", PIXELS, "coco17", None, "--size"),
        ("a.npy", PARTS, "coco17", None, "--size 1x1"),
        ("a.json", LANDMARKS, "kinect_v2", None, LANDMARKS * [-1, -1, 1]),
        ("a.npy", np.pad(LANDMARKS, ((0, 0), (0, 0), (0, 1))), "kinect_v2", None, LANDMARKS * [-1, -1, 1]),
        ("a.csv", LANDMARKS, "mediapipe33", None, LANDMARKS * [-1, -1, 1]),  # names of columns above the numbers
        ("a.json", {"images": [], "annotations": COCO}, "coco17", (1280, 720), SHOWN),  # frames, not one of 30 persons
        ("a.json", {"results": [[one] for one in COCO]}, "coco17", (1280, 720), SHOWN),
        ("a.json", {"poses": COCO, "more": []}, "coco17", (1280, 720), "poses, more"),
        ("a.json", [[[1, 2, 3]], [[1, 2]]], "kinect_v2", None, "lengths"),
        ("a.json", [person(i, track) for i in range(30) for track in (1, 2)], "coco17", (1280, 720), "identities"),
    ],
)
def test_recordings(tmp_path, name, content, skeleton, size, wanted):
    path = write(tmp_path / name, content)
    if isinstance(wanted, str):
        with pytest.raises(UserError, match=f"{name}: .*{wanted}"):
            read_any(path, skeleton, size=size)
    else:
        np.testing.assert_allclose(read_any(path, skeleton, size=size).clip[:, 0], wanted, atol=1e-6)


def test_a_live_line_is_a_frame_and_not_one_of_its_persons():
    live = LivePoses(size=(1280, 720))
    assert live.update(COCO[0]) and live.update(COCO[1])
    with pytest.raises(ValueError, match="second"):
        live.update(COCO[1])


def test_an_absent_joint_of_ntu_like_clips_is_between_its_neighbours_and_not_at_the_camera(tmp_path, capsys):
    joints = np.random.default_rng(0).normal(scale=0.3, size=(12, 1, 5, 25, 3)) + [0, 0, 3]
    joints[0, 0, 2, 7] = np.nan
    clips = [{"frame_dir": f"c{i}.m4v", "label": i % 2, "keypoint": clip} for i, clip in enumerate(joints)]
    names = [f"c{i}" for i in range(12)]
    content = {"split": {"train": names[:8], "val": names[8:]}, "annotations": clips}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    from_pyskl.main([str(tmp_path / "a.pkl"), "--out", str(tmp_path), "--nan", "absent"])
    with h5py.File(tmp_path / "a.h5") as file:
        clips = np.concatenate([file["x"], file["valid_x"]]).reshape(8, 5, -1, 25, 3)[:, :, 0]
    assert abs(clips).max() < 2.5
    (tmp_path / "names.txt").write_text("one")
    with pytest.raises(UserError, match="names.txt"):
        from_pyskl.main(
            [
                str(tmp_path / "a.pkl"),
                *map(str, ("--out", tmp_path, "--classes", tmp_path / "names.txt", "--nan", "absent")),
            ]
        )
    with pytest.raises(UserError, match="--test"):
        (tmp_path / "b.pkl").write_bytes(pickle.dumps(content["annotations"]))
        from_pyskl.main([str(tmp_path / "b.pkl"), "--out", str(tmp_path), "--nan", "absent"])


def test_a_set_s_axes_are_said_where_they_are_taken_from_its_sizes(tmp_path, capsys):
    clips = np.random.default_rng(0).normal(scale=0.3, size=(6, 2, 8, 25, 3)).astype(np.float32)
    for side in ("train", "val"):
        np.save(tmp_path / f"{side}_data.npy", clips)
        np.save(tmp_path / f"{side}_label.npy", np.arange(6) % 2)
    from_arrays.main([str(tmp_path), "--out", str(tmp_path / "a.h5")])
    assert "MTVC" in capsys.readouterr().err
