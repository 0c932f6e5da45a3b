"""tools/predict.py on recordings: clips and logits are those of testing, and bad files are reported."""

import json
import re
import sys

import numpy as np
import pytest
import torch

import make_nucla
from clips.h5 import write_h5
from clips.recordings import read_any, read_recording
from conftest import run as train
from conftest import toy_clips, write_toy
from data import Clips
from engine.checkpoint import load_checkpoint
from engine.classifier import Classifier, StreamClassifier
from engine.config import PAPER
from ntu_text import CLIPS, FILES, text, write_root
from predict_run import run, save
from train import test_logits
from util import UserError

TWO, ONE = (  # the longest clips of two actors and of one
    max((name for name, clip in CLIPS.items() if clip["moved"].shape[1] == width), key=lambda x: len(CLIPS[x]["moved"]))
    for width in (150, 75)
)


@pytest.fixture(scope="module")
def ntu(tmp_path_factory):
    """A folder with the fixture's .skeleton files, a release-like checkpoint, and the h5 of the release's own clips."""
    root = tmp_path_factory.mktemp("predict")
    write_root(root)
    save(root / "ntu.pth")
    clips = [clip["moved"] for clip in CLIPS.values()]
    labels = np.array([int(name[-3:]) - 1 for name in CLIPS])
    about = dict(frames=max(map(len, clips)), joints=25, persons=2, class_names=[f"class {i}" for i in range(60)])
    splits = {"": (clips[:2], labels[:2]), "valid_": ([], []), "test_": (clips, labels)}
    write_h5(root / "ntu.h5", splits, **about, protocol="", made_by="a test")
    return root


def same_as_tested(path, checkpoint, clips, i):
    """The file and the h5 give the same frames, samples and logits, in testing and of the network itself."""
    classifier, net = Classifier(checkpoint), load_checkpoint(checkpoint).net
    clip = read_recording(path)
    one, ids = Clips.from_clip(clip), torch.full((5,), i)
    assert torch.equal(one.frames[:-1], clips.frames[clips.start[i] : clips.start[i] + clips.length[i]])
    frames = clips.sample_frames(ids, torch.Generator().manual_seed(7), net.seg)
    with torch.no_grad():
        logits = net(clips.gather(ids, frames))
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(classifier.forward(one.gather(ids * 0, frames)), logits, **close)
    mean = classifier.logits(clip, torch.Generator().manual_seed(7))
    torch.testing.assert_close(mean, logits.mean(0), **close)
    torch.testing.assert_close(mean, test_logits(net, clips, ids[:1], PAPER, seed=7)[0], **close)
    assert mean.std() > 0.01 and logits.std(dim=0).max() > 0.001


def test_a_skeleton_file_gets_the_logits_of_testing(ntu):
    clips = Clips.read(ntu / "ntu.h5")
    test = clips.splits["test"]
    for name in (TWO, ONE):
        at = test[list(CLIPS).index(name)]
        same_as_tested(ntu / f"nturgb+d_skeletons/{name}.skeleton", ntu / "ntu.pth", clips, at)


def test_every_skeleton_file_becomes_the_clip_that_the_release_makes_of_it(ntu):
    for name, golden in CLIPS.items():
        clip = read_recording(ntu / f"nturgb+d_skeletons/{name}.skeleton")
        assert clip.reshape(len(clip), -1).tobytes() == golden["moved"].tobytes()


def test_an_npy_of_the_same_frames_is_the_same_clip(ntu, tmp_path):
    for name in (TWO, ONE):
        clip = CLIPS[name]["denoised"].reshape(len(CLIPS[name]["denoised"]), -1, 25, 3)
        there = np.insert(clip, 3, 0, axis=0)  # a frame of nobody
        np.save(tmp_path / "a.npy", there if clip.shape[1] == 2 else there[:, 0])
        read = read_recording(tmp_path / "a.npy")
        assert np.array_equal(read.reshape(len(clip), -1), CLIPS[name]["moved"])
    np.save(tmp_path / "b.npy", there[:, 0].astype(np.float64))
    assert np.array_equal(read_recording(tmp_path / "b.npy"), read)
    assert np.array_equal(read_recording(tmp_path / "b.npy", origin=0)[:, 0], clip[:, 0])
    assert not read_recording(tmp_path / "b.npy", origin=5)[0, 0, 4].any()


