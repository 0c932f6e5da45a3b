"""Makes a data set in which direction and side tell classes apart: figures in front of one camera.

    python data/demo/make_frontal.py --out frontal.h5
    python main.py --dataset frontal.h5 --recipe plus

Five actions of the demo with the left or with the right hand or foot, and walking towards the camera, away from it, to
its right and to its left: 14 classes, each done by every performer twice. Half of the performers train, the others
test, and all are seen from the same side. A recipe that turns clips far about the vertical, or flips them, takes away
what tells these classes apart: this set is for choosing recipes with which that does not happen.
"""

import itertools
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

import util
from actions import ACTIONS
from clips import h5 as layout
from figures import FLIP, PARENT, Build, Take, skeleton
from safe import program
from sensor import Camera, measure

SIDED = ("drink water", "throw", "hand waving", "make a phone call/answer phone", "kicking something")
WALKS = {"towards the camera": 0, "away from the camera": np.pi, "to the right": np.pi / 2, "to the left": -np.pi / 2}
CLASSES = [f"{action}, {side}" for action in SIDED for side in ("left", "right")] + [f"walking {way}" for way in WALKS]
REPLICATIONS = 2


def perform(name, build, rng):
    """A take of a class: (n, 25, 3) metres, in front of the origin, which the camera looks at from +z."""
    if name.startswith("walking "):
        take = Take(rng, build, 60)
        pose = take.stand(build)
        take.walk(pose, rng.uniform(0.6, 1.4) / build.hips, 0, 1, rng.integers(2))
        figure, turn = skeleton(build, pose), WALKS[name.removeprefix("walking ")]
    else:
        action, side = name.rsplit(", ", 1)
        _, _, frames, function = next(entry for entry in ACTIONS if entry[0] == action)
        (figure,) = function(Take(rng, build, frames), build)  # with the right hand or foot
        figure, turn = figure[:, FLIP] * [-1, 1, 1] if side == "left" else figure, 0
    turn += rng.normal(0, 0.15)
    c, s = np.cos(turn), np.sin(turn)
    return figure @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + rng.normal(0, 0.2, 3) * [1, 0, 1]


def make_clip(seed, performer, replication, label, noise):
    """(n, 75) float64, metres: as the camera sees it, the spine of the first frame at the origin."""
    rng = np.random.default_rng([seed, performer, replication, label + 1])
    body = perform(CLASSES[label], Build(np.random.default_rng([seed, performer])), rng)
    seen, _ = measure(Camera(1, np.random.default_rng([seed])).view(body), np.zeros(len(body), bool), rng, noise)
    seen = seen[:, None]
    return layout.center(seen, ~seen.any(axis=(2, 3))).reshape(len(seen), -1)


def main(argv=None):
    parser = util.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FILE.h5", help="file to write")
    add("--seed", type=util.seed, default=1, help="of the random numbers (%(default)s)")
    add("--performers", type=util.positive_int, default=6, help="an even number, up to 100 (%(default)s)")
    add("--noise", type=util.nonnegative_float, default=4.0, help="of the camera; the demo set has 1 (%(default)s)")
    args = parser.parse_args(argv)
    if args.performers % 2 or args.performers > 100 or args.noise > 10 or args.out.suffix not in (".h5", ".hdf5"):
        parser.error("--performers must be even and at most 100, --noise at most 10, --out must end in .h5")
    half, classes = args.performers // 2, range(len(CLASSES))
    sides = {"": range(1, half + 1), "valid_": (), "test_": range(half + 1, args.performers + 1)}
    splits = {}
    for split, performers in sides.items():
        takes = list(itertools.product(performers, range(1, REPLICATIONS + 1), classes))
        splits[split] = (
            [make_clip(args.seed, *take, args.noise) for take in takes],
            np.array([t[2] for t in takes], int),
        )
    layout.write_h5(
        args.out,
        splits,
        frames=max(len(clip) for clips, _ in splits.values() for clip in clips),
        joints=len(PARENT),
        persons=1,
        class_names=CLASSES,
        protocol=f"cross-subject, one camera in front: performers 1 to {half} train, the others test",
        skeleton="kinect_v2",
        made_by=f"make_frontal.py {util.__version__}",
    )
    print(
        f"{args.out}: {len(splits[''][1])} training and {len(splits['test_'][1])} test clips of {len(CLASSES)} classes"
    )


if __name__ == "__main__":
    with program.exit_on_error():
        main()
