"""The demo set: figures that act, cameras with the errors of real ones, and the bits that the shipped networks saw."""

import numpy as np
import pytest

from actions import ACTIONS, jump
from clips.skeletons import KINECT_V2
from data import Clips
from made import read
from make_demo import make, scene


@pytest.mark.parametrize("performer, replication", [(1, 2), (4, 1)])
def test_bones_keep_their_length_and_nobody_leaves_the_floor(performer, replication):
    for number, (function, persons, *_) in enumerate(ACTIONS, 1):
        bodies = scene(performer, replication, number)
        assert len(bodies) == persons
        for body in bodies:
            bones = np.linalg.norm(body - body[:, KINECT_V2.parents], axis=-1)
            assert np.ptp(bones, axis=0).max() < 1e-9 and (bones[0, 1:] > 0.02).all() and bones.max() < 0.55, function
            assert np.linalg.norm(np.diff(body, axis=0), axis=-1).max() < 0.45, (
                function
            )  # 13 m/s, of a hand that throws
            low = body[:, [14, 15, 18, 19], 1].min(1)
            assert body[..., 1].min() > -0.12 and max(low[0], low[-1]) < 0.12, function
            assert low.max() < 0.12 or function is jump, function


def test_clips_have_the_known_bits_and_no_ghosts(tmp_path):
    make(tmp_path, [(performer, 1, number) for performer in (1, 3) for number in (4, 6, 10, 11, 12)])  # 3 tests
    made, clips = read(tmp_path / "DEMO_CS.h5"), Clips.read(tmp_path / "DEMO_CS.h5")
    persons = 1 + made.x["test_"][:, :, 75:].any((1, 2))
    assert persons.tolist() == [ACTIONS[label][1] for label in made.y["test_"]] and len(persons) == 15
    assert clips.sha256.startswith("ae2e8cfad589")
