"""How a network is trained and tested: the recipe of the paper, and one that gets more out of the same network.

    recipe = named("plus")
    x = recipe.vary(clips.draw(ids, generator), theta=0.5, generator=generator)        # (batch, 20, 60)

A recipe is what is drawn from a clip, how the draw is varied, how the learning rate falls, and how many draws test. The
network, the loss and the optimiser are the same in all.
"""

import math
import re
from dataclasses import asdict, dataclass, fields, replace

import torch

from util import UserError, brief


@dataclass(frozen=True)
class Recipe:
    """whole: frames are drawn over the whole clip, and those of a short clip repeat; without it a clip's last frames
        are never drawn and a short clip is filled up with zeros, as in the release (data.Clips.draw_frames).
    cosine: the learning rate falls along half a cosine; without it, in three steps.
    test_draws: draws of a test clip whose logits are averaged.
    spin, tilt: training rotation about the vertical (y) and about the two other axes, up to so many radians either way;
        0 for both: about all three as the data set says (SPEC, "From a clip to the network's input").
    mirror: every second clip, by chance, is seen in a mirror: x turns into -x, and left joints into right ones.
    crop: the shortest part of the whole clip that is drawn from, as a share of it.
    shear, scale: of the linear map besides the rotation: each entry off its diagonal, up to so much either way, and by
        how much of 1 its diagonal, one number a clip, is larger or smaller.
    noise: standard deviation of each coordinate, metres; frames that are filled up with zeros stay so.
    str(recipe) is "paper" and what differs from it, for `named`: what a recipe is, whatever its name comes to mean.
    """

    whole: bool = False
    cosine: bool = False
    test_draws: int = 5
    spin: float = 0.0
    tilt: float = 0.0
    mirror: bool = False
    crop: float = 1.0
    shear: float = 0.0
    scale: float = 0.0
    noise: float = 0.0

    def __post_init__(self):
        if not (0 < self.crop <= 1 and self.scale < 1 and 1 <= self.test_draws <= 1000):
            raise ValueError("crop should be above 0 and at most 1, scale below 1, and test_draws 1 to 1000")
        if self.crop < 1 and not self.whole:
            raise ValueError("crop goes with whole=1")
        if self.scale + 2 * self.shear >= 1:
            raise ValueError("scale and twice shear should be below 1 together: no map may flatten a clip")

    def __str__(self):
        return _spelled(self, "paper")

    @property
    def turns(self):
        """Whether its rotation is its own, and not the data set's."""
        return bool(self.spin or self.tilt)

    @property
    def varies(self):
        """Whether it does more to a draw than to turn it as the data set says."""
        return bool(self.turns or self.mirror or self.shear or self.scale or self.noise)

    def rate(self, lr, factor, epoch, epochs):
        """The learning rate of an epoch, from 1, of so many. factor: of each of the three steps."""
        if self.cosine:
            return lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
        return lr * factor ** sum(12 * (epoch - 1) >= k * epochs for k in (6, 9, 11))

    def vary(self, x, theta, generator, sides=None):
        """A batch of draws as training sees it: (n, frames, joints * 3) float32, metres. One linear map a clip.

        theta: the data set's rotation, radians. Where it is 0 the axes are not those of space: nothing is varied.
        sides: (joints,) int64, each joint's counterpart on the other side; without it nothing is mirrored.
        """
        n = len(x)

        def uniform(*shape):
            return 2 * torch.rand(shape, generator=generator, device=x.device) - 1

        angles = uniform(n, 3)
        if not theta:
            return x
        tilt, spin = (self.tilt, self.spin) if self.turns else (theta, theta)
        angles[:, ::2] *= tilt
        angles[:, 1] *= spin
        maps = rotation(angles)
        if self.shear or self.scale:
            diagonal = torch.eye(3, device=x.device)
            maps = torch.where(diagonal > 0, 1 + self.scale * uniform(n, 1, 1), self.shear * uniform(n, 3, 3)) @ maps
        if self.mirror and sides is not None:
            seen = uniform(n) < 0
            maps[:, :, 0] *= 1 - 2 * seen[:, None].float()
            x = torch.where(seen[:, None, None], x.unflatten(2, (-1, 3))[:, :, sides].flatten(2), x)
        x = transform(x, maps)
        if self.noise:
            noise = self.noise * torch.randn(x.shape, generator=generator, device=x.device)
            x = x + noise * (x != 0).any(dim=-1, keepdim=True)
        return x


RECIPES = {
    "paper": Recipe(),
    "plus": Recipe(
        whole=True,
        cosine=True,
        test_draws=20,
        spin=1.57,
        tilt=0.3,
        mirror=True,
        crop=0.6,
        shear=0.2,
        scale=0.2,
        noise=0.01,
    ),
}
PAPER = RECIPES["paper"]


FORMS = {
    bool: ("[01]", "0 or 1"),
    int: ("[0-9]{1,4}", "a whole number"),
    float: (r"[0-9]{1,4}(\.[0-9]{1,6})?", "a number, 0 or above,"),
}


def named(text):
    """The recipe that a text tells: a name, and values that are other than its own: "plus", "plus,noise=0,crop=1".

    Raises ValueError that says what is wrong with it.
    """
    name, *changes = text.split(",")
    if name not in RECIPES:
        raise ValueError(f"{name!r} is not one of {', '.join(RECIPES)}")
    kinds, values = {field.name: type(field.default) for field in fields(Recipe)}, {}
    for change in changes:
        key, _, value = change.partition("=")
        if key not in kinds:
            raise ValueError(f"{key!r} is no value of a recipe; they are {', '.join(kinds)}")
        form, what = FORMS[kinds[key]]
        if key in values or not re.fullmatch(form, value):
            raise ValueError(f"{change!r}: {what} should follow {key}=, once")
        values[key] = kinds[key](float(value))
    return replace(RECIPES[name], **values)


def _spelled(recipe, base):
    own, its = asdict(recipe), asdict(RECIPES[base])
    differ = {name: f"{value:.6f}".rstrip("0").rstrip(".") for name, value in own.items() if value != its[name]}
    return ",".join([base, *(f"{name}={value}" for name, value in differ.items())])


def spelling(recipe):
    """The shortest text for `named` that gives this recipe: "plus", "plus,noise=0". The same recipe, the same text."""
    return min((_spelled(recipe, base) for base in RECIPES), key=lambda text: text.count(","))


def recipe_of(path, checkpoint):
    """The recipe that the checkpoint of that path was trained by; the release's say nothing. Raises UserError."""
    try:
        return named(checkpoint.get("recipe", "paper"))
    except ValueError as error:
        raise UserError(f"{path}: of a recipe that is not known here: {brief(error, 200)}") from None


def rotation(angles):
    """Rz Ry Rx, (n, 3, 3), of angles (n, 3) about x, y and z in radians."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(1), angles.sin().unbind(1)
    zero, one = torch.zeros_like(cx), torch.ones_like(cx)

    def matrix(*entries):
        return torch.stack(entries, dim=1).view(-1, 3, 3)

    rx = matrix(one, zero, zero, zero, cx, sx, zero, -sx, cx)
    ry = matrix(cy, zero, -sy, zero, one, zero, sy, zero, cy)
    rz = matrix(cz, sz, zero, -sz, cz, zero, zero, zero, one)
    return rz @ ry @ rx


def transform(x, maps):
    """p' = A p for every joint of every frame, with A of its clip: (n, frames, joints * 3) and (n, 3, 3)."""
    return (x.view(len(x), -1, 3) @ maps.transpose(1, 2).contiguous()).view_as(x)
