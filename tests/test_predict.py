"""tools/predict.py on recordings: clips and logits are those of testing, and bad files are reported."""

import json

import numpy as np
import pytest
import torch

from clips.h5 import write_h5
from clips.recordings import read_any
from conftest import toy_clips
from data import Clips
from engine.checkpoint import load_checkpoint
from engine.classifier import Classifier, LiveClassifier
from engine.config import PAPER
from made import read_recording
from ntu_text import CLIPS, FILES, write_root
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
    write_h5(root / "ntu.h5", {"": (clips[:2], labels[:2]), "test_": (clips, labels)}, **about, made_by="a test")
    return root


# ---- clips and logits


def test_a_skeleton_file_becomes_the_clip_of_the_release_and_gets_the_logits_of_testing(ntu):
    clips, classifier = Clips.read(ntu / "ntu.h5"), Classifier(ntu / "ntu.pth")
    for at, (name, golden) in zip(clips.splits["test"], CLIPS.items(), strict=True):
        clip = read_recording(ntu / f"nturgb+d_skeletons/{name}.skeleton")
        assert clip.reshape(len(clip), -1).tobytes() == golden["moved"].tobytes()
        if name in (TWO, ONE):
            mean = classifier.logits(clip, torch.Generator().manual_seed(7))
            tested = predict_logits(load_checkpoint(ntu / "ntu.pth").net, clips, torch.tensor([at]), PAPER, seed=7)[0]
            torch.testing.assert_close(mean, tested, rtol=1e-4, atol=1e-4)
            assert mean.std() > 0.01


def test_the_origin_is_that_of_the_training_clips(tmp_path, capsys):
    stated = {"recipe": "paper", "origin": 3, "class_names": list("abc"), "skeleton": {"parents": [0] * 5}, "about": {}}
    path = save(tmp_path / "a.pth", 3, 5, **stated)
    classifier = Classifier(path)
    assert classifier.origin() == LiveClassifier(classifier).origin == 3 and classifier.origin(0) == 0
    np.save(tmp_path / "a.npy", toy_clips(1, 5)[0][0].reshape(-1, 5, 3))
    flags = (capsys, tmp_path / "a.npy", "--checkpoint", path)
    assert ask(*flags) == ask(*flags, "--origin", 3) != ask(*flags, "--origin", 1)


def test_class_names(ntu, tmp_path):
    (tmp_path / "names").write_text("walk\nsit\nstand\n")
    assert Classifier(ntu / "ntu.pth").names[9] == "clapping"  # the release's checkpoints
    assert Classifier(save(tmp_path / "a.pth", 3, 5), tmp_path / "names").names == ("walk", "sit", "stand")
    assert Classifier(ntu / "ntu.pth", ntu / "ntu.h5").names[9] == "class 9"


# ---- the program


def ask(capsys, *words, **lines):
    """What a run prints as JSON, a list of dicts in which "top" is [(label, probability)]."""
    rows = [json.loads(line) for line in run(capsys, *words, "--json", **lines)[1]]
    return [row | {"top": [(entry["label"], entry["probability"]) for entry in row["top"]]} for row in rows]


def is_of(row, checkpoint, clip, samples=None):
    """Whether a row has the likeliest classes of this clip."""
    p = Classifier(checkpoint).logits(clip, torch.Generator().manual_seed(1), samples).softmax(-1)
    order = p.argsort(descending=True)[:5].tolist()
    return row["top"] == [(i, pytest.approx(p[i].item(), abs=1e-5)) for i in order]


def as_lines(clip):
    return [" ".join(map(str, frame.ravel())).encode() for frame in clip]


def test_files_and_folders_in_lines_or_as_json(ntu, capsys):
    folder, flags = ntu / "nturgb+d_skeletons", ("--checkpoint", ntu / "ntu.pth")
    code, (line,), _ = run(capsys, folder / f"{TWO}.skeleton", *flags, "--top", 3)
    assert code == 0 and TWO in line and line.count("%") == 3
    said = {row["file"]: row for row in ask(capsys, folder, *flags)}
    assert list(said) == [str(folder / f"{name}.skeleton") for name in sorted(FILES)]
    one = folder / f"{ONE}.skeleton"
    assert is_of(said[str(one)], ntu / "ntu.pth", read_recording(one))
    assert ask(capsys, one, *flags) == [said[str(one)]]  # whatever was classified before it
    assert ask(capsys, one, *flags, "--seed", 2) != [said[str(one)]]


