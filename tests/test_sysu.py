"""SYSU 3D HOI, on made-up clips in its form: read, split at random, written, trained on; and bad files."""

import numpy as np
import pytest
from scipy.io import savemat

import main
import make_sysu
from data import Clips
from engine.config import find_h5
from made import read
from make_sysu import make_split, read_all
from util import UserError

PEOPLE = ("anna", "bo", "chen", "dana", "eve", "finn")
PERFORMERS, LABELS = np.repeat(PEOPLE, 12), np.tile(np.arange(12), 6)  # of the clips, in the order of the script


def skeletons(seed, frames):
    """(20, 3, frames), metres."""
    return np.random.default_rng(seed).normal(size=(20, 3, frames)) + 2


def mat_of(folder, performer, label):
    return folder / "SYSU3DAction" / "3DvideoNorm" / performer / f"video{label + 1}" / "sklWorld.mat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sysu")
    for i, which in enumerate(zip(PERFORMERS, LABELS, strict=True)):
        path = mat_of(folder, *which)
        path.parent.mkdir(parents=True)
        savemat(path, {"SW": skeletons(i, 8 + i % 9), "other": "text"}, do_compression=i % 2 == 0)
    make_sysu.main([str(folder), "--out", str(folder)])
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


def test_each_split_is_what_its_protocol_says():
    for name in make_sysu.PROTOCOLS:
        splits = [make_split(name, PERFORMERS, LABELS, number) for number in make_sysu.NUMBERS]
        for train, valid, test in splits:
            assert sorted([*train, *valid, *test]) == list(range(72))
            assert (len(train), len(valid), len(test)) == (34, 2, 36)
            whole = np.concatenate([train, valid])
            assert not {*PERFORMERS[whole]} & {*PERFORMERS[test]} or name == "SS"
            assert (np.bincount(LABELS[whole]) == 3).all() or name == "CS"
        assert len({tuple(test) for *_, test in splits}) >= 12  # of 20 ways to choose three of six performers


@pytest.mark.parametrize("case, name", [(0, "CS"), (1, "SS")])
def test_every_split_of_the_h5_has_the_right_clips(folder, case, name):
    path, found = find_h5("SYSU", case, folder)
    made, clips = read(path), Clips.read(path)
    assert (found, made.sizes, made.class_names) == ("SYSU", [34, 2, 36], make_sysu.ACTIONS)
    given = list(read_all([mat_of(folder, *which) for which in zip(PERFORMERS, LABELS, strict=True)]))
    for number, source in (1, clips), (2, clips), (30, clips.resplit(1)):
        split, parts = source.resplit(number), make_split(name, PERFORMERS, LABELS, number)
        for key, ids in zip(("train", "valid", "test"), parts, strict=True):
            start, length, label = (array[split.ids(key)] for array in (split.start, split.length, split.label))
            rows = [split.frames[a : a + n].numpy().tobytes() for a, n in zip(start, length, strict=True)]
            assert {*zip(rows, label.tolist(), strict=True)} == {(given[i].tobytes(), LABELS[i]) for i in ids}
    for number in (0, 31):
        with pytest.raises(UserError, match=f"split {number}: "):
            clips.resplit(number)


@pytest.mark.slow
def test_a_checkpoint_is_tested_on_the_clips_of_its_own_split_in_any_folder(folder, tmp_path):
    def run(*more):
        flags = ["--data", str(folder), "--results", str(tmp_path), "--epochs", "1", "-b", "16", "--device", "cpu"]
        main.main(["--dataset", "SYSU", *flags, "--recipe", "paper,test_samples=1", "--seg", "8", *more])

    home = tmp_path / "SYSU" / "SGN-paper,test_samples=1"
    run("--splits", "2,4")
    (home / "0_best.pth").write_bytes((home / "split4" / "0_best.pth").read_bytes())
    run("--train", "0")
    assert (home / "0_pred.txt").read_text() == (home / "split4" / "0_pred.txt").read_text()


@pytest.mark.parametrize("wrong", [np.zeros((20, 3, 5)), np.ones((5, 20, 3)), np.full((20, 3, 5), np.nan), None])
def test_a_wrong_mat_or_one_that_crashes_scipy_is_named(tmp_path, wrong):
    path = tmp_path / "sklWorld.mat"
    savemat(path, {"SW": skeletons(0, 5) if wrong is None else wrong}, do_compression=True)
    if wrong is None:
        content = path.read_bytes()
        path.write_bytes(content[:185] + b"\xff" + content[186:])  # a type
    with pytest.raises(UserError, match="sklWorld.mat: "):
        list(read_all([path]))
