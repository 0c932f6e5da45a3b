"""from_pyskl.py: pickles of pyskl and mmaction2 become the h5 that .skeleton files give, and no code in them is run."""

import json
import pickle
import re

import numpy as np
import pytest

import from_pyskl
from clips import protocols
from clips.h5 import AXES_2D, SPLITS
from made import read
from ntu_text import CLIPS
from safe import pickles
from util import UserError


def annotation(name, label, keypoint, **more):
    return {"frame_dir": name, "label": label, "total_frames": keypoint.shape[1], "keypoint": keypoint} | more


def pose(persons=1, frames=5, joints=17):
    """In the middle of the picture, a quarter from the top; the last person has the highest score."""
    keypoint, rank = np.full((persons, frames, joints, 2), [320, 120], np.float16), np.arange(1, persons + 1)
    score = np.tile(rank[:, None, None] / 2, (1, frames, joints)).astype(np.float16)
    return {"keypoint": keypoint, "keypoint_score": score, "img_shape": (480, 640)}


def standing(frames, joints=25):
    """A person 1.7 m high along y."""
    return np.linspace(-0.75, 0.95, joints)[:, None] * [0, 1, 0] + np.zeros((1, frames, 1, 1))


V = [annotation(f"v{i}", i % 2, **pose(frames=5 + i)) for i in range(12)]
NAMES = [clip["frame_dir"] for clip in V]
NTU = [f"S001C{c:03}P{p:03}R001A{a:03}" for c in (1, 2, 3) for p in (1, 2, 3) for a in (1, 2)]
NTU_CLIPS = [annotation(name, protocols.action(name) - 1, standing(4 + i)) for i, name in enumerate(NTU)]


def content(clips=V, **split):
    return {"split": split or {"train": NAMES[:9], "val": NAMES[9:]}, "annotations": clips}


def changed(clips, **changes):
    """The clips with some values of each by these functions."""
    return [clip | {key: change(clip[key]) for key, change in changes.items()} for clip in clips]


@pytest.fixture
def convert(tmp_path):
    """convert(content, *flags, name): runs the script on a pickle, beside which the h5 lie; reads the one of its name,
    if there is one."""

    def convert(content, *flags, name="a.pkl"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps(content, protocol=2))
        from_pyskl.main([str(path), "--out", str(tmp_path), *map(str, flags)])
        return read(path.with_suffix(".h5")) if path.with_suffix(".h5").exists() else None

    return convert


def test_ntu_is_what_the_skeleton_files_give(tmp_path, ntu, convert):
    """Of what pyskl keeps of them: float16, not centered, without empty frames at either end. Equal up to float16, and
    the origin's float16, where the two agree on the frames."""
    annotations, largest, compared = [], max(np.abs(clip["denoised"]).max() for clip in CLIPS.values()), 0
    for name, clip in CLIPS.items():
        rows = clip["denoised"].reshape(len(clip["denoised"]), -1, 25, 3)
        present = np.flatnonzero(rows.any(axis=(1, 2, 3)))
        keypoint = rows[present[0] : present[-1] + 1].swapaxes(0, 1).astype(np.float16)
        annotations.append(annotation(name, protocols.action(name) - 1, keypoint))
    convert({"split": {}, "annotations": annotations})
    for name in ("NTU_CS.h5", "NTU_CV.h5"):
        ours, theirs = read(ntu / name), read(tmp_path / name)
        assert (theirs.skeleton, theirs.axes, theirs.origin) == (ours.skeleton, ours.axes, ours.origin)
        for split in SPLITS:
            assert np.array_equal(ours.y[split], theirs.y[split])  # the same clips in the same order
            for a, b in zip(ours.x[split], theirs.x[split], strict=True):
                if np.array_equal(a.any(axis=1), b.any(axis=1)):
                    compared += 1
                    assert np.abs(a - b).max() <= 2 * np.spacing(np.float16(largest))
    assert compared > 40


