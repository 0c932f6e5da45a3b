"""from_pyskl.py: pickles of pyskl and mmaction2 become the h5 that .skeleton files give, and no code in them is run."""

import json
import pickle
import re
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

import from_pyskl
from clips import h5 as layout
from clips import protocols
from ntu_text import CLIPS
from safe import pickles
from util import UserError


def annotation(name, label, keypoint, **more):
    return {"frame_dir": name, "label": label, "total_frames": keypoint.shape[1], "keypoint": keypoint} | more


def pose(persons=1, frames=5, score=0.5):
    keypoint = np.full((persons, frames, 17, 2), [320, 120], np.float16)
    scores = np.full((persons, frames, 17), score, np.float16) * np.arange(1, persons + 1)[:, None, None]
    return {"keypoint": keypoint, "keypoint_score": scores.astype(np.float16), "img_shape": (480, 640)}


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


def sizes(path):
    with h5py.File(path) as file:
        assert layout.validate(file) == []
        return [len(file[f"{split}y"]) for split in layout.SPLITS]


def clips_of(file, split):
    return [x[: np.flatnonzero(x.any(axis=1))[-1] + 1] for x in file[f"{split}x"][()]]


def test_ntu_is_what_the_skeleton_files_give(tmp_path, ntu):
    """Equal where the two agree on the frames: up to float16, and the origin's float16."""
    convert(tmp_path, {"split": {}, "annotations": list(ntu_annotations())})
    largest, compared = max(np.abs(clip["denoised"]).max() for clip in CLIPS.values()), 0
    for name in ("NTU_CS.h5", "NTU_CV.h5"):
        with h5py.File(ntu / name) as ours, h5py.File(tmp_path / name) as theirs:
            assert (theirs.attrs["skeleton"], theirs.attrs["axes"]) == ("kinect_v2", "x, y, z")
            for split in layout.SPLITS:
                assert np.array_equal(ours[f"{split}y"], theirs[f"{split}y"])  # the same clips in the same order
                for a, b in zip(clips_of(ours, split), clips_of(theirs, split), strict=True):
                    if a.shape == b.shape and np.array_equal(a.any(axis=1), b.any(axis=1)):
                        compared += 1
                        assert np.abs(a - b).max() <= 2 * np.spacing(np.float16(largest))
    assert compared > 40


def test_persons_and_frames_that_pyskl_leaves_in_a_clip():
    """Person 1 comes later than person 2, frames within are empty, and a person is there in no frame."""

    def rows_of(keypoint):
        holder = SimpleNamespace(array=keypoint)
        return from_pyskl.read_clip(annotation("a", 0, keypoint) | {"keypoint": holder}, "a.pkl", 0).rows()

    clip = np.zeros((3, 6, 25, 3), np.float16)
    clip[0, [2, 3]] = 1 + np.arange(75).reshape(25, 3) / 64
    clip[2, [0, 2, 5]] = 2
    rows = rows_of(clip).reshape(-1, 2, 25, 3)  # frames 1 and 4 are empty
    origin = clip[0, 2, 1].astype(np.float32)
    assert rows.any(axis=(2, 3)).tolist() == [[False, True], [True, True], [True, False], [False, True]]
    assert np.array_equal(rows[0, 1], 2 - np.tile(origin, (25, 1))) and not rows[1, 0, 1].any()
    only = rows_of(clip[[0, 1]])  # no figure in the frames without person 1
    assert np.array_equal(only, rows[1:3, 0].reshape(2, 75))


@pytest.mark.filterwarnings("error")
def test_clips_of_nobody_and_those_known_to_lack_skeletons_are_left_out(tmp_path, capsys):
    clips, missing = list(ntu_annotations()), sorted(protocols.dataset("NTU").missing)[0]
    shapes = [(1, 5, 25, 3), (0, 5, 25, 3), (2, 0, 25, 3)]
    empty = [annotation(f"S001C001P001R00{i}A001", 0, np.zeros(shape)) for i, shape in enumerate(shapes, 1)]
    empty[0]["keypoint"] += 1e-300
    clips = [None, *clips, clips[0] | {"frame_dir": missing}, *empty]
    for clip in clips[1:]:
        clip["frame_dir"] = f"videos/{clip['frame_dir']}.avi"
    convert(tmp_path, {"split": {"xsub_train": ["videos/S001C001P001R001A001_rgb.avi"]}, "annotations": clips})
    out = capsys.readouterr().out
    assert "3 clips, for example S001C001P001R001A001" in out and missing in out
    assert sum(sizes(tmp_path / "NTU_CS.h5")) == len(CLIPS)


