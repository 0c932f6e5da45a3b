"""The demo set: figures, cameras that see one motion, and files with the errors of real ones."""

import json
import re

import h5py
import make_frontal
import numpy as np
import pytest

import make_demo
from actions import ACTIONS
from clips import h5 as layout
from clips import protocols
from figures import PARENT, Build
from make_demo import Camera, clip, clips, scene, stream, write_skeletons
from sensor import SHORT_GHOST, record
from util import UserError

PERFORMERS = 3
TAKES = [(p, r, a) for p in (1, 4) for r in (1, 2) for a in range(1, len(ACTIONS) + 1)]
NUMBER = {name: i for i, (name, *_) in enumerate(ACTIONS, 1)}


def parse(text):
    """[{body ID: (25, 12) float64}, one a frame]; asserts that the text is a well-formed `.skeleton` file."""
    lines = iter(text.split("\n"))
    frames = []
    for _ in range(int(next(lines))):
        frame = {}
        for _ in range(int(next(lines))):
            head = next(lines).split()
            assert len(head) == 10 and re.fullmatch(r"720575940379\d{5}", head[0])
            assert next(lines) == "25"
            frame[head[0]] = np.array([next(lines).split() for _ in range(25)], dtype=float)
            assert frame[head[0]].shape == (25, 12) and np.isfinite(frame[head[0]]).all()
        frames.append(frame)
    assert list(lines) == [""]
    return frames


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    write_skeletons(root, seed=1, performers=PERFORMERS, noise=1.0)
    return root


@pytest.fixture(scope="session")
def files(root):
    return {path.stem: parse(path.read_text()) for path in sorted((root / "nturgb+d_skeletons").iterdir())}


def bones(joints):
    return np.linalg.norm(joints - joints[:, PARENT], axis=-1)


def test_the_seed_decides_every_byte():
    which = (2, 3, 1, NUMBER["handshaking"])
    assert clip(1, *which) == clip(1, *which)
    assert clip(1, *which) != clip(2, *which)


def test_a_clip_does_not_depend_on_which_others_are_written(root):
    which = (3, 2, 2, 5)
    assert (root / "nturgb+d_skeletons" / make_demo.clip_name(*which)).read_text() == clip(1, *which)


def test_every_file_is_well_formed_and_of_the_usual_length(files):
    assert len(files) == PERFORMERS * 3 * 2 * len(ACTIONS)
    assert all(40 <= len(frames) <= 110 for frames in files.values())
    for frames in list(files.values())[::10]:
        fields = np.concatenate([body for frame in frames for body in frame.values()])
        assert set(fields[:, 11]) <= {1, 2} and (fields[:, 2] > 0.5).all() and (fields[:, 2] < 6.5).all()
        length = np.linalg.norm(fields[:, 7:11], axis=1)  # a unit quaternion, or none
        assert (np.isclose(length, 1, atol=1e-4) | (length == 0)).all()
        for pixel, axis, sign in ((3, 0, 1), (4, 1, -1), (5, 0, 1), (6, 1, -1)):  # projections of the joints
            assert np.corrcoef(fields[:, axis] / fields[:, 2], sign * fields[:, pixel])[0, 1] > 0.9999


@pytest.mark.parametrize(("performer", "replication", "action"), TAKES)
def test_bones_keep_their_length(performer, replication, action):
    for body in scene(1, performer, replication, action):
        lengths = bones(body)
        assert np.ptp(lengths, axis=0).max() < 1e-9
        assert (lengths[0, 1:] > 0.02).all() and lengths.max() < 0.55


def test_a_performer_keeps_one_body():
    one, other = (bones(scene(1, 3, r, NUMBER["throw"])[0])[0] for r in (1, 2))
    np.testing.assert_allclose(np.sort(one), np.sort(other), atol=1e-9)
    assert Build(stream(1, performer=3)).hips != Build(stream(1, performer=2)).hips


def test_motion_is_smooth_and_nobody_sinks_into_the_floor_or_floats():
    for take in TAKES:
        name = ACTIONS[take[2] - 1][0]
        for body in scene(1, *take):
            assert np.linalg.norm(np.diff(body, axis=0), axis=-1).max() < 0.45, name  # 13 m/s, of a hand that throws
            assert body[..., 1].min() > -0.12, name
            low = body[:, [14, 15, 18, 19], 1].min(1)
            assert low[0] < 0.12 and low[-1] < 0.12, name
            assert low.max() < 0.12 or name == "jump up", name


@pytest.mark.parametrize("replication", (1, 2))
@pytest.mark.parametrize("name", ("handshaking", "pushing other person", "walking towards each other"))
def test_two_people_face_each_other_and_hands_meet(name, replication):
    one, other = scene(1, 2, replication, NUMBER[name])
    way = np.mean(other[0] - one[0], axis=0)
    for body, sign in ((one, 1), (other, -1)):  # forward = left x up
        forward = np.cross(body[0, 4] - body[0, 8], [0, 1, 0])
        assert sign * forward @ way > 0.8 * np.linalg.norm(forward) * np.linalg.norm(way)
    apart = np.linalg.norm((other - one)[:, 0], axis=-1)
    if name == "handshaking":
        assert np.linalg.norm(one[:, 11] - other[:, 11], axis=-1).min() < 0.1
    elif name == "walking towards each other":
        assert 0.4 < apart[-1] < apart[0] - 0.5
    else:
        away = (other[-1, 0] - other[0, 0]) @ way / np.linalg.norm(way)
        assert away > 0.04 and np.linalg.norm(one[:, [7, 11]] - other[:, [20]], axis=-1).min() < 0.45


