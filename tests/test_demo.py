"""The demo set: figures that act, cameras that see one motion, and files with the errors of real ones."""

import numpy as np
import pytest

import make_demo
from actions import ACTIONS
from clips import skipped
from clips.ntu import read_skeleton
from figures import PARENT
from made import read
from make_demo import clip, scene
from util import UserError

NUMBER = {name: i for i, (name, *_) in enumerate(ACTIONS, 1)}
TAKES = [(performer, performer % 2 + 1, a) for performer in (1, 4) for a in NUMBER.values()]


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
    assert found > 1


def test_a_set_is_made_whole_or_not_at_all_and_other_skeletons_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(skipped, "available_cores", lambda: 1)  # no worker has to start
    few = [(p, 1, a) for p in (1, 2, 3) for a in (1, NUMBER["handshaking"])]  # performer 3 tests, and camera 1
    make_demo.make(tmp_path, 1, 1.0, few)
    for name in make_demo.FILES:
        made = read(tmp_path / name)
        two = made.x["test_"][:, :, 75:].any((1, 2))  # step 2 removes ghosts
        assert len(two) == 6 and (two == (np.array(made.y["test_"]) > 0)).all()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(make_demo, "clip", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_demo.make(tmp_path, 2, 1.0, few)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "nturgb+d_skeletons/S001C001P001R001A001.skeleton").touch()
    with pytest.raises(UserError, match="--root"):
        make_demo.make(tmp_path, 2, 1.0, few)