def test_a_person_1_who_never_comes_is_no_origin(tmp_path):
    clip = np.zeros((4, 2, 5, 3))
    clip[1:, 1] = np.arange(1, 46).reshape(3, 5, 3) / 8
    np.save(tmp_path / "a.npy", clip)
    read = read_recording(tmp_path / "a.npy")
    assert np.array_equal(read, clip[1:, 1:] - clip[1, 1, 1])


def test_the_origin_is_that_of_the_training_clips(tmp_path, capsys):
    h5 = write_toy(tmp_path / "toy.h5", origin=3)
    assert [Clips.read(h5, cache=True).origin for _ in range(2)] == [3, 3]
    path = train(h5, tmp_path, epochs=1) / "0_best.pth"
    classifier = Classifier(path)
    assert classifier.origin() == StreamClassifier(classifier).origin == 3 and classifier.origin(0) == 0
    np.save(tmp_path / "a.npy", toy_clips(1, 5)[0][0].reshape(-1, 5, 3))
    capsys.readouterr()
    origins = (), ("--origin", 3), ("--origin", 1)
    printed = [run(capsys, tmp_path / "a.npy", "--checkpoint", path, "--json", *more) for more in origins]
    assert printed[0] == printed[1] != printed[2]


def nucla(folder, views, frames=60):
    """Made-up clips in N-UCLA's form; returns their paths."""
    rng, paths = np.random.default_rng(0), []
    folder.mkdir()
    for view in views:
        for action in (1, 2):
            paths.append(folder / f"a{action:02}_s01_e00_v{view:02}.json")
            skeletons = rng.normal(size=(frames + view, 20, 3)).tolist()
            paths[-1].write_text(json.dumps({"skeletons": skeletons, "label": action}))
    return paths


def test_a_json_of_nucla_gets_the_logits_of_testing(tmp_path, monkeypatch):
    paths = nucla(tmp_path / "clips", (1, 2, 3))
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "clips"), "--out", str(tmp_path / "a.h5")])
    make_nucla.main()
    clips = Clips.read(tmp_path / "a.h5")
    checkpoint = save(tmp_path / "a.pth", 10, 20, about={"dataset": "NUCLA"})
    for path, i in zip(paths[-2:], clips.splits["test"], strict=True):
        same_as_tested(path, checkpoint, clips, i)
    raw = json.loads(paths[0].read_text())
    labelled = read_recording(paths[0])
    del raw["label"]
    paths[0].write_text(json.dumps(raw))
    assert np.array_equal(read_recording(paths[0]), labelled)


def test_class_names(ntu, tmp_path):
    def names(*shape, classes=None):
        return Classifier(save(tmp_path / "a.pth", *shape), classes).names

    assert names(60)[9] == "clapping" and len(names(60)) == 60  # the release's checkpoints
    assert names(120)[119] == "finger-guessing game (playing rock-paper-scissors)"
    assert names(3, 5)[2] == "class 2"
    (tmp_path / "names").write_text("walk\nsit\nstand\n")
    assert names(3, 5, classes=tmp_path / "names") == ("walk", "sit", "stand")
    assert names(60, classes=ntu / "ntu.h5") == tuple(f"class {i}" for i in range(60))
    for wrong, why in (("names", "3 names, but there are 60"), ("a.pth", "not a text")):
        with pytest.raises(UserError, match=why):
            names(60, classes=tmp_path / wrong)


def test_files_and_folders_in_a_table_or_as_json(ntu, capsys):
    folder, flags = ntu / "nturgb+d_skeletons", ("--checkpoint", ntu / "ntu.pth")
    code, out, _ = run(capsys, folder / f"{TWO}.skeleton", *flags, "--top", 3)
    assert code == 0 and len(out) == 4 and TWO in out[1]
    code, out, err = run(capsys, folder, *flags, "--json")
    assert (code, err) == (0, [])
    said = {row["file"]: row["top"] for row in map(json.loads, out)}
    assert list(said) == [str(folder / f"{name}.skeleton") for name in sorted(FILES)]
    classifier, clip = Classifier(ntu / "ntu.pth"), read_recording(folder / f"{TWO}.skeleton")
    p = classifier.logits(clip, torch.Generator().manual_seed(1)).softmax(-1)
    expected = [
        (int(i), classifier.names[i], pytest.approx(p[i].item(), abs=1e-6)) for i in p.argsort(descending=True)[:5]
    ]
    assert [tuple(one.values()) for one in said[str(folder / f"{TWO}.skeleton")]] == expected
    one = json.loads(run(capsys, folder / f"{ONE}.skeleton", *flags, "--json")[1][0])
    assert one["top"] == said[one["file"]]  # whatever was classified before it
    other = json.loads(run(capsys, folder / f"{ONE}.skeleton", *flags, "--json", "--seed", 2)[1][0])
    assert other["top"] != one["top"]


