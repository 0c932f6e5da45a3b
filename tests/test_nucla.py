"""make_nucla.py on made-up clips."""

import json
import zipfile

import numpy as np
import pytest

import make_nucla
from made import read
from util import UserError


def names(view, number):
    return [f"all_sqe/a{1 + i % 10:02}_s{1 + i // 10:02}_e00_v{view:02}.json" for i in range(number)]


def skeletons_of(view):
    """Two frames, in which joint i of frame t is at (i + 1, t * view, view)."""
    return [[[i + 1.0, t * view, view] for i in range(20)] for t in range(2)]


@pytest.fixture
def make(tmp_path):
    """make(names, flags, more): runs the script on a zip of such clips, and reads the h5. more: (name, skeletons)."""

    def make(names, flags="", more=()):
        clips = [(name, skeletons_of(int(name[-7:-5]))) for name in names]
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            for name, skeletons in [*clips, *more]:
                label = int(name.split("/")[1][1:3])
                archive.writestr(name, json.dumps({"skeletons": skeletons, "label": label}))
        make_nucla.main([str(tmp_path / "all.zip"), "--out", str(tmp_path / "out.h5"), *flags.split()])
        return read(tmp_path / "out.h5")

    return make


@pytest.mark.parametrize(
    "flags, sizes, protocol",
    [
        ("", [67, 4, 50], "cross-view: views 1, 2 train, view 3 tests"),
        ("--test-view 2 --train-views 3 1", [76, 5, 40], "cross-view: views 1, 3 train, view 2 tests"),
        ("--test-view 1 2 --test-performers 2 4", [38, 2, 31], "cross-subject: performers 2, 4 test, the others train"),
    ],
)
def test_views_and_performers_train_and_others_test(make, flags, sizes, protocol):
    made = make(names(1, 31) + names(2, 40) + names(3, 50), flags)
    assert made.sizes == sizes and made.protocol.startswith(protocol)
    first = made.x["test_"][:, 0].reshape(-1, 20, 3)
    assert (first == np.arange(-1, 19)[:, None] * [1, 0, 0]).all()  # joint 2 is the origin


@pytest.mark.parametrize(
    "flags, why",
    [("--test-view 2 --train-views 1 2 --out a", "--train-views: "), ("--test-view 2 --train-views 1", "--out")],
)
def test_splits_that_cannot_be_are_refused(flags, why):
    with pytest.raises(UserError, match=why):
        make_nucla.main(["all_sqe.zip", *flags.split()])


@pytest.mark.parametrize("view, correct", [(2, ""), (1, "--correct-labels"), (2, "--correct-labels")])
def test_exchanged_labels_are_corrected_of_view_2(make, view, correct):
    clips = [f"all_sqe/a{a:02}_s{s:02}_e00_v{v:02}.json" for a in (5, 6, 7, 8) for s in (4, 5, 6) for v in (1, 2, 3)]
    made = make(clips, f"--test-view {view} --train-views 3 {correct}")
    is_corrected = view == 2 and bool(correct)
    assert made.protocol.endswith("; labels of view 2 corrected") == is_corrected
    published = [label for label in (4, 5, 6, 7) for _ in (4, 5, 6)]
    assert made.y["test_"] == ([5, 4, 4, 4, 5, 5, 6, 7, 6, 7, 6, 7] if is_corrected else published)


@pytest.mark.parametrize("flags, tested", [("", 7), ("--distinct", 5)])
def test_copies_of_training_clips_do_not_test(make, capsys, flags, tested):
    padded = skeletons_of(2) + [[[0.0] * 3] * 20] * 2  # empty frames at the end
    more = [("all_sqe/a01_s02_e00_v03.json", skeletons_of(2)), ("all_sqe/a02_s02_e00_v03.json", padded)]
    made = make(names(1, 5) + names(2, 5) + names(3, 5), flags, more)
    assert made.sizes == [9, 1, tested] and made.protocol.endswith("; no copies") == bool(flags)
    assert ("--distinct" in capsys.readouterr().err) == (not flags)
