"""Makes the demo set: moving figures in NTU RGB+D's `.skeleton` text, to try everything without any data.

    python data/demo/make_demo.py                      # data/demo/DEMO_CS.h5 and DEMO_CV.h5, in a minute or less
    python main.py --dataset DEMO --epochs 30          # train on it

13 actions (actions.txt) x 8 performers x 3 cameras x 2 replications = 624 clips, DIR/nturgb+d_skeletons/
SsssCcccPpppRrrrAaaa.skeleton, which the three scripts of data/ntu convert to the h5 files, as for real data. The
figures are artificial: accuracy on them says that everything works, not how good a model is.

Nothing is done if both h5 are there already. All appear when they are complete.
"""

import itertools
import json
import shutil
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root
sys.path.append(str(Path(__file__).resolve().parents[1] / "ntu"))

import get_raw_denoised_data
import get_raw_skes_data
import seq_transformation
import util
from actions import ACTIONS, perform
from figures import Build
from safe import arguments, program, progress
from safe.files import exclusive_lock
from sensor import AZIMUTH, Camera, record, text

HERE = Path(__file__).resolve().parent
SETUP = 33  # NTU's are 1 to 32, so that no name is that of a real clip
REPLICATIONS = (1, 2)
PRODUCTS = ("nturgb+d_skeletons", "DEMO_CS.h5", "DEMO_CV.h5")


def stream(seed, camera=0, performer=0, replication=0, action=0):
    """Random numbers for one part of the set: 0 stands for all cameras, performers, ...

    So all cameras see the same take, a performer has the same body in all clips, and no clip depends on the others.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, SETUP, camera, performer, replication, action]))


def scene(seed, performer, replication, action):
    """A take before any camera: a list of (n, 25, 3) joints, one array for each person, metres on the stage (y up)."""
    rng = stream(seed, 0, performer, replication, action)
    partner = Build(np.random.default_rng(rng.integers(2**32)))
    bodies = perform(action, [Build(stream(seed, performer=performer)), partner], rng)
    turn = AZIMUTH[2 if replication == 1 else 3] + rng.normal(0, 0.15)
    if len(bodies) == 2:
        turn += np.pi / 2  # the faced camera sees both from the side
    c, s = np.cos(turn), np.sin(turn)
    spot = rng.normal(0, 0.12, 3) * [1, 0, 1]
    return [body @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + spot for body in bodies]


def clip(seed, camera, performer, replication, action, noise=1.0):
    """The text of one `.skeleton` file."""
    bodies = scene(seed, performer, replication, action)
    lens = Camera(camera, stream(seed, camera=camera))
    rng = stream(seed, camera, performer, replication, action)
    return text(record([lens.view(body) for body in bodies], rng, noise))


def make(root, settings, clips):
    """Makes the set in a folder of its own, then moves it to root, in place of another; root/demo.json says of what
    settings it is. Raises UserError if root has skeletons from elsewhere. clips: performer, replication, action."""
    note, part = root / "demo.json", root / "demo.part"
    folder = part / PRODUCTS[0]
    if (root / folder.name).exists() and not note.exists():
        raise util.UserError(f"{root / folder.name}: not written by {Path(__file__).name}; choose another --root")
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    folder.mkdir(parents=True)
    try:
        clips = list(itertools.product(AZIMUTH, clips))
        for camera, (p, r, a) in progress.progress(clips, desc="skeletons", unit="clip", mininterval=1):
            file = folder / f"S{SETUP:03}C{camera:03}P{p:03}R{r:03}A{a:03}.skeleton"
            with util.name_file_in_errors(file):
                written = clip(settings["seed"], camera, p, r, a, settings["noise"])
                file.write_text(written, encoding="utf-8", newline="\n")
        for step in (get_raw_skes_data, get_raw_denoised_data, seq_transformation):
            step.main(["--root", str(part), "--dataset", "DEMO"])
        for h5 in PRODUCTS[1:]:  # in this order: if it is killed here, the next run makes all again
            (root / h5).unlink(missing_ok=True)
        note.write_text(json.dumps(settings) + "\n", encoding="utf-8")
        shutil.rmtree(root / folder.name, ignore_errors=True)
        for product in PRODUCTS:
            (part / product).rename(root / product)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def is_made(root, settings):
    """Whether all is there, of these settings."""
    try:
        written = json.loads((root / "demo.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return written == settings and all((root / product).exists() for product in PRODUCTS)


def main(argv=None):
    parser = arguments.ArgumentParser(description=__doc__)
    add, performers = parser.add_argument, arguments.whole(3, 40)  # the first one who tests, the last one of NTU60
    add("--root", type=Path, default=HERE, help="folder to write to (%(default)s)")
    add("--seed", type=arguments.seed, default=1, help="of the random numbers (%(default)s)")
    add("--performers", type=performers, default=8, help="3 to 40 (%(default)s)")
    add("--noise", type=arguments.number(0, 10), default=1.0, help="of the cameras, 0 to 10 (%(default)s)")
    args = parser.parse_args(argv)
    settings = {"version": 1, "seed": args.seed, "performers": args.performers, "noise": args.noise}
    with exclusive_lock(args.root / ".lock", wait=True):
        if is_made(args.root, settings):
            print(f"{args.root}: {' and '.join(PRODUCTS[1:])} are there already")
            return
        numbers = range(1, args.performers + 1), REPLICATIONS, range(1, len(ACTIONS) + 1)
        make(args.root, settings, list(itertools.product(*numbers)))


if __name__ == "__main__":
    with program.exit_on_error():
        main()
