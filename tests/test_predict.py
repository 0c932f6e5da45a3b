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
from engine.classifier import Classifier, LiveClassifier
from engine.config import PAPER
from ntu_text import CLIPS, FILES, text, write_root
from predict_run import run, save
from train import predict_logits
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


# ---- clips and logits


def same_as_tested(path, checkpoint, clips, i):
    """The file and the h5 give the same frames, samples and logits, in testing and of the network itself."""
    classifier, net = Classifier(checkpoint), load_checkpoint(checkpoint).net
    clip = read_recording(path)
    one, ids = Clips.from_clip(clip), torch.full((5,), i)
    assert torch.equal(one.frames[:-1], clips.frames[clips.start[i] : clips.start[i] + clips.length[i]])
    frames = clips.sample_frames(ids, torch.Generator().manual_seed(7), net.seg)
    with torch.no_grad():
        logits = net(clips.gather(ids, frames))
    mean = classifier.logits(clip, torch.Generator().manual_seed(7))
    torch.testing.assert_close(mean, logits.mean(0), rtol=1e-4, atol=1e-4)
    tested = predict_logits(net, clips, ids[:1], PAPER, seed=7)[0]
    torch.testing.assert_close(mean, tested, rtol=1e-4, atol=1e-4)
    assert mean.std() > 0.01 and logits.std(dim=0).max() > 0.001


def test_a_skeleton_file_gets_the_logits_of_testing(ntu):
    clips = Clips.read(ntu / "ntu.h5")
    for name in (TWO, ONE):
        at = clips.splits["test"][list(CLIPS).index(name)]
        same_as_tested(ntu / f"nturgb+d_skeletons/{name}.skeleton", ntu / "ntu.pth", clips, at)


def test_every_skeleton_file_becomes_the_clip_that_the_release_makes_of_it(ntu):
    for name, golden in CLIPS.items():
        clip = read_recording(ntu / f"nturgb+d_skeletons/{name}.skeleton")
        assert clip.reshape(len(clip), -1).tobytes() == golden["moved"].tobytes()


def test_a_json_of_nucla_gets_the_logits_of_testing(tmp_path, monkeypatch):
    rng, paths = np.random.default_rng(0), []
    (tmp_path / "clips").mkdir()
    for view, action in ((view, action) for view in (1, 2, 3) for action in (1, 2)):
        paths.append(tmp_path / f"clips/a{action:02}_s01_e00_v{view:02}.json")
        skeletons = rng.normal(size=(60 + view, 20, 3)).tolist()
        paths[-1].write_text(json.dumps({"skeletons": skeletons, "label": action}))
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / "clips"), "--out", str(tmp_path / "a.h5")])
    make_nucla.main()
    clips = Clips.read(tmp_path / "a.h5")
    checkpoint = save(tmp_path / "a.pth", 10, 20, about={"dataset": "NUCLA"})
    for path, i in zip(paths[-2:], clips.splits["test"], strict=True):
        same_as_tested(path, checkpoint, clips, i)
    labelled = read_recording(paths[-1])
    paths[-1].write_text(json.dumps({"skeletons": skeletons}))
    assert np.array_equal(read_recording(paths[-1]), labelled)


def test_an_npy_of_the_same_frames_is_the_same_clip(tmp_path):
    for name in (TWO, ONE):
        clip = CLIPS[name]["denoised"].reshape(len(CLIPS[name]["denoised"]), -1, 25, 3)
        there = np.insert(clip, 3, 0, axis=0)  # a frame of nobody
        np.save(tmp_path / "a.npy", (there if clip.shape[1] == 2 else there[:, 0]).astype(np.float64))
        read = read_recording(tmp_path / "a.npy")
        assert np.array_equal(read.reshape(len(clip), -1), CLIPS[name]["moved"])
    assert np.array_equal(read_recording(tmp_path / "a.npy", origin=0)[:, 0], clip[:, 0])
    assert not read_recording(tmp_path / "a.npy", origin=5)[0, 0, 4].any()
    clip = np.zeros((4, 2, 5, 3))
    clip[1:, 1] = np.arange(1, 46).reshape(3, 5, 3) / 8
    np.save(tmp_path / "b.npy", clip)
    assert np.array_equal(read_recording(tmp_path / "b.npy"), clip[1:, 1:] - clip[1, 1, 1])  # there is no person 1


