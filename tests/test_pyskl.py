"""from_pyskl.py: pickles of pyskl and mmaction2 become the h5 that .skeleton files give, and no code in them is run."""

import os
import pickle
import re
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

import from_pyskl
import get_raw_skes_data
from clips import h5 as layout
from clips import protocols
from ntu_text import CLIPS, FILES, run, write_root
from safe import pickles
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


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
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


def pyskl_keypoint(bodies):
    """A clip as pyskl's ntu_preproc.py makes it of the bodies of get_raw_skes_data.py: (1 or 2, frames, 25, 3).

    None where an assertion of it fails: all bodies are noise.
    """
    bodies = sorted(bodies, key=lambda body: -body.motion)
    if len(bodies) > 1:
        bodies = [body for body in bodies if len(body.joints) > 11]
    if len(bodies) > 1:
        width, height = ([np.ptp(body.joints[..., axis], axis=1) for body in bodies] for axis in (0, 1))
        good = [w <= 0.8 * h for w, h in zip(width, height, strict=True)]
        left = [(body, g) for body, g in zip(bodies, good, strict=True) if 1 - g.mean() < 0.69754]
        lower = [body.joints[g].reshape(-1, 3).var(axis=0).sum() for body, g in left]
        bodies = [body._replace(motion=min(body.motion, m)) for (body, _), m in zip(left, lower, strict=True)]
        bodies.sort(key=lambda body: -body.motion)
    if len(bodies) < 2:
        return bodies[0].joints[None] if bodies else None
    clip = np.zeros((2, max(body.last + 1 for body in bodies), 25, 3), np.float32)
    taken = [[0, 0], [0, 0]]
    for i, body in enumerate(bodies):
        for person, (start, end) in enumerate(taken):
            if i == 0 or max(start, body.first) >= min(end, body.last + 1):
                clip[person, body.first : body.last + 1] = body.joints
                first = body.first if i == 0 else min(start, body.first)
                taken[person] = [first, max(end, body.last + 1)]
                break
    there = np.flatnonzero(clip.any(axis=(0, 2, 3)))
    clip = clip[:, there[0] : there[-1] + 1]
    return clip[::-1] if not clip[0, 0].any() and clip[1, 0].any() else clip


def rows_of(keypoint, name="S001C001P001R001A001"):
    holder = SimpleNamespace(array=keypoint)
    return from_pyskl.read_clip(annotation(name, 0, keypoint) | {"keypoint": holder}, "a.pkl", 0).rows()


def test_clips_made_by_pyskl_s_rules_are_the_release_s_where_the_two_agree():
    same = 0
    for name, golden in CLIPS.items():
        keypoint = pyskl_keypoint(get_raw_skes_data.read_skeleton(FILES[name])[1])
        if keypoint is None:
            continue
        rows, wanted = rows_of(keypoint.astype(np.float16)), golden["moved"]
        rows, wanted = (np.pad(x, [(0, 0), (0, 150 - x.shape[1])]).reshape(-1, 2, 75) for x in (rows, wanted))
        if rows.shape == wanted.shape and np.array_equal(rows.any(axis=2), wanted.any(axis=2)):
            assert np.abs(rows - wanted).max() <= 2 * np.spacing(np.float16(np.abs(golden["denoised"]).max()))
            same += 1
    # Of the others one has noise alone, two have their persons swapped, and three other ends of the bodies' intervals
    assert (same, len(CLIPS)) == (27, 33)


def test_persons_and_frames_that_pyskl_leaves_in_a_clip():
    """Person 1 comes later than person 2, frames within are empty, and a person is there in no frame."""
    clip = np.zeros((3, 6, 25, 3), np.float16)
    clip[0, [2, 3]] = 1 + np.arange(75).reshape(25, 3) / 64
    clip[2, [0, 2, 5]] = 2
    rows = rows_of(clip).reshape(-1, 2, 25, 3)  # frames 1 and 4 are empty
    origin = clip[0, 2, 1].astype(np.float32)
    assert rows.any(axis=(2, 3)).tolist() == [[False, True], [True, True], [True, False], [False, True]]
    assert np.array_equal(rows[0, 1], 2 - np.tile(origin, (25, 1))) and not rows[1, 0, 1].any()
    only = rows_of(clip[[0, 1]])  # no figure in the frames without person 1
    assert np.array_equal(only, rows[1:3, 0].reshape(2, 75))


