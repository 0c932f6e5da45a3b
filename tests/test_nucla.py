"""make_nucla.py on made-up clips, as many of each view as in the public data set."""

import json
import re
import zipfile

import numpy as np
import pytest

import make_nucla
from data import Clips
from util import UserError


def write_zip(path, names, frames=2):
    """A zip of clips by these names in which joint i of frame t is at (i + 1, t * view, view)."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            label, view = int(name.split("/")[-1][1:3]), int(name[-7:-5])
            skeletons = [[[i + 1.0, t * view, view] for i in range(20)] for t in range(frames)]
            archive.writestr(name, json.dumps({"skeletons": skeletons, "label": label}))
    return path


def names(view, number):
    return [f"all_sqe/a{1 + i % 10:02}_s{1 + i // 10:02}_e00_v{view:02}.json" for i in range(number)]


@pytest.fixture
def make(tmp_path, capsys):
    """make(*flags): runs the script on 30, 40, 50 clips of views 1, 2, 3; returns its output."""
    source = write_zip(tmp_path / "all_sqe.zip", names(1, 30) + names(2, 40) + names(3, 50))

    def make(*flags):
        make_nucla.main([str(source), *flags])
        return capsys.readouterr().out

    return make


def test_the_standard_protocol(tmp_path, capsys):
    source = write_zip(tmp_path / "all_sqe.zip", names(1, 510) + names(2, 510) + names(3, 464))
    make_nucla.main([str(source), "--out", str(tmp_path / "NUCLA_CV.h5")])
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith("NUCLA_CV.h5: 969 training, 51 validation and 464 test clips")
    clips = Clips.read(tmp_path / "NUCLA_CV.h5")
    first = clips.frames[clips.start[clips.splits["test"]]].view(-1, 20, 3)
    assert (first == np.arange(-1, 19)[:, None] * np.array([1.0, 0, 0], np.float32)).all()  # joint 2 is the origin


def test_empty_frames_stay_empty():
    skeletons = np.random.default_rng(0).normal(size=(4, 20, 3))
    skeletons[[0, 2]] = 0
    text = json.dumps({"skeletons": skeletons.tolist(), "label": 3})
    clip, label = make_nucla.read_json(text, "a.json")
    wanted = (skeletons - skeletons[1, 1]).astype(np.float32)
    wanted[[0, 2]] = 0
    assert label == 2 and np.array_equal(clip.reshape(4, 20, 3), wanted)
    assert make_nucla.read_json(text, "a.json", labelled=False)[1] is None


@pytest.mark.parametrize("unpacked", [False, True])
def test_two_files_of_the_same_name_are_refused(tmp_path, unpacked):
    source = write_zip(tmp_path / "all_sqe.zip", names(1, 3) + ["again/" + names(1, 1)[0]])
    if unpacked:
        zipfile.ZipFile(source).extractall(tmp_path / "all")
        source = tmp_path / "all"
    with pytest.raises(UserError, match="a01_s01_e00_v01.json"):
        list(make_nucla.read_all(source))


def test_one_view_trains_and_another_tests(make, tmp_path):
    def views(*train, out):
        return make("--test-view", "2", "--train-views", *train, "--out", str(tmp_path / out))

    assert "28 training, 2 validation and 40 test clips" in views("1", out="a.h5")
    assert Clips.read(tmp_path / "a.h5").protocol == "cross-view: views 1 train, view 2 tests"
    assert "76 training, 4 validation and 40 test clips" in views("3", "1", out="b.h5")
    with pytest.raises(UserError, match="--train-views: "):
        views("1", "2", out="c.h5")
    with pytest.raises(UserError, match="--out"):
        make("--test-view", "2", "--train-views", "1")


def test_some_performers_test_and_the_others_train(make, tmp_path):
    out = tmp_path / "NUCLA_CS.h5"
    flags = ("--out", str(out), "--test-performers", "2", "4")
    assert "38 training, 2 validation and 30 test clips" in make("--test-view", "1", "2", *flags)
    protocol = "cross-subject: performers 2, 4 test, the others train"
    assert Clips.read(out).protocol == f"{protocol} of views 1, 2"
    assert "19 training, 1 validation and 20 test clips" in make("--test-view", "2", "--train-views", "1", *flags)
    assert Clips.read(out).protocol == f"{protocol}; cross-view: views 1 train, view 2 tests"
    with pytest.raises(UserError, match="all_sqe.zip: .* 0 would train"):
        make("--out", str(out), "--test-performers", *"12345")
    with pytest.raises(UserError, match="--out"):
        make("--test-performers", "2")


def test_exchanged_labels_are_corrected(tmp_path, capsys):
    clips = [f"all_sqe/a{a:02}_s{s:02}_e00_v{v:02}.json" for a in (5, 6, 7, 8) for s in (4, 5, 6) for v in (1, 2, 3)]
    source = write_zip(tmp_path / "all_sqe.zip", clips)

    def labels(view, *flags):
        out, train = tmp_path / "out.h5", "3" if view == 1 else "1"
        views = ("--test-view", str(view), "--train-views", train)
        make_nucla.main([str(source), *views, "--out", str(out), *flags])
        clips = Clips.read(out)
        assert clips.protocol.endswith("; labels of view 2 corrected") == (view == 2 and bool(flags))
        return clips.label[clips.splits["test"]].tolist()

    as_published = [label for label in (4, 5, 6, 7) for _ in (4, 5, 6)]
    assert labels(2) == labels(1) == labels(1, "--correct-labels") == as_published
    assert labels(2, "--correct-labels") == [5, 4, 4, 4, 5, 5, 6, 7, 6, 7, 6, 7]


def test_copies_of_training_clips_do_not_test(tmp_path, monkeypatch, capsys):
    source = write_zip(tmp_path / "all_sqe.zip", names(1, 5) + names(2, 5) + names(3, 5))
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("all_sqe/a01_s02_e00_v03.json", archive.read(names(2, 1)[0]))
        one = json.loads(archive.read(names(2, 1)[0]))
        one["skeletons"] += [[[0.0] * 3] * 20] * 2  # empty frames at the end
        archive.writestr("all_sqe/a02_s02_e00_v03.json", json.dumps(one))
    monkeypatch.setattr(make_nucla, "HERE", tmp_path)
    both = ["--correct-labels", "--distinct"]
    for flags, name, clips in (([], "", 7), (["--distinct"], "_distinct", 5), (both, "_corrected_distinct", 5)):
        make_nucla.main([str(source), *flags])
        h5 = tmp_path / f"NUCLA_CV{name}.h5"
        out, err = capsys.readouterr()
        assert re.match(rf"{h5}: 9 training, 1 validation and {clips} test clips\n", out)
        assert ("note: copies of training clips among the test clips: 2; see --distinct" in err) == (not flags)
        assert Clips.read(h5).protocol.endswith("; no copies") == bool(flags)