@pytest.mark.parametrize("replication", (1, 2))
def test_actions_are_what_their_names_say(replication):
    def joints(name):
        return scene(1, 2, replication, NUMBER[name])[0]

    sit, stand = (joints(name)[:, 0, 1] for name in ("sitting down", "standing up (from sitting position)"))
    assert sit[-1] < sit[0] - 0.25 and stand[-1] > stand[0] + 0.25
    assert joints("falling")[-1, 3, 1] < 0.6
    feet = joints("jump up")[:, [14, 18], 1]
    assert feet.min(1).max() > feet[0].max() + 0.08
    clap, drink = joints("clapping"), joints("drink water")
    assert np.linalg.norm(clap[:, 6] - clap[:, 10], axis=-1).min() < 0.15
    assert np.linalg.norm(drink[:, [7, 11]] - drink[:, [3]], axis=-1).min() < 0.25


def test_cameras_are_rigid_and_see_the_same_take():
    """Without noise what one camera writes is what another does, up to a rotation and a shift."""
    found = 0
    for take in TAKES[::2]:
        one, other = (parse(clip(1, camera, *take, noise=0.0)) for camera in (1, 3))
        if any(len(frame) != 1 for frame in one + other):  # errors differ between cameras
            continue
        p, q = (np.stack([next(iter(frame.values()))[:, :3] for frame in view]).reshape(-1, 3) for view in (one, other))
        u, _, v = np.linalg.svd((p - p.mean(0)).T @ (q - q.mean(0)))
        assert np.linalg.det(u @ v) > 0
        np.testing.assert_allclose((p - p.mean(0)) @ (u @ v), q - q.mean(0), atol=2e-4)
        found += 1
    assert found > 5


def test_camera_1_is_in_the_middle_and_the_faced_one_sees_the_face():
    for replication, faced in ((1, 2), (2, 3)):
        body = scene(1, 1, replication, NUMBER["clapping"])[0][0]
        turned = []
        for number in (1, 2, 3):
            seen = Camera(number, stream(1, camera=number)).view(body)
            left = seen[4] - seen[8]
            turned.append(np.degrees(np.arccos(-left[0] / np.linalg.norm(left))))  # 0: looks into this camera
        assert turned[faced - 1] < 25 < turned[0] < 65 < turned[4 - faced]


def test_noise_is_that_of_a_kinect():
    lens = Camera(1, stream(1, camera=1))
    errors = []
    for seed in range(20):
        truth = [lens.view(body) for body in scene(1, 1, 1, NUMBER["clapping"])]
        _, present, seen, states = record(truth, np.random.default_rng(seed), 1.0)[0]
        if present.all() and len(seen) == len(truth[0]):
            errors.append(np.linalg.norm(seen - truth[0], axis=-1)[states == 2])
    assert 0.003 < np.median(np.concatenate(errors)) < 0.02


def test_the_errors_of_real_files_occur(files):
    seen = dict.fromkeys(("empty first", "empty last", "empty between", "short ghost", "wide", "switched"), 0)
    seen |= dict.fromkeys(("returns", "late", "same float64"), 0)
    for name, frames in files.items():
        persons = ACTIONS[int(name[-3:]) - 1][1]
        bodies = [len(frame) for frame in frames]
        filled = np.flatnonzero(bodies)
        seen["empty first"] += filled[0] > 0
        seen["empty last"] += filled[-1] < len(bodies) - 1
        seen["empty between"] += 0 in bodies[filled[0] : filled[-1]]
        ids = {key: [i for i, frame in enumerate(frames) if key in frame] for frame in frames for key in frame}
        seen["same float64"] += len({float(key) for key in ids}) < len(ids)
        long = {key: at for key, at in ids.items() if len(at) > 11}
        seen["short ghost"] += len(long) < len(ids)
        seen["switched"] += len(long) > persons
        assert len(long) >= 1
        for key, at in long.items():
            joints = np.stack([frames[i][key][:, :3] for i in at])
            spread = np.ptp(joints, axis=1)
            seen["wide"] += (spread[:, 0] > 0.8 * spread[:, 1]).all()
            seen["returns"] += any(bodies[i] and key not in frames[i] for i in range(at[0], at[-1]))
            seen["late"] += persons == 2 and at[0] > filled[0] + 2
    assert all(seen.values()), seen
    assert seen["short ghost"] < 3 * SHORT_GHOST * len(files)


def test_both_protocols_train_and_test_on_every_class(files):
    names = sorted(files)
    dataset = protocols.dataset("DEMO")
    assert dataset.classes == tuple(NUMBER) and all(map(dataset.has, names))
    for protocol in dataset.protocols:
        for side in protocol.split(names):
            assert {protocols.action(names[i]) for i in side} == set(NUMBER.values())


