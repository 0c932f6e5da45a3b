"""Joints of other tools as Kinect's: by hand, mirrored, in recordings and live for networks trained with a Kinect."""

import json

import numpy as np
import pytest
import torch

from clips.h5 import trim_and_center
from clips.joint_map import MAPS, map_joints
from clips.skeletons import AZURE_KINECT, MEDIAPIPE33, SKELETONS
from engine.classifier import Classifier, LiveClassifier
from predict_run import run, save


@pytest.mark.parametrize("pair", MAPS, ids=" to ".join)
def test_the_map_keeps_places_sides_and_absent_persons(pair):
    weights, (source, target) = MAPS[pair], (SKELETONS[name] for name in pair)
    np.testing.assert_allclose(weights.sum(axis=1), 1)  # so the map of a moved person is the moved map
    flipped = weights[target.flip_pairs()][:, source.flip_pairs()]
    np.testing.assert_allclose(flipped, weights)
    for name in ("left knee", "right wrist"):
        assert weights[target.joints.index(name), source.joints.index(name)] == 1
    clip = np.zeros((2, 2, len(source.joints), 3), np.float32)
    clip[0, 0] = np.random.default_rng(0).normal(size=clip.shape[2:])
    mapped = map_joints(clip, *pair)
    assert mapped.dtype == np.float32 and mapped.any(axis=(2, 3)).tolist() == [[True, False], [False, False]]


def test_joints_by_hand():
    points = np.zeros((33, 3))
    for name, place in {
        "hip": (1, 9, 0), "shoulder": (2, 15, 0), "ear": (1, 18, 0), "ankle": (1, 1, 0), "foot": (1, 1, -3),
        "wrist": (4, 10, 0), "index finger": (4, 9, -1), "little finger": (4, 9, 1),
    }.items():  # fmt: skip
        for side, sign in (("left", -1), ("right", 1)):
            points[MEDIAPIPE33.joints.index(f"{side} {name}")] = np.array(place) * [sign, 1, 1]
    both = {"left hand": [-4, 9, 0], "head": [0, 18, 0]}
    v1 = {"hip centre": [0, 10, 0], "spine": [0, 11, 0], "shoulder centre": [0, 16.125, 0], "right foot": [1, 1, -1.5]}
    v2 = {"base of the spine": [0, 9, 0], "middle of the spine": [0, 12, 0], "neck": [0, 16, 0]}
    v2 |= {"right foot": [1, 1, -2], "left hand tip": [-4, 8, 0]}
    for target, expected in (("kinect_v1", both | v1), ("kinect_v2", both | v2)):
        mapped = map_joints(points, "mediapipe33", target)
        for name, place in expected.items():
            np.testing.assert_allclose(mapped[SKELETONS[target].joints.index(name)], place, err_msg=name)


def test_kinects_by_hand():
    points = np.zeros((32, 3))
    heights = {"pelvis": 9, "spine at the navel": 10, "spine at the chest": 12, "neck": 16, "head": 17}
    for name, y in (heights | {"left clavicle": 15, "right clavicle": 15}).items():
        points[AZURE_KINECT.joints.index(name), 1] = y
    v2 = {"base of the spine": 9, "middle of the spine": 11, "spine at the shoulders": 15, "neck": 16, "head": 17}
    v1 = {"hip centre": 10, "spine": 11, "shoulder centre": 15.75, "head": 17}
    for target, expected in (("kinect_v2", v2), ("kinect_v1", v1)):
        mapped = map_joints(points, "azure_kinect", target)
        joints = [SKELETONS[target].joints.index(name) for name in expected]
        np.testing.assert_allclose(mapped[joints, 1], [*expected.values()])


def of_mediapipe(frame):
    return [dict(zip("xyz", joint, strict=True)) for joint in (frame * [-1, -1, 1]).tolist()]


def of_azure(frame):
    return {"bodies": [{"body_id": 1, "joint_positions": (frame * [-1000, -1000, 1000]).tolist()}]}


NETWORKS = [("mediapipe33", of_mediapipe, "NUCLA", 20), ("azure_kinect", of_azure, "NTU", 25)]


@pytest.mark.parametrize("source, write, dataset, joints", NETWORKS)
def test_a_network_of_a_kinect_takes_other_joints_mapped_and_centered(tmp_path, capsys, source, write, dataset, joints):
    rng, n = np.random.default_rng(0), len(SKELETONS[source].joints)
    clip = rng.normal(size=(n, 3)) * 0.3 + rng.normal(size=(30, n, 3)).cumsum(axis=0) * 0.01
    if source == "mediapipe33":
        clip -= clip[:, 23:25].mean(axis=1, keepdims=True)
    checkpoint = save(tmp_path / "a.pth", 5, joints, about={"dataset": dataset})
    classifier = Classifier(checkpoint)
    lines = [json.dumps(write(frame)).encode() for frame in clip]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    mapped = map_joints(clip, source, classifier.skeleton.name)[:, None]
    of_file = classifier.logits(trim_and_center(mapped), torch.Generator().manual_seed(1)).softmax(-1).numpy()
    live = LiveClassifier(classifier, window=30, samples=5)
    of_live = [live.update(frame) for frame in mapped][-1]
    flags = ("--checkpoint", checkpoint, "--json")
    for words, given, p in (
        ((tmp_path / "a.jsonl",), None, of_file),
        (("--live", "--window", 30, "--samples", 5), lines, of_live),
    ):
        code, (line,), err = run(capsys, *words, *flags, lines=given)
        assert code == 0 and sum("mapped" in line for line in err) == 1
        for entry in json.loads(line)["top"]:
            assert entry["probability"] == pytest.approx(p[entry["label"]], abs=1e-4)
