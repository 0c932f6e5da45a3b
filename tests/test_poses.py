"""Files of pose estimators as clips: by hand, persons that cross, leave and change places, and bad files."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clips import poses
from clips.poses import AXES_2D, AXES_3D, LivePoses, from_mediapipe, is_folder_of_frames, read_poses
from clips.recordings import read_any
from clips.tracking import LOST, assign_persons
from util import UserError

SIZE = (640, 480)
FIGURE = np.random.default_rng(0).uniform(-40, 40, (17, 2)) * [1, 2]  # pixels, about a person's centre


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def instance(xy, score=0.5):
    """A person of MMPose."""
    return {"keypoints": np.asarray(xy, float).tolist(), "keypoint_scores": [score] * len(xy), "bbox": [[0, 0, 9, 9]]}


def mmpose(*frames):
    """frames: lists of (joints, 2)."""
    return [{"frame_id": i, "instances": [instance(xy) for xy in persons]} for i, persons in enumerate(frames)]


def ultralytics(x, y):
    keypoints = {"x": [0.0] + [x] * 16, "y": [0.0] + [y] * 16, "visible": [0.2] + [0.75] * 16}
    return {"name": "person", "class": 0, "confidence": 0.9, "box": {}, "track_id": 1, "keypoints": keypoints}


# ---- formats


@pytest.mark.parametrize(("joints", "name"), [(18, "openpose18"), (25, "openpose25")])
def test_a_folder_of_openpose(tmp_path, joints, name):
    def person(x):
        return {"person_id": [-1], "pose_keypoints_2d": [0, 0, 0] + [x, 120, 0.5] * (joints - 1)}

    for number, people in ((7, [person(320)]), (9, []), (10, [person(336)])):  # 8 is missing
        save(tmp_path / "walk" / f"walk_{number:012}_keypoints.json", {"version": 1.3, "people": people})
    clip, skeleton, axes, _ = read_poses(tmp_path / "walk", SIZE)
    assert (clip.shape, clip.dtype, skeleton, axes) == ((4, 2, joints, 3), np.float32, name, AXES_2D)
    assert not clip[1:3].any() and not clip[:, 1].any() and not clip[:, 0, 0].any()
    np.testing.assert_allclose(clip[0, 0, 1:], np.tile([0, -0.25, 0.5], (joints - 1, 1)))
    np.testing.assert_allclose(clip[3, 0, 1:], np.tile([0.025, -0.25, 0.5], (joints - 1, 1)), atol=1e-7)


def test_mmpose_of_the_inferencer_and_of_the_demos(tmp_path):
    frames = mmpose([np.full((17, 2), [160, 360])], [])
    frames[0]["instances"][0]["keypoint_scores"][3] = -0.1
    plain = read_poses(save(tmp_path / "a.json", frames), SIZE)
    assert (plain.clip.shape, plain.skeleton, plain.axes) == ((2, 2, 17, 3), "coco17", AXES_2D)
    assert plain.clip[0, 0, 2].tolist() == [-0.25, 0.25, 0.5]
    assert not plain.clip[0, 0, 3].any()  # its score is not above 0
    demo = read_poses(save(tmp_path / "b.json", {"meta_info": {}, "instance_info": frames}), SIZE)
    assert np.array_equal(demo.clip, plain.clip)


def test_ultralytics_in_all_its_forms(tmp_path):
    frames = [[ultralytics(160, 360)], [], [ultralytics(320, 360)]]
    clip, skeleton, *_ = read_poses(save(tmp_path / "a.json", frames), SIZE)
    assert (clip.shape, skeleton) == ((3, 2, 17, 3), "coco17")
    assert clip[[0, 2], 0, 5].tolist() == [[-0.25, 0.25, 0.75], [0, 0.25, 0.75]]
    assert not clip[:, 0, 0].any()  # at 0, 0: not found, whatever its score
    save(tmp_path / "a.jsonl", "\n".join(map(json.dumps, frames)))
    save(tmp_path / "b.jsonl", f"{json.dumps(frames[0][0])}\n \n{json.dumps(frames[2])}\n\n")  # empty lines: nobody
    for i, frame in enumerate(frames):
        save(tmp_path / "frames" / f"result_{i + 9}.json", frame)  # 9, 10, 11: not in the order of their names
    normalized = save(tmp_path / "n.json", [[ultralytics(0.25, 0.75)], [], [ultralytics(0.5, 0.75)]])
    for path, size in (*((tmp_path / name, SIZE) for name in ("a.jsonl", "b.jsonl", "frames")), (normalized, None)):
        assert np.array_equal(read_poses(path, size).clip, clip)


def test_mediapipe_is_turned_to_the_axes_of_kinect(tmp_path):
    """A person who faces the camera: the left hand to the right of the picture, raised, and stretched forward."""
    person = [{"x": 0.0, "y": 0.0, "z": 0.0, "visibility": 0.9} for _ in range(33)]
    person[15] = {"x": 0.5, "y": -0.25, "z": -0.75, "visibility": 0.1}  # left wrist
    clip, skeleton, axes, _ = read_poses(save(tmp_path / "a.json", [person, None, [], [person]]))
    assert (clip.shape, skeleton, axes) == ((4, 2, 33, 3), "mediapipe33", AXES_3D)
    assert clip[0, 0, 15].tolist() == [-0.5, 0.25, -0.75]  # to the camera's right, up, towards the camera
    assert not clip[1:3].any() and np.array_equal(clip[3], clip[0])
    np.save(tmp_path / "a.npy", np.array([[[joint[axis] for axis in "xyz"] for joint in person]]))
    for skeleton in ("mediapipe33", "kinect_v2"):  # 33 joints are none of Kinect's
        read = read_any(tmp_path / "a.npy", skeleton)
        assert np.array_equal(read.clip[:, 0], clip[:1, 0]) and read.skeleton == "mediapipe33"
    protobuf = save(tmp_path / "b.json", [{"landmark": person}, None, {"landmark": []}, {"landmark": person}])
    assert np.array_equal(read_poses(protobuf).clip, clip)
    assert np.linalg.det(from_mediapipe(np.eye(33, 3))[:3]) == 1  # a rotation: left stays left


def test_folders_of_frames_and_of_recordings(tmp_path):
    frame = [instance(FIGURE + 300)]
    for name, contents, is_clip in (
        ("openpose", [{"people": []}, {"people": []}], True),
        ("mmpose", [[], frame, frame], True),
        ("damaged", ["[", frame], True),
        ("clips", [mmpose([FIGURE + 300])] * 2, False),
        ("nucla", [{"skeletons": [], "label": 1}], False),
        ("empty", [], False),
    ):
        (tmp_path / name).mkdir()
        for i, content in enumerate(contents):
            save(tmp_path / name / f"a_{i}.json", content)
        assert is_folder_of_frames(tmp_path / name) is is_clip, name


# ---- persons, in a file and live


def walk(start, speed, frames=30, y=240):
    """A person who walks along x: (frames, 17, 2) pixels."""
    centre = np.stack([start + speed * np.arange(frames), np.full(frames, y)], axis=1)
    return FIGURE + centre[:, None]


def tracked(tmp_path, frames, persons=2):
    """The clip of these frames in pixels, (frames, persons, 17, 2), read from a file."""
    clip = read_poses(save(tmp_path / "a.json", mmpose(*frames)), SIZE, persons).clip
    return np.where(clip[..., 2:] > 0, (clip[..., :2] + 0.5) * SIZE, 0)


def tracked_live(_, frames, persons=2):
    """The same of frames that arrive one after another."""
    live, clip = LivePoses(SIZE, persons), np.zeros((len(frames), persons, 17, 2))
    for i, frame in enumerate(mmpose(*frames)):
        if (found := live.update(frame)) is not None:
            clip[i] = np.where(found.clip[..., 2:] > 0, (found.clip[..., :2] + 0.5) * SIZE, 0)
    return clip


both_ways = pytest.mark.parametrize("track", [tracked, tracked_live])


@both_ways
@pytest.mark.parametrize("hidden", [0, 5])
def test_persons_who_cross_keep_their_places(tmp_path, track, hidden):
    """They are listed in a changing order, meet at frame 15, and for some frames there only one of them is found."""
    a, b = walk(150, 10), walk(450, -10)
    frames = [[a[i], b[i]] if i % 3 else [b[i], a[i]] for i in range(30)]
    for i in range(15 - hidden // 2, 15 - hidden // 2 + hidden):
        frames[i] = [a[i]]
    clip, there = track(tmp_path, frames), np.array([len(frame) == 2 for frame in frames])
    one, other = (0, 1) if np.allclose(clip[0, 0], a[0], atol=1e-3) else (1, 0)
    np.testing.assert_allclose(clip[:, one], a, atol=1e-3)
    np.testing.assert_allclose(clip[there, other], b[there], atol=1e-3)
    assert not clip[~there, other].any()


@both_ways
@pytest.mark.parametrize("away", [5, 25])
def test_a_person_who_leaves_and_returns_keeps_the_place(tmp_path, track, away):
    """After 5 frames the track is continued; after 25 it is a new one, in the place that is free."""
    a, b = walk(100, 1, 50), walk(500, 1, 50)
    frames = [[a[i]] if 10 <= i < 10 + away else [a[i], b[i]] for i in range(50)]
    clip, there = track(tmp_path, frames), np.array([len(frame) == 2 for frame in frames])
    np.testing.assert_allclose(clip[:, 0], a, atol=1e-3)
    np.testing.assert_allclose(clip[there, 1], b[there], atol=1e-3)
    assert not clip[~there, 1].any()


def test_a_newcomer_takes_no_place_that_may_be_needed(tmp_path):
    """A third person comes while the second is away: live to no place at first, then to the one that becomes free."""
    a, b, c = walk(100, 1, 60), walk(300, 1, 60), walk(500, 1, 60)
    for away in (5, 25):
        frames = [[a[i], b[i], c[i]] for i in range(60)]
        frames = [[a[i], *[b[i]] * (not 10 <= i < 10 + away), *[c[i]] * (i >= 12)] for i in range(60)]
        clip = tracked_live(tmp_path, frames)
        np.testing.assert_allclose(clip[:, 0], a, atol=1e-3)
        np.testing.assert_allclose(clip[:10, 1], b[:10], atol=1e-3)
        after, then = (c, 10 + LOST) if away > LOST else (b, 10 + away)
        np.testing.assert_allclose(clip[then:, 1], after[then:], atol=1e-3)
        assert not clip[10:then, 1].any()
    frames = [[a[i]] if i < 10 else [b[i]] if i < 13 else [b[i], a[i]] for i in range(30)]
    clip, there = tracked(tmp_path, frames), np.r_[0:10, 13:30]
    np.testing.assert_allclose(clip[there, 0], a[there], atol=1e-3)
    np.testing.assert_allclose(clip[10:, 1], b[10:30], atol=1e-3)


def test_those_seen_most_are_kept(tmp_path):
    a, b, passer_by = walk(100, 1), walk(300, 1), walk(500, 1)
    clip = tracked(tmp_path, [[passer_by[i], b[i], a[i]][0 if 10 <= i < 20 else 1 :] for i in range(30)])
    assert sorted(clip[0, :, 0, 0].tolist()) == pytest.approx([a[0, 0, 0], b[0, 0, 0]], abs=1e-3)
    assert np.abs(np.diff(clip[..., 0, 0], axis=0)).max() < 2
    alone = tracked(tmp_path, [[b[i], a[i]] if i else [a[i]] for i in range(30)], persons=1)
    np.testing.assert_allclose(alone[:, 0], a, atol=1e-3)


def test_joints_that_are_not_seen_do_not_count():
    """Two persons, of whom other joints are seen in each frame: zeros would be nearer than they are."""
    points = np.array([[[9.0, 9], [0, 0]], [[50, 9], [50, 20]], [[9, 9], [9, 20]], [[50, 9], [0, 0]]])
    seen = points.any(axis=2)
    assert assign_persons(np.array([0, 0, 1, 1]), points, seen, 2).tolist() in ([0, 1, 0, 1], [1, 0, 1, 0])


def test_a_live_frame_of_every_estimator_is_as_in_its_file(tmp_path):
    landmarks = [{"x": 0.1 * (i < 23), "y": -0.25 * (i not in (23, 24)), "z": 0.0} for i in range(33)]
    for frame in (
        {"people": [{"pose_keypoints_2d": [320, 120, 0.5] * 18}]},
        {"people": [{"pose_keypoints_2d": [320, 120, 0.5] * 25}]},
        {"frame_id": 7, "instances": [instance(np.full((17, 2), 200))]},
        [instance(np.full((17, 2), 200))],
        [ultralytics(320.0, 120.0)],
        ultralytics(320.0, 120.0),
        landmarks,
        [landmarks],
        {"landmark": landmarks},
    ):
        live = LivePoses(SIZE)
        assert live.update(None) is live.update([]) is live.update({"people": []}) is None
        one, whole = live.update(frame), read_poses(save(tmp_path / "a.jsonl", json.dumps(frame)), SIZE)
        assert one[1:] == whole[1:] and np.array_equal(one.clip, whole.clip[0])


def test_a_live_frame_that_is_refused_changes_nothing():
    live, other = LivePoses(SIZE), LivePoses(SIZE)
    frame = {"instances": [instance(walk(150, 10)[0]), instance(walk(450, -10)[0])]}
    live.update(frame), other.update(frame)
    for wrong, keyword in (
        ({"people": [{"pose_keypoints_2d": [9] * 54}]}, "18 joints of OpenPose"),
        (3, "not a frame"),
        ({"a": 1}, "not a frame"),
        ({"instances": [{"keypoints": [[1]]}]}, "not a frame"),
        ([instance(FIGURE * np.nan)], "finite"),
        ([instance(FIGURE + 3000)], "outside"),
    ):
        with pytest.raises(ValueError, match=keyword):
            live.update(wrong)
    frame["instances"].reverse()
    assert live.frames == 1 and np.array_equal(live.update(frame).clip, other.update(frame).clip)


# ---- bad files

PERSON = instance(FIGURE + 300)
WRONG = {
    "words": ("words", "JSON"),
    "a number": (3, "list of frames"),
    "text": ([[{"keypoints": {"x": ["1"] * 17, "y": [2] * 17}}]], "numbers"),
    "nan": (json.dumps(mmpose([FIGURE * np.nan])), "finite"),
    "no score": ([{"instances": [{"keypoints": [[1, 2]]}]}], "keypoint_scores"),
    "a flat list": ([PERSON] * 21, "21 persons"),
    "joints": ([{"instances": [instance(np.ones((133, 2)))]}], "133 joints"),
    "two kinds": ([{"instances": [PERSON]}, {"people": [{"pose_keypoints_2d": [9] * 54}]}], "frame 1"),
    "nobody": ([[], None], "nobody"),
    "a million years": ([{"frame_id": 10**12 * i, "instances": [PERSON]} for i in range(2)], "100,000"),
    "a frame twice": ([{"frame_id": 1, "instances": [PERSON]}] * 2, "frame_id"),
    "not in the picture": (mmpose([FIGURE + 3000]), "640 x 480"),
    "-1 to 1": (mmpose([FIGURE / 1000]), "pixels"),
    "picture landmarks": ([[{"x": 0.5, "y": 0.5, "z": 0}] * 33], "pose_world_landmarks"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_files_are_one_line(tmp_path, case):
    content, keyword = WRONG[case]
    with pytest.raises(UserError, match=keyword) as error:
        read_poses(save(tmp_path / "a.json", content), SIZE)
    assert str(error.value).startswith(f"{tmp_path / 'a.json'}: ") and "\n" not in str(error.value)


def test_other_bad_input(tmp_path, monkeypatch):
    path = save(tmp_path / "a.json", mmpose([FIGURE + 300]))
    for name, content in (("latin.json", '["é"]'), ("a.jsonl", "[]\n["), ("frames/walk_1.json", "[]")):
        save(tmp_path / name, "").write_bytes(content.encode("latin1"))
    save(tmp_path / "frames" / "run_01.json", [])
    for name, keyword in (("a.json", "--size"), ("latin.json", "JSON"), ("a.jsonl", "line 2"), ("frames", "frame 1")):
        with pytest.raises(UserError, match=keyword):
            read_poses(tmp_path / name)
    huge = save(tmp_path / "huge.json", [{"frame_id": 10**30, "instances": [PERSON]}])
    assert len(read_poses(huge, SIZE).clip) == 1
    monkeypatch.setattr(poses, "LARGEST", 100)
    with pytest.raises(UserError, match="MB"):
        read_poses(path, SIZE)


WORDS = st.sampled_from(["instances", "instance_info", "keypoints", "keypoint_scores", "people", "x", "y", "frame_id"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
CONTENT = st.recursive(LEAVES, lambda inside: st.lists(inside, max_size=4) | st.dictionaries(WORDS, inside, max_size=4))


@settings(max_examples=300, deadline=None)
@given(CONTENT)
def test_any_json_is_read_or_refused(tmp_path_factory, content):
    path = save(tmp_path_factory.getbasetemp() / "any.json", content)
    with pytest.raises(UserError):
        read_poses(path, SIZE)
