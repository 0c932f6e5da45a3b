"""The recipes: what is drawn, how it is varied, and the learning rate."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import evaluate
import main
from checkpoint import load_checkpoint
from conftest import CLASSES, JOINTS, write_toy
from data import Clips
from model import SGN
from recipes import PAPER, RECIPES, named, rotation, spelling, transform
from recognise import Classifier
from skeletons import SKELETONS
from util import UserError, save_checkpoint

SEG = 20


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_turning_by_hand_worked_angles():
    x = torch.tensor([[[1.0, 2.0, 3.0]]])
    quarter = torch.pi / 2
    turned = [transform(x, rotation(torch.eye(3)[i][None] * quarter)).flatten() for i in range(3)]
    # Rx: (x, z, -y); Ry: (-z, y, x); Rz: (y, -x, z), by the matrices of SPEC, "From a clip to the network's input"
    expected = torch.tensor([[1.0, 3, -2], [-3, 2, 1], [2, -1, 3]])
    torch.testing.assert_close(torch.stack(turned), expected)
    both = transform(x, rotation(torch.tensor([[quarter, 0, quarter]]))).flatten()  # Rz (Rx p) = Rz (1, 3, -2)
    torch.testing.assert_close(both, torch.tensor([3.0, -1, -2]))


def test_the_rotation_is_golden():
    with np.load(Path(__file__).parent / "fixtures" / "rotation.npz", allow_pickle=False) as golden:
        x, angles, out = (torch.from_numpy(golden[name]) for name in ("x", "angles", "out"))
    torch.testing.assert_close(transform(x, rotation(angles)), out, rtol=0, atol=1e-6)


def test_rotation_is_one_a_clip_rigid_and_within_theta():
    x = torch.randn(500, SEG, 75, generator=generator())
    turned = PAPER.vary(x, 0.3, generator(1))
    distance = (x.view(500, -1, 3)[:, 1:] - x.view(500, -1, 3)[:, :-1]).norm(dim=2)
    after = (turned.view(500, -1, 3)[:, 1:] - turned.view(500, -1, 3)[:, :-1]).norm(dim=2)
    torch.testing.assert_close(distance, after, rtol=1e-4, atol=1e-4)
    assert torch.equal(PAPER.vary(x, 0.0, generator()), x)
    assert not torch.equal(turned[0], turned[1])
    z = torch.zeros(500, 1, 3)
    z[..., 2] = 1
    seen = PAPER.vary(z, 0.3, generator())[:, 0, 2]  # the z axis leaves itself by cos x cos y
    assert np.cos(0.3) ** 2 - 1e-6 < seen.min() < np.cos(0.3) ** 2 + 0.01


def clips_of(*lengths, recipe="plus"):
    """One-joint clips whose frame i holds i + 1."""
    frames = np.concatenate([np.arange(1, n + 1) for n in lengths] + [[0]])
    length = torch.tensor(lengths)
    header = {"joints": 1, "persons": 1, "class_names": ("a",), "protocol": "", "sha256": ""}
    splits = {"": range(len(lengths)), "valid_": range(0), "test_": range(0)}
    frames = torch.from_numpy(frames.astype(np.float32)[:, None].repeat(3, 1))
    label = torch.zeros(len(lengths), dtype=torch.int64)
    return Clips(frames, length.cumsum(0) - length, length, label, splits, **header, recipe=RECIPES[recipe])


def drawn(clips, clip, n=3000, **kwargs):
    return clips.draw(torch.full((n,), clip), generator(), SEG, **kwargs)[:, :, 0]


def test_plus_draws_from_the_whole_clip():
    x = drawn(clips_of(5, 47, 20), 1)
    assert (x.min(), x.max()) == (1, 47)  # the release never draws the last 7 of 47
    assert set(x.flatten().tolist()) == set(range(1, 48))
    for k in range(SEG):  # the k-th frame is of the k-th twentieth
        assert (x[:, k].min(), x[:, k].max()) == (47 * k // 20 + 1, -(-47 * (k + 1) // 20))
    assert drawn(clips_of(5, 47, 20, recipe="paper"), 1).max() == 40


def test_plus_repeats_the_frames_of_a_short_clip_and_the_release_appends_zeros():
    x = drawn(clips_of(5, 47, 20), 0, 10)
    assert torch.equal(x, torch.arange(1, 6).repeat_interleave(4).expand(10, SEG).float())
    assert torch.equal(drawn(clips_of(5, recipe="paper"), 0, 1), torch.cat([torch.arange(1, 6), torch.zeros(15)])[None])
    assert torch.equal(drawn(clips_of(5, 20), 1, 1), torch.arange(1.0, 21)[None])
    assert not drawn(clips_of(5, 0, 20), 1, 10).any()  # nobody is in it: not the frames of its neighbours


def test_a_crop_is_a_part_of_the_clip_of_at_least_its_share():
    x = drawn(clips_of(1000, 1000), 1, crop=0.6)
    span = (x[:, -1] - x[:, 0]) / 1000
    assert span.min() > 0.6 * 18 / 20 and 0.7 < span.mean() < 0.85 and (x.diff(dim=1) >= 0).all()
    assert x.min() < 10 and x.max() > 990


@pytest.mark.parametrize("joints", [1, 20, 33])
def test_plus_varies_each_clip_by_one_map_of_its_own_and_noise(joints):
    recipe = RECIPES["plus"]
    x = torch.randn(300, SEG, joints * 3, generator=generator())
    x[:, -1] = 0  # as frames are after the end of a short clip that the release fills up: no noise there
    y = replace(recipe, noise=0.0).vary(x, 0.5, generator(1))
    maps = torch.linalg.lstsq(x.view(300, -1, 3), y.view(300, -1, 3))
    fitted = x.view(300, -1, 3) @ maps.solution
    torch.testing.assert_close(fitted.view_as(y), y, rtol=1e-3, atol=1e-3)
    assert len(maps.solution[:, 0, 0].unique()) == 300
    noise = recipe.vary(x, 0.5, generator(1)) - y
    assert abs(noise[:, :-1].std() / recipe.noise - 1) < 0.05 and not noise[:, -1].any()


def test_a_rotation_of_plus_is_wide_about_the_vertical_and_narrow_about_the_others():
    recipe = replace(RECIPES["plus"], shear=0.0, scale=0.0, noise=0.0)
    up = torch.tensor([0.0, 1, 0]).expand(2000, 1, 3)
    assert recipe.vary(up, 0.3, generator())[:, 0, 1].min() > np.cos(2 * recipe.tilt)  # both tilts at once
    x, _, z = recipe.vary(up.roll(1, dims=2), 0.3, generator())[:, 0].unbind(1)
    heading = torch.atan2(x, z)
    assert heading.min() < -1.4 and heading.max() > 1.4 and abs(heading.mean()) < 0.1


def test_a_mirror_shows_every_second_clip_with_its_sides_changed():
    names = SKELETONS[20].joints
    sides = torch.from_numpy(SKELETONS[20].sides())
    assert [names[sides[names.index(name)]] for name in ("head", "left wrist", "right hip")] == [
        "head", "right wrist", "left hip"
    ]  # fmt: skip
    x = torch.randn(400, SEG, 60, generator=generator())
    y = named("paper,mirror=1").vary(x, 1e-9, generator(), sides)
    mirrored = (x.unflatten(2, (20, 3)) * torch.tensor([-1.0, 1, 1]))[:, :, sides].flatten(2)
    seen = (y - mirrored).abs().amax(dim=(1, 2)) < 1e-6
    torch.testing.assert_close(y[~seen], x[~seen])
    assert 150 < seen.sum() < 250
    assert torch.equal(named("paper,mirror=1").vary(x, 0.3, generator()), PAPER.vary(x, 0.3, generator()))
    for skeleton in SKELETONS.values():
        there_and_back = skeleton.sides()[skeleton.sides()]
        assert there_and_back.tolist() == list(range(len(skeleton.joints)))
        assert sum(skeleton.sides() == there_and_back) == {25: 5, 20: 4, 18: 2}[len(skeleton.joints)]


def test_axes_that_are_not_those_of_space_are_left_as_they_are():
    x = torch.randn(4, SEG, 54, generator=generator())
    assert torch.equal(RECIPES["plus"].vary(x, 0.0, generator()), x)


def test_a_recipe_s_values_work_one_by_one():
    """Each alone beside the paper's: none needs another, and none is silently without effect."""
    x = torch.randn(64, SEG, 75, generator=generator())
    plain = PAPER.vary(x, 0.3, generator())
    for value in ("spin=1", "tilt=1", "shear=0.2", "scale=0.2", "noise=0.01"):
        assert not torch.equal(named(f"paper,{value}").vary(x, 0.3, generator()), plain)
    larger = named("paper,scale=0.2").vary(x, 0.3, generator()).norm(dim=(1, 2)) / x.norm(dim=(1, 2))
    assert 0.8 < larger.min() < 0.85 and 1.15 < larger.max() < 1.2


