"""All that decides a run besides its clips: the data set, the recipe, and the Config of all settings.

A Recipe says how frames are sampled from a clip, how clips are augmented (data.py), how the learning rate falls, and
how many samples are tested: "paper" is the paper's, and "plus" gets more out of the same network (docs/recipes.md).
Network, loss and optimizer are the same in all recipes.
"""

import math
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

from clips.checks import FRAMES, SAMPLE, describe_empty, find_odd, pick
from model import SGN
from safe.program import did_you_mean
from util import ROOT, UserError, shorten

# ---- data sets


@dataclass(frozen=True)
class Dataset:
    """What the project knows of a data set besides its h5 files."""

    folder: str = ""  # below data/
    files: tuple[str, ...] = ()  # the h5 of case 0, case 1, ...
    cross_view: tuple[int, ...] = ()  # the cases whose test clips are seen from other directions than training clips
    window: int = 80  # frames that a live classifier looks at: about the clips' mean length, a multiple of 20


DATASETS = {
    "NTU": Dataset("ntu", ("NTU_CS.h5", "NTU_CV.h5"), cross_view=(1,)),
    "NTU120": Dataset("ntu", ("NTU120_CS.h5", "NTU120_CSet.h5")),
    "NUCLA": Dataset("nucla", ("NUCLA_CV.h5",), cross_view=(0,), window=40),
    "UTDMHAD": Dataset("utd_mhad", ("UTDMHAD_CS.h5",), window=60),
    "MSRACTION3D": Dataset("msraction3d", ("MSRACTION3D_CS.h5",), window=40),
    "SYSU": Dataset("sysu", ("SYSU_CS.h5", "SYSU_SS.h5")),
    "KINETICS": Dataset("kinetics", ("KINETICS_val.h5",)),
    "DEMO": Dataset("demo", ("DEMO_CS.h5", "DEMO_CV.h5"), cross_view=(1,), window=60),
}
OTHER = Dataset()  # an h5 that is given by its path


def find_h5(dataset, case, folder=None):
    """The h5 of a data set's case. Returns (path, the data set's name).

    dataset: a name of DATASETS in upper or lower case, or the path of an h5 in the same layout, which has case 0 only
    and is named by its stem. folder: where the h5 is, if not in the data set's own folder. Makes the demo set if it is
    not there. Raises UserError, which says how missing data are made.
    """
    if dataset.endswith((".h5", ".hdf5")):
        path, name = Path(dataset), Path(dataset).stem
        if name in DATASETS or not name.strip("."):
            raise UserError(f"--dataset {dataset}: its results cannot go to results/{name}; rename the file")
        if case != 0 or folder:
            raise UserError(f"--case {case}, --data: a data set given by its path has case 0 only, and its folder")
    else:
        name = dataset.upper()
        if name not in DATASETS:
            known = f"{', '.join(DATASETS)} or the path of an .h5{did_you_mean(name, DATASETS)}"
            raise UserError(f"--dataset {shorten(dataset)}: not {known}")
        files = DATASETS[name].files
        if case not in range(len(files)):
            raise UserError(f"--case {case}: {name} has 0 to {len(files) - 1}, which are {', '.join(files)}")
        path = Path(folder or ROOT / "data" / DATASETS[name].folder) / files[case]
    if name == "DEMO" and not folder and not path.is_file():
        print(f"{path.name} is missing: making the demo set, which takes up to a minute", file=sys.stderr)
        if subprocess.run([sys.executable, ROOT / "data/demo/make_demo.py"], stdout=sys.stderr).returncode:
            raise UserError("data/demo/make_demo.py failed; see its line above")
    if not path.exists():
        raise UserError(f"no data: {path} is missing; docs/data.md says how to make it. --dataset DEMO needs none")
    return path, name


def is_cross_view(dataset, case):
    """Whether a case of a data set, as in `find_h5`, tests on other views than it trains on; not known of an h5."""
    return case in DATASETS.get(dataset.upper(), OTHER).cross_view