@pytest.mark.filterwarnings("error")
def test_clips_of_nobody_and_those_known_to_lack_skeletons_are_left_out(tmp_path, capsys, convert):
    """And one clip that is no person does not end the import, as with .skeleton files."""
    missing, shapes = sorted(protocols.dataset("NTU").missing)[0], [(1, 5, 25, 3), (0, 5, 25, 3), (2, 0, 25, 3)]
    empty = [annotation(f"S001C001P001R00{i}A001", 0, np.full(shape, 1e-300)) for i, shape in enumerate(shapes, 2)]
    clips = changed([annotation(NTU[0], 0, 20 * standing(4)), *NTU_CLIPS[1:], *empty], frame_dir="videos/{}.avi".format)
    convert(content([None, *clips, clips[0] | {"frame_dir": missing}]), name="ntu60_3danno.pkl")
    out = capsys.readouterr().out
    assert "3 clips, for example S001C001P001R002A001" in out and missing in out
    assert sum(read(tmp_path / "NTU_CS.h5").sizes) == len(NTU)


def test_ntu120_in_2d_gives_both_protocols_under_names_of_their_own(tmp_path, convert):
    names = [f"S{s:03}C001P{p:03}R001A{a:03}" for s in range(1, 5) for p in (1, 3) for a in (1, 61, 120)]
    clips = [annotation(name, protocols.action(name) - 1, **pose()) for name in names]
    convert(content(clips, xset_train=names), name="ntu120_hrnet.pkl")
    made = [read(tmp_path / f"ntu120_hrnet_{protocol}.h5") for protocol in ("CS", "CSet")]
    assert [one.sizes for one in made] == [[11, 1, 12]] * 2
    assert made[1].skeleton.name == "coco17" and len(made[1].class_names) == 120


@pytest.mark.parametrize("joints", [17, 133])
def test_2d_joints_are_normalized_the_two_best_persons_kept_and_of_whole_bodies_coco_s_joints(
    tmp_path, capsys, convert, joints
):
    clips = [annotation(f"v{i}", i % 3, **pose(1 + i % 3, 4 + i, joints)) for i in range(12)]
    clips[3]["keypoint_score"][0, 1, 6] = 0
    (tmp_path / "names.txt").write_text("run\njump\nsit\n")
    splits = {"train1": NAMES[:9], "test1": NAMES[9:], "train2": NAMES[3:], "test2": NAMES[:3]}
    convert(content(clips, **splits), "--classes", tmp_path / "names.txt", name="ucf101_hrnet.pkl")
    one, two = (read(tmp_path / f"ucf101_hrnet_{number}.h5") for number in (1, 2))
    assert (one.sizes, one.joints, one.persons, one.axes) == ([8, 1, 3], 17, 2, AXES_2D)
    assert (one.skeleton.name, one.class_names) == ("coco17", ("run", "jump", "sit"))
    x = one.x["test_"][2, 0].reshape(2, 17, 3)  # v11 has three persons: scores 0.5, 1 and 1.5
    np.testing.assert_allclose(x, np.float32([[[0, -0.25, 1]] * 17, [[0, -0.25, 1.5]] * 17]))
    x = np.concatenate([two.x[""], two.x["valid_"]]).reshape(9, 15, 2, 17, 3)
    assert (~x[:, 1, 0, 6].any(axis=1)).sum() == 1
    assert ("first 17" in capsys.readouterr().err) == (joints > 17)


def test_any_skeleton_in_its_own_unit_and_axes_and_a_clip_in_no_list(tmp_path, capsys, convert):
    (tmp_path / "mine.json").write_text(json.dumps({"joints": ["a", "b", "c"], "parents": [0, 0, "b"]}))
    clips = [annotation(f"v{i}", i % 2, standing(9, 3)[..., [0, 2, 1]] * [1000, -1000, 1000]) for i in range(12)]
    flags = ["--skeleton", tmp_path / "mine.json", "--scale", 0.001, "--up", "z", "--origin", 1]
    made = convert(content(clips, train=NAMES[:8], val=NAMES[9:]), *flags)
    assert "1 clips, for example v8" in capsys.readouterr().out
    assert made.skeleton.joints == ("a", "b", "c") and made.origin == 1
    np.testing.assert_allclose(made.x["test_"][2].reshape(9, 3, 3)[:, :, 1], 9 * [[0, 0.85, 1.7]], atol=1e-6)


ODD = {  # content, the beginning of the note, an example
    "names of no clip": (content(train=NAMES[:9] + [f"x{i}" for i in range(501)], val=NAMES[9:]), 501, "x0"),
    "another list of NTU's": (content(NTU_CLIPS, xsub_train=NTU[:1]), 11, NTU[1]),
    "a picture of (width, height)": (content(changed(V, img_shape=lambda shape: (640, 300))), 12, "v0"),
    "test clips that train": (content(train=NAMES, val=NAMES[9:]), 3, "v9"),
}