@pytest.fixture
def quick(monkeypatch):
    """Clips that take no time: the seed and the clip's name."""
    monkeypatch.setattr(make_demo, "clip", lambda seed, *which: f"{seed} {which}\n")


def interrupt():
    raise KeyboardInterrupt


def test_an_interrupted_run_changes_nothing(tmp_path, monkeypatch, quick):
    def interrupted(seed):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            texts = iter(["half\n"] * 5)
            patch.setattr(make_demo, "clip", lambda *_: next(texts, None) or interrupt())
            write_skeletons(tmp_path, seed, 3, 1.0)
        return {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}

    assert interrupted(1) == {} and not list(tmp_path.iterdir())
    write_skeletons(tmp_path, 1, 3, 1.0)
    (tmp_path / "DEMO_CS.h5").write_text("made from seed 1")
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert interrupted(2) == before
    write_skeletons(tmp_path, 2, 3, 1.0)
    assert json.loads((tmp_path / "demo.json").read_text())["seed"] == 2
    assert not (tmp_path / "DEMO_CS.h5").exists()  # it was of seed 1
    assert len(list((tmp_path / "nturgb+d_skeletons").iterdir())) == len(clips(3))


def test_incomplete_sets_are_made_again_and_other_skeletons_left_alone(tmp_path, quick):
    folder, part = (tmp_path / name for name in ("nturgb+d_skeletons", "nturgb+d_skeletons.part"))
    for path in (folder, part):
        path.mkdir()
        (path / "S033C001P009R001A001.skeleton").write_text("other")
    with pytest.raises(UserError, match="choose another --root"):
        write_skeletons(tmp_path, 1, 3, 1.0)
    next(folder.iterdir()).unlink()
    names = {make_demo.clip_name(*which) for which in clips(3)}
    for _ in range(2):
        write_skeletons(tmp_path, 1, 3, 1.0)
        assert {path.name for path in folder.iterdir()} == names and not part.exists()
        (folder / min(names)).unlink()


def test_both_h5_are_made_and_a_second_run_does_nothing(root, files, monkeypatch):
    command = ["--root", str(root), "--performers", str(PERFORMERS)]
    make_demo.main(command)
    for name, test in (("DEMO_CS.h5", 78), ("DEMO_CV.h5", 78)):  # performer 3 of 3; camera 1 of 3
        with h5py.File(root / name) as file:
            assert len(file["test_x"]) == test and len(file["x"]) + len(file["valid_x"]) == len(files) - test
            assert (file["test_y"][:].sum(0) == test / len(ACTIONS)).all()
            widths = file["test_x"][:, :, 75:].any((1, 2))
            persons = np.array([persons for _, persons, *_ in ACTIONS])[file["test_y"][:].argmax(1)]
            assert np.mean(widths == (persons == 2)) > 0.95  # step 2 removes the ghosts
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.*")}
    monkeypatch.setattr(make_demo, "run_scripts", None)  # would be called if anything had to be done again
    make_demo.main(command)
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*.*")}
    names = {"nturgb+d_skeletons", "raw_data", "denoised_data", "DEMO_CS.h5", "DEMO_CV.h5", "demo.json", ".lock"}
    assert {path.name for path in root.iterdir()} == names  # all of them ignored by git


@pytest.mark.parametrize("flags", (["--performers", "2"], ["--noise", "nan"], ["--seed", "-1"]))
def test_bad_flags_are_one_clear_line(flags, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        make_demo.main(["--root", str(tmp_path / "new"), *flags])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.startswith("error: ") and flags[0] in err and err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_the_frontal_set_differs_by_direction_and_side(tmp_path):
    path = tmp_path / "frontal.h5"
    make_frontal.main(["--out", str(path), "--performers", "2", "--noise", "0"])
    with h5py.File(path) as file:
        assert layout.validate(file) == []
        assert (len(file["x"]), len(file["test_x"]), file.attrs["skeleton"]) == (28, 28, "kinect_v2")
        clips = file["x"][:].reshape(28, -1, 25, 3)
        names = file.attrs["class_names"]
        label = file["y"][:].argmax(axis=1)
    spine = clips[:, :, 1]
    moved = np.array([clip[clip.any(axis=1)][-1] for clip in spine])  # from the first frame, where it is the origin
    # Camera coordinates: x to its left, z away from it
    for way, axis, sign in (("to the left", 0, 1), ("to the right", 0, -1), ("away from the camera", 2, 1)):
        steps = moved[label == list(names).index(f"walking {way}")]
        assert (np.abs(steps).argmax(axis=1) == axis).all() and (np.sign(steps[:, axis]) == sign).all()
    for side, wrist in (("left", 6), ("right", 10)):
        waving = clips[label == list(names).index(f"hand waving, {side}")]
        height = waving[:, :, [6, 10], 1].max(axis=1)  # of both wrists
        assert (height.argmax(axis=1) == [6, 10].index(wrist)).all()
