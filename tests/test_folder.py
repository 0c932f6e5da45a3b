"""make_dataset.py: folders of clips to an h5 that main.py trains on; units, axes, and what is wrong with folders."""

import csv
import json

import h5py
import numpy as np
import pytest

import main
import make_dataset
from clips import recordings
from clips.h5 import read_header, validate
from util import UserError

CLASSES = ("jump", "sit", "wave")
rng = np.random.default_rng(0)
COCO = rng.uniform(-50, 50, (17, 2)) + [320, 240]


def write_tree(folder, write, sides=("train", "test"), n=4, suffix="json"):
    """Clips of three classes. write(path, label, i)."""
    for side in sides:
        for label, name in enumerate(CLASSES):
            (folder / side / name).mkdir(parents=True)
            for i in range(n if side == "train" else 2):
                write(folder / side / name / f"clip{i}.{suffix}", label, i)
    return folder


def write_mmpose(path, label, i, frames=24):
    """One person, who moves in another direction in each class."""
    step = np.array([[0, -4], [0, 4], [4, 0]])[label]
    instances = [
        {"keypoints": (COCO + step * t + i).tolist(), "keypoint_scores": [0.9] * 17, "bbox": [[0, 0, 1, 1]]}
        for t in range(frames)
    ]
    path.write_text(json.dumps([{"frame_id": t, "instances": [one]} for t, one in enumerate(instances)]))


def write_npy(path, label, i, scale=1.0, joints=25):
    """A person about 1.7 high along y."""
    clip = np.zeros((20 + i, joints, 3))
    clip[..., 1] = np.linspace(-0.8, 0.9, joints)
    clip[..., label] += np.linspace(0, 0.1, len(clip))[:, None]
    np.save(path, clip * scale)


def make(folder, *more):
    return make_dataset.main([str(folder), "--out", str(folder / "my.h5"), *map(str, more)])


def test_from_a_folder_of_mmpose_to_a_trained_network(tmp_path, capsys):
    folder = write_tree(tmp_path / "clips", write_mmpose)
    assert make(folder, "--size", "640x480") == 0
    printed = capsys.readouterr().out
    assert "my.h5: 11 training, 1 validation and 6 test clips of 3 classes; coco17, 1 person" in printed
    with h5py.File(folder / "my.h5") as file:
        assert validate(file) == []
        header = read_header(file)
        assert (header["joints"], header["persons"], header["axes"]) == (17, 1, "x - 0.5, y - 0.5, score")
        assert (header["class_names"], file.attrs["skeleton"]) == (CLASSES, "coco17")
        x = file["test_x"][3].reshape(-1, 17, 3)  # sit/clip1
        np.testing.assert_allclose(x[2, :, :2], (COCO + [0, 8] + 1) / [640, 480] - 0.5, atol=1e-6)
        assert (x[..., 2] == np.float32(0.9)).all()
        assert file["test_y"][:].argmax(axis=1).tolist() == [0, 0, 1, 1, 2, 2]
    flags = ["--dataset", folder / "my.h5", "--results", tmp_path / "results", "--epochs", 1, "--device", "cpu"]
    main.main([*map(str, flags), "-b", "8"])
    assert (tmp_path / "results" / "my" / "SGN" / "0_best.pth").is_file()


def test_npy_in_millimetres_with_z_up(tmp_path):
    def write(path, label, i):
        write_npy(path, label, i, scale=1000)
        clip = np.load(path)
        np.save(path, clip[..., [0, 2, 1]] * [1, -1, 1])  # x, -z, y: z is up

    folder = write_tree(tmp_path, write, ("train", "valid", "test"), suffix="npy")
    with pytest.raises(UserError, match=r"1,700 high: these look like millimetres; use --scale 0\.001"):
        make(folder, "--skeleton", "kinect_v2", "--up", "z")
    make(folder, "--skeleton", "kinect_v2", "--up", "z", "--scale", 0.001, "--origin", 1)
    with h5py.File(folder / "my.h5") as file:
        assert [len(file[f"{split}y"]) for split in ("", "valid_", "test_")] == [12, 6, 6]
        assert file.attrs["skeleton"] == "kinect_v2" and read_header(file)["axes"] == "x, y, z"
        x = file["test_x"][0, :20].reshape(20, 25, 3)
        wanted = np.zeros((20, 25, 3))
        wanted[..., 1] = np.linspace(0, 1.7, 25)
        wanted[..., 0] = np.linspace(0, 0.1, 20)[:, None]
        np.testing.assert_allclose(x, wanted, atol=1e-6)


