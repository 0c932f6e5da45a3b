"""tools/predict.py on recordings: clips and logits are those of testing, and bad files are reported."""

import json

import numpy as np
import pytest
import torch

from clips.recordings import read_any
from conftest import toy_clips
from data import Clips
from engine.checkpoint import load_checkpoint
from engine.classifier import Classifier, LiveClassifier
from engine.config import PAPER
from made import read_recording
from ntu_text import CLIPS, FILES, write_root
from predict_run import as_lines, run, save
from tool_forms import FORMS, record
from train import predict_logits
from util import UserError

TWO, ONE = "S001C001P005R002A011", "S002C002P003R001A003"  # clips of the fixture, of two actors and of one


@pytest.fixture(scope="module")
def ntu(tmp_path_factory):
    """A folder with the fixture's .skeleton files and a release-like checkpoint."""
    root = tmp_path_factory.mktemp("predict")
    write_root(root)
    save(root / "ntu.pth")
    return root


def test_a_skeleton_file_becomes_the_clip_of_the_release_and_gets_the_logits_of_testing(ntu):
    classifier = Classifier(ntu / "ntu.pth")
    for name, golden in CLIPS.items():
        clip = read_recording(ntu / f"nturgb+d_skeletons/{name}.skeleton")
        assert clip.reshape(len(clip), -1).tobytes() == golden["moved"].tobytes()
        if name in (TWO, ONE):
            mean = classifier.logits(clip, torch.Generator().manual_seed(7))
            net, clips = load_checkpoint(ntu / "ntu.pth").net, Clips.from_clip(clip)
            tested = predict_logits(net, clips, torch.tensor([0]), PAPER, seed=7)[0]
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


def test_class_names(ntu, toy, tmp_path):
    (tmp_path / "names").write_text("walk\nsit\nstand\nrun\n")
    assert Classifier(ntu / "ntu.pth").names[9] == "clapping"  # the release's checkpoints
    path = save(tmp_path / "a.pth", 4, 5)
    assert Classifier(path, tmp_path / "names").names == ("walk", "sit", "stand", "run")
    assert Classifier(path, toy).names == tuple("abcd")


def ask(capsys, *words, **lines):
    """What a run prints as JSON, a list of dicts in which "top" is [(label, probability)]."""
    rows = [json.loads(line) for line in run(capsys, *words, "--json", **lines)[1]]
    return [row | {"top": [(entry["label"], entry["probability"]) for entry in row["top"]]} for row in rows]


def is_of(row, checkpoint, clip, samples=None):
    """Whether a row has the likeliest classes of this clip."""
    p = Classifier(checkpoint).logits(clip, torch.Generator().manual_seed(1), samples).softmax(-1)
    order = p.argsort(descending=True)[:5].tolist()
    return row["top"] == [(i, pytest.approx(p[i].item(), abs=1e-5)) for i in order]


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


def test_bad_files_are_named_and_the_rest_is_done(ntu, tmp_path, capsys):
    bad = {"cut.skeleton": "line", "b.json": "JSON", "none.npy": "No such file"}  # a word of what is said of each
    (tmp_path / "cut.skeleton").write_bytes(FILES[ONE][:5000])
    (tmp_path / "b.json").write_bytes(b"[" * 100000)
    files, flags = [tmp_path / name for name in bad], ("--checkpoint", ntu / "ntu.pth")
    good = ntu / f"nturgb+d_skeletons/{ONE}.skeleton"
    code, out, err = run(capsys, *files, good, *flags, "--json")
    assert (code, len(out), len(err)) == (3, 1, len(files) + 1)
    for line, path, word in zip(err[:-1], files, bad.values(), strict=True):
        assert line.startswith(f"skipped: {path}") and word in line
    content = torch.load(ntu / "ntu.pth", weights_only=True)
    content["state_dict"]["fc.weight"].fill_(3e38)
    torch.save(content, tmp_path / "large.pth")
    for wrong, keyword in (
        ((good, "--checkpoint", tmp_path / "large.pth"), "not finite"),
        ((*files[:2], *flags), "none of the 2 files"),
        ((good, *flags, "--windows", "--window", 19), "window"),
        ((good, *flags, "--windows", "--window", 20, "--stride", 21), "stride"),
        ((good, "--checkpoint", "sgn.pt2"), "sgn.pt2: an exported program"),
    ):
        with pytest.raises(UserError, match=keyword):
            run(capsys, *wrong)
        assert capsys.readouterr().out == ""


