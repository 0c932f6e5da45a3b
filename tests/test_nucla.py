"""make_nucla.py on made-up clips."""

import json
import zipfile

import numpy as np
import pytest

import make_nucla
from data import Clips
from util import UserError


def write_zip(path, names):
    """A zip of clips by these names, of two frames, in which joint i of frame t is at (i + 1, t * view, view)."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            label, view = int(name.split("/")[-1][1:3]), int(name[-7:-5])
            skeletons = [[[i + 1.0, t * view, view] for i in range(20)] for t in range(2)]
            archive.writestr(name, json.dumps({"skeletons": skeletons, "label": label}))
    return path


def names(view, number):
    return [f"all_sqe/a{1 + i % 10:02}_s{1 + i // 10:02}_e00_v{view:02}.json" for i in range(number)]


@pytest.fixture
def make(tmp_path, capsys):
    """make(*flags, of=source): runs the script, by default on 30, 40, 50 clips of views 1, 2, 3. Returns the numbers of
    clips that train, validate and test, and the protocol."""
    source = write_zip(tmp_path / "all_sqe.zip", names(1, 30) + names(2, 40) + names(3, 50))

    def make(*flags, of=source):
        make_nucla.main([str(of), "--out", str(tmp_path / "out.h5"), *flags])
        clips = Clips.read(tmp_path / "out.h5")
        return *map(len, clips.splits.values()), clips.protocol

    return make


def test_the_standard_protocol(make, tmp_path):
    source = write_zip(tmp_path / "all.zip", names(1, 51) + names(2, 51) + names(3, 46))  # a tenth of the data set
    assert make(of=source)[:3] == (96, 6, 46)
    clips = Clips.read(tmp_path / "out.h5")
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


def test_views_and_performers_train_and_others_test(make):
    people = "cross-subject: performers 2, 4 test, the others train"
    for flags, expected in (
        ("--test-view 2 --train-views 3 1", (76, 4, 40, "cross-view: views 1, 3 train, view 2 tests")),
        ("--test-view 1 2 --test-performers 2 4", (38, 2, 30, f"{people} of views 1, 2")),
    ):
        assert make(*flags.split()) == expected


@pytest.mark.parametrize(
    "flags, why",
    [("--test-view 2 --train-views 1 2 --out a", "--train-views: "), ("--test-view 2 --train-views 1", "--out")],
)
def test_splits_that_cannot_be_are_refused(tmp_path, flags, why):
    with pytest.raises(UserError, match=why):
        make_nucla.main([str(write_zip(tmp_path / "all_sqe.zip", names(3, 30))), *flags.split()])


def test_exchanged_labels_are_corrected(make, tmp_path):
    clips = [f"all_sqe/a{a:02}_s{s:02}_e00_v{v:02}.json" for a in (5, 6, 7, 8) for s in (4, 5, 6) for v in (1, 2, 3)]
    source = write_zip(tmp_path / "all.zip", clips)

    def labels(view, *flags):
        protocol = make("--test-view", str(view), "--train-views", "3" if view == 1 else "1", *flags, of=source)[3]
        assert protocol.endswith("; labels of view 2 corrected") == (view == 2 and bool(flags))
        clips = Clips.read(tmp_path / "out.h5")
        return clips.label[clips.splits["test"]].tolist()

    as_published = [label for label in (4, 5, 6, 7) for _ in (4, 5, 6)]
    assert labels(2) == labels(1) == labels(1, "--correct-labels") == as_published
    assert labels(2, "--correct-labels") == [5, 4, 4, 4, 5, 5, 6, 7, 6, 7, 6, 7]


def test_copies_of_training_clips_do_not_test(make, tmp_path, capsys):
    source = write_zip(tmp_path / "all.zip", names(1, 5) + names(2, 5) + names(3, 5))
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("all_sqe/a01_s02_e00_v03.json", archive.read(names(2, 1)[0]))
        one = json.loads(archive.read(names(2, 1)[0]))
        one["skeletons"] += [[[0.0] * 3] * 20] * 2  # empty frames at the end
        archive.writestr("all_sqe/a02_s02_e00_v03.json", json.dumps(one))
    assert make(of=source)[:3] == (9, 1, 7) and "--distinct" in capsys.readouterr().err
    *clips, protocol = make("--distinct", of=source)
    assert clips == [9, 1, 5] and protocol.endswith("; no copies") and "--distinct" not in capsys.readouterr().err
