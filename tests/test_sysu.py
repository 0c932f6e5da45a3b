"""SYSU 3D HOI, on made-up clips in its form: read, split at random, written, trained on; and bad files."""

import json
import shutil

import numpy as np
import pytest
from scipy.io import savemat

import main
import make_sysu
from data import Clips
from engine.config import find_h5, is_cross_view
from made import read
from make_sysu import make_split, read_all
from util import UserError

PEOPLE = ("anna", "bo", "chen", "dana", "eve", "finn")
PERFORMERS, ACTIONS = np.repeat(PEOPLE, 12), np.tile(np.arange(1, 13), 6)  # of the clips, in the order of the script


def skeletons(seed, frames):
    """(20, 3, frames), metres."""
    return np.random.default_rng(seed).normal(size=(20, 3, frames)) + 2


def mat_of(folder, performer, action):
    return folder / "SYSU3DAction" / "3DvideoNorm" / performer / f"video{action}" / "sklWorld.mat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sysu")
    for p, name in enumerate(PEOPLE):
        for k in range(1, 13):
            path = mat_of(folder, name, k)
            path.parent.mkdir(parents=True)
            savemat(path, {"SW": skeletons([p, k], 30 + p + k), "other": "text"}, do_compression=k % 2 == 0)
    make_sysu.main([str(folder), "--out", str(folder), "--splits", "4"])
    return folder


def test_every_second_frame_is_kept_and_the_spine_of_the_first_is_the_origin(tmp_path):
    given = skeletons(1, 9)
    given[:, :, [0, 4]] = 0  # empty frames stay empty and are not the origin
    savemat(tmp_path / "a.mat", {"SW": given})
    (clip,) = read_all([tmp_path / "a.mat"])
    wanted = (given - given[1, :, 2][:, None]).transpose(2, 0, 1)[::2]
    wanted[[0, 2]] = 0
    assert (clip.shape, clip.dtype) == ((5, 60), np.float32)
    np.testing.assert_allclose(clip.reshape(5, 20, 3), wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["CS", "SS"])
def test_each_split_is_what_its_protocol_says(name):
    splits = [make_split(name, PERFORMERS, ACTIONS - 1, 1, number) for number in range(1, 31)]
    for train, valid, test in splits:
        assert sorted([*train, *valid, *test]) == list(range(72))
        assert (len(train), len(valid), len(test)) == (34, 2, 36)
        whole = np.concatenate([train, valid])
        if name == "CS":
            assert not set(PERFORMERS[whole]) & set(PERFORMERS[test])
        else:
            assert (np.bincount(ACTIONS[whole])[1:] == 3).all()
    assert len({tuple(test) for *_, test in splits}) >= 12  # of 20 ways to choose three of six performers
    assert not np.array_equal(splits[0][2], make_split(name, PERFORMERS, ACTIONS - 1, 2, 1)[2])


@pytest.mark.parametrize("name", ["CS", "SS"])
def test_every_split_of_the_h5_has_the_right_clips(folder, name):
    path, found = find_h5("SYSU", ["CS", "SS"].index(name), folder)
    made, clips = read(path), Clips.read(path)
    assert (found, made.sizes, made.class_names) == ("SYSU", [34, 2, 36], make_sysu.ACTIONS)
    assert not is_cross_view("SYSU", 0) and not is_cross_view("SYSU", 1)
    given = list(read_all([mat_of(folder, *which) for which in zip(PERFORMERS, ACTIONS, strict=True)]))
    for number in range(1, 5):
        split, parts = clips.resplit(number), make_split(name, PERFORMERS, ACTIONS - 1, 1, number)
        for key, ids in zip(("train", "valid", "test"), parts, strict=True):
            start, length, label = (array[split.ids(key)] for array in (split.start, split.length, split.label))
            rows = [split.frames[a : a + n].numpy().tobytes() for a, n in zip(start, length, strict=True)]
            assert {*zip(rows, label.tolist(), strict=True)} == {(given[i].tobytes(), ACTIONS[i] - 1) for i in ids}
    for number in (0, 5):
        with pytest.raises(UserError, match=f"split {number}: "):
            clips.resplit(number)


def test_a_split_does_not_depend_on_the_number_of_splits(folder, tmp_path):
    make_sysu.main([str(folder / "SYSU3DAction"), "--out", str(tmp_path), "--splits", "2"])
    wanted = Clips.read(folder / "SYSU_SS.h5").resplit(1).resplit(2)
    got = Clips.read(tmp_path / "SYSU_SS.h5").resplit(2)
    assert got.splits == wanted.splits and np.array_equal(got.start, wanted.start)


@pytest.mark.slow
def test_a_run_for_each_split(folder, tmp_path, capsys):
    def run(*more):
        flags = ["--data", str(folder), "--results", str(tmp_path), "--epochs", "1", "-b", "16", "--device", "cpu"]
        main.main(["--dataset", "SYSU", *flags, "--recipe", "paper,test_samples=1", "--seg", "8", "--json", *more])
        return json.loads(capsys.readouterr().out)

    home = tmp_path / "SYSU" / "SGN-paper,test_samples=1"
    summary = run("--splits", "2,4")
    top1 = [result["last_top1"] for result in summary["runs"]]
    assert (summary["last_top1_mean"], summary["last_top1_std"]) == pytest.approx((np.mean(top1), np.std(top1, ddof=1)))
    # In another folder, a checkpoint is still tested on the clips of its own split
    (home / "0_best.pth").write_bytes((home / "split4" / "0_best.pth").read_bytes())
    run("--train", "0")
    assert (home / "0_pred.txt").read_text() == (home / "split4" / "0_pred.txt").read_text()
    with pytest.raises(UserError, match="split"):
        run("--splits", "5")


WRONG = {  # the variables of a .mat, or its bytes by those of a good one
    "all zeros": {"SW": np.zeros((20, 3, 5))},
    "axes in another order": {"SW": np.ones((5, 20, 3))},
    "nan": {"SW": np.full((20, 3, 5), np.nan)},
    "another variable": {"S": np.ones((20, 3, 5))},
    "cut": lambda whole: whole[: len(whole) // 2],
    "a type that crashes scipy": lambda whole: whole[:185] + b"\xff" + whole[186:],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_or_damaged_mat_is_one_clear_line(tmp_path, wrong):
    path, is_damaged = tmp_path / "sklWorld.mat", callable(wrong)
    savemat(path, {"SW": skeletons(0, 5)} if is_damaged else wrong, do_compression=True)
    path.write_bytes((wrong if is_damaged else bytes)(path.read_bytes()))
    with pytest.raises(UserError, match="sklWorld.mat: ") as found:
        list(read_all([path]))
    assert "\n" not in str(found.value)


def test_a_set_without_clips_of_each_kind_is_one_clear_line(folder, tmp_path):
    given, out = tmp_path / "given", tmp_path / "out"
    for performers, why in ((), "3DvideoNorm"), (("bo",), "CS: "):
        for name in performers:
            shutil.copytree(folder / "SYSU3DAction/3DvideoNorm" / name, given / "3DvideoNorm" / name)
        with pytest.raises(UserError, match=why):
            make_sysu.main([str(given), "--out", str(out)])
    assert not out.exists()
