"""MediaPipe's joints as Kinect's: by hand, mirrored, in recordings and streams for networks trained with a Kinect."""

import json

import numpy as np
import pytest
import torch
import try_joint_map

from clips.h5 import center
from clips.joint_map import MAPS, map_joints
from clips.skeletons import MEDIAPIPE33, SKELETONS
from conftest import write_toy
from data import Clips
from engine.checkpoint import load_checkpoint
from engine.classifier import Classifier
from predict_run import run, save
from util import UserError

RNG = np.random.default_rng(0)
JOINTS = dict(zip(MEDIAPIPE33.joints, np.eye(33), strict=True))
each_map = pytest.mark.parametrize("pair", MAPS, ids=lambda pair: pair[1])


def landmarks(frames=30):
    """A person who moves: world landmarks as MediaPipe gives them, (frames, 33, 3)."""
    points = RNG.normal(size=(33, 3)) * 0.3 + RNG.normal(size=(frames, 33, 3)).cumsum(axis=0) * 0.01
    return points - points[:, 23:25].mean(axis=1, keepdims=True)


@each_map
def test_the_map_keeps_places_sides_and_absent_persons(pair):
    weights, (source, target) = MAPS[pair], (SKELETONS[name] for name in pair)
    np.testing.assert_allclose(weights.sum(axis=1), 1)  # so the map of a moved person is the moved map
    flipped = weights[target.flip_pairs()][:, source.flip_pairs()]
    np.testing.assert_allclose(flipped, weights)
    for name in ("left knee", "right wrist"):
        assert np.array_equal(weights[target.joints.index(name)], JOINTS[name])
    clip = np.zeros((2, 2, 33, 3), np.float32)
    clip[0, 0] = RNG.normal(size=(33, 3))
    mapped = map_joints(clip, *pair)
    assert mapped.dtype == np.float32 and mapped.any(axis=(2, 3)).tolist() == [[True, False], [False, False]]
    with pytest.raises(KeyError):
        map_joints(clip, pair[1], pair[0])


def test_joints_by_hand():
    points = np.zeros((33, 3))
    for name, place in {
        "hip": (1, 9, 0), "shoulder": (2, 15, 0), "ear": (1, 18, 0), "ankle": (1, 1, 0), "foot": (1, 1, -3),
        "wrist": (4, 10, 0), "index finger": (4, 9, -1), "little finger": (4, 9, 1),
    }.items():  # fmt: skip
        for side, sign in (("left", -1), ("right", 1)):
            points[MEDIAPIPE33.joints.index(f"{side} {name}")] = np.array(place) * [sign, 1, 1]
    hand = {"left hand": [-4, 9, 0]}
    trunk = {"head": [0, 18, 0]}
    for target, expected in (
        ("kinect_v1", {"hip centre": [0, 10, 0], "spine": [0, 11, 0], "shoulder centre": [0, 16.125, 0]}),
        ("kinect_v1", hand | trunk | {"right foot": [1, 1, -1.5]}),
        ("kinect_v2", {"base of the spine": [0, 9, 0], "middle of the spine": [0, 12, 0], "neck": [0, 16, 0]}),
        ("kinect_v2", hand | trunk | {"right foot": [1, 1, -2], "left hand tip": [-4, 8, 0]}),
    ):
        mapped = map_joints(points, "mediapipe33", target)
        for name, place in expected.items():
            np.testing.assert_allclose(mapped[SKELETONS[target].joints.index(name)], place, err_msg=name)


@pytest.mark.parametrize("dataset, joints", [("NUCLA", 20), ("NTU", 25)])
def test_mediapipe_of_a_file_and_a_stream_is_mapped_and_centered(tmp_path, capsys, dataset, joints):
    checkpoint = save(tmp_path / "a.pth", 5, joints, 20, {"dataset": dataset})
    classifier, clip = Classifier(checkpoint), landmarks()
    np.save(tmp_path / "a.npy", clip)
    lines = [[{**dict(zip("xyz", joint, strict=True)), "visibility": 1} for joint in frame] for frame in clip.tolist()]
    lines = [json.dumps(frame).encode() for frame in lines]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    mapped = map_joints(clip * [-1, -1, 1], "mediapipe33", classifier.skeleton.name)[:, None]
    mapped = center(mapped, np.zeros((30, 1), bool)).astype(np.float32)  # joint 2, the spine
    p = classifier.logits(mapped, torch.Generator().manual_seed(1)).softmax(-1).numpy()
    flags, words = (
        ("--checkpoint", checkpoint, "--json", "--top", 5),
        "MediaPipe's joints are mapped to those of kinect",
    )
    code, out, err = run(capsys, tmp_path / "a.npy", tmp_path / "a.jsonl", *flags)
    assert code == 0 and words in err[0] and all(line.startswith("note: ") for line in err[1:])
    for line in out:
        for entry in json.loads(line)["top"]:
            assert entry["probability"] == pytest.approx(p[entry["label"]], abs=1e-5)
    code, out, err = run(capsys, "--stream", "--window", 30, "--samples", 5, *flags, stream=[b"null", *lines])
    assert code == 0 and len(err) == 1 and words in err[0]
    assert json.loads(out[-1])["frame"] == 31
    for entry in json.loads(out[-1])["top"]:
        expected = classifier.logits(mapped, second_draw(classifier, mapped), 5).softmax(-1)[entry["label"]]
        assert entry["probability"] == pytest.approx(float(expected), abs=1e-5)


def second_draw(classifier, clip):
    """The generator of the second prediction of a stream whose first window had one frame less."""
    generator = torch.Generator().manual_seed(1)
    classifier.logits(clip[:-1], generator, 5)
    return generator


def test_what_a_network_loses_by_it(tmp_path, capsys):
    """On clips of a person who walks: the mapped joints stand where the map puts them, and the hips in one place."""
    h5 = write_toy(tmp_path / "a.h5", joints=20, skeleton="kinect_v1", class_names=list("abcd"))
    clips = Clips.read(h5)
    for joints, origin in ((True, False), (False, True), (True, True)):
        frames = try_joint_map.reduce(clips, joints, origin, False).frames.reshape(-1, 20, 3)
        first = clips.start
        assert not frames[-1].any() and frames[first, 1].abs().max() < 1e-6
        moved = frames - clips.frames.reshape(-1, 20, 3)
        moved = moved - moved[:, 12:13]  # as the left hip moves
        names = list(SKELETONS["kinect_v1"].joints)
        same = [names.index(name) for name in ("left wrist", "right hand", "left foot", "head")]
        changed = [names.index(name) for name in ("hip centre", "spine", "shoulder centre")]
        assert moved[:-1, same].abs().max() < 1e-5
        assert (moved[:-1, changed].abs().max() > 1e-3) == joints
        hips = frames[:-1, [12, 16]].mean(dim=1)
        for start, length in zip(clips.start.tolist(), clips.length.tolist(), strict=True):
            still = (hips[start : start + length] - hips[start]).abs().max() < 1e-6
            assert bool(still) == origin
    checkpoint = save(tmp_path / "a.pth", 4, 20)
    assert load_checkpoint(checkpoint).skeleton.name == "unknown"
    try_joint_map.main([str(checkpoint), "--dataset", str(h5)])
    rows = capsys.readouterr().out.splitlines()
    assert [row[:14].rstrip() for row in rows] == list(try_joint_map.ROWS)
    other = write_toy(tmp_path / "b.h5", joints=5)
    with pytest.raises(UserError, match="no map from MediaPipe to unknown"):
        try_joint_map.main([str(save(tmp_path / "b.pth", 4, 5)), "--dataset", str(other)])