def test_ntu_names_with_folders_none_and_clips_that_lack_skeletons(tmp_path, capsys):
    clips = list(ntu_annotations())
    missing = sorted(protocols.dataset("NTU").missing)[0]
    clips = [None, *clips, clips[0] | {"frame_dir": missing}, annotation("S001C001P001R001A001", 0, EMPTY)]
    splits = {"xsub_train": ["videos/S001C001P001R001A001_rgb.avi"]}
    for clip in clips[1:]:
        clip["frame_dir"] = f"videos/{clip['frame_dir']}.avi"
    convert(tmp_path, {"split": splits, "annotations": clips})
    out = capsys.readouterr().out
    assert "1 clips are left out, for example S001C001P001R001A001: nobody is in them" in out
    assert f"for example {missing}: they are known to lack skeletons" in out
    assert f"{len(CLIPS)} clips: not the full NTU60" in out
    with h5py.File(tmp_path / "NTU_CS.h5") as file:
        assert sum(len(file[f"{split}y"]) for split in layout.SPLITS) == len(CLIPS)


def test_ntu120_gives_both_protocols_and_2d_clips_have_names_of_their_own(tmp_path):
    names = [f"S{s:03}C001P{p:03}R001A{a:03}" for s in range(1, 5) for p in (1, 3) for a in (1, 61, 120)]
    clip = np.ones((1, 4, 25, 3), np.float16)
    convert(tmp_path, [annotation(name, protocols.action(name) - 1, clip) for name in names], name="ntu120_3danno.pkl")
    for path, sizes in (("NTU120_CS.h5", [11, 1, 12]), ("NTU120_CSet.h5", [11, 1, 12])):
        with h5py.File(tmp_path / path) as file:
            assert [len(file[f"{split}y"]) for split in layout.SPLITS] == sizes
            assert len(layout.read_header(file)["class_names"]) == 120
    clips = [annotation(name, protocols.action(name) - 1, **pose()) for name in names]
    convert(tmp_path, {"split": {"xset_train": names}, "annotations": clips}, name="ntu120_hrnet.pkl")
    with h5py.File(tmp_path / "ntu120_hrnet_CSet.h5") as file, h5py.File(tmp_path / "NTU120_CSet.h5") as other:
        assert (file.attrs["skeleton"], other.attrs["skeleton"]) == ("coco17", "kinect_v2")


def test_bare_lists_of_training_and_test_clips(tmp_path):
    clips = [annotation(f"v{i}", i % 2, **pose()) for i in range(12)]
    (tmp_path / "val.pkl").write_bytes(pickle.dumps(clips[8:]))
    convert(tmp_path, clips[:8], "--test", str(tmp_path / "val.pkl"), name="gym_train.pkl")
    with h5py.File(tmp_path / "gym_train.h5") as file:
        assert [len(file[f"{split}y"]) for split in layout.SPLITS] == [7, 1, 4]


EMPTY = np.zeros((1, 5, 25, 3), np.float16)
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
        assert (header["joints"], header["persons"], header["axes"]) == (17, 2, layout.AXES_2D)
        assert header["class_names"] == ("run", "jump", "sit")
        assert [len(file[f"{split}x"]) for split in layout.SPLITS] == [8, 1, 3]
        x = file["test_x"][2, 0].reshape(2, 17, 3)  # v11 has three persons: scores 0.5, 1 and 1.5
        np.testing.assert_allclose(x[:, 0], [[0, -0.25, 1], [0, -0.25, 1.5]])
    with h5py.File(tmp_path / "ucf101_hrnet_2.h5") as file:
        zero = [x for x in file["x"][()].reshape(-1, 15, 2, 17, 3) if x[0, 0].any() and not x[1, 0, 6].any()]
        assert len(zero) + sum(not x[1, 0, 6].any() for x in file["valid_x"][()].reshape(-1, 15, 2, 17, 3)) == 1