def test_a_few_odd_joints_are_allowed(tmp_path):
    """As NTU RGB+D's files have them, on which the release trains."""
    frames = np.random.default_rng(0).normal(0, 0.4, (30, 25, 3))
    frames[3:9, 7] = 900
    (tmp_path / "a.skeleton").write_bytes(text([[(1, frame)] for frame in frames]))
    assert read_recording(tmp_path / "a.skeleton").max() > 800


def test_the_origin_is_that_of_the_training_clips(tmp_path, capsys):
    h5 = write_toy(tmp_path / "toy.h5", origin=3)
    assert Clips.read(h5).origin == 3
    path = train(h5, tmp_path, epochs=1) / "0_best.pth"
    classifier = Classifier(path)
    assert classifier.origin() == LiveClassifier(classifier).origin == 3 and classifier.origin(0) == 0
    np.save(tmp_path / "a.npy", toy_clips(1, 5)[0][0].reshape(-1, 5, 3))
    capsys.readouterr()
    origins = (), ("--origin", 3), ("--origin", 1)
    printed = [run(capsys, tmp_path / "a.npy", "--checkpoint", path, "--json", *more) for more in origins]
    assert printed[0] == printed[1] != printed[2]


def test_class_names(ntu, tmp_path):
    def names(*shape, classes=None):
        return Classifier(save(tmp_path / "a.pth", *shape), classes).names

    assert names(60)[9] == "clapping" and len(names(60)) == 60  # the release's checkpoints
    assert names(120)[119] == "finger-guessing game (playing rock-paper-scissors)"
    assert names(3, 5)[2] == "class 2"
    (tmp_path / "names").write_text("walk\nsit\nstand\n")
    assert names(3, 5, classes=tmp_path / "names") == ("walk", "sit", "stand")
    assert names(60, classes=ntu / "ntu.h5") == tuple(f"class {i}" for i in range(60))
    for wrong in ("names", "a.pth"):  # three names for 60 classes; no text
        with pytest.raises(UserError, match=wrong):
            names(60, classes=tmp_path / wrong)


# ---- the program


def top_of(line):
    """[(label, probability)] of a line of JSON."""
    return [(entry["label"], entry["probability"]) for entry in json.loads(line)["top"]]


def is_of(line, checkpoint, clip, samples=None):
    """Whether a line of JSON has the likeliest classes of this clip."""
    p = Classifier(checkpoint).logits(clip, torch.Generator().manual_seed(1), samples).softmax(-1)
    order = p.argsort(descending=True)[:5].tolist()
    return top_of(line) == [(i, pytest.approx(p[i].item(), abs=1e-5)) for i in order]


def as_lines(clip):
    return [" ".join(map(str, frame.ravel())).encode() for frame in clip]


def test_files_and_folders_in_a_table_or_as_json(ntu, capsys):
    folder, flags = ntu / "nturgb+d_skeletons", ("--checkpoint", ntu / "ntu.pth")
    code, out, _ = run(capsys, folder / f"{TWO}.skeleton", *flags, "--top", 3)
    assert code == 0 and len(out) == 4 and TWO in out[1]
    code, out, err = run(capsys, folder, *flags, "--json")
    assert (code, err) == (0, [])
    said = {json.loads(line)["file"]: line for line in out}
    assert list(said) == [str(folder / f"{name}.skeleton") for name in sorted(FILES)]
    one = folder / f"{ONE}.skeleton"
    assert is_of(said[str(one)], ntu / "ntu.pth", read_recording(one))
    assert run(capsys, one, *flags, "--json")[1] == [said[str(one)]]  # whatever was classified before it
    assert run(capsys, one, *flags, "--json", "--seed", 2)[1] != [said[str(one)]]


