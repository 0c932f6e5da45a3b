"""Makes the demo set: moving figures in NTU RGB+D's `.skeleton` text, to try everything without any data.

    python data/demo/make_demo.py                      # data/demo/DEMO_CS.h5 and DEMO_CV.h5, in a minute or less
    python main.py --dataset DEMO --epochs 30          # train on it

13 actions (actions.txt) x 8 performers x 3 cameras x 2 replications = 624 clips, DIR/nturgb+d_skeletons/
SsssCcccPpppRrrrAaaa.skeleton, which the three scripts of data/ntu convert to the h5 files, as for real data. The
figures are artificial: accuracy on them says that everything works, not how good a model is. All appear when they are
complete, in place of those of an earlier run.
"""

import shutil
import sys
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root
sys.path.append(str(Path(__file__).resolve().parents[1] / "ntu"))

import get_raw_denoised_data
import get_raw_skes_data
import seq_transformation
from actions import ACTIONS, perform
from clips.importing import scratch
from figures import Build
from safe import program
from safe.program import exit_on_error, progress
from sensor import AZIMUTH, Camera, record, text
from util import UserError, name_file_in_errors

HERE = Path(__file__).resolve().parent
SETUP = 33  # NTU's are 1 to 32, so that no name is that of a real clip
SKELETONS, FILES = "nturgb+d_skeletons", ("DEMO_CS.h5", "DEMO_CV.h5")


def rng_of(seed, camera=0, performer=0, replication=0, action=0):
    """Random numbers for one part of the set: 0 stands for all cameras, performers, ...

    So all cameras see the same take, a performer has the same body in all clips, and no clip depends on the others.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, SETUP, camera, performer, replication, action]))


def scene(seed, performer, replication, action):
    """A take before any camera: a list of (n, 25, 3) joints, one array for each person, metres on the stage (y up)."""
    rng = rng_of(seed, 0, performer, replication, action)
    partner = Build(np.random.default_rng(rng.integers(2**32)))
    bodies = perform(action, [Build(rng_of(seed, performer=performer)), partner], rng)
    turn = AZIMUTH[replication + 1] + rng.normal(0, 0.15)
    if len(bodies) == 2:
        turn += np.pi / 2  # the faced camera sees both from the side
    c, s = np.cos(turn), np.sin(turn)
    spot = rng.normal(0, 0.12, 3) * [1, 0, 1]
    return [body @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + spot for body in bodies]


def clip(seed, camera, performer, replication, action, noise=1.0):
    """The text of one `.skeleton` file."""
    bodies = scene(seed, performer, replication, action)
    lens = Camera(camera, rng_of(seed, camera=camera))
    rng = rng_of(seed, camera, performer, replication, action)
    return text(record([lens.view(body) for body in bodies], rng, noise))


def make(root, seed, noise, takes):
    """Makes the set. takes: performer, replication, action of each. Raises UserError if root has other skeletons."""
    if other := [path for path in (root / SKELETONS).glob("*") if not path.name.startswith(f"S{SETUP:03}")]:
        raise UserError(f"{other[0]}: not of the demo set; choose another --root")
    root.mkdir(parents=True, exist_ok=True)
    with scratch(root / "demo") as folder, name_file_in_errors(root):
        part = Path(folder)
        (part / SKELETONS).mkdir()
        for camera, (p, r, a) in progress([*product(AZIMUTH, takes)], desc="skeletons", unit="clip", mininterval=1):
            path = part / SKELETONS / f"S{SETUP:03}C{camera:03}P{p:03}R{r:03}A{a:03}.skeleton"
            path.write_text(clip(seed, camera, p, r, a, noise), encoding="utf-8", newline="\n")
        for step in (get_raw_skes_data, get_raw_denoised_data, seq_transformation):
            step.main(["--root", folder, "--dataset", "DEMO"])
        shutil.rmtree(root / SKELETONS, ignore_errors=True)
        for name in (SKELETONS, *FILES):
            (part / name).replace(root / name)
    print(f"{root}: {' and '.join(FILES)}")


def main(argv=None):
    parser = program.ArgumentParser(description=__doc__)
    add, performers = parser.add_argument, program.whole(3, 40)  # the first one who tests, the last one of NTU60
    add("--root", type=Path, default=HERE, help="folder to write to (%(default)s)")
    add("--seed", type=program.seed, default=1, help="of the random numbers (%(default)s)")
    add("--performers", type=performers, default=8, help="3 to 40 (%(default)s)")
    add("--noise", type=program.number(0, 10), default=1.0, help="of the cameras, 0 to 10 (%(default)s)")
    args = parser.parse_args(argv)
    takes = product(range(1, args.performers + 1), (1, 2), range(1, len(ACTIONS) + 1))
    make(args.root, args.seed, args.noise, [*takes])


if __name__ == "__main__":
    with exit_on_error():
        main()