def test_learning_rates_by_hand():
    assert [PAPER.rate(1.0, 0.5, epoch, 12) for epoch in (6, 7, 9, 10, 11, 12)] == [1, 0.5, 0.5, 0.25, 0.25, 0.125]
    plus = [RECIPES["plus"].rate(2.0, None, epoch, 4) for epoch in (1, 2, 3, 4)]
    assert plus == pytest.approx([2, 1 + np.sqrt(0.5), 1, 1 - np.sqrt(0.5)])


def test_rotation_matrices_are_rotations():
    r = rotation(torch.randn(50, 3, generator=generator()))
    torch.testing.assert_close(r @ r.transpose(1, 2), torch.eye(3).expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(r), torch.ones(50))


def test_plus_from_training_to_testing(tmp_path, capsys):
    toy = write_toy(tmp_path / "toy.h5")
    command = ["--dataset", str(toy), "--results", str(tmp_path), "-b", "16", "--device", "cpu", "--recipe", "plus"]
    main.main([*command, "--max-epochs", "2"])
    folder = tmp_path / "toy" / "SGN-plus"
    _, checkpoint = load_checkpoint(folder / "0_best.pth")
    assert named(checkpoint["recipe"]) == RECIPES["plus"] and checkpoint["recipe"].startswith("paper,whole=1,cosine=1,")
    log = (folder / "0_log.csv").read_text()
    assert f"# recipe: {checkpoint['recipe']}\n" in log and "# theta: None\n# " in log and "# lr_factor: None\n" in log
    said, err = capsys.readouterr()
    assert f"{RECIPES['plus'].test_draws} draws" in said
    assert f"note: which of {JOINTS} joints are left is not known: nothing is mirrored" in err
    main.main([*command, "--train", "0"])
    assert capsys.readouterr().out.splitlines()[-1].startswith(said.splitlines()[-1])  # the same figure
    (tmp_path / "toy" / "SGN").mkdir()
    (folder / "0_best.pth").rename(tmp_path / "toy" / "SGN" / "0_best.pth")
    with pytest.raises(UserError, match="made with --recipe plus; test it so"):
        main.main([*command[:-2], "--train", "0"])