V = [annotation(f"v{i}", i % 2, **pose()) for i in range(12)]
NAMES = [clip["frame_dir"] for clip in V]
NTU = [f"S001C{c:03}P{p:03}R001A{a:03}" for c in (1, 2, 3) for p in (1, 2, 3) for a in (1, 2)]
NTU_CLIPS = [annotation(name, protocols.action(name) - 1, np.ones((1, 4, 25, 3), np.float16)) for name in NTU]


def content(clips=V, **split):
    return {"split": split or {"train": NAMES[:9], "val": NAMES[9:]}, "annotations": clips}


def labelled(clips, change):
    return [clip | {"label": change(clip["label"])} for clip in clips]


ODD = {
    "one list for both": (content(train=NAMES, val=NAMES), [], "note: 12 of the 12 clips of val train too", 12),
    "a clip many times": (
        content(train=[*NAMES[:9], *["v0"] * 29], val=NAMES[9:]),
        [],
        "note: train: .* v0: .* once",
        3,
    ),
    "names of no clip": (
        content(train=NAMES[:9] + [f"x{i}" for i in range(501)], val=NAMES[9:]),
        [],
        "note: train: 501 of its 510 names are of no clip, for example x0",
        3,
    ),
    "clips in no list": (
        content(train=NAMES[:8], val=NAMES[9:]),
        [],
        "note: 1 clips are in no list, for example v8",
        3,
    ),
    "labels from 1": (
        content(labelled(V, lambda label: label + 1)),
        [],
        "note: no clip has the label 0: .* --first",
        3,
    ),
    "a class without clips": (content(labelled(V, lambda label: 2 * label)), [], "note: .* example class 1", 3),
    "not trained": (content([*V[:9], *labelled(V[9:], lambda label: 2)]), [], "note: .* no training clip has: 2", 3),
    "labels of one's own": (
        labelled(NTU_CLIPS, lambda label: 1 - label),
        ["--classes"],
        "note: 18 of 18 labels are not those of the clips' names",
        None,
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_about_lists_and_labels_is_noted_in_a_line(tmp_path, capsys, case):
    given, flags, wanted, tested = ODD[case]
    (tmp_path / "two.txt").write_text("sit\nstand\n")
    convert(tmp_path, given, *flags, *[str(tmp_path / "two.txt")] * len(flags), name="a.pkl")
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note")]
    assert len(notes) == 1 and re.search(wanted, notes[0])
    if tested:
        with h5py.File(tmp_path / "a.h5") as file:
            assert layout.validate(file) == [] and len(file["test_x"]) == tested


def test_labels_that_count_from_1_are_shifted(tmp_path, capsys):
    convert(tmp_path, content(labelled(V, lambda label: label + 1)), "--first-label", "1", name="a.pkl")
    convert(tmp_path, labelled(NTU_CLIPS, lambda label: label + 1), "--first-label", "1")
    assert "note" not in capsys.readouterr().err
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["y"].shape[1] == 2 and file["y"][:].any(axis=0).all()


@pytest.mark.parametrize("form", ["clips/{}.mp4", "C:\\clips\\{}_rgb.AVI", "{}.skeleton"])
def test_names_in_lists_and_clips_may_differ_in_folders_and_endings(tmp_path, capsys, form):
    """Also those of NTU in a file that has other clips too, whose lists are its own."""
    other, clips = [form.format(name) for name in NAMES], [*NTU_CLIPS, NTU_CLIPS[0] | {"frame_dir": "mine"}]
    convert(tmp_path, content(train=other[:9], val=other[9:]), name="a.pkl")
    convert(tmp_path, content([clip | {"frame_dir": form.format(clip["frame_dir"])} for clip in V]), name="b.pkl")
    other = [form.format(name) for name in NTU]
    convert(tmp_path, content(clips, xsub_train=[*other[:9], "mine"], xsub_val=other[9:]), name="c.pkl")
    assert "note" not in capsys.readouterr().err
    for name, tested in (("a.h5", 3), ("b.h5", 3), ("c_xsub.h5", 9)):
        with h5py.File(tmp_path / name) as file:
            assert len(file["test_x"]) == tested


class Code:
    """Pickled as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def many(depth=60):
    """A list whose text has 2 ** depth parts."""
    value = "x"
    for _ in range(depth):
        value = [value, value]
    return value


GOOD, DTYPE = annotation("v", 0, **pose()), b"\x80\x02cnumpy\ndtype\n"
WRONG = {
    "code": ([GOOD | {"label": Code(exec, "raise SystemError('run')")}], "it would run __builtin__.exec"),
    "a shell": ([Code(os.system, "false")], "it would run posix.system"),
    "attributes": ([Code(getattr, Code(getattr, int, "real"), "x")], "it would run __builtin__.getattr"),
    "a file outside": (b"\x80\x02U\x01aQ.", "it refers to objects outside the file"),
    "memory": ([Code(bytearray, 10**15)], "cannot be read as a pickle of pyskl"),
    "memory of bytes": ([Code(bytes, 10**15)], "cannot be read as a pickle of pyskl"),
    "memory of a bytearray": (b"\x80\x05\x96" + (10**15).to_bytes(8, "little") + b".", "it ends too early"),
    "memory of a text": (b"\x80\x05\x8d" + (10**15).to_bytes(8, "little") + b".", "it ends too early"),
    "text without an end": ([GOOD | {"label": many(), "frame_dir": many()}], "of type list"),
    "a type without an end": (DTYPE + pickle.dumps((many(),), 2)[2:-1] + b"R.", "type of type list"),
    "an array without values": (b"\x80\x02cnumpy\nndarray\n)R.", "not {'split'"),
    "a clip without values": ([GOOD | {"keypoint": Code(np.ndarray, 3)}], "keypoint that is damaged"),
    "a large label": ([GOOD | {"label": 10**5000}], "has the label of type int"),
    "lists of lists": ({"split": {"train": [["v"]]}, "annotations": [GOOD]}, "not {'split'"),
    "numbered lists": ({"split": {1: ["v"]}, "annotations": [GOOD]}, "not {'split'"),
    "large pictures": ([GOOD | {"img_shape": (10**400, 1)}], "has no img_shape"),
    "scores of text": ([GOOD | {"keypoint_score": np.full((1, 5, 17), "a")}], "has no keypoint_score"),
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
    "no lists": ([GOOD, GOOD | {"frame_dir": "w", "label": 1}], "no lists train and val"),
    "one class": (content(labelled(V, lambda label: 0)), "all 12 clips have the label 0"),
    "trains one class": (content(train=NAMES[::2], val=NAMES[1::2]), "all training clips have the label 0"),
    "one file for two lists": (
        content(train=NAMES[:8], test=NAMES[8:], _train=NAMES[4:], _test=NAMES[:4]),
        "lists _train and train name one file, ntu60_3danno.h5",
    ),
    "not the names' labels": (
        content([NTU_CLIPS[0] | {"label": 5}, *NTU_CLIPS[1:]]),
        "1 of 18 .* 5 of S001.*, not 0; ",
    ),
    "NTU from 1": (content(labelled(NTU_CLIPS, lambda label: label + 1)), "use --first-label 1"),
    "too few": (content(train=["v1"], val=[]), "1 training and 0 test clips"),
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


@pytest.mark.parametrize("protocol", range(6))
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
        content = pickles.load(tmp_path / "a.pkl")
        assert content["plain"] == plain
        for read, wanted in zip(content["arrays"], arrays, strict=True):
            assert read.array.dtype == wanted.dtype and np.array_equal(read.array, wanted)
