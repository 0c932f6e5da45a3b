"""Writes the demo set: moving figures in NTU RGB+D's `.skeleton` text, for whoever has no data yet.

    python data/demo/make_demo.py                      # data/demo/DEMO_CS.h5 and DEMO_CV.h5, in a minute or less
    python main.py --dataset DEMO --max-epochs 30      # train on it

13 actions (actions.txt) x 8 performers x 3 cameras x 2 replications = 624 clips, `DIR/nturgb+d_skeletons/
SsssCcccPpppRrrrAaaa.skeleton`, which the three scripts of `data/ntu` then turn into the h5 files exactly as they do
with the real data. The figures are made up: their accuracy says that everything works, not how good a model is.

Running it again does nothing that is already done. The folder of skeletons appears when it is complete.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from actions import ACTIONS, perform
from figures import Build
from sensor import AZIMUTH, Camera, record, text
from tqdm import tqdm

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))
import util  # noqa: E402

SETUP = 33  # NTU ends at 32, so that no name is one of a real clip
REPLICATIONS = (1, 2)
SCRIPTS = ("get_raw_skes_data.py", "get_raw_denoised_data.py", "seq_transformation.py")
PRODUCTS = ("DEMO_CS.h5", "DEMO_CV.h5")
VERSION = 1  # of what the figures do: another version writes the set again


def stream(seed, camera=0, performer=0, replication=0, action=0):
    """The random numbers of one thing of the set; 0 means that they are the same for all.

    So one take looks the same to each camera (camera 0), one performer keeps one body (only the performer given),
    and no clip depends on which others are made.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, SETUP, camera, performer, replication, action]))


def clip_name(camera, performer, replication, action):
    return f"S{SETUP:03}C{camera:03}P{performer:03}R{replication:03}A{action:03}.skeleton"


def scene(seed, performer, replication, action):
    """The take as it happened: a list of (n, 25, 3) joints, one array a person, metres on the stage (y up)."""
    rng = stream(seed, 0, performer, replication, action)
    partner = Build(np.random.default_rng(rng.integers(2**32)))
    bodies = perform(action, [Build(stream(seed, performer=performer)), partner], rng)
    turn = AZIMUTH[2 if replication == 1 else 3] + rng.normal(0, 0.15)
    if len(bodies) == 2:
        turn += np.pi / 2  # the camera that is faced sees both from the side
    c, s = np.cos(turn), np.sin(turn)
    spot = rng.normal(0, 0.12, 3) * [1, 0, 1]
    return [body @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + spot for body in bodies]


def clip(seed, camera, performer, replication, action, noise=1.0):
    """The text of one `.skeleton` file."""
    bodies = scene(seed, performer, replication, action)
    lens = Camera(camera, stream(seed, camera=camera))
    rng = stream(seed, camera, performer, replication, action)
    return text(record([lens.view(body) for body in bodies], rng, noise), rng)


def clips(performers):
    """Camera, performer, replication and action of every clip of the set."""
    return [
        (camera, performer, replication, action)
        for camera in AZIMUTH
        for performer in range(1, performers + 1)
        for replication in REPLICATIONS
        for action in range(1, len(ACTIONS) + 1)
    ]


def write_skeletons(root, seed, performers, noise):
    """Writes the set into root/nturgb+d_skeletons, unless it is there; whole or not at all. Returns the folder.

    `root/demo.json` says what was written. UserError if the folder holds skeletons that this did not write.
    """
    folder, note = root / "nturgb+d_skeletons", root / "demo.json"
    settings = {"version": VERSION, "seed": seed, "performers": performers, "noise": noise}
    wanted = clips(performers)
    names = {clip_name(*which) for which in wanted}
    try:
        known = json.loads(note.read_text())
    except (FileNotFoundError, ValueError):
        known = None
    there = set(os.listdir(folder)) if folder.is_dir() else None
    if there and known is None:
        raise util.UserError(f"{folder}: skeletons that {Path(__file__).name} did not write; choose another --root")
    if known == settings and there == names:
        print(f"{folder}: {len(names)} clips, already there")
        return folder
    part = root / f"{folder.name}.part"
    if part.exists():  # of a run that was killed
        shutil.rmtree(part)
    part.mkdir()
    try:
        for which in tqdm(wanted, desc="skeletons", unit="clip", mininterval=1):
            file = part / clip_name(*which)
            with util.naming(file):
                file.write_text(clip(seed, *which, noise), newline="\n")
        if hasattr(os, "sync"):
            os.sync()  # all of it on the disk before it gets its name
        # In this order, whenever it stops: h5 files are of the skeletons beside them, and so is the note.
        for product in PRODUCTS:
            (root / product).unlink(missing_ok=True)
        if there is not None:
            shutil.rmtree(folder)
        with util.replacing(root / "actions.txt") as file:
            file.write_text("".join(f"{name}\n" for name, *_ in ACTIONS), newline="\n")
        with util.replacing(note) as file:
            file.write_text(json.dumps(settings) + "\n")
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def run_scripts(root):
    """The three steps of data/ntu, from skeletons to h5 files; ends the program if one of them fails."""
    for script in SCRIPTS:
        command = [REPOSITORY / "data" / "ntu" / script, "--root", root, "--dataset", "DEMO"]
        code = subprocess.run([sys.executable, *map(str, command)]).returncode
        if code:
            sys.exit(code)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent, help="default: this folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--performers", type=int, default=8, help="3 to 40; NTU60's lists split them (default 8)")
    parser.add_argument("--noise", type=float, default=1.0, help="of the sensor, 0 for none (default 1)")
    parser.add_argument("--only-skeletons", action="store_true", help="leave the three scripts to me")
    args = parser.parse_args()
    with util.one_clear_line():
        if not 3 <= args.performers <= 40:
            raise util.UserError("--performers: from 3 (the first who tests, not trains) to 40 (NTU60's last)")
        if args.seed < 0 or not 0 <= args.noise < 10:
            raise util.UserError("--seed must be 0 or more, and --noise from 0 to 10")
        with util.alone(args.root / ".lock", wait=True):
            write_skeletons(args.root, args.seed, args.performers, args.noise)
            if not args.only_skeletons and not all((args.root / product).exists() for product in PRODUCTS):
                run_scripts(args.root)


if __name__ == "__main__":
    main()