@lru_cache(maxsize=1)
def sample_people(clips):
    """A sample of the persons that data.Clips have for training and validation, as from checks.pick."""
    ids = clips.ids("train", "valid")
    ids = ids[:: max(1, len(ids) // SAMPLE)]
    last = (clips.length[ids, None] - 1).clamp(min=0)
    frames = last * last.new_tensor(range(FRAMES)) // (FRAMES - 1)
    x = clips.gather(ids, frames).unflatten(2, (1, -1, 3)).cpu().numpy()
    return [person for clip in x for person in pick(clip)]


def find_odd_training(clips):
    """What is odd about the Clips that train: a list of lines, as tools/check_h5.py notes them."""
    labels = {*clips.label[clips.ids("train", "valid")].cpu().tolist()}
    empty = describe_empty(labels, clips.class_names)
    return [*empty, *find_odd(sample_people(clips), clips.skeleton, not clips.spatial)]


# ---- recipes


@dataclass(frozen=True)
class Recipe:
    """The paper's recipe by default. A sample is one random choice of frames from a clip, one from each segment."""

    # Segments cover the whole clip, and frames of short clips repeat. Without it, as in the release, a clip's last
    # frames are never sampled, and short clips are padded with zeros (data.Clips.sample_frames)
    whole_clip: bool = False
    cosine: bool = False  # the learning rate falls along half a cosine, otherwise in three steps
    test_samples: int = 5  # of each test clip, whose logits are averaged
    # Training rotation about the vertical axis y, and about the other two, up to so many radians either way. 0 for
    # both: about all three by theta, the data set's angle
    rotate_y: float = 0.0
    rotate_xz: float = 0.0
    flip: bool = False  # mirrors every second clip at random: x becomes -x, and left joints become right ones
    crop: float = 1.0  # the smallest part of the clip that is sampled from, as a fraction
    # A random linear map for each clip: its diagonal is 1 ± scale, its other entries 0 ± shear
    shear: float = 0.0
    scale: float = 0.0
    noise: float = 0.0  # standard deviation in metres, added to each coordinate; padding stays 0

    def __post_init__(self):
        if not (0 < self.crop <= 1 and 1 <= self.test_samples <= 1000 and self.scale + 2 * self.shear < 1):
            raise ValueError("crop must be above 0 and at most 1, test_samples 1 to 1000, scale + 2 * shear below 1")
        if self.crop < 1 and not self.whole_clip:
            raise ValueError("crop needs whole_clip=1")

    def __str__(self):
        """All values that differ from the paper's, for `parse_recipe`: independent of what "plus" will come to mean."""
        return _spell(self, "paper")

    @property
    def name(self):
        """The shortest text for `parse_recipe`: "plus", "plus,noise=0". The name of the results folder."""
        return min((_spell(self, base) for base in RECIPES), key=lambda text: text.count(","))

    @property
    def has_rotation(self):
        """Whether the rotation is the recipe's own, and not the data set's."""
        return bool(self.rotate_y or self.rotate_xz)

    def learning_rate(self, lr, factor, epoch, epochs):
        """The learning rate of an epoch, counted from 1. factor: of each of the three steps."""
        if self.cosine:
            return lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
        return lr * factor ** sum(12 * (epoch - 1) >= k * epochs for k in (6, 9, 11))


PAPER = Recipe()
PLUS = replace(PAPER, whole_clip=True, crop=0.6, test_samples=20, cosine=True)
PLUS = replace(PLUS, rotate_y=1.57, rotate_xz=0.3, flip=True, shear=0.2, scale=0.2, noise=0.01)
RECIPES = {"paper": PAPER, "plus": PLUS}
# What depends on `cross_view`, whether test clips are seen from other directions than training clips. THETA is the
# release's. Where the directions are the same, they may tell classes apart: walking to the left from walking to the
# right, the one hand from the other
THETA = {True: 0.5, False: 0.3}
SAME_VIEWS = {"paper": {}, "plus": {"rotate_y": 0.3, "flip": False}}


@dataclass(frozen=True)
class Config:
    """All that decides the result of a run, besides the data. main.py has a flag for each.

    A run that was started before a field was added has its default.
    """

    dataset: str = "NTU"  # a name of DATASETS, or the stem of an h5
    case: int = 0
    network: str = "SGN"
    recipe: Recipe = PAPER
    ablate: tuple[str, ...] = ()  # model.ABLATIONS
    variant: str | None = None  # model.VARIANTS
    stream: str = "joint"  # skeletons.STREAMS
    seed: int = 1
    split: int | None = None  # the number of a random split
    select: str = "test"  # the clips on which the epoch is selected: checkpoint.SELECT
    monitor: str = "val_acc"  # or val_loss: by what
    epochs: int = 120
    batch_size: int = 64
    lr: float = 0.001
    lr_factor: float | None = 0.1  # None: the recipe has its own schedule
    weight_decay: float = 0.0001
    class_weights: str | None = None  # "balanced": the loss weighs classes by inverse frequency
    theta: float | None = None  # training rotation, radians. None: that of the views, or the recipe's own
    seg: int | None = None  # segments. None: 20, or the checkpoint's
    num_classes: int | None = None  # None: as many as the data has
    init: str | None = None  # SHA-256 of the checkpoint that training starts from; in a command line its path
    freeze: bool = False  # train the last layer alone
    amp: bool = False
    tf32: bool = False
    compile: bool = False
    deterministic: bool = False

    def settings(self):
        """The values by name, as plain types."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"recipe": str(self.recipe)}

    @property
    def folder(self):
        """The folder of its results, below the data set's: "SGN", "SGN-plus", "SGN-plus-bone", "SGN-init", ..."""
        recipe = "" if self.recipe == PAPER else self.recipe.name
        stream = "" if self.stream == "joint" else self.stream
        parts = [self.network, recipe, stream, self.variant, "+".join(self.ablate)]
        parts += ["init" * bool(self.init), "freeze" * self.freeze]
        return "-".join(part for part in parts if part)

    def make_network(self, clips):
        """The SGN of a complete Config for these Clips. Raises UserError if it needs a skeleton that is not known."""
        edges = clips.bones() if "skeleton-graph" in self.ablate else None
        stream = clips.stream(self.stream)
        return SGN(self.num_classes, clips.joints, self.seg, self.ablate, edges, stream, self.variant)


# What a value may look like, by its type
FORMS = {bool: "[01]", int: "[0-9]{1,4}", float: r"[0-9]{1,4}(\.[0-9]{1,6})?"}


def parse_recipe(text, cross_view=True):
    """The recipe of a name and changed values: "plus", "plus,noise=0,crop=1". Raises ValueError.

    cross_view: the test clips are seen from other directions than the training clips; if not, SAME_VIEWS applies.
    """
    name, *changes = text.split(",")
    if name not in RECIPES:
        raise ValueError(f"{name!r:.60} is not one of {', '.join(RECIPES)}")
    types, values = {field.name: field.type for field in fields(Recipe)}, {}
    for change in changes:
        key, _, value = change.partition("=")
        if key not in types or key in values or not re.fullmatch(FORMS[types[key]], value):
            raise ValueError(f"{change!r:.60}: NAME=NUMBER is needed, or 0 or 1, each once, of {', '.join(types)}")
        values[key] = types[key](float(value))
    return replace(RECIPES[name], **({} if cross_view else SAME_VIEWS[name]) | values)


def _spell(recipe, base):
    theirs = asdict(RECIPES[base])
    changes = {key: f"{value:.6f}" for key, value in asdict(recipe).items() if value != theirs[key]}
    return ",".join([base, *(f"{key}={value.rstrip('0').rstrip('.')}" for key, value in changes.items())])


# ---- from flags


def choose_recipe(args):
    """The Recipe of a command line, and its theta and lr_factor, None where the recipe has its own. UserError."""
    cross_view = args.views == "other" if args.views else is_cross_view(args.dataset, args.case)
    recipe = parse_recipe(args.recipe, cross_view)
    if recipe.has_rotation and args.theta is not None or recipe.cosine and args.lr_factor is not None:
        raise UserError(f"--theta, --lr-factor: --recipe {recipe.name} has its own")
    theta = THETA[cross_view] if args.theta is None else args.theta
    return recipe, None if recipe.has_rotation else theta, None if recipe.cosine else args.lr_factor or 0.1


def make_config(args, clips, name, init=None, digest=None):
    """The Config of a command line and these clips. Raises UserError for what does not fit.

    name: of the data set. init: the Checkpoint that training starts from, if any; digest: of its file.
    """
    recipe, theta, lr_factor = choose_recipe(args)
    classes = len(clips.class_names)
    seg = args.seg or (init.net.seg if init else 20 if args.train else None)
    if (args.num_classes or classes) < classes:
        raise UserError(f"--num-classes {args.num_classes}: the data has {classes} classes")
    if not clips.splits["test"]:
        raise UserError(f"{args.dataset}: no clips in test_x, so nothing to test on")
    if args.tf32 and clips.label.device.type != "cuda":
        raise UserError(f"--tf32: only a GPU has it, and this is on {clips.label.device}; leave it out")
    values = {field.name: getattr(args, field.name) for field in fields(Config) if hasattr(args, field.name)}
    values |= {"dataset": name, "recipe": recipe, "lr_factor": lr_factor, "seg": seg, "init": digest or args.init}
    values |= {"seed": 1 if args.seed is None else args.seed, "num_classes": args.num_classes or classes}
    config = Config(**values | {"theta": None if theta is None else theta * clips.spatial})
    if init:
        init.check_fits(clips, config, starts=True)
    return config