def far_skeleton(factor):
    return text([[(1, np.random.default_rng(0).normal(1, 0.1, (25, 3)).round(3) * factor)]] * 30)


def landmarks(factor=1, frames=30):
    """MediaPipe's, of somebody who stands."""
    pose = np.random.default_rng(0).normal(0, 0.5, (33, 3)) * factor
    pose[[23, 24]] = 0
    return [[{"x": x, "y": y, "z": z} for x, y, z in pose]] * frames


BAD = {
    "cut.skeleton": (FILES[ONE][:5000], "cut.skeleton, line .*: "),
    "text.npy": (b"not an array", "text.npy: not an array of numbers"),
    "empty.npy": (b"", "empty.npy: not an array of numbers"),
    "words.npy": (np.array([["a"]], object), "words.npy: not an array of numbers .*Python objects"),
    "flat.npy": (np.ones((30, 75)), r"flat.npy: float64 of shape \(30, 75\), not \(frames, joints, 3\)"),
    "nan.npy": (np.full((30, 25, 3), np.nan), "nan.npy: NaN or infinity in frame 1"),
    "zeros.npy": (np.zeros((30, 25, 3)), "zeros.npy: nobody is in it"),
    "large.npy": (np.arange(2250).reshape(30, 25, 3) * 1e40, "large.npy: NaN or infinity, or a coordinate too large"),
    "giant.npy": (
        np.arange(2250).reshape(30, 25, 3) * 100,
        "giant.npy: persons are about 7,200 high: these look like mill",
    ),
    "far.skeleton": (far_skeleton(1e10), r"far.skeleton, line 5: x of a joint is '1"),
    "giant.skeleton": (far_skeleton(1e5), "giant.skeleton: persons are about .* high: no person's size"),
    "far.json": (json.dumps({"skeletons": (np.ones((30, 20, 3)) * 1e10).tolist()}).encode(), "far.json: a coordinate"),
    "giant.json": (json.dumps(landmarks(100)).encode(), "giant.json: persons are about .* no person's size"),
    "few.npy": (np.ones((30, 1, 3)), "few.npy: 1 joints, but kinect_v2 has 25"),
    "other.npy": (np.arange(1530).reshape(30, 17, 3), "other.npy: 17 joints, but kinect_v2 has 25"),
    "a.json": (b'{"skeletons": 1}', "a.json: skeletons of shape"),
    "b.json": (b"[" * 100000, "b.json: not JSON"),
    "a.csv": (b"1,2,3", "a.csv: not a .skeleton, .json, .jsonl or .npy file"),
    "none.npy": (None, "none.npy: No such file"),
    "folder": (None, "folder: a folder with no .json of a frame"),
}


