"""How a network is trained and tested: the recipe of the paper, and one that gets more out of the same network.

    recipe = named("plus")
    x = recipe.vary(clips.draw(ids, generator), theta=0.5, generator=generator)        # (batch, 20, 60)

A recipe is what is drawn from a clip, how the draw is varied, how the learning rate falls, and how many draws test. The
network, the loss and the optimiser are the same in all.
"""

import math
import re
from dataclasses import dataclass, fields, replace

import torch

from util import UserError


@dataclass(frozen=True)
class Recipe:
    """whole: frames are drawn over the whole clip, and those of a short clip repeat; without it a clip's last frames
        are never drawn and a short clip is filled up with zeros, as in the release (data.Clips.draw_frames).
    cosine: the learning rate falls along half a cosine; without it, in three steps.
    test_draws: draws of a test clip whose logits are averaged.
    spin, tilt: training rotation about the vertical (y) and about the two other axes, up to so many radians either way;
        0 for both: about all three as the data set says (SPEC, "From a clip to the network's input").
    crop: the shortest part of the whole clip that is drawn from, as a share of it.
    shear, scale: entries of the linear map besides the rotation, off and on its diagonal, up to so much either way.
    noise: standard deviation of each coordinate, metres.
    """

    whole: bool = False
    cosine: bool = False
    test_draws: int = 5
    spin: float = 0.0
    tilt: float = 0.0
    crop: float = 1.0
    shear: float = 0.0
    scale: float = 0.0
    noise: float = 0.0

    def rate(self, lr, factor, epoch, epochs):
        """The learning rate of an epoch, from 1, of so many. factor: of each of the three steps."""
        if self.cosine:
            return lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
        return lr * factor ** sum(12 * (epoch - 1) >= k * epochs for k in (6, 9, 11))

    def vary(self, x, theta, generator):
        """A batch of draws as training sees it: (n, frames, joints * 3) float32, metres. One linear map a clip.

        theta: the data set's rotation, radians. Where it is 0 the axes are not those of space: nothing is varied.
        """
        n = len(x)

        def uniform(*shape):
            return 2 * torch.rand(shape, generator=generator, device=x.device) - 1

        tilt, spin = (self.tilt, self.spin) if self.tilt or self.spin else (theta, theta)
        angles = uniform(n, 3)
        angles[:, ::2] *= tilt if theta else 0
        angles[:, 1] *= spin if theta else 0
        maps = rotation(angles)
        if theta and (self.shear or self.scale):
            diagonal = torch.eye(3, device=x.device)
            maps = torch.where(diagonal > 0, 1 + self.scale * uniform(n, 1, 1), self.shear * uniform(n, 3, 3)) @ maps
        x = transform(x, maps)
        return (
            x + self.noise * torch.randn(x.shape, generator=generator, device=x.device) if theta and self.noise else x
        )


RECIPES = {
    "paper": Recipe(),
    "plus": Recipe(whole=True, cosine=True, test_draws=20, spin=1.57, tilt=0.3, scale=0.2, noise=0.01),
}
PAPER = RECIPES["paper"]


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
        if not re.fullmatch(r"\d{1,4}(\.\d{1,9})?", value):
            raise ValueError(f"{change!r}: a number, 0 or above, should follow {key}=")
        values[key] = kinds[key](float(value))
    recipe = replace(RECIPES[name], **values)
    if not (0 < recipe.crop <= 1 and recipe.scale < 1 and 1 <= recipe.test_draws <= 1000):
        raise ValueError(f"{text!r}: crop should be above 0 and at most 1, scale below 1, and test_draws 1 to 1000")
    if recipe.crop < 1 and not recipe.whole:
        raise ValueError(f"{text!r}: crop goes with whole=1")
    return recipe


def recipe_of(checkpoint):
    """What tells the recipe that a checkpoint was trained by, for `named`; the release's say nothing. UserError."""
    text = checkpoint.get("recipe", "paper")
    try:
        named(text)
    except ValueError as error:
        raise UserError(f"a checkpoint of a recipe that is not known here: {error}") from None
    return text


def turn(x, angles):
    """p' = Rz Ry Rx p for every joint of every frame, the angles (n, 3) about x, y and z in radians."""
    return transform(x, rotation(angles))


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
