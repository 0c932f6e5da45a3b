"""The demo set: figures that act, cameras that see one motion, and a set with the errors of real ones."""

import numpy as np

from actions import ACTIONS, handshake, jump
from clips.skeletons import KINECT_V2
from made import read
from make_demo import AZIMUTH, make, rng_of, scene, view

TAKES = [(performer, performer % 2 + 1, a) for performer in (1, 4) for a in range(1, len(ACTIONS) + 1)]


def test_bones_keep_their_length_and_nobody_leaves_the_floor():
    for take in TAKES:
        function, persons, *_ = ACTIONS[take[2] - 1]
        bodies = scene(*take)
        assert len(bodies) == persons
        for body in bodies:
            bones = np.linalg.norm(body - body[:, KINECT_V2.parents], axis=-1)
            assert np.ptp(bones, axis=0).max() < 1e-9 and (bones[0, 1:] > 0.02).all() and bones.max() < 0.55, take
            assert np.linalg.norm(np.diff(body, axis=0), axis=-1).max() < 0.45, take  # 13 m/s, of a hand that throws
            low = body[:, [14, 15, 18, 19], 1].min(1)
            assert body[..., 1].min() > -0.12 and max(low[0], low[-1]) < 0.12, take
            assert low.max() < 0.12 or function is jump, take


def test_cameras_are_rigid_and_see_persons_upright_in_front_of_them():
    bodies = scene(1, 1, 10)
    for camera in AZIMUTH:
        (seen,) = view(bodies, camera, rng_of(camera))
        assert (seen[..., 2] > 2).all() and seen[0, 3, 1] > seen[0, 0, 1]  # the head is above the hips
        p, q = (joints.reshape(-1, 3) - joints.mean((0, 1)) for joints in (bodies[0], seen))
        u, _, v = np.linalg.svd(p.T @ q)
        assert np.linalg.det(u @ v) > 0
        np.testing.assert_allclose(p @ u @ v, q, atol=1e-9)


def test_a_set_has_clips_of_both_protocols_and_no_ghosts(tmp_path):
    number = 1 + [function for function, *_ in ACTIONS].index(handshake)
    make(tmp_path, [(p, 1, a) for p in (1, 2, 3) for a in (1, number)])  # performer 3 tests, and camera 1
    for name in ("DEMO_CS.h5", "DEMO_CV.h5"):
        made = read(tmp_path / name)
        two = made.x["test_"][:, :, 75:].any((1, 2))
        assert len(two) == 6 and (two == (np.array(made.y["test_"]) == number - 1)).all()
    assert len([*(tmp_path / "nturgb+d_skeletons").glob("S033*.skeleton")]) == 18