def test_bad_files_are_named_and_the_rest_is_done(ntu, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    for name, (content, _) in BAD.items():
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        elif content is not None:
            np.save(tmp_path / name, content, allow_pickle=True)
    files, flags = [tmp_path / name for name in BAD], ("--checkpoint", ntu / "ntu.pth")
    code, out, err = run(capsys, *files, ntu / f"nturgb+d_skeletons/{ONE}.skeleton", *flags, "--json")
    assert (code, len(out), err[-1]) == (3, 1, f"{len(BAD)} of {len(BAD) + 1} files were skipped")
    for line, (_, why) in zip(err, BAD.values(), strict=False):
        assert re.search(f"^skipped: .*{why}", line), line
    with pytest.raises(UserError, match="none of the 2 files"):
        run(capsys, *files[:2], *flags)
    with pytest.raises(UserError, match=BAD["cut.skeleton"][1]):
        run(capsys, files[0], *flags)
    with pytest.raises(UserError, match="folder: a folder with no .json"):
        run(capsys, tmp_path / "folder", *flags)
    with pytest.raises(UserError, match="--up, --scale: only for .npy files, and there are none"):
        run(capsys, ntu / f"nturgb+d_skeletons/{ONE}.skeleton", *flags, "--scale", 0.001)
    with pytest.raises(UserError, match="no such checkpoint"):
        run(capsys, files[0], "--checkpoint", tmp_path / "none.pth")
    with pytest.raises(UserError, match="cannot be read safely"):
        run(capsys, files[0], "--checkpoint", files[0])


# ---- pose estimators

COCO = np.random.default_rng(0).uniform(-50, 50, (17, 2)) + [320, 240]


def mmpose(i):
    """Frame i of a person who walks, in pixels, and of another who stands."""
    people = [COCO + [i, 0], COCO - [200, 0]]
    return [
        {"keypoints": (xy * 1.0).tolist(), "keypoint_scores": [0.9] * 17} for xy in (people if i % 2 else people[::-1])
    ]


def of_skeleton(path, skeleton, joints, seg=20):
    content = torch.load(save(path, 4, joints, seg), weights_only=True)
    torch.save(content | {"skeleton": skeleton, "class_names": list("abcd")}, path)
    return path


def expected_of(checkpoint, clip, **how):
    classifier = Classifier(checkpoint)
    return classifier.logits(clip, torch.Generator().manual_seed(1), **how).softmax(-1).numpy()


def test_files_folders_and_streams_of_a_pose_estimator(tmp_path, capsys):
    checkpoint = of_skeleton(tmp_path / "a.pth", {"skeleton": "coco17"}, 17)
    frames = [mmpose(i) for i in range(40)]
    (tmp_path / "in/day/frames").mkdir(parents=True)
    (tmp_path / "in/.hidden.json").write_text("[")
    (tmp_path / "in/a.json").write_text(json.dumps([{"frame_id": i, "instances": one} for i, one in enumerate(frames)]))
    (tmp_path / "in/b.jsonl").write_text("\n".join(map(json.dumps, frames)))
    for i, one in enumerate(frames):
        (tmp_path / f"in/day/frames/{i}.json").write_text(json.dumps(one))
    clip = read_any(tmp_path / "in/a.json", size=(640, 480)).clip
    assert clip.shape == (40, 2, 17, 3)  # not moved: x - 0.5, y - 0.5
    np.save(tmp_path / "in/c.npy", clip)
    p = expected_of(checkpoint, clip)
    flags = ("--checkpoint", checkpoint, "--json", "--size", "640x480")
    code, out, err = run(capsys, tmp_path / "in", *flags)
    assert (code, err) == (0, [])
    said = [json.loads(line) for line in out]
    assert [row["file"].split("/in/")[1] for row in said] == ["a.json", "b.jsonl", "c.npy", "day/frames"]
    for row in said:
        for entry in row["top"]:
            assert entry["probability"] == pytest.approx(p[entry["label"]], abs=1e-5)

    p = expected_of(checkpoint, clip, samples=1)
    lines = [json.dumps(one).encode() for one in frames]
    numbers = [" ".join(map(str, frame.ravel())).encode() for frame in clip]
    for stream in (lines, numbers):
        code, out, err = run(capsys, "--stream", "--window", 40, *flags, stream=stream)
        assert (code, err, len(out)) == (0, [], 1)
        for entry in json.loads(out[0])["top"]:
            assert entry["probability"] == pytest.approx(p[entry["label"]], abs=1e-5)

    with pytest.raises(UserError, match=r"a.json: x and y are pixels: .*\(--size 1280x720\)"):
        run(capsys, tmp_path / "in/a.json", *flags[:3])
    with pytest.raises(UserError, match=r"line 1: x and y are pixels: .*\(--size 1280x720\)"):
        run(capsys, "--stream", *flags[:3], stream=lines)
    with pytest.raises(UserError, match="c.npy: coco17 has no unit"):
        run(capsys, tmp_path / "in/c.npy", *flags[:3], "--scale", 0.001)


OTHERS = {"custom": {"parents": [0] * 17, "flip_pairs": list(range(17))}, "kinect_v1": {"skeleton": "kinect_v1"}}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_another_skeleton_is_refused(tmp_path, capsys, name):
    checkpoint = of_skeleton(tmp_path / "a.pth", OTHERS[name], 20 if name == "kinect_v1" else 17)
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(mmpose(i)) for i in range(40)))
    flags, why = ("--checkpoint", checkpoint, "--size", "640x480"), f"was made for the skeleton {name}, not coco17"
    with pytest.raises(UserError, match=f"a.jsonl: .*{why}"):
        run(capsys, tmp_path / "a.jsonl", *flags)
    with pytest.raises(UserError, match=f"line 1: .*{why}"):
        run(capsys, "--stream", *flags, stream=(tmp_path / "a.jsonl").read_bytes().splitlines())


