"""The files of pose tools as clips: one recording in the form of each; what is ambiguous; persons who cross, leave and
change places; and bad files."""

import json

import numpy as np
import pytest

from clips.frames import is_folder_of_frames
from clips.poses import LivePoses, read_poses
from clips.recordings import read_any
from clips.tools import TOOLS, from_mediapipe
from clips.tracking import LOST, assign_persons
from tool_forms import FORMS, SIZE, record
from util import UserError

FIGURE = np.random.default_rng(0).uniform(-40, 40, (17, 2)) * [1, 2]  # pixels, about a person's centre


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def as_lines(frames):
    return "\n".join(map(json.dumps, frames))


def instance(xy, score=0.5):
    """A person of MMPose."""
    return {"keypoints": np.asarray(xy, float).tolist(), "keypoint_scores": [score] * len(xy), "bbox": [[0, 0, 9, 9]]}


def mmpose(*frames):
    """frames: lists of (joints, 2)."""
    return [{"frame_id": i, "instances": [instance(xy) for xy in persons]} for i, persons in enumerate(frames)]


def ultralytics(x, y, **more):
    return {"name": "person", "box": {}, "keypoints": {"x": [0.0] + [x] * 16, "y": [0.0] + [y] * 16}} | more


# ---- one recording in the form of each tool


def test_every_tool_has_a_form():
    assert all(any(name.startswith(tool.name) for name in FORMS) for tool in TOOLS)


@pytest.mark.parametrize("name", FORMS)
def test_a_recording_is_the_same_clip_in_the_form_of_each_tool(tmp_path, name):
    form = FORMS[name]
    clip, frames = record(form)
    paths = [save(tmp_path / "a.json", form.file(frames)), save(tmp_path / "a.jsonl", as_lines(frames))]
    for i, frame in enumerate(frames):
        save(tmp_path / "frames" / f"f_{i + 8}.json", frame)  # 8, 9, 10: not in the order of their names
    assert is_folder_of_frames(tmp_path / "frames") == (name != "MediaPipe lists")  # which may be clips as well
    for path in (*paths, tmp_path / "frames"):
        read = read_any(path, size=SIZE, **form.flags)
        assert read.skeleton == form.skeleton
        np.testing.assert_allclose(read.clip, clip, atol=1e-6)
    live = LivePoses(SIZE, **form.flags)
    assert live.update(None) is live.update([]) is live.update(form.frame(0, [])) is None
    for frame, wanted in zip(frames, clip, strict=True):
        one = live.update(frame)
        np.testing.assert_allclose(one.clip, wanted, atol=1e-6)
        assert (one.skeleton, one.axes) == (read.skeleton, read.axes)


def test_other_forms_of_the_same(tmp_path):
    """Frames that miss, joints that were not found, no scores, normalized, one person a line, protobuf's landmarks."""
    joints = np.zeros((4, 17, 3))
    joints[[0, 3], 1:] = [[[-0.25, 0.25, 1]], [[0, 0.25, 1]]]
    persons, frames = [ultralytics(160, 360), ultralytics(320, 360)], [0, 3]
    by_number = {f"frame_{i}": [person] for i, person in zip(frames, persons, strict=True)}
    lines = as_lines((persons[0], None, None, persons[1]))
    small = [[ultralytics(0.25, 0.75)], [], None, [ultralytics(0.5, 0.75)]]
    texts = [json.dumps([person] if person else []) for person in (persons[0], None, None, persons[1])]
    for content in (by_number | {"frame_1": []}, lines, small, texts):
        read = read_poses(save(tmp_path / f"a.json{'l' * isinstance(content, str)}", content), SIZE)
        assert np.array_equal(read.clip[:, 0], joints) and "scores" in read.notes[0]
    person = [{"x": 0.1 * i * (i not in (23, 24)), "y": -0.25, "z": 0.0} for i in range(33)]
    person[23]["y"] = person[24]["y"] = 0.0
    expected = read_poses(save(tmp_path / "b.json", [[person], None, [], [person]])).clip
    for frame in (person, {"landmark": person}, {"pose_world_landmarks": {"landmark": person}}):
        assert np.array_equal(read_poses(save(tmp_path / "b.json", [frame, None, [], frame])).clip, expected)
    assert expected[0, 0, 1].tolist() == pytest.approx([-0.1, 0.25, 0])  # Kinect's axes
    assert np.linalg.det(from_mediapipe(np.eye(33, 3))[:3]) == 1  # a rotation: left stays left


