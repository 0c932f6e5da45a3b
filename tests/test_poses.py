"""The files of pose tools as clips: one recording in the form of each; what is ambiguous; persons who cross, leave and
change places; and bad files."""

import json

import numpy as np
import pytest

from clips.frames import is_folder_of_frames
from clips.poses import LivePoses, read_poses
from clips.recordings import read_any
from clips.tools import TOOLS
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
    """Frames that miss, joints that were not found, no scores, normalized, one person a line, texts of to_json()."""
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


def test_a_folder_of_recordings_is_no_folder_of_frames(tmp_path):
    for i in range(2):
        save(tmp_path / "tool" / f"a_{i}.json", mmpose([FIGURE + 300]))
        save(tmp_path / "nucla" / f"a_{i}.json", {"skeletons": [], "label": 1})
    assert not is_folder_of_frames(tmp_path / "tool") and not is_folder_of_frames(tmp_path / "nucla")


# ---- persons, in a file and live


def walk(start, speed, frames=30):
    """A person who walks along x: a list of (17, 2) pixels."""
    return [FIGURE + [start + speed * i, 240] for i in range(frames)]


def in_pixels(clip):
    return np.where(clip[..., 2:] > 0, (clip[..., :2] + 0.5) * SIZE, 0)


def tracked(tmp_path, frames):
    """The clip of these frames in pixels, (frames, 2, 17, 2), read from a file."""
    return in_pixels(read_poses(save(tmp_path / "a.json", mmpose(*frames)), SIZE).clip)


def tracked_live(_, frames):
    live = LivePoses(SIZE)
    return in_pixels(np.array([live.update(frame).clip for frame in mmpose(*frames)]))


@pytest.mark.parametrize("track", [tracked, tracked_live])
@pytest.mark.parametrize("speed, hidden", [(10, ()), (10, range(13, 18)), (1, range(10, 15)), (1, range(10, 35))])
def test_persons_who_cross_or_leave_and_return_keep_their_places(tmp_path, track, speed, hidden):
    """They are listed in a changing order, and meet at frame 15. After 25 frames a track is lost, its place is free."""
    a, b = walk(150, speed, 40), walk(450, -speed, 40)
    frames = [[a[i]] if i in hidden else [a[i], b[i]][:: 1 if i % 3 else -1] for i in range(40)]
    clip = track(tmp_path, frames)
    shown = np.array([i not in hidden for i in range(40)])
    first = int(not np.allclose(clip[0, 0], a[0], atol=1e-3))
    np.testing.assert_allclose(clip[:, first], a, atol=1e-3)
    np.testing.assert_allclose(clip[:, 1 - first], np.array(b) * shown[:, None, None], atol=1e-3)


def test_those_seen_most_are_kept(tmp_path):
    a, b, passer_by = walk(100, 1), walk(300, 1), walk(500, 1)
    clip = tracked(tmp_path, [[passer_by[i], b[i], a[i]][0 if 10 <= i < 20 else 1 :] for i in range(30)])
    assert sorted(clip[0, :, 0, 0].tolist()) == pytest.approx([a[0][0, 0], b[0][0, 0]], abs=1e-3)
    assert np.abs(np.diff(clip[..., 0, 0], axis=0)).max() < 2


def test_a_live_frame_that_is_refused_changes_nothing():
    live, other = LivePoses(SIZE), LivePoses(SIZE)
    first, second = ([instance(FIGURE + [x, 240]) for x in places] for places in ((150, 450), (440, 160)))
    live.update(first), other.update(first)
    for wrong in {"people": [{"pose_keypoints_2d": [9] * 54}]}, [instance(FIGURE + 3000)]:
        with pytest.raises(ValueError):
            live.update(wrong)
    assert live.frames == 1 and np.array_equal(live.update(second).clip, other.update(second).clip)


# ---- bad files

PERSON = instance(FIGURE + 300)
WRONG = {  # a file's content, and a keyword
    "words": ("words", "JSON"),
    "nan": (mmpose([FIGURE * np.nan]), "finite"),
    "joints": ([{"instances": [instance(np.ones((134, 2)))]}], "134 joints"),
    "two kinds": ([{"instances": [PERSON]}, {"people": [{"pose_keypoints_2d": [9] * 54}]}], "frame 1"),
    "nobody": ([[], None], "nobody"),
    "a frame twice": ([{"frame_id": 1, "instances": [PERSON]}] * 2, "frame_id"),
    "not in the picture": (mmpose([FIGURE + 3000]), "640 x 480"),
    "picture landmarks": ([[{"x": 0.5, "y": 0.5, "z": 0}] * 33], "pose_world_landmarks"),
}


@pytest.mark.parametrize("content, keyword", WRONG.values(), ids=WRONG)
def test_bad_files_are_one_line(tmp_path, content, keyword):
    path = save(tmp_path / "a.json", content)
    with pytest.raises(UserError, match=keyword) as error:
        read_poses(path, SIZE)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