BAD = {  # what is in a file, and a word of the line that says what is wrong with it
    "cut.skeleton": (FILES[ONE][:5000], "line"),
    "nan.npy": (np.full((30, 25, 3), np.nan), "NaN"),
    "giant.npy": (np.arange(2250).reshape(30, 25, 3) * 100, "7,200"),
    "b.json": (b"[" * 100000, "JSON"),
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
        ((good, *flags, "--windows", "--window", 19), "window"),
        ((good, *flags, "--windows", "--window", 20, "--stride", 21), "stride"),
        ((good, "--checkpoint", "sgn.pt2"), "sgn.pt2: an exported program"),
    ):
        with pytest.raises(UserError, match=keyword):
            run(capsys, *wrong)
        assert capsys.readouterr().out == ""


def test_logits_that_are_no_numbers_are_an_error(ntu, tmp_path, capsys):
    content = torch.load(ntu / "ntu.pth", weights_only=True)
    content["state_dict"]["fc.weight"].fill_(3e38)
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match="not finite"):
        run(capsys, ntu / f"nturgb+d_skeletons/{ONE}.skeleton", "--checkpoint", tmp_path / "a.pth", "--json")


COCO = np.random.default_rng(0).uniform(-50, 50, (17, 2)) + [320, 240]


def mmpose(i):
    """Frame i of a person who walks, in pixels, and of another who stands."""
    people = [COCO + [i, 0], COCO - [200, 0]][:: 1 if i % 2 else -1]
    return [{"keypoints": (xy * 1.0).tolist(), "keypoint_scores": [0.9] * 17} for xy in people]


def of_skeleton(path, name, joints):
    return save(path, 4, joints, skeleton={"skeleton": name}, class_names=list("abcd"))


def test_poses_in_files_in_folders_and_live(tmp_path, capsys):
    checkpoint = of_skeleton(tmp_path / "a.pth", "coco17", 17)
    frames = [mmpose(i) for i in range(40)]
    (tmp_path / "in/day/frames").mkdir(parents=True)
    (tmp_path / "in/.hidden.json").write_text("[")
    (tmp_path / "in/b.jsonl").write_text("\n".join(map(json.dumps, frames)))
    for i, one in enumerate(frames):
        (tmp_path / f"in/day/frames/{i}.json").write_text(json.dumps(one))
    clip = read_any(tmp_path / "in/b.jsonl", size=(640, 480)).clip
    np.save(tmp_path / "in/c.npy", clip)
    flags = ("--checkpoint", checkpoint, "--size", "640x480")
    rows = ask(capsys, tmp_path / "in", *flags)
    assert [row["file"].split("/in/")[1] for row in rows] == ["b.jsonl", "c.npy", "day/frames"]
    assert all(is_of(row, checkpoint, clip) for row in rows)
    for given in ([json.dumps(one).encode() for one in frames], as_lines(clip)):
        (row,) = ask(capsys, "--live", "--window", 40, *flags, lines=given)
        assert is_of(row, checkpoint, clip, samples=1)


@pytest.mark.parametrize(
    "skeleton, factor, keyword", [("kinect_v1", 1000, "--scale 0.001"), ("coco17", [600, 400, 1], "pixels")]
)
def test_another_unit_is_refused(tmp_path, capsys, skeleton, factor, keyword):
    """In files and live."""
    clip = np.full((40, 20 if skeleton == "kinect_v1" else 17, 3), 0.5)
    clip[..., 1] = np.linspace(0, 1.7, clip.shape[1])
    np.save(tmp_path / "a.npy", clip * factor)
    flags = ("--checkpoint", of_skeleton(tmp_path / "a.pth", skeleton, clip.shape[1]))
    for command, where in ((tmp_path / "a.npy", "a.npy"), ("--live", "standard input, line 1")):
        with pytest.raises(UserError, match=f"{where}: .*{keyword}"):
            run(capsys, command, *flags, lines=as_lines(clip * factor))


def test_other_units_and_axes(tmp_path, capsys):
    """With --up and --scale they give the same; without --up a note says that heads are not on top."""
    flags = ("--checkpoint", of_skeleton(tmp_path / "a.pth", "kinect_v1", 20))
    clip = np.random.default_rng(0).normal(0, 0.05, size=(40, 20, 3))
    clip[..., 1] += np.linspace(1.7, 0, 20)
    other = clip[..., [0, 2, 1]] * [1000, -1000, 1000]  # x, -z, y: z is up
    np.save(tmp_path / "a.npy", other / 1000)
    turned, live = ("--up", "z", "--scale", "0.001"), ("--live", "--window", 40, *flags)
    assert run(capsys, *live, lines=as_lines(clip)) == run(capsys, *live, *turned, lines=as_lines(other))
    _, _, err = run(capsys, tmp_path / "a.npy", tmp_path / "a.npy", *flags)
    (line,) = (line for line in err if "--up=z" in line)  # once, of the first
    assert line.startswith("note: ") and "a.npy" in line


