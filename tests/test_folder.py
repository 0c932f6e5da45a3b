"""make_dataset.py: folders of clips to an h5 that main.py trains on; units, axes, and what is wrong with folders."""

import csv
import json
import shutil

import numpy as np
import pytest

import make_dataset
from clips.h5 import AXES_2D
from clips.tools import UP
from made import read
from util import UserError

SIZE = ("--size", "640x480")
COCO = np.random.default_rng(0).uniform(-50, 50, (17, 2)) + [320, 240]


def write_tree(folder, write, suffix, classes=("jump", "sit", "wave"), train=4, test=2):
    """So many clips of each class. write(path, label, i)."""
    for side, n in {"train": train, "test": test}.items():
        for label, name in enumerate(classes):
            (folder / side / name).mkdir(parents=True)
            for i in range(n):
                write(folder / side / name / f"clip{i}.{suffix}", label, i)
    return folder


def write_mmpose(path, label, i, frames=24):
    """One person, who moves in another direction in each class."""
    step = np.array([[0, -4], [0, 4], [4, 0]])[label]
    people = [{"keypoints": (COCO + step * t + i).tolist(), "keypoint_scores": [0.9] * 17} for t in range(frames)]
    path.write_text(json.dumps([{"frame_id": t, "instances": [one]} for t, one in enumerate(people)]))


def standing(label, i, joints=25):
    """A person about 1.7 high along y: (frames, joints, 3)."""
    clip = np.zeros((20 + i, joints, 3))
    clip[..., 1] = np.linspace(-0.8, 0.9, joints)
    clip[..., label] += np.linspace(0, 0.1, len(clip))[:, None]
    return clip


def make(folder, *more):
    return make_dataset.main([str(folder), "--out", str(folder / "my.h5"), *map(str, more)])


def test_from_a_folder_of_mmpose_to_an_h5(tmp_path):
    assert make(write_tree(tmp_path, write_mmpose, "json"), *SIZE) == 0
    made = read(tmp_path / "my.h5")
    assert (made.joints, made.persons, made.axes, made.skeleton.name) == (17, 1, AXES_2D, "coco17")
    assert (made.class_names, made.sizes, made.y["test_"]) == (("jump", "sit", "wave"), [11, 1, 6], [0, 0, 1, 1, 2, 2])
    x = made.x["test_"][3].reshape(-1, 17, 3)  # sit/clip1
    np.testing.assert_allclose(x[2, :, :2], (COCO + [0, 8] + 1) / [640, 480] - 0.5, atol=1e-6)
    assert (x[..., 2] == np.float32(0.9)).all()


def test_classes_without_clips_are_named(tmp_path, capsys):
    folder = write_tree(tmp_path, write_mmpose, "json")
    (folder / "train" / "run").mkdir()
    shutil.rmtree(folder / "test" / "wave")
    assert make(folder, *SIZE) == 0
    notes = capsys.readouterr().err.splitlines()
    assert sum(line.endswith(": run") or line.endswith("test clips: wave") for line in notes) == 2


def test_up_is_a_rotation_to_y():
    for up, rotation in UP.items():
        axis = np.eye(3)["xyz".index(up[-1])] * (-1 if up[0] == "-" else 1)
        assert (np.array(rotation) @ axis).tolist() == [0, 1, 0] and np.linalg.det(rotation) == 1