@pytest.mark.parametrize("up", make_dataset.UP)
def test_a_line_says_which_axis_points_up(tmp_path, capsys, up):
    def write(path, label, i):
        write_npy(path, label, i)
        clip = np.load(path)
        clip[:, [3, 14]] = clip[:, [24, 0]]  # the head on top, the left ankle at the bottom
        np.save(path, clip @ np.array(make_dataset.UP[up]))  # the inverse rotation

    folder = write_tree(tmp_path, write, suffix="npy")
    make(folder, "--skeleton", "kinect_v2")
    err = capsys.readouterr().err
    assert (f"note: heads lie towards {up} from the feet, not y; use --up={up}" in err) == (up != "y")
    make(folder, "--skeleton", "kinect_v2", f"--up={up}")
    assert "note" not in capsys.readouterr().err
    make(folder, "--skeleton", "unknown")
    assert "note" not in capsys.readouterr().err


def test_a_word_of_nucla_in_a_pose_file_does_not_make_it_one(tmp_path):
    path = tmp_path / "a.json"
    for text, wanted in (
        ('{"skeletons": [], "label": 1}', True),
        ('[{"frame_id": 0, "instances": [], "of": "skeletons"}]', False),
        ('{"meta_info": {"skeletons": 17}, "instance_info": []}', False),
        ('{"skeletons": ', False),
    ):
        path.write_text(text)
        assert recordings._is_nucla(path) == wanted


@pytest.mark.parametrize("up", make_dataset.UP)
def test_up_is_a_rotation_to_y(up):
    rotation = np.array(make_dataset.UP[up])
    axis = np.eye(3)["xyz".index(up[-1])] * (-1 if up[0] == "-" else 1)
    assert (rotation @ axis).tolist() == [0, 1, 0] and np.linalg.det(rotation) == 1


def test_clips_of_mediapipe_are_the_same_from_json_and_npy(tmp_path):
    """World landmarks: y down, the origin between the hips (joints 24 and 25)."""
    for name, write in (
        ("a", lambda path, clip: path.with_suffix(".json").write_text(to_json(clip))),
        ("b", lambda path, clip: np.save(path, clip)),
    ):

        def write_clip(path, label, i, write=write):
            write_npy(path, label, i, joints=33)
            clip = np.load(path)
            path.unlink()
            write(path, (clip - clip[:, 23:25].mean(axis=1, keepdims=True)) * [1, -1, 1])

        write_tree(tmp_path / name, write_clip, suffix="npy")
        assert make(tmp_path / name, "--skeleton", "mediapipe33") == 0
    with h5py.File(tmp_path / "a" / "my.h5") as a, h5py.File(tmp_path / "b" / "my.h5") as b:
        x = a["test_x"][0].reshape(-1, 33, 3)
        assert x[0, 32, 1] > x[0, 0, 1]  # y is up
        assert np.array_equal(a["x"], b["x"]) and a.attrs["skeleton"] == "mediapipe33"


def to_json(clip):
    return json.dumps(
        [[dict(zip("xyz", joint, strict=True), visibility=1) for joint in frame] for frame in clip.tolist()]
    )