@pytest.mark.parametrize("recipe, flag", [("plus", "--theta"), ("plus", "--lr-factor"), ("paper,tilt=0.3", "--theta")])
def test_what_a_recipe_has_of_its_own_is_not_taken_from_a_flag(recipe, flag):
    with pytest.raises(UserError, match=f"{flag} 0.2: --recipe {recipe} has its own"):
        main.parse_args(["--recipe", recipe, flag, "0.2"])
    assert main.parse_args([flag, "0.2"]).recipe == PAPER
    assert main.parse_args(["--recipe", "plus", "--theta", "0"]).theta == 0  # axes that are not those of space


def test_the_same_recipe_is_told_in_the_same_way():
    for text, told in {
        "plus": "plus",
        "paper,whole=0,test_draws=5,noise=0.00": "paper",
        "plus,tilt=0.2,noise=0": "plus,tilt=0.2,noise=0",
        "plus,noise=0,tilt=0.2": "plus,tilt=0.2,noise=0",
        "plus,crop=0.25": "plus,crop=0.25",
        "plus,noise=0.000050": "plus,noise=0.00005",
        "plus,test_draws=100": "plus,test_draws=100",
    }.items():
        assert spelling(named(text)) == told and named(str(named(text))) == named(text)
    assert str(RECIPES["plus"]).startswith("paper,whole=1,cosine=1,test_draws=")