def test_lines_say_which_axis_is_up_and_the_unit(tmp_path, capsys):
    def write(path, label, i):
        clip = standing(label, i)
        clip[:, [3, 14]] = clip[:, [24, 0]]  # the head on top, the left ankle at the bottom
        np.save(path, 1024 * clip @ np.array(UP["-z"]))  # the inverse rotation

    folder = write_tree(tmp_path, write, "npy", train=2)
    (folder / "val").symlink_to(folder / "train")
    (folder / "unused").mkdir()
    flags = ["--skeleton", "kinect_v2", "--origin", 1, "--scale", 1 / 1024]
    for wrong, keyword in ((), "--skeleton"), (["--skeleton", "kinect_v1"], "20 joints"), (flags[:2], "--scale 0.001"):
        with pytest.raises(UserError, match=keyword):
            make(folder, *wrong)
    for up in ([], ["--up=-z"]):
        make(folder, *flags, *up)
        err = capsys.readouterr().err
        assert ("towards -z from the feet" in err) == (not up) and "unused" in err and "also training" in err
    made = read(tmp_path / "my.h5")
    assert (made.sizes, made.skeleton.name, made.axes, made.origin) == ([6, 6, 6], "kinect_v2", "x, y, z", 1)
    feet = made.x["test_"][0, :20].reshape(20, 25, 3)[:, 0]
    np.testing.assert_allclose(feet, np.linspace([0, 0, 0], [0.1, 0, 0], 20), atol=1e-6)


def test_arrays_of_a_skeleton_of_ones_own_come_out_the_same_and_2_is_before_10(tmp_path, capsys):
    def write(path, label, i):
        clip = standing(label, i, joints=5)
        clip[3, 0, 2] = np.nan if i == 2 else clip[3, 0, 2]
        np.savetxt(path, np.c_[clip.reshape(-1, 3), np.ones(5 * len(clip))])  # as in MSRAction3D

    write_tree(tmp_path, write, "txt", ("a1", "a2", "a10"), train=3, test=3)
    skeleton = {"joints": ["foot", "knee", "hip", "neck", "head"], "parents": [0, "foot", "knee", "hip", 3]}
    (tmp_path / "mine.json").write_text(json.dumps(skeleton))
    flags = ["--skeleton", tmp_path / "mine.json", "--origin", 1]
    assert make(tmp_path, *flags) == 3  # a joint of NaN loses a clip
    assert "--nan absent" in capsys.readouterr().out
    assert make(tmp_path, *flags, "--nan", "absent") == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["all"] == ["8", "1", "9", "20", "21", "22"] and rows["a10"][2:] == ["3", "20", "21", "22"]
    made = read(tmp_path / "my.h5")
    assert (made.sizes, made.class_names, made.skeleton.joints[4]) == ([8, 1, 9], ("a1", "a2", "a10"), "head")
    wanted = standing(2, 1, joints=5)
    np.testing.assert_allclose(made.x["test_"][7, :21].reshape(-1, 5, 3), wanted + [0, 0.8, 0], atol=1e-6)


def test_bad_clips_are_skipped_and_listed(tmp_path, capsys):
    folder = write_tree(tmp_path, write_mmpose, "json")
    bad = ["test/clip.json", "train/sit/bad.json", "train/sit/notes.txt"]
    for name in (*bad, "train/.hidden"):
        (folder / name).write_text("[")
    assert make(folder, *SIZE) == 3
    with open(folder / "my_skipped.csv", newline="") as file:
        assert [row[0] for row in csv.reader(file)][1:] == bad
    with pytest.raises(UserError, match="train/sit/bad.json"):
        make(folder, *SIZE, "--strict")
    (folder / "train/wave").rename(folder / "other")
    capsys.readouterr()
    with pytest.raises(UserError, match="wave"):
        make(folder, *SIZE)
    assert "train/sit/bad.json" in capsys.readouterr().out


WRONG = [  # a folder that gets another name, flags, keyword
    ("train", "train", (), "--size 1280x720"),
    ("test", "other", SIZE, "test: no such folder"),
    ("train/wave", "test/fly", SIZE, "fly"),
    ("train", "train", (*SIZE, "--skeleton", "kinect_v2"), "coco17"),
    ("train", "train", (*SIZE, "--origin", "2"), "--origin"),
]


@pytest.mark.parametrize("name, other, more, keyword", WRONG)
def test_wrong_folders_are_one_line_and_nothing_is_written(tmp_path, name, other, more, keyword):
    folder = write_tree(tmp_path, write_mmpose, "json")
    (folder / name).rename(folder / other)
    with pytest.raises(UserError, match=keyword) as error:
        make(folder, "--out", tmp_path / "new" / "my.h5", *more)
    assert "\n" not in str(error.value) and not (tmp_path / "new").exists()
