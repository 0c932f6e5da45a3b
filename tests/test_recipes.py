"""The recipes: what is sampled, how it is augmented, and the learning rate."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import main
import train
from clips.skeletons import SKELETONS
from conftest import CLASSES, DEVICE, JOINTS, run
from data import Clips, augment, rotation_matrices, transform
from engine.checkpoint import load_checkpoint
from engine.config import PAPER, PLUS, RECIPES, choose_recipe, parse_recipe
from engine.logs import read_log
from model import SGN

pytestmark = pytest.mark.device
SEG = 20


def generator(seed=0, device=None):
    return torch.Generator(device or DEVICE).manual_seed(seed)


def randn(*size):
    return torch.randn(*size, generator=generator(), device=DEVICE)


def there(*values):
    return torch.tensor(values, device=DEVICE)


def test_the_rotation_by_hand_and_golden():
    x, quarter = there([[1.0, 2.0, 3.0]]), torch.pi / 2
    for angles, expected in (  # as in the release's data.py, _rot
        ([quarter, 0, 0], [1.0, 3, -2]),
        ([0, quarter, 0], [-3.0, 2, 1]),
        ([0, 0, quarter], [2.0, -1, 3]),
        ([quarter, 0, quarter], [3.0, -1, -2]),  # Rz (Rx p)
    ):
        torch.testing.assert_close(transform(x, rotation_matrices(there(angles))).flatten(), there(*expected))
    with np.load(Path(__file__).parent / "fixtures" / "rotation.npz", allow_pickle=False) as golden:
        x, angles, out = (torch.from_numpy(golden[name]).to(DEVICE) for name in ("x", "angles", "out"))
    torch.testing.assert_close(transform(x, rotation_matrices(angles)), out, rtol=0, atol=1e-6)


def test_the_paper_rotates_each_clip_by_up_to_theta():
    x = randn(50, SEG, 75)
    before, after = (y.view(50, -1, 3).diff(dim=1).norm(dim=2) for y in (x, augment(x, PAPER, 0.3, generator(1))))
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)  # distances stay
    assert torch.equal(augment(x, PAPER, 0.0, generator()), x)
    z = there(0.0, 0, 1).expand(500, 1, 3)
    cosine = augment(z, PAPER, 0.3, generator())[:, 0, 2]  # of the z axis and its image: cos x cos y
    assert np.cos(0.3) ** 2 - 1e-6 < cosine.min().item() < np.cos(0.3) ** 2 + 0.03
    assert len(cosine.unique()) > 450  # its own rotation for each clip


@pytest.mark.parametrize("joints", [1, 20])
def test_plus_maps_each_clip_linearly_and_adds_noise(joints):
    x = randn(300, SEG, joints * 3)
    x[:, -1] = 0  # padding at the end of a short clip gets no noise
    y = augment(x, replace(PLUS, noise=0.0), 0.5, generator(1))
    maps = torch.linalg.lstsq(x.view(300, -1, 3), y.view(300, -1, 3)).solution
    torch.testing.assert_close((x.view(300, -1, 3) @ maps).view_as(y), y, rtol=1e-3, atol=1e-3)
    assert len(maps[:, 0, 0].unique()) == 300
    noise = augment(x, PLUS, 0.5, generator(1)) - y
    assert abs(noise[:, :-1].std() / PLUS.noise - 1) < 0.05 and not noise[:, -1].any()
    for value in ("rotate_y=1", "rotate_xz=1", "shear=0.2", "scale=0.2", "noise=0.01"):  # each has an effect alone
        assert not torch.equal(augment(x, parse_recipe(f"paper,{value}"), 0.0, generator()), x)


def test_plus_rotates_far_about_the_vertical_axis_and_little_about_the_others():
    recipe = replace(PLUS, shear=0.0, scale=0.0, noise=0.0)
    up = there(0.0, 1, 0).expand(2000, 1, 3)
    assert augment(up, recipe, 0.3, generator())[:, 0, 1].min() > np.cos(2 * recipe.rotate_xz)
    x, _, z = augment(up.roll(1, dims=2), recipe, 0.3, generator())[:, 0].unbind(1)
    heading = torch.atan2(x, z)
    assert heading.min() < -1.4 and heading.max() > 1.4 and abs(heading.mean()) < 0.1


def test_every_second_clip_is_flipped_and_left_becomes_right():
    flip, pairs = parse_recipe("paper,flip=1"), torch.from_numpy(SKELETONS["kinect_v1"].flip_pairs()).to(DEVICE)
    x = randn(400, SEG, 60)
    expected = (x.unflatten(2, (20, 3)) * there(-1.0, 1, 1))[:, :, pairs].flatten(2)
    for spatial in (True, False):
        y = augment(x, flip, 0.0, generator(), pairs, spatial)
        flipped = (y - expected).abs().amax(dim=(1, 2)) < 1e-6
        torch.testing.assert_close(y[~flipped], x[~flipped])
        assert 150 < flipped.sum() < 250
    assert torch.equal(augment(x, flip, 0.3, generator()), augment(x, PAPER, 0.3, generator()))  # pairs not known
    assert torch.equal(augment(x, PLUS, 0.3, generator(), spatial=False), x)  # nothing but flipped if not x, y, z


def sample(lengths, clip, n=3000, **how):
    """n samples of one of these clips, of one joint and with i + 1 in frame i: (n, SEG)."""
    frames = np.concatenate([np.arange(1, length + 1) for length in lengths]).astype(np.float32)
    clips = Clips.from_clip(frames[:, None, None, None].repeat(3, axis=3))
    length = torch.tensor(lengths)
    clips = replace(clips, start=length.cumsum(0) - length, length=length).to(DEVICE)
    ids = torch.full((n,), clip, device=DEVICE)
    return clips.sample(ids, generator(), SEG, **how)[:, :, 0].cpu()


def test_plus_samples_from_the_whole_clip_and_repeats_the_frames_of_a_short_one():
    lengths = [5, 47, 20, 0, 20]
    x = sample(lengths, 1, whole_clip=True)
    assert set(x.flatten().tolist()) == set(range(1, 48))
    for k in range(SEG):  # the k-th frame is of the k-th twentieth
        assert (x[:, k].min(), x[:, k].max()) == (47 * k // 20 + 1, -(-47 * (k + 1) // 20))
    assert sample(lengths, 1).max() == 40  # the release never samples the last 7 of 47
    short, even = torch.arange(1, 6).repeat_interleave(4), torch.arange(1, 21)
    for clip, frames in ((0, short), (2, even), (3, torch.zeros(SEG))):  # empty: not the frames of its neighbours
        assert torch.equal(sample(lengths, clip, 10, whole_clip=True), frames.expand(10, SEG).float())


def test_a_crop_is_a_part_of_the_clip_of_at_least_its_share():
    x = sample([1000, 1000], 1, whole_clip=True, crop=0.6)
    span = (x[:, -1] - x[:, 0]) / 1000
    assert span.min() > 0.6 * 18 / 20 and 0.7 < span.mean() < 0.85 and (x.diff(dim=1) >= 0).all()
    assert x.min() < 10 and x.max() > 990


@pytest.mark.parametrize("recipe", [PAPER, replace(PLUS, test_samples=3)])
def test_the_samples_of_a_test_clip_are_averaged(toy, monkeypatch, recipe):
    net, clips = SGN(CLASSES, JOINTS, 6).eval(), Clips.read(toy)
    ids, rng = clips.ids("test"), generator(1, "cpu")
    logits = train.predict_logits(net, clips, ids, recipe, seed=1)
    with torch.no_grad():
        samples = [net(clips.sample(ids, rng, net.seg, recipe.whole_clip)) for _ in range(recipe.test_samples)]
    torch.testing.assert_close(torch.stack(samples).mean(0), logits)
    monkeypatch.setattr(train, "CPU_BATCH", 5)  # 18 clips: the last batch has 3
    torch.testing.assert_close(train.predict_logits(net, clips, ids, recipe, seed=1), logits)


def test_learning_rates_by_hand():
    by_hand = (PAPER, 1.0, 0.5, 12, [1] * 6 + [0.5] * 3 + [0.25] * 2 + [0.125])
    for recipe, lr, factor, n, rates in (by_hand, (PLUS, 2.0, None, 4, [2, 1 + np.sqrt(0.5), 1, 1 - np.sqrt(0.5)])):
        assert [recipe.learning_rate(lr, factor, epoch, n) for epoch in range(1, n + 1)] == pytest.approx(rates)


def test_a_recipe_has_one_name():
    for text, name in {
        "plus": "plus",
        "paper,whole_clip=0,test_samples=5,noise=0.00": "paper",
        "plus,noise=0,rotate_xz=0.2": "plus,rotate_xz=0.2,noise=0",
        "plus,noise=0.000050": "plus,noise=0.00005",
    }.items():
        recipe = parse_recipe(text)
        assert recipe.name == name and parse_recipe(str(recipe)) == parse_recipe(name) == recipe
    values = "flip=2", "on=1", "noise=0,noise=1", "test_samples=2.7", "noise=nan", "noise=٣", "crop=0", "shear=0.4"
    for text in ("", "../plus", "plus,", "paper,crop=0.5", *(f"plus,{value}" for value in values)):
        with pytest.raises(ValueError):
            parse_recipe(text)


def test_a_run_of_plus(toy, tmp_path, monkeypatch, capsys):
    run(toy, tmp_path, "--recipe", "plus", "--views", "other", epochs=1)
    folder = tmp_path / "toy" / "SGN-plus"
    assert {f"recipe: {PLUS}", "theta: None", "lr_factor: None"} <= set(read_log(folder / "0_log.csv")[0])
    assert "clips are not flipped" in capsys.readouterr().err  # the skeleton is not known
    monkeypatch.setitem(RECIPES, "plus", replace(PLUS, noise=0.5))  # a later version
    assert load_checkpoint(folder / "0_best.pth").recipe == PLUS


def test_rotation_and_flip_follow_the_views_of_the_protocol():
    def choose(*words):
        return choose_recipe(main.parse_args(["--dataset", *words]))

    same, other = ("plus,rotate_y=0.3,flip=0", 0.3), ("plus", 0.5)
    for words, (plus, theta) in {
        ("NTU", "--case", "0"): same,
        ("ntu", "--case", "1"): other,
        ("NUCLA", "--views", "same"): same,
        ("mine.h5",): same,
        ("mine.h5", "--views", "other"): other,
    }.items():
        recipe, own, _ = choose(*words, "--recipe", "plus")
        assert (choose(*words)[1], recipe.name, own) == (theta, plus, None)
        given = choose(*words, "--recipe", "plus,rotate_y=1,flip=1")[0]
        assert (given.rotate_y, given.flip) == (1, True)  # what is asked for is done