def test_ntu120_in_2d_gives_both_protocols_under_names_of_their_own(tmp_path):
    names = [f"S{s:03}C001P{p:03}R001A{a:03}" for s in range(1, 5) for p in (1, 3) for a in (1, 61, 120)]
    clips = [annotation(name, protocols.action(name) - 1, **pose()) for name in names]
    convert(tmp_path, {"split": {"xset_train": names}, "annotations": clips}, name="ntu120_hrnet.pkl")
    assert [sizes(tmp_path / f"ntu120_hrnet_{protocol}.h5") for protocol in ("CS", "CSet")] == [[11, 1, 12]] * 2
    with h5py.File(tmp_path / "ntu120_hrnet_CSet.h5") as file:
        assert file.attrs["skeleton"] == "coco17" and len(file.attrs["class_names"]) == 120


def test_2d_joints_are_normalized_and_the_two_best_persons_kept(tmp_path):
    clips = [annotation(f"v{i}", i % 3, **pose(persons=1 + i % 3, frames=4 + i)) for i in range(12)]
    clips[3]["keypoint_score"][0, 1, 6] = 0
    names = [clip["frame_dir"] for clip in clips]
    splits = {"train1": names[:9], "test1": names[9:], "train2": names[3:], "test2": names[:3]}
    (tmp_path / "names.txt").write_text("run\njump\nsit\n")
    content = {"split": splits, "annotations": clips}
    convert(tmp_path, content, "--classes", str(tmp_path / "names.txt"), name="ucf101_hrnet.pkl")
    assert sizes(tmp_path / "ucf101_hrnet_1.h5") == [8, 1, 3]
    with h5py.File(tmp_path / "ucf101_hrnet_1.h5") as file:
        header = layout.read_header(file)
        assert (header["joints"], header["persons"], header["axes"]) == (17, 2, layout.AXES_2D)
        assert header["class_names"] == ("run", "jump", "sit")
        x = file["test_x"][2, 0].reshape(2, 17, 3)  # v11 has three persons: scores 0.5, 1 and 1.5
        np.testing.assert_allclose(x[:, 0], [[0, -0.25, 1], [0, -0.25, 1.5]])
    with h5py.File(tmp_path / "ucf101_hrnet_2.h5") as file:
        x = np.concatenate([file["x"][()], file["valid_x"][()]]).reshape(9, 15, 2, 17, 3)
        assert (~x[:, 1, 0, 6].any(axis=1)).sum() == 1


V = [annotation(f"v{i}", i % 2, **pose()) for i in range(12)]
NAMES = [clip["frame_dir"] for clip in V]
NTU = [f"S001C{c:03}P{p:03}R001A{a:03}" for c in (1, 2, 3) for p in (1, 2, 3) for a in (1, 2)]
NTU_CLIPS = [annotation(name, protocols.action(name) - 1, np.ones((1, 4, 25, 3), np.float16)) for name in NTU]


def content(clips=V, **split):
    return {"split": split or {"train": NAMES[:9], "val": NAMES[9:]}, "annotations": clips}


def labelled(clips, change):
    return [clip | {"label": change(clip["label"])} for clip in clips]


ODD = {  # content, the beginning of the note, an example
    "names of no clip": (content(train=NAMES[:9] + [f"x{i}" for i in range(501)], val=NAMES[9:]), 501, "x0"),
    "an ending": (content([V[0] | {"frame_dir": "v0.mp4"}, *V[1:]]), 1, "v0 and v0.mp4"),
    "another list of NTU's": (content(NTU_CLIPS, xsub_train=NTU[:1]), 11, NTU[1]),
}


@pytest.mark.parametrize("given, count, example", ODD.values(), ids=ODD)
def test_what_is_odd_about_lists_is_noted_in_a_line(tmp_path, capsys, given, count, example):
    convert(tmp_path, given, name="a.pkl")
    (note,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"note: {count} ")]
    assert note.endswith(f" for example {example}")


def test_labels_that_count_from_1_are_shifted_also_in_bare_lists_of_training_and_test_clips(tmp_path, capsys):
    from_1 = labelled(V, lambda label: label + 1)
    convert(tmp_path, content(from_1), name="a.pkl")
    assert "--first-label 1" in capsys.readouterr().err
    (tmp_path / "val.pkl").write_bytes(pickle.dumps(from_1[8:]))
    convert(tmp_path, from_1[:8], "--test", str(tmp_path / "val.pkl"), "--first-label", "1", name="a.pkl")
    convert(tmp_path, labelled(NTU_CLIPS, lambda label: label + 1), "--first-label", "1")
    assert "--first-label" not in capsys.readouterr().err
    assert sizes(tmp_path / "a.h5") == [7, 1, 4]
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["y"].shape[1] == 2 and file["y"][:].any(axis=0).all()