@pytest.mark.parametrize(
    "skeleton, joints, factor, why",
    [
        ("kinect_v1", 20, 1000, "about 1,700 high: these look like millimetres; use --scale 0.001"),
        ("kinect_v1", 20, 0.001, "about 0.0017 high: too small for metres; correct --scale"),
        ("coco17", 17, [600, 400, 1], "about 680 high: these look like pixels"),
        ("coco17", 17, [1, 1, -1], "the third value of a joint is not a score, but coco17 is 2D"),
    ],
)
def test_numbers_in_another_unit_are_refused(tmp_path, capsys, skeleton, joints, factor, why):
    clip = np.zeros((40, joints, 3)) + 0.5
    clip[..., 1] = np.linspace(0, 1.7, joints)
    np.save(tmp_path / "a.npy", clip * factor)
    flags = ("--checkpoint", of_skeleton(tmp_path / "a.pth", {"skeleton": skeleton}, joints))
    with pytest.raises(UserError, match=f"a.npy: .*{why}"):
        run(capsys, tmp_path / "a.npy", *flags)
    lines = [" ".join(map(str, frame.ravel())).encode() for frame in clip * factor]
    with pytest.raises(UserError, match=f"standard input, line 1: .*{why}"):
        run(capsys, "--stream", *flags, stream=lines)


def test_a_few_odd_joints_are_allowed(tmp_path):
    """As NTU RGB+D's files have them, on which the release trains."""
    frames = np.random.default_rng(0).normal(0, 0.4, (30, 25, 3))
    frames[3:9, 7] = 900
    (tmp_path / "a.skeleton").write_bytes(text([[(1, frame)] for frame in frames]))
    assert read_recording(tmp_path / "a.skeleton").max() > 800


def test_no_person_s_size_in_a_stream(tmp_path, capsys):
    checkpoint = of_skeleton(tmp_path / "a.pth", {"skeleton": "mediapipe33"}, 33)
    lines = [json.dumps(frame).encode() for frame in [*landmarks(), *landmarks(100, 1)]]
    code, out, err = run(capsys, "--stream", "--window", 30, "--checkpoint", checkpoint, stream=lines)
    assert (code, len(out)) == (3, 1) and re.search("line 31: .*no person's size", err[0])
    numbers = [b" ".join([b"nan"] * 99)]
    with pytest.raises(UserError, match="line 1: NaN or infinity"):
        run(capsys, "--stream", "--checkpoint", checkpoint, stream=numbers)


def test_logits_that_are_not_finite_are_never_printed(ntu, tmp_path, capsys):
    """NaN is no JSON."""
    content = torch.load(ntu / "ntu.pth", weights_only=True)
    content["state_dict"]["fc.weight"].fill_(3e38)
    torch.save(content, tmp_path / "a.pth")
    clip = ntu / f"nturgb+d_skeletons/{ONE}.skeleton"
    with pytest.raises(UserError, match=f"^{re.escape(str(clip))}: .*logits that are not finite"):
        run(capsys, clip, "--checkpoint", tmp_path / "a.pth", "--json")
    assert capsys.readouterr().out == ""


def test_another_axis_is_noted_once(tmp_path, capsys):
    clip = np.zeros((40, 20, 3))
    clip[..., 2] = np.linspace(1.7, 0, 20)
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", clip)
    checkpoint = of_skeleton(tmp_path / "a.pth", {"skeleton": "kinect_v1"}, 20)
    _, _, err = run(capsys, tmp_path / "a.npy", tmp_path / "b.npy", "--checkpoint", checkpoint)
    assert len(err) == 1 and "a.npy: heads lie towards z from the feet, not y; use --up=z" in err[0]


def test_an_npy_in_other_units_and_axes_as_in_the_folder_importer(tmp_path, capsys):
    checkpoint = of_skeleton(tmp_path / "a.pth", {"skeleton": "kinect_v1"}, 20)
    clip = np.random.default_rng(0).normal(size=(40, 20, 3))
    np.save(tmp_path / "a.npy", clip)
    np.save(tmp_path / "b.npy", clip[..., [0, 2, 1]] * [1000, -1000, 1000])  # x, -z, y: z is up
    flags = ("--checkpoint", checkpoint, "--json")
    turned = ("--up", "z", "--scale", "0.001")
    (one,), (other,) = (
        run(capsys, tmp_path / name, *flags, *more)[1] for name, more in (("a.npy", ()), ("b.npy", turned))
    )
    assert json.loads(one)["top"] == json.loads(other)["top"]
    lines = [
        [" ".join(map(str, frame.ravel())).encode() for frame in np.load(tmp_path / name)]
        for name in ("a.npy", "b.npy")
    ]
    stream = ("--stream", "--window", 40)
    assert run(capsys, *stream, *flags, stream=lines[0]) == run(capsys, *stream, *flags, *turned, stream=lines[1])