@pytest.mark.parametrize("given, start, example", ODD.values(), ids=ODD)
def test_what_is_odd_is_noted_in_a_line(convert, capsys, given, start, example):
    convert(given)
    notes = [line for line in capsys.readouterr().err.splitlines() if ", for example " in line]
    assert len(notes) == 1 and f"{start} " in notes[0] and notes[0].endswith(example)


def test_ntu_clips_with_classes_of_ones_own_are_noted(tmp_path, capsys, convert):
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    convert(content(changed(NTU_CLIPS, label=lambda label: (label + 1) % 2)), "--classes", tmp_path / "names.txt")
    assert "labels are not those of the clips' names, for example S" in capsys.readouterr().err


def test_labels_that_count_from_1_are_shifted_also_in_bare_lists_of_training_and_test_clips(tmp_path, capsys, convert):
    from_1 = changed(V, label=lambda label: label + 1)
    convert(content(from_1))
    assert "--first-label 1" in capsys.readouterr().err
    (tmp_path / "val.pkl").write_bytes(pickle.dumps(from_1[8:]))
    made = convert(from_1[:8], "--test", tmp_path / "val.pkl", "--first-label", 1)
    convert(content(changed(NTU_CLIPS, label=lambda label: label + 1)), "--first-label", 1)
    assert "--first-label" not in capsys.readouterr().err
    assert made.sizes == [7, 1, 4] and {*made.y[""]} == {0, 1} and len(made.class_names) == 2


@pytest.mark.parametrize("form", ["clips/{}.mp4", "C:\\clips\\{}_rgb.AVI"])
def test_names_in_lists_and_clips_may_differ_in_folders_and_endings(tmp_path, convert, form):
    """Also those of NTU in a file that has other clips too, whose lists are its own."""
    other, of_ntu = ([form.format(name) for name in names] for names in (NAMES, NTU))
    clips = [*NTU_CLIPS, NTU_CLIPS[0] | {"frame_dir": "mine"}]
    convert(content(clips, xsub_train=[*of_ntu[:9], "mine"], xsub_val=of_ntu[9:]))
    made = read(tmp_path / "a_xsub.h5"), convert(content(train=other[:9], val=other[9:]))
    made += (convert(content(changed(V, frame_dir=form.format))),)
    assert [one.sizes[2] for one in made] == [9, 3, 3]


class Code:
    def __reduce__(self):
        return exec, ("raise SystemError('run')",)


WRONG = {
    "code": (content([V[0] | {"label": Code()}]), "builtin"),
    "nan": (content(changed(V, keypoint=lambda values: values * np.float16(np.nan))), "NaN"),
    "frames before persons": (content(changed(V, keypoint=lambda values: values.swapaxes(0, 1))), "total_frames"),
    "twice": ([V[0], V[0]], "one name"),
    "joints unknown": (content(changed(V, keypoint=lambda values: np.ones((*values.shape[:2], 21, 3)))), "--skeleton"),
    "a score within": (content(changed(V, keypoint=lambda xy: np.ones((*xy.shape[:3], 3)))), "keypoint_score"),
    "no picture": (content(changed(V, img_shape=lambda shape: None)), "v0"),
    "no lists": (V, "--test"),
    "one class": (content(changed(V, label=lambda label: 0)), "two classes"),
    "NTU from 1": (content(changed(NTU_CLIPS, label=lambda label: label + 1)), "--first-label 1, or --classes"),
    "nobody": (content(changed(NTU_CLIPS, keypoint=lambda clip: 0 * clip)), "nobody"),
    "millimetres": (content(changed(NTU_CLIPS, keypoint=lambda values: values * 1000)), "--scale 0.001"),
}


@pytest.mark.parametrize("content, keyword", WRONG.values(), ids=WRONG)
def test_wrong_files_are_refused_in_a_line_and_nothing_is_run(tmp_path, convert, content, keyword):
    with pytest.raises(UserError, match=keyword) as error:
        convert(content)
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
        for found, wanted in zip(content["arrays"], arrays, strict=True):
            assert found.array.dtype == wanted.dtype and np.array_equal(found.array, wanted)
