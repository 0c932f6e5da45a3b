"""The demo set: figures that act, cameras that see one motion, and files with the errors of real ones."""

import h5py
import numpy as np
import pytest

import make_demo
from actions import ACTIONS
from clips.ntu import read_skeleton
from figures import PARENT
from make_demo import Camera, clip, clips, scene, stream, write_skeletons
from sensor import record
from util import UserError

NUMBER = {name: i for i, (name, *_) in enumerate(ACTIONS, 1)}
TAKES = [(performer, replication, a) for performer in (1, 4) for replication in (1, 2) for a in NUMBER.values()]
SETTINGS = {"version": 1, "seed": 1, "performers": 3, "noise": 1.0}


def test_bones_keep_their_length_and_nobody_leaves_the_floor():
    for take in TAKES:
        name = ACTIONS[take[2] - 1][0]
        for body in scene(1, *take):
            bones = np.linalg.norm(body - body[:, PARENT], axis=-1)
            assert np.ptp(bones, axis=0).max() < 1e-9 and (bones[0, 1:] > 0.02).all() and bones.max() < 0.55, name
            assert np.linalg.norm(np.diff(body, axis=0), axis=-1).max() < 0.45, name  # 13 m/s, of a hand that throws
            low = body[:, [14, 15, 18, 19], 1].min(1)
            assert body[..., 1].min() > -0.12 and max(low[0], low[-1]) < 0.12, name
            assert low.max() < 0.12 or name == "jump up", name


@pytest.mark.parametrize("replication", (1, 2))
def test_actions_are_what_their_names_say(replication):
    def joints(name):
        return scene(1, 2, replication, NUMBER[name])

    def nearest(one, other):
        return np.linalg.norm(one - other, axis=-1).min()

    [sit], [stand] = joints("sitting down"), joints("standing up (from sitting position)")
    assert sit[-1, 0, 1] < sit[0, 0, 1] - 0.25 and stand[-1, 0, 1] > stand[0, 0, 1] + 0.25
    assert joints("falling")[0][-1, 3, 1] < 0.6
    feet = joints("jump up")[0][:, [14, 18], 1]
    assert feet.min(1).max() > feet[0].max() + 0.08
    [clap], [drink] = joints("clapping"), joints("drink water")
    assert nearest(clap[:, 6], clap[:, 10]) < 0.15 and nearest(drink[:, [7, 11]], drink[:, [3]]) < 0.25
    one, other = joints("handshaking")
    assert nearest(one[:, 11], other[:, 11]) < 0.1
    one, other = joints("walking towards each other")
    apart = np.linalg.norm((other - one)[:, 0], axis=-1)
    assert 0.4 < apart[-1] < apart[0] - 0.5
    one, other = joints("pushing other person")
    assert nearest(one[:, [7, 11]], other[:, [20]]) < 0.45
    assert np.linalg.norm(other[-1, 0] - one[-1, 0]) > np.linalg.norm(other[0, 0] - one[0, 0]) - 0.3


def test_cameras_are_rigid_and_see_the_same_take():
    """Without noise what one camera writes is what another does, up to a rotation and a shift."""
    found = 0
    for take in TAKES[::3]:
        views = [read_skeleton(clip(1, camera, *take, noise=0.0).encode()) for camera in (1, 3)]
        if any(len(bodies) != 1 for _, bodies in views) or views[0][0] != views[1][0]:  # errors differ between cameras
            continue
        p, q = (bodies[0].joints.reshape(-1, 3).astype(float) for _, bodies in views)
        u, _, v = np.linalg.svd((p - p.mean(0)).T @ (q - q.mean(0)))
        assert np.linalg.det(u @ v) > 0
        np.testing.assert_allclose((p - p.mean(0)) @ (u @ v), q - q.mean(0), atol=2e-4)
        found += 1
    assert found > 3


def test_noise_is_that_of_a_kinect():
    lens = Camera(1, stream(1, camera=1))
    truth = [lens.view(body) for body in scene(1, 1, 1, NUMBER["clapping"])]
    errors = []
    for seed in range(20):
        _, present, seen, states = record(truth, np.random.default_rng(seed), 1.0)[0]
        if present.all() and len(seen) == len(truth[0]):
            errors.append(np.linalg.norm(seen - truth[0], axis=-1)[states == 2])
    assert 0.003 < np.median(np.concatenate(errors)) < 0.02


def test_both_h5_are_made_once_with_the_errors_of_real_files(tmp_path):
    command = ["--root", str(tmp_path), "--performers", "3"]
    make_demo.main(command)
    found = [read_skeleton(path.read_bytes()) for path in (tmp_path / "nturgb+d_skeletons").iterdir()]
    assert len(found) == len(clips(3)) and {len(bodies) for _, bodies in found} >= {1, 2, 3}  # and ghosts
    for name in make_demo.PRODUCTS:  # performer 3 of 3 tests; camera 1 of 3 tests
        with h5py.File(tmp_path / name) as file:
            test, y = file["test_x"], file["test_y"][:]
            assert 3 * len(test) == len(found) and (y.sum(0) == len(test) / len(ACTIONS)).all()
            two = test[:, :, 75:].any((1, 2))
            assert (
                np.mean(two == (np.array([n for _, n, *_ in ACTIONS])[y.argmax(1)] == 2)) > 0.95
            )  # step 2 removes them
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    make_demo.main(command)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}


def test_an_interrupted_run_changes_nothing_and_other_skeletons_are_left_alone(tmp_path, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    def files():
        return {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}

    monkeypatch.setattr(make_demo, "clip", lambda seed, *which: f"{seed} {which}\n")
    write_skeletons(tmp_path, SETTINGS)
    (tmp_path / "DEMO_CS.h5").write_text("of seed 1")
    before = files()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(make_demo, "clip", lambda seed, *which: "half\n" if which[:3] == (1, 1, 1) else interrupt())
        write_skeletons(tmp_path, SETTINGS | {"seed": 2})
    assert files() == before
    write_skeletons(tmp_path, SETTINGS | {"seed": 2})
    assert not (tmp_path / "DEMO_CS.h5").exists() and len(files()) == len(before) - 1
    (tmp_path / "demo.json").unlink()
    with pytest.raises(UserError, match="--root"):
        write_skeletons(tmp_path, SETTINGS)


def test_bad_flags_are_one_clear_line(tmp_path, capsys):
    for flags in (["--performers", "2"], ["--noise", "nan"]):
        with pytest.raises(SystemExit) as stop:
            make_demo.main(["--root", str(tmp_path / "new"), *flags])
        err = capsys.readouterr().err
        assert stop.value.code == 2 and flags[0] in err and err.count("\n") == 1
    assert not (tmp_path / "new").exists()
