"""from_pyskl.py: pickles of pyskl and mmaction2 become the h5 that .skeleton files give, and no code in them is run."""

import pickle

import h5py
import numpy as np
import pytest

import from_pyskl
import layout
import protocols
from ntu_text import CLIPS, FILES, run, write_root
from util import UserError


def annotation(name, label, keypoint, **more):
    return {"frame_dir": name, "label": label, "total_frames": keypoint.shape[1], "keypoint": keypoint} | more


def ntu_annotations():
    """What pyskl keeps of the fixture's clips: float16, not centered, without empty frames at either end."""
    for name, clip in CLIPS.items():
        rows = clip["denoised"].reshape(len(clip["denoised"]), -1, 25, 3)
        present = np.flatnonzero(rows.any(axis=(1, 2, 3)))
        rows = rows[present[0] : present[-1] + 1]
        yield annotation(name, protocols.action(name) - 1, rows.swapaxes(0, 1).astype(np.float16))


def convert(tmp_path, content, *more, protocol=2, name="ntu60_3danno.pkl"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    from_pyskl.main([str(path), "--out", str(tmp_path), *more])


def clips_of(file, split):
    return [x[: np.flatnonzero(x.any(axis=1))[-1] + 1] for x in file[f"{split}x"][()]]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_ntu_is_what_the_skeleton_files_give(tmp_path, protocol):
    """Equal where the two agree on the frames: up to float16, and the origin's float16."""
    write_root(tmp_path, FILES)
    run(tmp_path)
    (tmp_path / "pyskl").mkdir()
    convert(tmp_path / "pyskl", {"split": {}, "annotations": list(ntu_annotations())}, protocol=protocol)
    compared = 0
    for name in ("NTU_CS.h5", "NTU_CV.h5"):
        with h5py.File(tmp_path / name) as ours, h5py.File(tmp_path / "pyskl" / name) as theirs:
            assert layout.validate(theirs) == []
            assert (theirs.attrs["skeleton"], theirs.attrs["axes"]) == ("kinect_v2", "x, y, z")
            for split in layout.SPLITS:
                assert np.array_equal(ours[f"{split}y"], theirs[f"{split}y"])  # the same clips in the same order
                for a, b in zip(clips_of(ours, split), clips_of(theirs, split), strict=True):
                    if a.shape == b.shape and np.array_equal(a.any(axis=1), b.any(axis=1)):
                        step = 2 * np.spacing(np.float16(np.abs(CLIPS_LARGEST)))
                        compared += 1
                        assert np.abs(a - b).max() <= step
    assert compared > 40


CLIPS_LARGEST = max(np.abs(clip["denoised"]).max() for clip in CLIPS.values())


def pose(persons=1, frames=5, score=0.5):
    keypoint = np.full((persons, frames, 17, 2), [320, 120], np.float16)
    scores = np.full((persons, frames, 17), score, np.float16) * np.arange(1, persons + 1)[:, None, None]
    return {"keypoint": keypoint, "keypoint_score": scores.astype(np.float16), "img_shape": (480, 640)}


def test_2d_joints_are_normalized_and_the_two_best_persons_kept(tmp_path):
    clips = [annotation(f"v{i}", i % 3, **pose(persons=1 + i % 3, frames=4 + i)) for i in range(12)]
    clips[3]["keypoint_score"][0, 1, 6] = 0
    names = [clip["frame_dir"] for clip in clips]
    splits = {"train1": names[:9], "test1": names[9:], "train2": names[3:], "test2": names[:3]}
    (tmp_path / "names.txt").write_text("run\njump\nsit\n")
    content = {"split": splits, "annotations": clips}
    convert(tmp_path, content, "--classes", str(tmp_path / "names.txt"), name="ucf101_hrnet.pkl")
    with h5py.File(tmp_path / "ucf101_hrnet_1.h5") as file:
        assert layout.validate(file) == []
        header = layout.read_header(file)
        assert (header["joints"], header["persons"], header["axes"]) == (17, 2, from_pyskl.AXES_2D)
        assert header["class_names"] == ("run", "jump", "sit")
        assert [len(file[f"{split}x"]) for split in layout.SPLITS] == [8, 1, 3]
        x = file["test_x"][2, 0].reshape(2, 17, 3)  # v11 has three persons: scores 0.5, 1 and 1.5
        np.testing.assert_allclose(x[:, 0], [[0, -0.25, 1], [0, -0.25, 1.5]])
    with h5py.File(tmp_path / "ucf101_hrnet_2.h5") as file:
        zero = [x for x in file["x"][()].reshape(-1, 15, 2, 17, 3) if x[0, 0].any() and not x[1, 0, 6].any()]
        assert len(zero) + sum(not x[1, 0, 6].any() for x in file["valid_x"][()].reshape(-1, 15, 2, 17, 3)) == 1


class Code:
    def __reduce__(self):
        return exec, ("raise SystemError('run')",)


GOOD = annotation("v", 0, **pose())
WRONG = {
    "code": ([GOOD | {"label": Code()}], "it would run __builtin__.exec"),
    "objects": ([GOOD | {"keypoint": np.array([[[[None, 1]]]])}], "array of type 'O8'"),
    "no pickle": (b"words", "cannot be read as a pickle of pyskl"),
    "other things": ({"split": 3, "annotations": [GOOD]}, "not {'split'"),
    "no clip": ([3], "annotation 0 .* lacks frame_dir, label or keypoint"),
    "a table of contents": ([{"frame_dir": "v", "label": 0, "raw_file": "x"}], "in another file"),
    "label": ([GOOD | {"label": -1}], "has the label -1"),
    "joints": ([GOOD | {"keypoint": np.zeros((1, 5, 33, 3))}], "33 joints of 3 values"),
    "nan": ([GOOD | {"keypoint": GOOD["keypoint"] * np.float16(np.nan)}], "has NaN"),
    "no score": ([{key: GOOD[key] for key in GOOD if key != "keypoint_score"}], "has no keypoint_score"),
    "no size": ([GOOD | {"img_shape": None}], "has no img_shape"),
    "twice": ([GOOD, GOOD], "two clips of one name"),
    "no lists": ([GOOD], "no lists train and val"),
    "too few": ({"split": {"train": ["v"], "val": []}, "annotations": [GOOD]}, "1 training and 0 test clips"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused_in_a_line_and_nothing_is_run(tmp_path, case):
    content, message = WRONG[case]
    with pytest.raises(UserError, match=message) as error:
        convert(tmp_path, content)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("*.h5"))


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path):
    content = pickle.dumps([GOOD], 2).replace(b"K\x11K\x02t", b"K\x11K\xfft")
    with pytest.raises(UserError, match="cannot be read as a pickle"):
        convert(tmp_path, content)