@pytest.mark.parametrize("form", ["clips/{}.mp4", "C:\\clips\\{}_rgb.AVI"])
def test_names_in_lists_and_clips_may_differ_in_folders_and_endings(tmp_path, form):
    """Also those of NTU in a file that has other clips too, whose lists are its own."""
    other, clips = [form.format(name) for name in NAMES], [*NTU_CLIPS, NTU_CLIPS[0] | {"frame_dir": "mine"}]
    convert(tmp_path, content(train=other[:9], val=other[9:]), name="a.pkl")
    convert(tmp_path, content([clip | {"frame_dir": form.format(clip["frame_dir"])} for clip in V]), name="b.pkl")
    other = [form.format(name) for name in NTU]
    convert(tmp_path, content(clips, xsub_train=[*other[:9], "mine"], xsub_val=other[9:]), name="c.pkl")
    assert [sizes(tmp_path / name)[2] for name in ("a.h5", "b.h5", "c_xsub.h5")] == [3, 3, 9]


def standing(frames, joints):
    """A person 1.7 m high along y."""
    clip = np.zeros((1, frames, joints, 3), np.float32)
    clip[..., 1] = np.linspace(-0.75, 0.95, joints)
    return clip


def test_any_skeleton_in_its_own_unit_and_axes_with_a_nan_and_a_clip_in_no_list(tmp_path, capsys):
    (tmp_path / "mine.json").write_text(json.dumps({"joints": ["a", "b", "c"], "parents": [0, 0, "b"]}))
    clips = [annotation(f"v{i}", i % 2, standing(9 + i, 3)[..., [0, 2, 1]] * [1000, -1000, 1000]) for i in range(12)]
    clips[11]["keypoint"][0, 2, 2] = np.nan
    flags = ["--skeleton", str(tmp_path / "mine.json"), "--scale", "0.001", "--up", "z", "--origin", "1"]
    given = content(clips, train=NAMES[:8], val=NAMES[9:])
    with pytest.raises(UserError, match="v11.*--nan"):
        convert(tmp_path, given, *flags, name="a.pkl")
    convert(tmp_path, given, *flags, "--nan", "absent", name="a.pkl")
    assert "1 clips, for example v8" in capsys.readouterr().out
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["joint_names"].tolist() == ["a", "b", "c"] and file.attrs["origin"] == 1
        x = file["test_x"][2].reshape(20, 3, 3)  # of v11; an absent joint is where it was before
        np.testing.assert_allclose(x[[1, 2], :, 1], 2 * [[0, 0.85, 1.7]], atol=1e-6)


# ---- what is refused


class Code:
    def __reduce__(self):
        return exec, ("raise SystemError('run')",)


GOOD = annotation("v", 0, **pose())
WRONG = {
    "code": ([GOOD | {"label": Code()}], "builtin"),
    "nan": ([GOOD | {"keypoint": GOOD["keypoint"] * np.float16(np.nan)}], "NaN"),
    "twice": ([GOOD, GOOD], "one name"),
    "joints unknown": ([GOOD | {"keypoint": np.ones((1, 5, 21, 3))}], "--skeleton"),
    "no lists": ([GOOD, GOOD | {"frame_dir": "w", "label": 1}], "no lists"),
    "one class": (content(labelled(V, lambda label: 0)), "two classes"),
    "not the names' labels": (content([NTU_CLIPS[0] | {"label": 5}, *NTU_CLIPS[1:]]), "--classes"),
    "NTU from 1": (content(labelled(NTU_CLIPS, lambda label: label + 1)), "--first-label 1"),
}


@pytest.mark.parametrize("content, keyword", WRONG.values(), ids=WRONG)
def test_wrong_files_are_refused_in_a_line_and_nothing_is_run(tmp_path, content, keyword):
    with pytest.raises(UserError, match=keyword) as error:
        convert(tmp_path, content)
    assert "\n" not in str(error.value) and str(error.value).startswith(str(tmp_path))
    assert not list(tmp_path.glob("*.h5"))


@pytest.mark.parametrize("protocol", (0, 2, 5))
def test_arrays_scalars_and_text_of_every_protocol_are_read(tmp_path, protocol):
    """With the names of NumPy 1, 2 and of NumPy as it is here."""
    arrays = [np.arange(24, dtype=kind).reshape(2, 3, 4) for kind in ("f2", "f4", ">f8", "i8", "u1")]
    arrays += [arrays[1].T, arrays[1][:, ::2], arrays[1] > 3, np.zeros((0, 3)), np.asfortranarray(arrays[0])]
    plain = [np.int64(3), np.float32(0.5), np.bool_(True), "é", b"\xff\x00", b"", 2**70, None, {"a": {1}, "b": (1.5,)}]
    data = pickle.dumps({"arrays": arrays, "plain": plain}, protocol)
    texts = {data} | {re.sub(rb"cnumpy\._?core\.", b"c" + core, data) for core in (b"numpy.core.", b"numpy._core.")}
    assert len(texts) == (1 if protocol > 3 else 2)  # later protocols write names with their lengths
    for text in texts:
        (tmp_path / "a.pkl").write_bytes(text)
        content = pickles.read(tmp_path / "a.pkl", "arrays")
        assert content["plain"] == plain
        for read, wanted in zip(content["arrays"], arrays, strict=True):
            assert read.array.dtype == wanted.dtype and np.array_equal(read.array, wanted)
