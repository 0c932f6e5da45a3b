"""Joints of other tools as Kinect's: by hand, mirrored, and for networks of a Kinect."""

import json

import numpy as np
import pytest
import torch

from clips.h5 import trim_and_center
from clips.joint_map import MAPS, map_joints
from clips.skeletons import SKELETONS
from engine.classifier import Classifier
from predict_run import run, save


@pytest.mark.parametrize("pair", MAPS, ids=" to ".join)
def test_the_map_keeps_places_sides_and_absent_persons(pair):
    weights, (source, target) = MAPS[pair], (SKELETONS[name] for name in pair)
    np.testing.assert_allclose(weights.sum(axis=1), 1)  # so the map of a moved person is the moved map
    np.testing.assert_allclose(weights[target.flip_pairs()][:, source.flip_pairs()], weights)
    for name in ("left knee", "right wrist"):
        assert weights[target.joints.index(name), source.joints.index(name)] == 1
    mapped = map_joints(np.zeros((2, len(source.joints), 3), np.float32), *pair)
    assert mapped.dtype == np.float32 and not mapped.any()


RIGHT = {"hip": (1, 9, 0), "shoulder": (2, 15, 0), "ear": (1, 18, 0), "ankle": (1, 1, 0), "foot": (1, 1, -3)}
RIGHT |= {"wrist": (4, 10, 0), "index finger": (4, 9, -1), "little finger": (4, 9, 1)}
BODY = {f"right {name}": place for name, place in RIGHT.items()}
BODY |= {f"left {name}": (-x, y, z) for name, (x, y, z) in RIGHT.items()}
V1 = {"hip centre": (0, 10, 0), "spine": (0, 11, 0), "shoulder centre": (0, 16.125, 0), "head": (0, 18, 0)}
V1 |= {"left hand": (-4, 9, 0), "right foot": (1, 1, -1.5)}
AZURE = {"pelvis": 9, "spine at the navel": 10, "spine at the chest": 12, "left clavicle": 15, "right clavicle": 15}
AZURE_V2 = {"base of the spine": 9, "middle of the spine": 11, "spine at the shoulders": 15}
BY_HAND = [("mediapipe33", BODY, "kinect_v1", V1), ("azure_kinect", AZURE, "kinect_v2", AZURE_V2)]


@pytest.mark.parametrize("source, places, target, expected", BY_HAND)
def test_joints_by_hand(source, places, target, expected):
    """places: of joints, or their heights."""
    points = [np.broadcast_to(places.get(name, 0), 3) for name in SKELETONS[source].joints]
    mapped = map_joints(np.array(points, float), source, target)
    for name, place in expected.items():
        np.testing.assert_allclose(mapped[SKELETONS[target].joints.index(name)], place, err_msg=name)


def test_a_network_of_a_kinect_takes_mediapipe_s_joints_mapped_and_centered(tmp_path, capsys):
    clip = np.random.default_rng(0).normal(scale=0.3, size=(30, 33, 3))
    clip -= clip[:, 23:25].mean(axis=1, keepdims=True)
    np.save(tmp_path / "a.npy", clip * [-1, -1, 1])  # in MediaPipe's axes
    checkpoint = save(tmp_path / "a.pth", 5, 20, skeleton={"skeleton": "kinect_v1"})
    mapped = trim_and_center(map_joints(clip, "mediapipe33", "kinect_v1")[:, None])
    wanted = Classifier(checkpoint).logits(mapped, torch.Generator().manual_seed(1)).softmax(-1).tolist()
    words = (tmp_path / "a.npy", "--skeleton", "mediapipe33", "--checkpoint", checkpoint, "--json")
    code, (line,), err = run(capsys, *words)
    assert code == 0 and sum("mapped" in line for line in err) == 1
    for entry in json.loads(line)["top"]:
        assert entry["probability"] == pytest.approx(wanted[entry["label"]], abs=1e-4)
