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
from engine.config import Recipe, parse_recipe
from engine.datasets import DATASETS, OTHER, sample_people
from model import SGN
from safe.pickles import check_schema
from safe.torch_files import read_torch_file
from util import ROOT, UserError, readable, shorten

LARGEST = 2**26  # numbers between two layers for one clip, 256 MB; 20 segments of 25 joints have 128,000
# Where others keep the weights, and what DataParallel, torch.compile and Lightning put before each name
HOLDERS = ("state_dict", "model_state_dict", "model", "net")
WRAPPED = re.compile(r"^((module|_orig_mod|model|net)\.)+")
# Forms (check_schema) of what a file may say besides the weights
FORMS = {"skeleton": {str: object}, "about": {str: str}} | dict.fromkeys(("epoch", "seed", "origin"), int)
FORMS |= dict.fromkeys(("select", "recipe", "stream", "variant"), str) | dict.fromkeys(("ablate", "class_names"), [str])
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
    about: dict  # how it was trained, {str: str}: util.provenance

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

    def check_fits(self, joints, classes, skeleton=None):
        """Raises UserError if the network does not fit data of so many joints and classes, or of another skeleton.

        classes: None if any number will do.
        """
        net = self.net
        if skeleton and skeleton.is_another(self.skeleton):
            theirs = "another one" if skeleton.name == self.skeleton.name else skeleton.name
            raise UserError(f"{self.path}: made for the skeleton {self.skeleton.name}, the data has {theirs}")
        for what, ours, theirs in (("joints", net.num_joint, joints), ("classes", net.num_classes, classes)):
            if theirs not in (None, ours):
                raise UserError(f"{self.path}: made for {ours} {what}, the data has {theirs}")

    def has_other_classes(self, clips):
        """Whether its classes have other names than those of these Clips, as far as both are known."""
        return bool(self.class_names) and not clips.unnamed and self.class_names != clips.class_names

    def differences(self, clips):
        """Yields what of the data that it was trained on differs from these Clips, in words, as far as it is known."""
        if self.about.get("data_sha256", clips.sha256) != clips.sha256:
            yield "was trained on another h5 than this one"
        if self.has_other_classes(clips):
            pairs = zip(self.class_names, clips.class_names, strict=False)
            i, (ours, theirs) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
            yield f"has other classes: its {i} is {shorten(ours)}, the h5's {shorten(theirs)}"
        size = person_size(sample_people(clips)) if self.person_size else None
        if size and not 1 / 3 < size / self.person_size < 3:
            yield f"was trained on persons about {self.person_size:g} high, those of the h5 are {size:.3g}: other units"
        if clips.skeleton.name == "unknown" != self.skeleton.name:
            yield f"was made for {self.skeleton.name}; the h5 does not state its skeleton"

    def check_config(self, config, testing=True):
        """Raises UserError if it was trained with other ablations, stream or segments than those of a Config.

        testing: also with another variant, recipe or random split.
        """
        pairs = [("--ablate", ",".join(self.net.ablate), ",".join(config.ablate))]
        pairs.append(("--stream", self.stream, config.stream))
        if testing:
            pairs.append(("--variant", self.net.variant, config.variant))
            pairs.append(("--recipe", self.recipe.name, config.recipe.name))
            if config.split is not None and self.split not in (None, config.split):
                raise UserError(f"{self.path}: trained on split {self.split}, not on split {config.split}")
        for flag, ours, theirs in pairs:
            if ours != theirs:
                raise UserError(f"{self.path}: trained with {f'{flag} {ours}' if ours else f'no {flag}'}; use the same")
        if config.seg not in (None, self.net.seg):
            raise UserError(f"--seg {config.seg}: {self.path} was trained with {self.net.seg}")


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
        net = build(find_weights(said), said, os.path.getsize(path))
        return Checkpoint(path=Path(path), net=net, **read_metadata(said, net))
    except (ValueError, KeyError) as error:
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
        check_schema(config["seg"], int, "seg")  # of an ablated network it is not read off the weights
        if min(sizes := [config[key] for key in ("num_classes", "num_joint", "seg")]) < 1:
            raise ValueError(f"its classes, joints and segments are {sizes}")
        with torch.device("meta"):  # takes no memory, whatever sizes the file states
            _Undrawn(**config).load_state_dict({name: tensor.to("meta") for name, tensor in weights.items()})
    except (IndexError, RuntimeError, OverflowError, TypeError) as error:
        raise ValueError(f"its weights have other shapes: {error}") from None
    check_size(config["seg"], config["num_joint"])
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, and replaced
        net = SGN(**config).eval()
    net.load_state_dict(weights)
    for name, tensor in net.state_dict().items():
        if not tensor.isfinite().all() or (name.endswith("running_var") and (tensor < 0).any()):
            raise ValueError(f"{name} is not finite, or negative")
    return net


# Its first weights are not drawn: for that, on the meta device, PyTorch imports its compiler for seconds
_Undrawn = type("SGN", (SGN,), {"_initialise": lambda net: None})


def read_metadata(said, net):
    """What a file says of its network, as fields of Checkpoint. Raises ValueError."""
    about = {readable(key): readable(value) for key, value in said.get("about", {}).items()}
    names, of_release = said.get("class_names", []), not said.keys() & {"class_names", "about"}
    if of_release and "seg" not in said and net.seg != 20:
        raise ValueError(f"{net.seg} segments, which the release pools to 20: docs/reproduction.md")
    if of_release and net.num_joint == 25 and net.num_classes in (60, 120):
        names = (ROOT / "data/ntu/actions.txt").read_text(encoding="utf-8").splitlines()[: net.num_classes]
    try:
        skeleton = read_skeleton(said.get("skeleton", {}), net.num_joint)
    except TypeError as error:  # values of other types
        raise ValueError(f"its skeleton: {error}") from None
    if "skeleton" not in said:
        known = KINECT_V2 if of_release else DATASETS.get(about.get("dataset"), OTHER).skeleton or skeleton
        skeleton = known if len(known.joints) == net.num_joint else skeleton
    if (stream := said.get("stream", "joint")) not in STREAMS or (stream == "joint") != (net.stream is None):
        raise ValueError(f"its stream is {shorten(stream)}")
    for key, end in (("epoch", 2**31), ("seed", 2**32), ("origin", net.num_joint + 1)):
        if not 0 <= said.get(key, 0) < end:
            raise ValueError(f"its {key} is {shorten(said[key])}")
    names = tuple(map(readable, names)) if len(names) == net.num_classes else ()
    plain = {"epoch": None, "seed": 1, "select": "", "recipe": "paper", "origin": None}
    fields = {key: said.get(key, default) for key, default in plain.items()} | {"stream": stream, "about": about}
    return fields | {"recipe": parse_recipe(fields["recipe"]), "class_names": names, "skeleton": skeleton}


def check_size(seg, joints):
    """Raises UserError if a clip of so many segments and joints would take more memory than any skeleton needs."""
    if seg * joints * max(joints, 256) > LARGEST:  # numbers of the graph G, or of a graph convolution
        raise UserError(f"{seg:,} segments of {joints:,} joints are more than SGN can take")