def test_bad_clips_are_skipped_and_listed(tmp_path, capsys):
    folder = write_tree(tmp_path, write_mmpose)
    (folder / "train" / "sit" / "bad.json").write_text("[")
    (folder / "train" / "sit" / "notes.txt").write_text("")
    (folder / "train" / "sit" / "empty").mkdir()
    (folder / "test" / "clip.json").write_text("[]")
    (folder / "train" / ".hidden").write_text("")
    assert make(folder, "--size", "640x480") == 3
    assert "4 skipped" in capsys.readouterr().out
    with open(folder / "my_skipped.csv", newline="") as file:
        _, *rows = csv.reader(file)
    assert [row[0] for row in rows] == [
        "test/clip.json",
        *(f"train/sit/{name}" for name in ("bad.json", "empty", "notes.txt")),
    ]
    assert rows[1][2].startswith("not JSON") and rows[2][2] == "a folder with no .json of a frame in it"
    with pytest.raises(UserError, match="clip.json: not in the folder of a class"):
        make(folder, "--size", "640x480", "--strict")


def test_what_is_odd_is_noted(tmp_path, capsys):
    folder = write_tree(tmp_path, lambda path, label, i: write_mmpose(path, label, i, frames=1))
    (folder / "train" / "dance").mkdir()
    for path in (folder / "test" / "wave").iterdir():
        path.unlink()
    assert make(folder, *SIZE) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("note")] == [
        "note: train: no clips of dance",
        "note: test: no clips of wave",
        "note: 16 of 16 clips have 1 frame; the frames of a clip belong in a folder of its own",
    ]


def no_clip_of_a_class_can_be_read(folder):
    for path in (folder / "train" / "wave").iterdir():
        path.write_text("[")


def only_in_test(folder):
    (folder / "train" / "wave").rename(folder / "test" / "fly")


def other_skeleton(folder):
    write_npy(folder / "train" / "wave" / "other.npy", 0, 0)


def one_class(folder):
    for side in ("train", "test"):
        for name in CLASSES[1:]:
            (folder / side / name).rename(folder / side / f".{name}")


SIZE = ("--size", "640x480")
WRONG = {
    "no size": (lambda folder: None, (), r"clip0.json: x and y are pixels: give the size .* \(--size 1280x720\)"),
    "no test": (lambda folder: (folder / "test").rename(folder / "other"), SIZE, "test: no such folder"),
    "class": (only_in_test, SIZE, "fly/clip0.json: no clip of its class in"),
    "unreadable": (no_clip_of_a_class_can_be_read, SIZE, r"train that can be read \(train/wave/clip0.json.*not JSON"),
    "skeletons": (
        other_skeleton,
        (*SIZE, "--skeleton", "kinect_v2"),
        "kinect_v2, 25 joints: 1 such as train/wave/other",
    ),
    "another skeleton": (lambda folder: None, (*SIZE, "--skeleton", "kinect_v2"), "clip0.json has coco17"),
    "one class": (one_class, SIZE, "1 class; at least two"),
    "2D": (lambda folder: None, (*SIZE, "--scale", "2"), "--scale, --up: only for 3D .npy files"),
    "origin": (lambda folder: None, (*SIZE, "--origin", "2"), "--origin: only for 3D .npy files and MediaPipe"),
    "out": (lambda folder: None, (*SIZE, "--out", "my.txt"), "must end in .h5"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_folders_are_one_line_and_nothing_is_written(tmp_path, case):
    change, more, message = WRONG[case]
    folder = write_tree(tmp_path, write_mmpose)
    change(folder)
    with pytest.raises(UserError, match=message) as error:
        make(folder, *more)
    assert "\n" not in str(error.value) and not list(tmp_path.glob("*.h5"))


def test_npy_need_a_skeleton_that_fits_them(tmp_path):
    folder = write_tree(tmp_path, write_npy, suffix="npy")
    with pytest.raises(UserError, match="say which skeleton the .npy files have, with --skeleton"):
        make(folder)
    with pytest.raises(UserError, match="25 joints, but kinect_v1 has 20"):
        make(folder, "--skeleton", "kinect_v1")
    assert make(folder, "--skeleton", "unknown") == 0
