"""Checkpoints, ours and the release's: where they are, what they hold, and how they are read safely.

    checkpoint = load_checkpoint("pretrained/NUCLA/SGN/0_best.pth")
    logits = checkpoint.net(clips)

A run writes results/<dataset>/<network>/<case>_best.pth; those that come with the project are in pretrained/, to which
no run writes. A file may come from anywhere: nothing in it is run, and nothing that it says is believed.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from clips.checks import FARTHEST, person_size
from clips.skeletons import KINECT_V2, STREAMS, Skeleton, read_skeleton
from engine.config import Recipe, parse_recipe, sample_people
from model import SGN
from safe.pickles import check_schema
from safe.torch_files import read_torch_file
from util import ROOT, UserError, readable, shorten

LARGEST = 2**26  # numbers between two layers for one clip, or in a layer, 256 MB; 20 segments of 25 joints have 128,000
# Where others keep the weights, and what DataParallel, torch.compile and Lightning put before each name
HOLDERS = ("state_dict", "model_state_dict", "model", "net")
WRAPPED = re.compile(r"^((module|_orig_mod|model|net)\.)+")
# Forms (pickles.check_schema) of what a file may say besides the weights
FORMS = dict.fromkeys(("epoch", "seed", "origin", "seg"), int)
FORMS |= dict.fromkeys(("select", "recipe", "stream", "variant"), str)
FORMS |= {"ablate": [str], "class_names": [str], "skeleton": {str: object}, "about": {str: str}}
# How the epoch of a checkpoint was selected, by --select
SELECT = {
    "test": "best on the test clips, one sample each",
    "val": "best on the validation clips, one sample each",
    "last": "last epoch",
}


@dataclass(frozen=True)
class Checkpoint:
    """A network, in evaluation mode on the CPU, and what its file says of it. The release's files say little."""

    path: Path
    net: SGN
    epoch: int | None
    seed: int
    select: str
    recipe: Recipe
    stream: str  # skeletons.STREAMS
    class_names: tuple[str, ...]  # empty if unknown
    skeleton: Skeleton
    origin: int | None  # the joint, from 1, that is the origin of the training clips; 0: none is; None: not known
    about: dict  # how it was trained, {str: str}: logs.provenance

    @property
    def selected(self):
        return SELECT.get(self.select, "selected by its authors")

    @property
    def split(self):
        """The random split that it was trained on, if any (main.py --splits)."""
        number = self.about.get("split", "")
        return int(number) if number.isdecimal() and len(number) < 9 else None

    @property
    def person_size(self):
        """The checks.person_size of the clips that it was trained on, in their unit; None in 2D, and if not known."""
        with suppress(KeyError, ValueError):
            if 0 < (size := float(self.about["person_size"])) < FARTHEST:
                return size
        return None

    @property
    def up(self):
        """The axis from feet to heads in the clips that it was trained on, as of checks.towards."""
        return self.about.get("up", "y")

    def check_fits(self, clips, config=None, starts=False):
        """Raises UserError if the network does not fit these Clips, or was not trained as a Config says.

        starts: training starts from it, perhaps for other classes, and by another recipe.
        """
        net, classes = self.net, config.num_classes if config else len(clips.class_names)
        if net.num_joint != clips.joints:
            raise UserError(f"{self.path}: it was trained on {net.num_joint} joints, the h5 has {clips.joints}")
        if self.skeleton.is_another(clips.skeleton):
            raise UserError(f"{self.path}: its skeleton, {self.skeleton.name}, is not the h5's, {clips.skeleton.name}")
        if net.num_classes != classes and not starts:
            raise UserError(f"{self.path}: it has {net.num_classes} classes, {classes} are needed")
        if config:
            self._check_settings(config, starts)

    def _check_settings(self, config, starts):
        """Raises UserError if the network was not trained as a Config says. starts: as of `check_fits`."""
        net, seg = self.net, config.seg or self.net.seg
        ablations = ",".join(net.ablate), ",".join(config.ablate)
        flags = {"--ablate": ablations, "--stream": (self.stream, config.stream), "--seg": (net.seg, seg)}
        if not starts:
            flags |= {"--variant": (net.variant, config.variant), "--recipe": (self.recipe.name, config.recipe.name)}
        if not starts and self.split and config.split:
            flags["--splits"] = self.split, config.split
        for flag, (its, here) in flags.items():
            if its != here:
                how = f"with {flag} {its}" if its else f"without {flag}"
                raise UserError(f"{self.path}: it was trained {how}, this command says {here or 'none'}")

    def has_other_classes(self, clips):
        """Whether its classes have other names than those of these Clips, as far as both are known."""
        return bool(self.class_names) and not clips.unnamed and self.class_names != clips.class_names

    def differences(self, clips):
        """Yields what of the data that it was trained on differs from these Clips, in words, as far as it is known."""
        if self.about.get("data_sha256", clips.sha256) != clips.sha256:
            yield "was trained on another h5 than this one"
        if self.has_other_classes(clips):
            yield "has classes of other names than the h5, or in another order"
        size = person_size(sample_people(clips)) if self.person_size else None
        if size and not 1 / 3 < size / self.person_size < 3:
            yield f"was trained on persons about {self.person_size:g} high, those of the h5 are {size:.3g}: other units"
        if clips.skeleton.name == "unknown" != self.skeleton.name:
            yield f"was made for {self.skeleton.name}; the h5 does not state its skeleton"


