"""Recordings as strangers bring them, above all as arrays: read for what they are, or refused with what to do."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.io import savemat

import from_pyskl
from clips.arrays import fill_absent
from clips.checks import odd_clip
from clips.poses import LivePoses
from clips.recordings import read_any
from util import UserError

HD = (1280, 720)
POSE = np.stack([np.linspace(500, 900, 17), np.linspace(100, 700, 17), np.full(17, 0.9)], axis=1)  # in HD
PIXELS = POSE + np.arange(30)[:, None, None] * [1, 0, 0]
PARTS = PIXELS / [*HD, 1]
SHOWN = PARTS - [0.5, 0.5, 0]
LANDMARKS = np.random.default_rng(0).normal(scale=0.3, size=(30, 33, 3))
LANDMARKS[:, [23, 24]] = [[0.1, 0, 0], [-0.1, 0, 0]]
KINECT = LANDMARKS * [-1, -1, 1]  # in its axes
TWO = np.random.default_rng(0).normal(size=(24, 2, 25, 3)).astype(np.float32)
TABLE = [[f"{axis}{i}" for i in range(33) for axis in "xyz"], *LANDMARKS.reshape(30, -1).tolist()]
HOLES, FILLED = TWO + np.float32(9), TWO + np.float32(9)
HOLES[5, 0, 7], FILLED[5, 0, 7] = 0, FILLED[[4, 6], 0, 7].mean(axis=0)
NARROW = PIXELS / [800, 720, 1] - [0.5, 0.5, 0]  # as parts of a picture in which a quarter of the joints is not
COCO = [{"image_id": i, "keypoints": pose.ravel().tolist()} for i, pose in enumerate(PIXELS)]


def person(i, track):
    return {"keypoints": dict(zip(("x", "y", "visible"), PIXELS[i].T.tolist(), strict=True)), "track_id": track}


def mediapipe(pose):
    """A frame of its Tasks API."""
    return {"landmarks": [], "world_landmarks": [[dict(zip("xyz", joint, strict=True)) for joint in pose.tolist()]]}


def write(path, content):
    if path.suffix.lower() == ".npy":
        with open(path, "wb") as file:
            np.save(file, content)
    elif path.suffix == ".csv":
        path.write_text("\n".join(",".join(map(str, row)) for row in content))
    elif path.suffix == ".txt":
        np.savetxt(path, content)
    elif path.suffix == ".mat":
        savemat(path, {"d_skel": content})
    else:
        path.write_text(json.dumps(content.tolist() if isinstance(content, np.ndarray) else content))
    return path


PAIR, LATER = SHOWN[:, None].repeat(2, axis=1), np.zeros((1000, 17, 3))
LATER[:30], LATER[999] = SHOWN, SHOWN[0]


def rtmlib(pose):
    """The arrays of two persons of one frame."""
    return {"keypoints": [pose[:, :2].tolist()] * 2, "keypoint_scores": [pose[:, 2].tolist()] * 2}


READ = [  # suffix, content, skeleton, flags, the clip; and a word of a note
    ("npy", PIXELS, "coco17", {"size": HD}, SHOWN, "score"),
    ("npy", PARTS, "coco17", {"size": (1, 1)}, SHOWN, "score"),
    ("npy", SHOWN, "coco17", {"size": HD}, SHOWN, "score"),  # it has this form already
    ("json", LANDMARKS, "kinect_v2", {}, KINECT, None),  # 33 joints are none of Kinect's
    ("npy", np.pad(LANDMARKS, ((0, 0), (0, 0), (0, 1))), "kinect_v2", {}, KINECT, "fourth"),
    ("csv", TABLE, "mediapipe33", {}, KINECT, "TVC"),  # names of columns above the numbers
    ("csv", [range(99), *TABLE[1:]], "mediapipe33", {}, KINECT, "TVC"),  # pandas'
    ("csv", [range(1, 100), *TABLE[1:]], "mediapipe33", {}, KINECT, "TVC"),
    ("csv", [["EyeRight"] * 99, *TABLE[1:]], "mediapipe33", {}, "EyeRight", None),
    ("NPY", TWO, "kinect_v2", {}, TWO, None),
    ("npy", HOLES, "kinect_v2", {}, HOLES, "1 of 1,200 joints"),
    ("npy", HOLES, "kinect_v2", {"nan": "absent"}, FILLED, "absent"),
    ("npy", HOLES - HOLES[:1, :1, 1:2], "kinect_v2", {}, HOLES - HOLES[:1, :1, 1:2], None),  # joint 2 is the origin
    ("npy", PIXELS, "coco17", {"size": (800, 720)}, NARROW, "outside"),
    ("json", COCO, "coco17", {"size": (800, 720), "persons": 1}, NARROW, "outside"),
    ("txt", np.c_[range(9, 39), LANDMARKS.reshape(30, -1)], "mediapipe33", {}, KINECT, "first column"),  # UTKinect's
    ("mat", LANDMARKS.transpose(1, 2, 0), "mediapipe33", {}, KINECT, "VCT"),  # UTD-MHAD's
    ("npy", TWO, "kinect_v2", {}, TWO, None),
    ("npy", TWO.transpose(3, 0, 2, 1), "kinect_v2", {}, TWO, "CTVM"),  # ST-GCN's
    ("npy", TWO.transpose(1, 0, 2, 3), "kinect_v2", {"axes": "MTVC"}, TWO, None),  # pyskl's
    ("npy", TWO.transpose(1, 0, 2, 3), "kinect_v2", {}, "2 frames of 24 persons: .*MTVC", None),
    ("npy", PIXELS, "coco17", {}, "--size", None),
    ("npy", PARTS, "coco17", {}, "--size 1x1", None),
    ("npy", SHOWN * [1, 4, 1], "coco17", {}, "3D", None),  # a person three pictures high: metres
    ("npy", SHOWN[..., :2], "coco17", {}, "score", None),
    ("json", {"poses": COCO, "more": []}, "coco17", {"size": HD}, "poses, more", None),
    ("json", [person(i, track) for i in range(30) for track in (1, 2)], "coco17", {"size": HD}, "--axes", None),
    ("json", [person(i, k) | {"frame_id": i} for i in range(30) for k in (1, 2)], "coco17", {"size": HD}, PAIR, None),
    ("json", {f"person_{k}": [person(i, k) for i in range(30)] for k in (1, 2)}, "coco17", {}, "30 persons", None),
    ("json", {"annotations": COCO, "categories": [{"keypoints": ["l_eye"]}]}, "coco17", {"size": HD}, "l_eye", None),
    ("json", [*COCO, COCO[0] | {"image_id": 999}], "coco17", {"size": HD, "persons": 1}, LATER, "31 of 1,000 frames"),
    ("json", [rtmlib(pose) for pose in PIXELS], "coco17", {"size": HD}, PAIR, None),
    ("json", [mediapipe(pose) for pose in LANDMARKS], "mediapipe33", {"persons": 1}, KINECT, None),
]


@pytest.mark.parametrize("suffix, content, skeleton, flags, wanted, noted", READ)
def test_recordings(tmp_path, suffix, content, skeleton, flags, wanted, noted):
    path = write(tmp_path / f"a.{suffix}", content)
    if isinstance(wanted, str):
        with pytest.raises(UserError, match=rf"a\.{suffix}: .*{wanted}"):
            read_any(path, skeleton, **flags)
        return
    poses = read_any(path, skeleton, **flags)
    np.testing.assert_allclose(poses.clip.reshape(wanted.shape), wanted, atol=1e-6)
    assert any(noted in note for note in poses.notes) if noted else skeleton == "coco17" or not poses.notes


def test_absent_joints_by_hand(tmp_path):
    """Joint 1 hangs on 0, and 2 on 1 (of h36m17). Person 2 is there in frame 1 only."""
    clip = np.zeros((4, 2, 17, 3), np.float32)
    clip[:3, 0] = np.arange(17)[:, None] + np.arange(1, 4)[:, None, None]
    clip[1, 1] = 7
    wanted, hidden = clip.copy(), clip.copy()
    hidden[[0, 2], 0, 16] = hidden[1, 0, 4] = hidden[:3, 0, 2] = hidden[1, 1, 2] = np.nan
    wanted[:3, 0, 16], wanted[:3, 0, 2], wanted[1, 1, 2] = wanted[1, 0, 16], wanted[:3, 0, 1], 7
    filled = fill_absent(hidden, "h36m17")
    assert np.array_equal(filled, wanted) and filled.dtype == np.float32
    assert not fill_absent(hidden, "coco17")[:, 0, 2].any()
    path = write(tmp_path / "a.npy", hidden * 0.1)
    assert np.allclose(read_any(path, "h36m17", nan="absent").clip, wanted * 0.1)
    with pytest.raises(UserError, match="--nan absent"):
        read_any(path, "h36m17")


def test_an_absent_joint_of_ntu_like_clips_is_between_its_neighbours_and_not_at_the_camera():
    joints = np.random.default_rng(0).normal(scale=0.3, size=(1, 5, 25, 3)) + [0, 0, 3]
    joints[0, 2, 7] = np.nan
    args = SimpleNamespace(as_ntu=True, skeleton="kinect_v2", nan="absent", up=None, scale=1.0, origin=None, pickle="a")
    rows = from_pyskl.Clip("a", 0, joints, None).read(args).reshape(5, 25, 3)
    np.testing.assert_allclose(rows[2, 7], rows[[1, 3], 7].mean(axis=0), atol=1e-6)


def test_a_live_line_is_a_frame_and_not_one_of_its_persons():
    for key in ("image_id", "frame"):
        live, lines = LivePoses(size=HD), [person(i, 0) | {key: i} for i in range(2)]
        assert live.update(lines[0]) and live.update(lines[1])
        with pytest.raises(ValueError, match="second"):
            live.update(lines[1])


def test_persons_who_lie_on_their_side_in_an_array_of_y_x_score_are_noted():
    assert not [*odd_clip(SHOWN[:, None], "coco17")]
    assert "-x" in [*odd_clip(PARTS[:, None, :, [1, 0, 2]], "coco17")][0][1]
