"""UTD-MHAD and MSRAction3D on made-up clips of a standing figure, and several h5 joined."""

import zipfile
from io import BytesIO

import h5py
import numpy as np
import pytest
from scipy.io import savemat

import join_h5
import make_msraction3d
import make_utd_mhad
from clips.skeletons import KINECT_V1
from data import Clips
from util import UserError

# Who stands: x of the right side, y
ARM = {"shoulder": (0.2, 1.35), "elbow": (0.25, 1.1), "wrist": (0.26, 0.9), "hand": (0.26, 0.8)}
LEG = {"hip": (0.08, 0.85), "knee": (0.1, 0.45), "ankle": (0.1, 0.1), "foot": (0.1, 0.05)}
FIGURE = {"hip centre": (0, 0.9), "spine": (0, 1), "shoulder centre": (0, 1.4), "head": (0, 1.6)}
FIGURE |= {f"left {name}": (-x, y) for name, (x, y) in (ARM | LEG).items()}
FIGURE |= {f"right {name}": (x, y) for name, (x, y) in (ARM | LEG).items()}
SIDES = ("left", "right")
# The makers' orders of joints
UTD = ["head", "shoulder centre", "spine", "hip centre"]
UTD += [f"{side} {name}" for names in (ARM, LEG) for side in SIDES for name in names]
MSR = ["left shoulder", "right shoulder", "shoulder centre", "spine", "left hip", "right hip", "hip centre"]
MSR += [f"{side} {name}" for name in (*[*ARM][1:], *[*LEG][1:]) for side in SIDES] + ["head"]


def clip(order, frames):
    """A clip of the figure, (frames, 20, 3), joints in this order."""
    return np.array([(*FIGURE[name], 3.0) for name in order])[None].repeat(frames, 0)


def utd_file(action, subject, joints):
    file = BytesIO()
    savemat(file, {"d_skel": joints.transpose(1, 2, 0)})
    return f"Skeleton/a{action}_s{subject}_t1_skeleton.mat", file.getvalue()


def msr_file(action, subject, joints):
    file = BytesIO()
    np.savetxt(file, np.pad(joints, ((0, 0), (0, 0), (0, 1))).reshape(-1, 4), "%.6f")
    return f"MSR/a{action:02}_s{subject:02}_e01_skeleton3D.txt", file.getvalue()


SETS = {"UTDMHAD": (make_utd_mhad, utd_file, UTD), "MSRACTION3D": (make_msraction3d, msr_file, MSR)}


def make(folder, name, empty=()):
    """Runs a set's script on a zip of clips of two actions by five subjects: the path of its h5."""
    script, file, order = SETS[name]
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for action in (1, 2):
            for subject in range(1, 6):
                frames = clip(order, 20 + subject) * (subject not in empty)
                archive.writestr(*file(action, subject, frames))
    script.main([str(folder / "set.zip"), "--out", str(folder / f"{name}_CS.h5")])
    return folder / f"{name}_CS.h5"


@pytest.mark.parametrize("name", SETS)
def test_joints_are_those_of_kinect_v1_odd_subjects_train_and_empty_clips_are_left_out(tmp_path, capsys, name):
    clips = Clips.read(make(tmp_path, name, empty=[2]))
    assert [len(clips.splits[split]) for split in ("train", "valid", "test")] == [5, 1, 2]  # subjects 1, 3, 5 of two
    first = next(i for i in clips.ids("train").tolist() if clips.length[i] == 21)
    wanted = np.array([(*FIGURE[joint], 3.0) for joint in KINECT_V1.joints]) - (*FIGURE["spine"], 3.0)
    np.testing.assert_allclose(clips.frames[clips.start[first]].view(20, 3).numpy(), wanted, atol=1e-6)
    assert "left out: 2 clips" in capsys.readouterr().out


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "a01_s01_e01_skeleton3D.txt").write_bytes(b"x " * 80)
    with pytest.raises(UserError, match="a01_s01_e01_skeleton3D.txt"):
        make_msraction3d.main([str(tmp_path), "--out", str(tmp_path / "out.h5")])


def test_joined_sets_have_their_classes_side_by_side(tmp_path):
    def join(*flags):
        join_h5.main([*map(str, paths), *flags, "--out", str(tmp_path / "both.h5")])
        return Clips.read(tmp_path / "both.h5")

    paths = [make(tmp_path, name) for name in SETS]
    both, (utd, msr) = join(), map(Clips.read, paths)
    assert both.class_names[::27] == (f"UTDMHAD_CS: {utd.class_names[0]}", f"MSRACTION3D_CS: {msr.class_names[0]}")
    assert both.origin == 2 and utd.sha256 in both.protocol and msr.sha256 in both.protocol
    for split in ("train", "valid", "test"):
        labels = utd.label[utd.ids(split)].tolist() + (msr.label[msr.ids(split)] + 27).tolist()
        assert both.label[both.ids(split)].tolist() == labels
    assert sorted(map(len, join("--whole").splits.values())) == [1, 1, 18]
    with h5py.File(paths[1], "r+") as file:
        file.attrs["origin"] = 1
    with pytest.raises(UserError, match="origin"):
        join()