# ---- what a file does not say is asked, or noted


def test_a_list_of_persons_is_of_frames_or_one_frame(tmp_path):
    def shape(ids, **flags):
        persons = [ultralytics(100 + i, 200, **({} if j is None else {"track_id": j})) for i, j in enumerate(ids)]
        read = read_poses(save(tmp_path / "a.json", persons), SIZE, persons=3, **flags)
        return len(read.clip), read.clip.any(axis=(2, 3)).sum(axis=1).max(), len(read.notes) - 1  # one is of scores

    with pytest.raises(UserError, match="3 persons.*--axes T"):
        shape([None] * 3)
    assert shape([None] * 3, axes="T") == (3, 1, 0) and shape([None] * 3, axes="M") == (1, 3, 0)
    assert shape([5, 5, 5]) == (3, 1, 1) and shape([5, 6, 7]) == (1, 3, 1)
    with pytest.raises(UserError, match="--axes T"):
        shape([5, 6, 5])


def test_identities_that_are_not_unique_are_not_used(tmp_path):
    a, b = walk(150, 10), walk(450, -10)
    frames = [[instance(xy) | {"track_id": 0} for xy in (a[i], b[i])] for i in range(30)]
    read = read_poses(save(tmp_path / "a.json", frames), SIZE)
    assert "track_id" in read.notes[0] and (read.clip[..., 2] > 0).all()


@pytest.mark.parametrize("content", [mmpose([FIGURE + 300]), {"skeletons": [], "label": 1}], ids=["clips", "N-UCLA"])
def test_a_folder_of_recordings_is_no_folder_of_frames(tmp_path, content):
    save(tmp_path / "a_0.json", content), save(tmp_path / "a_1.json", content)
    assert not is_folder_of_frames(tmp_path)


# ---- persons, in a file and live


def walk(start, speed, frames=30, y=240):
    """A person who walks along x: a list of (17, 2) pixels."""
    return [FIGURE + [start + speed * i, y] for i in range(frames)]


def in_pixels(clip):
    return np.where(clip[..., 2:] > 0, (clip[..., :2] + 0.5) * SIZE, 0)


def tracked(tmp_path, frames):
    """The clip of these frames in pixels, (frames, 2, 17, 2), read from a file."""
    return in_pixels(read_poses(save(tmp_path / "a.json", mmpose(*frames)), SIZE).clip)


def tracked_live(_, frames):
    """The same of frames that arrive one after another."""
    live = LivePoses(SIZE)
    return in_pixels(np.array([live.update(frame).clip for frame in mmpose(*frames)]))


both_ways = pytest.mark.parametrize("track", [tracked, tracked_live])


def check(clip, frames, *persons):
    """Whether each person keeps a place: that of the first frame; empty where the frames lack the person."""
    for person in persons:
        there = np.array([any(one is shown for shown in frame) for one, frame in zip(person, frames, strict=True)])
        place = np.isclose(clip[0], person[0], atol=1e-3).all(axis=(1, 2)).argmax()
        np.testing.assert_allclose(clip[there, place], np.array(person)[there], atol=1e-3)
        assert not clip[~there, place].any()


@both_ways
@pytest.mark.parametrize("hidden", [range(0), range(13, 18)])
def test_persons_who_cross_keep_their_places(tmp_path, track, hidden):
    """They are listed in a changing order, meet at frame 15, and for some frames there only one of them is found."""
    a, b = walk(150, 10), walk(450, -10)
    frames = [[a[i]] if i in hidden else [a[i], b[i]][:: 1 if i % 3 else -1] for i in range(30)]
    check(track(tmp_path, frames), frames, a, b)