def far_skeleton(factor):
    return text([[(1, np.random.default_rng(0).normal(1, 0.1, (25, 3)).round(3) * factor)]] * 30)


BAD = {
    "cut.skeleton": (FILES[ONE][:5000], "line"),
    "text.npy": (b"not an array", "numbers"),
    "flat.npy": (np.ones((30, 75)), "shape"),
    "nan.npy": (np.full((30, 25, 3), np.nan), "NaN"),
    "zeros.npy": (np.zeros((30, 25, 3)), "nobody"),
    "giant.npy": (np.arange(2250).reshape(30, 25, 3) * 100, "7,200"),
    "far.skeleton": (far_skeleton(1e10), "line 5"),
    "far.json": (json.dumps({"skeletons": (np.ones((30, 20, 3)) * 1e10).tolist()}).encode(), "coordinate"),
    "b.json": (b"[" * 100000, "JSON"),
    "a.csv": (b"1,2,3", "not a .skeleton"),
    "none.npy": (None, "No such file"),
}


def test_bad_files_are_named_and_the_rest_is_done(ntu, tmp_path, capsys):
    for name, (content, _) in BAD.items():
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        elif content is not None:
            np.save(tmp_path / name, content, allow_pickle=True)
    files, flags = [tmp_path / name for name in BAD], ("--checkpoint", ntu / "ntu.pth")
    good = ntu / f"nturgb+d_skeletons/{ONE}.skeleton"
    code, out, err = run(capsys, *files, good, *flags, "--json")
    assert (code, len(out), len(err)) == (3, 1, len(BAD) + 1)
    for line, path, (_, keyword) in zip(err, files, BAD.values(), strict=False):
        assert line.startswith(f"skipped: {path}") and keyword in line
    for wrong, keyword in (
        ((*files[:2], *flags), "none of the 2 files"),
        ((files[0], *flags), "cut.skeleton"),
        ((good, *flags, "--scale", 0.001), "--scale"),
        ((good, "--checkpoint", tmp_path / "none.pth"), "none.pth"),
        ((good, "--checkpoint", files[0]), "cut.skeleton"),
    ):
        with pytest.raises(UserError, match=keyword):
            run(capsys, *wrong)


def test_logits_that_are_not_finite_are_never_printed(ntu, tmp_path, capsys):
    """NaN is no JSON."""
    content = torch.load(ntu / "ntu.pth", weights_only=True)
    content["state_dict"]["fc.weight"].fill_(3e38)
    torch.save(content, tmp_path / "a.pth")
    clip = ntu / f"nturgb+d_skeletons/{ONE}.skeleton"
    with pytest.raises(UserError, match=f"^{re.escape(str(clip))}: .*not finite"):
        run(capsys, clip, "--checkpoint", tmp_path / "a.pth", "--json")
    assert capsys.readouterr().out == ""


COCO = np.random.default_rng(0).uniform(-50, 50, (17, 2)) + [320, 240]


def mmpose(i):
    """Frame i of a person who walks, in pixels, and of another who stands."""
    people = [COCO + [i, 0], COCO - [200, 0]][:: 1 if i % 2 else -1]
    return [{"keypoints": (xy * 1.0).tolist(), "keypoint_scores": [0.9] * 17} for xy in people]


def of_skeleton(path, name, joints):
    stated = {"parents": [0] * joints} if name == "custom" else {"skeleton": name}
    return save(path, 4, joints, skeleton=stated, class_names=list("abcd"))