def test_poses_in_files_in_folders_and_live(tmp_path, capsys):
    checkpoint = save(tmp_path / "a.pth", 4, 17, skeleton={"skeleton": "coco17"})
    _, frames = record(FORMS["MMPose"], 40)
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


def test_other_units_and_axes_in_files_and_live(tmp_path, capsys):
    """Another unit is refused, other axes give a note; with --up and --scale the answers are the same."""
    flags = ("--checkpoint", save(tmp_path / "a.pth", 4, 20, skeleton={"skeleton": "kinect_v1"}))
    clip = np.random.default_rng(0).normal(0, 0.05, size=(40, 20, 3))
    clip[..., 1] += np.linspace(1.7, 0, 20)
    metres = clip[..., [0, 2, 1]] * [1, -1, 1]  # x, -z, y: z is up
    turned, live = ("--up", "z", "--scale", "0.001"), ("--live", "--window", 40, *flags)
    assert run(capsys, *live, lines=as_lines(clip)) == run(capsys, *live, *turned, lines=as_lines(metres * 1000))
    for name, content in (("large", metres * 1000), ("a", metres)):
        np.save(tmp_path / f"{name}.npy", content)
    for words, where in ((live, "standard input, line 1"), ((tmp_path / "large.npy", *flags), "large.npy")):
        with pytest.raises(UserError, match=f"{where}: .*--scale 0.001"):
            run(capsys, *words, lines=as_lines(metres * 1000))
    capsys.readouterr()
    _, _, err = run(capsys, tmp_path / "a.npy", tmp_path / "a.npy", *flags)
    (line,) = (line for line in err if "--up=z" in line)  # once, of the first
    assert line.startswith("note: ") and "a.npy" in line


def test_numbers_of_another_skeleton_are_mapped_in_files_and_live(tmp_path, capsys):
    checkpoint = save(tmp_path / "a.pth", 4, 20, skeleton={"skeleton": "kinect_v1"})
    clip = CLIPS[ONE]["denoised"].reshape(-1, 25, 3)[:30]
    flags = ("--checkpoint", checkpoint, "--skeleton", "kinect_v2", "--samples", 9)
    np.save(tmp_path / "a.npy", clip)
    (row,) = ask(capsys, tmp_path / "a.npy", *flags)
    (live,) = ask(capsys, "--live", "--window", 30, *flags, lines=as_lines(clip))
    assert dict(live["top"]) == pytest.approx(dict(row["top"]), abs=1e-4)
    with pytest.raises(UserError, match="coco17"):  # for which there is no map
        run(capsys, "--live", *flags, "--size", "640x480", lines=[json.dumps(record(FORMS["MMPose"])[1][0]).encode()])


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
    rows = ask(capsys, "--live", "--window", 29, "--per-person", "--checkpoint", small, lines=as_lines(both[:30]))
    assert [(row["frame"], row["person"]) for row in rows] == [(29, 1), (29, 2), (30, 1), (30, 2)]


def test_windows_in_frames_or_in_seconds(given, tmp_path, capsys):
    flags = (tmp_path / "both.npy", "--checkpoint", given[0], "--windows", "--unknown", 1)
    for more, end, unit in ((("--window", 20), 60, "frames"), (("--window", "1.5s", "--fps", 15), 4.0, "s")):
        (row,) = ask(capsys, *flags, *more)
        assert (row["start"], row["end"], row["unit"], row["top"][0][0]) == (0, end, unit, None)
        (line,) = run(capsys, *flags, *more)[1]
        assert line.split()[1:5] == [str(row["start"]), "to", str(end), unit] and line.endswith("unknown")


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