@both_ways
@pytest.mark.parametrize("away", [5, 25])
def test_a_person_who_leaves_and_returns_keeps_the_place(tmp_path, track, away):
    """After 5 frames the track is continued; after 25 it is a new one, in the place that is free."""
    a, b = walk(100, 1, 50), walk(500, 1, 50)
    frames = [[a[i]] if 10 <= i < 10 + away else [a[i], b[i]] for i in range(50)]
    check(track(tmp_path, frames), frames, a, b)


def test_a_newcomer_takes_no_place_that_may_be_needed(tmp_path):
    """A third person comes while the second is away: live to no place at first, then to the one that becomes free."""
    a, b, c = walk(100, 1, 60), walk(300, 1, 60), walk(500, 1, 60)
    for away in (5, 25):
        frames = [[a[i], *[b[i]] * (not 10 <= i < 10 + away), *[c[i]] * (i >= 12)] for i in range(60)]
        after, then = (c, 10 + LOST) if away > LOST else (b, 10 + away)
        expected = np.stack([a, [*b[:10], *[np.zeros((17, 2))] * (then - 10), *after[then:]]], axis=1)
        np.testing.assert_allclose(tracked_live(tmp_path, frames), expected, atol=1e-3)


def test_those_seen_most_are_kept(tmp_path):
    a, b, passer_by = walk(100, 1), walk(300, 1), walk(500, 1)
    clip = tracked(tmp_path, [[passer_by[i], b[i], a[i]][0 if 10 <= i < 20 else 1 :] for i in range(30)])
    assert sorted(clip[0, :, 0, 0].tolist()) == pytest.approx([a[0][0, 0], b[0][0, 0]], abs=1e-3)
    assert np.abs(np.diff(clip[..., 0, 0], axis=0)).max() < 2


def test_joints_that_are_not_seen_do_not_count():
    """Two persons, of whom other joints are seen in each frame: zeros would be nearer than they are."""
    points = np.array([[[9.0, 9], [0, 0]], [[50, 9], [50, 20]], [[9, 9], [9, 20]], [[50, 9], [0, 0]]])
    seen = points.any(axis=2)
    assert assign_persons(np.array([0, 0, 1, 1]), points, seen, 2).tolist() in ([0, 1, 0, 1], [1, 0, 1, 0])


def test_a_live_frame_that_is_refused_changes_nothing():
    live, other = LivePoses(SIZE), LivePoses(SIZE)
    first, second = ([instance(FIGURE + [x, 240]) for x in places] for places in ((150, 450), (440, 160)))
    live.update(first), other.update(first)
    for wrong in {"people": [{"pose_keypoints_2d": [9] * 54}]}, {"a": 1}, [instance(FIGURE + 3000)]:
        with pytest.raises(ValueError):
            live.update(wrong)
    assert live.frames == 1 and np.array_equal(live.update(second).clip, other.update(second).clip)


# ---- bad files

PERSON = instance(FIGURE + 300)
WRONG = {  # files or one file, and a keyword
    "words": ("words", "JSON"),
    "nan": (json.dumps(mmpose([FIGURE * np.nan])), "finite"),
    "joints": ([{"instances": [instance(np.ones((134, 2)))]}], "134 joints"),
    "two kinds": ([{"instances": [PERSON]}, {"people": [{"pose_keypoints_2d": [9] * 54}]}], "frame 1"),
    "nobody": ([[], None], "nobody"),
    "a frame twice": ([{"frame_id": 1, "instances": [PERSON]}] * 2, "frame_id"),
    "not in the picture": (mmpose([FIGURE + 3000]), "640 x 480"),
    "picture landmarks": ([[{"x": 0.5, "y": 0.5, "z": 0}] * 33], "pose_world_landmarks"),
    "pixels": (mmpose([FIGURE + 300]), "--size"),
    "a bad line": ("[]\n[", "line 2"),
    "a frame in two files": (None, "frame 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_files_are_one_line(tmp_path, name):
    content, keyword = WRONG[name]
    path = tmp_path / ("frames" if content is None else "a.jsonl" if "line" in keyword else "a.json")
    for file in (path,) if content is not None else (path / "walk_1.json", path / "run_01.json"):
        save(file, content or [])
    with pytest.raises(UserError, match=keyword) as error:
        read_poses(path, None if keyword == "--size" else SIZE)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