def test_poses_in_files_in_folders_and_live(tmp_path, capsys):
    checkpoint = of_skeleton(tmp_path / "a.pth", "coco17", 17)
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
    flags = ("--checkpoint", checkpoint, "--json", "--size", "640x480")
    code, out, err = run(capsys, tmp_path / "in", *flags)
    assert (code, len(err)) == (0, 1) and "c.npy" in err[0] and "score" in err[0]  # what the third value is taken for
    assert [json.loads(line)["file"].split("/in/")[1] for line in out] == ["a.json", "b.jsonl", "c.npy", "day/frames"]
    assert all(is_of(line, checkpoint, clip) for line in out)
    lines = [json.dumps(one).encode() for one in frames]
    for given in (lines, as_lines(clip)):
        code, out, err = run(capsys, "--live", "--window", 40, *flags, lines=given)
        assert (code, len(err), len(out)) == (0, given is not lines, 1) and is_of(out[0], checkpoint, clip, samples=1)
    with pytest.raises(UserError, match="a.json: .*--size"):
        run(capsys, tmp_path / "in/a.json", *flags[:3])
    with pytest.raises(UserError, match="line 1: .*--size"):
        run(capsys, "--live", *flags[:3], lines=lines)


@pytest.mark.parametrize("name, joints", [("custom", 17), ("kinect_v1", 20)])
def test_a_file_of_another_skeleton_is_refused(tmp_path, capsys, name, joints):
    lines = [json.dumps(mmpose(i)).encode() for i in range(40)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    flags = ("--checkpoint", of_skeleton(tmp_path / "a.pth", name, joints), "--size", "640x480")
    with pytest.raises(UserError, match=f"a.jsonl: .*{name}, not coco17"):
        run(capsys, tmp_path / "a.jsonl", *flags)
    with pytest.raises(UserError, match=f"line 1: .*{name}, not coco17"):
        run(capsys, "--live", *flags, lines=lines)


@pytest.mark.parametrize(
    "skeleton, joints, factor, keyword",
    [
        ("kinect_v1", 20, 1000, "--scale 0.001"),
        ("kinect_v1", 20, 100, "--scale 0.01"),
        ("kinect_v1", 20, 0.001, "--scale"),
        ("coco17", 17, [600, 400, 1], "pixels"),
        ("coco17", 17, [1, 1, -1], "score"),
    ],
)
def test_numbers_in_another_unit_are_refused(tmp_path, capsys, skeleton, joints, factor, keyword):
    clip = np.zeros((40, joints, 3)) + 0.5
    clip[..., 1] = np.linspace(0, 1.7, joints)
    np.save(tmp_path / "a.npy", clip * factor)
    flags = ("--checkpoint", of_skeleton(tmp_path / "a.pth", skeleton, joints))
    with pytest.raises(UserError, match=f"a.npy: .*{keyword}"):
        run(capsys, tmp_path / "a.npy", *flags)
    with pytest.raises(UserError, match=f"standard input, line 1: .*{keyword}"):
        run(capsys, "--live", *flags, lines=as_lines(clip * factor))


def test_other_units_and_axes(tmp_path, capsys):
    """With --up and --scale they give the same; without --up a line says that heads are not on top."""
    flags = ("--checkpoint", of_skeleton(tmp_path / "a.pth", "kinect_v1", 20), "--json")
    clip = np.random.default_rng(0).normal(0, 0.05, size=(40, 20, 3))
    clip[..., 1] += np.linspace(1.7, 0, 20)
    other = clip[..., [0, 2, 1]] * [1000, -1000, 1000]  # x, -z, y: z is up
    for name, array in (("a", clip), ("b", other), ("c", other / 1000), ("d", other / 1000)):
        np.save(tmp_path / f"{name}.npy", array)
    turned = ("--up", "z", "--scale", "0.001")
    (one,), (two,) = (run(capsys, tmp_path / f"{x}.npy", *flags, *more)[1] for x, more in (("a", ()), ("b", turned)))
    assert top_of(one) == top_of(two)
    live = ("--live", "--window", 40, *flags)
    assert run(capsys, *live, lines=as_lines(clip)) == run(capsys, *live, *turned, lines=as_lines(other))
    _, _, err = run(capsys, tmp_path / "c.npy", tmp_path / "d.npy", *flags)
    assert len(err) == 1 and err[0].startswith("note: ") and "c.npy" in err[0] and "--up=z" in err[0]