def find_checkpoint(results, dataset, network, case):
    """The checkpoint of a run in the folder `results`, else the one that comes with the project: a path, perhaps of no
    file. network: "SGN", "SGN-plus", ..."""
    paths = [folder / dataset / network / f"{case}_best.pth" for folder in (Path(results), ROOT / "pretrained")]
    return next((path for path in paths if path.is_file()), paths[0])


def load_checkpoint(path):
    """The Checkpoint in a file of this project or of the authors' release, or a state dict as others save it: bare, or
    by another name of HOLDERS, or with the prefixes of WRAPPED.

    Classes, joints and segments are read off the weights' shapes. Raises UserError for a file that is missing, damaged,
    of another network, or not to be read safely.
    """
    if Path(path).suffix in (".pt2", ".onnx"):
        raise UserError(f"{path}: an exported program, which runs by itself; give the .pth that it was made from")
    content = read_torch_file(path)
    try:
        check_schema(content, {str: object}, "it")
        said = {key: [*value] if isinstance(value, tuple) else value for key, value in content.items()}
        said = {key: value for key, value in said.items() if value is not None}
        for key in FORMS.keys() & said.keys():
            check_schema(said[key], FORMS[key], f"its {key}")
        return describe(Path(path), build(find_weights(said), said, os.path.getsize(path)), said)
    except ValueError as error:
        raise UserError(f"{path}: not a checkpoint of SGN ({shorten(error, 200)})") from None


def find_weights(content):
    """The state dict in a file's content, with SGN's names. Raises ValueError, which says what the file has instead."""
    if content.keys() >= {"settings", "net", "log"}:
        raise ValueError("it is the state of a run, for --resume; its checkpoint is <case>_best.pth")
    weights = next((content[name] for name in HOLDERS if isinstance(content.get(name), dict)), content)
    weights = {WRAPPED.sub("", name) if isinstance(name, str) else name: value for name, value in weights.items()}
    if "fc.weight" not in weights:
        raise ValueError(f"no fc.weight among its keys: {', '.join(map(readable, map(str, weights))) or 'none'}")
    check_schema(weights, {str: torch.Tensor}, "state_dict")
    return weights


def build(weights, said, largest):
    """The SGN of a state dict, in evaluation mode. said: what its file says. largest: bytes of the file."""
    if any(tensor.numel() * tensor.element_size() > largest for tensor in weights.values()):  # it is expanded
        raise ValueError("a tensor is larger than the file")
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    try:
        config = SGN.config_of(shapes, said.get("ablate", ()), said.get("seg"), said.get("variant"))
        check_size(config["seg"], config["num_joint"], config["num_classes"])
        with torch.random.fork_rng(devices=[]):  # the first weights are drawn, and replaced
            net = SGN(**config).eval()
        net.load_state_dict(weights)
    except KeyError as error:
        raise ValueError(f"no {error.args[0]} among its keys: {', '.join(map(readable, weights))}") from None
    except (IndexError, RuntimeError, TypeError) as error:
        raise ValueError(f"its weights have other shapes: {error}") from None
    for name, tensor in net.state_dict().items():
        if not tensor.isfinite().all() or (name.endswith("running_var") and (tensor < 0).any()):
            raise ValueError(f"{name} is not finite, or negative")
    return net


def describe(path, net, said):
    """The Checkpoint of a network and what its file says. Raises ValueError."""
    about = {readable(key): readable(value) for key, value in said.get("about", {}).items()}
    names, skeleton = said.get("class_names", []), said.get("skeleton", {})
    if not said.keys() & {"class_names", "about"}:  # the release's
        if "seg" not in said and net.seg != 20:
            raise ValueError(f"{net.seg} segments, which the release pools to 20: docs/reproduction.md")
        if net.num_joint == 25:
            skeleton = skeleton or KINECT_V2.to_attributes()
            if net.num_classes in (60, 120):
                names = (ROOT / "data/ntu/actions.txt").read_text(encoding="utf-8").splitlines()[: net.num_classes]
    try:
        skeleton = read_skeleton(skeleton, net.num_joint)
    except TypeError as error:  # values of other types
        raise ValueError(f"its skeleton: {error}") from None
    if (stream := said.get("stream", "joint")) not in STREAMS or (stream == "joint") != (net.stream is None):
        raise ValueError(f"its stream is {shorten(stream)}")
    for key, end in (("epoch", 2**31), ("seed", 2**32), ("origin", net.num_joint + 1)):
        if not 0 <= said.get(key, 0) < end:
            raise ValueError(f"its {key} is {shorten(said[key])}")
    names = tuple(map(readable, names)) if len(names) == net.num_classes else ()
    recipe = parse_recipe(said.get("recipe", "paper"))
    defaults = {"select": "", "epoch": None, "seed": 1, "origin": None}
    how = {key: said.get(key, default) for key, default in defaults.items()}
    return Checkpoint(path, net, **how, recipe=recipe, stream=stream, class_names=names, skeleton=skeleton, about=about)


def check_size(seg, joints, classes=1):
    """Raises UserError if a network of so many segments, joints and classes would take more memory than any needs."""
    if min(seg, joints, classes) < 1:
        raise UserError(f"{seg} segments, {joints} joints and {classes} classes: each must be 1 or more")
    # Numbers of the graph G, of a graph convolution, and in the last layer
    if max(seg * joints * max(joints, 256), classes * 512) > LARGEST:
        raise UserError(f"{seg:,} segments of {joints:,} joints, or {classes:,} classes, are more than SGN can take")