def test_numbers_of_another_skeleton_are_mapped_in_files_and_live(tmp_path, capsys):
    checkpoint, clip = of_skeleton(tmp_path / "a.pth", "kinect_v1", 20), CLIPS[ONE]["denoised"].reshape(-1, 25, 3)[:30]
    flags = ("--checkpoint", checkpoint, "--skeleton", "kinect_v2", "--samples", 9)
    np.save(tmp_path / "a.npy", clip)
    (row,) = ask(capsys, tmp_path / "a.npy", *flags)
    (live,) = ask(capsys, "--live", "--window", 30, *flags, lines=as_lines(clip))
    assert dict(live["top"]) == pytest.approx(dict(row["top"]), abs=1e-4)
    with pytest.raises(UserError, match="coco17"):  # for which there is no map
        run(capsys, "--live", *flags, "--size", "640x480", lines=[json.dumps(mmpose(0)).encode()])


# ---- persons, windows, unknown


@pytest.fixture
def given(tmp_path):
    """A checkpoint; and two persons of 5 joints, the second from frame 10 on, as both.npy, 1.npy and 2.npy."""
    rng = np.random.default_rng(0)
    both = rng.normal(size=(2, 5, 3)) + 0.05 * rng.normal(size=(60, 2, 5, 3)).cumsum(axis=0)
    both[:10, 1] = 0
    for name, clip in (("both", both), ("1", both[:, 0]), ("2", both[:, 1])):
        np.save(tmp_path / f"{name}.npy", clip)
    return save(tmp_path / "small.pth", 3, 5, 4), both


def test_each_person_alone_gets_what_it_gets_in_a_recording_of_its_own(given, tmp_path, capsys):
    small, both = given
    rows = ask(capsys, tmp_path / "both.npy", "--checkpoint", small, "--samples", 500, "--per-person")
    assert [row["person"] for row in rows] == [1, 2] and rows[0]["top"] != rows[1]["top"]
    for row in rows:
        (alone,) = ask(capsys, tmp_path / f"{row['person']}.npy", "--checkpoint", small, "--samples", 500)
        assert dict(row["top"]) == pytest.approx(dict(alone["top"]), abs=0.01)
    live = ("--live", "--window", 20, "--per-person", "--checkpoint", small)
    rows = ask(capsys, *live, lines=as_lines(both[:30]))
    assert [(row["frame"], row["person"]) for row in rows] == [(i, p) for i in range(20, 31) for p in (1, 2)]


def test_windows_in_frames_or_in_seconds(given, tmp_path, capsys):
    flags = (tmp_path / "both.npy", "--checkpoint", given[0], "--windows", "--unknown", 1)
    for more, end, unit in (
        (("--window", 20), 60, "frames"),
        (("--window", 100), 60, "frames"),
        (("--window", "1.5s", "--fps", 15), 4.0, "s"),
    ):
        (row,) = ask(capsys, *flags, *more)
        assert (row["start"], row["end"], row["unit"], row["top"][0][0]) == (0, end, unit, None)
        (line,) = run(capsys, *flags, *more)[1]
        start, to, *about = line.split()[1:5]
        assert (float(start), to, about) == (0, "to", [str(end), unit]) and line.endswith("unknown")


def test_below_a_probability_the_answer_is_unknown(given, tmp_path, capsys):
    flags = ("--checkpoint", given[0])
    (row,) = ask(capsys, tmp_path / "1.npy", *flags)
    likeliest = row["top"][0][1]
    for p, expected in ((-0.01, row["top"]), (0.01, [(None, likeliest)])):
        (row,) = ask(capsys, tmp_path / "1.npy", "--unknown", likeliest + p, *flags)
        assert row["top"] == expected
    (line,) = run(capsys, "--live", "--window", 20, "--unknown", 1, *flags, lines=as_lines(given[1][:20]))[1]
    assert line.endswith("% unknown")


def test_the_probability_for_unknown_keeps_95_of_100_clips_that_are_right(toy, trained, capsys):
    _, (line,), err = run(capsys, "--choose-unknown", toy, "--checkpoint", trained / "0_best.pth")
    assert len(err) == 1  # trained on these clips
    clips, checkpoint = Clips.read(toy), load_checkpoint(trained / "0_best.pth")
    ids = clips.ids("valid")
    p, label = predict_logits(checkpoint.net, clips, ids, checkpoint.recipe, 1).softmax(1).max(1)
    right = p[label == clips.label[ids]].sort().values
    assert 0 <= right[len(right) // 20].item() - float(line.split()[1]) < 0.001


def test_numbers_out_of_bounds_and_flags_that_do_not_go_together(capsys):
    for words in (
        *(["--windows", "--window", value] for value in ("1" + "0" * 18, "2s", "1e999s", "xs")),
        *(["--samples", "1" + "0" * 25], ["--fps", "nan"], ["--unknown", "1.5"], ["--stride", "3"], ["--live"]),
    ):
        with pytest.raises(SystemExit) as end:
            run(capsys, "a.npy", "--checkpoint", "a.pth", *words)
        assert end.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