@pytest.mark.parametrize("recipe", ["minus", "plus,", 5, "paper," + "y" * 10**5])
def test_a_checkpoint_of_an_unknown_recipe_is_refused_in_a_line(toy, tmp_path, recipe):
    path = tmp_path / "toy" / "SGN" / "0_best.pth"
    save_checkpoint({"state_dict": SGN(CLASSES, JOINTS).state_dict(), "recipe": recipe}, path)
    test = ["--dataset", str(toy), "--results", str(tmp_path), "--train", "0"]
    for read in (lambda: main.main(test), lambda: Classifier(path)):
        with pytest.raises(UserError) as error:
            read()
        assert str(path) in str(error.value) and len(str(error.value)) < 400


def test_a_run_goes_on_by_its_recipe_whatever_its_name_has_come_to_mean(toy, tmp_path, monkeypatch):
    flags = ["--dataset", str(toy), "--results", str(tmp_path), "-b", "16", "--device", "cpu", "--recipe", "plus"]
    main.main([*flags, "--max-epochs", "1"])
    monkeypatch.setitem(RECIPES, "plus", replace(RECIPES["plus"], noise=0.5))
    with pytest.raises(UserError, match="began with other settings: recipe paper,.*noise=0.01 -> paper,.*noise=0.5"):
        main.main([*flags, "--max-epochs", "1", "--resume"])
    with pytest.raises(UserError, match="made with --recipe plus,noise=0.01; test it so"):
        main.main([*flags, "--train", "0"])


def test_a_single_clip_is_drawn_as_in_testing(toy, tmp_path):
    path = tmp_path / "a.pth"
    save_checkpoint({"state_dict": SGN(CLASSES, JOINTS).state_dict(), "recipe": str(RECIPES["plus"])}, path)
    network, clips = Classifier(path), replace(Clips.read(toy), recipe=RECIPES["plus"])
    i = clips.splits["test_"][0]
    clip = clips.frames[clips.start[i] :][: clips.length[i]].view(-1, 1, JOINTS, 3)
    tested = evaluate.test(load_checkpoint(path)[0], clips, torch.tensor([i]), seed=1)[0]
    given = network.logits(clip.numpy(), None, generator(1))
    torch.testing.assert_close(given, tested, rtol=1e-4, atol=1e-4)


def test_values_of_a_recipe_can_be_others():
    assert named("plus,noise=0,crop=1,whole=0,test_draws=3") == replace(
        RECIPES["plus"], noise=0.0, crop=1.0, whole=False, test_draws=3
    )
    assert named("paper,whole=1").whole is True and named("paper") is not None
    args = main.parse_args(["--recipe", "plus,noise=0"])
    assert main.folder_of(args, "NUCLA").name == "SGN-plus,noise=0"


NONE = """minus|plus,|plus,mirror=2|plus,on=1|plus,noise=0,noise=1|plus,test_draws=2.7|plus,whole=0.5|plus,noise=\u0663
plus,noise|plus,noise=-1|plus,noise=nan|plus,noise=1e3|plus,crop=0|plus,crop=1.1|paper,crop=0.5
plus,scale=1|plus,test_draws=0|../plus|plus,shear=0.4"""


@pytest.mark.parametrize("text", ["", *NONE.replace("\n", "|").split("|")])
def test_a_recipe_that_is_none_is_refused_in_a_line(text, capsys):
    with pytest.raises(SystemExit):
        main.parse_args(["--recipe", text])
    assert "--recipe" in capsys.readouterr().err.splitlines()[-1]
