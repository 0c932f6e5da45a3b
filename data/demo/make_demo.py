"""Makes the demo set: moving figures in NTU RGB+D's `.skeleton` text, to try everything without any data.

    python data/demo/make_demo.py                      # data/demo/DEMO_CS.h5 and DEMO_CV.h5, in a minute or less
    python main.py --dataset DEMO --epochs 30          # train on it

13 actions (actions.txt) x 8 performers x 3 cameras x 2 replications = 624 clips, DIR/nturgb+d_skeletons/
SsssCcccPpppRrrrAaaa.skeleton, which become the h5 files as real ones do. The figures are artificial: accuracy on them
says that everything works, not how good a model is.
"""

import sys
from itertools import product
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root
sys.path.append(str(Path(__file__).resolve().parents[1] / "ntu"))

from actions import ACTIONS, handshake
from clips import protocols
from clips.ntu import actors, center_clip, read_skeleton
from clips.skeletons import KINECT_V2
from figures import Build, Figure, Take
from safe.program import ArgumentParser, exit_on_error, progress
from sensor import AZIMUTH, record, text, view
from seq_transformation import write_protocols
from util import name_file_in_errors

HERE = Path(__file__).resolve().parent
SEED, SETUP = 1, 33  # NTU's setups are 1 to 32, so that no name is that of a real clip
TAKES = [*product(range(1, 9), (1, 2), range(1, len(ACTIONS) + 1))]  # performer, replication, action


def rng_of(camera=0, performer=0, replication=0, action=0):
    """Random numbers for one part of the set: 0 stands for all cameras, performers, ...

    So all cameras see the same take, a performer has the same body in all clips, and no clip depends on the others.
    """
    return np.random.default_rng([SEED, SETUP, camera, performer, replication, action])


def scene(performer, replication, action):
    """A take before any camera: a list of (n, 25, 3) joints, one array for each person, metres on the stage (y up)."""
    function, persons, frames, idle = ACTIONS[action - 1]
    rng = rng_of(0, performer, replication, action)
    builds = [Build(rng_of(performer=performer)), Build(np.random.default_rng(rng.integers(2**32)))][:persons]
    builds = builds if rng.random() < 0.5 else builds[::-1]
    take = Take(rng, builds[0], frames)
    if persons == 1:
        me = Figure(take, builds[0], idle)
        function(take, me)
        bodies = [me.joints()]
    else:
        first, second, metres = function(take, *builds)
        bodies = [first.joints() - [0, 0, metres / 2], second.joints() * [-1, 1, -1] + [0, 0, metres / 2]]
    if rng.random() < builds[0].left and function is not handshake:  # everyone shakes the right hand
        bodies = [body[:, KINECT_V2.flip_pairs()] * [-1, 1, 1] for body in bodies]
    turn = AZIMUTH[replication + 1] + rng.normal(0, 0.15)
    turn += np.pi / 2 * (persons == 2)  # the faced camera sees both from the side
    spot = rng.normal(0, 0.12, 3) * [1, 0, 1]
    return [body @ Rotation.from_euler("Y", -turn).as_matrix() + spot for body in bodies]


def make(root, takes):
    """Makes the set of these takes, [(performer, replication, action)]."""
    folder, clips = root / "nturgb+d_skeletons", {}
    folder.mkdir(parents=True, exist_ok=True)
    for performer, replication, action in progress(takes, desc="skeletons", unit="take"):
        bodies = scene(performer, replication, action)
        for camera in AZIMUTH:
            tracks = record(view(bodies, camera, rng_of(camera)), rng_of(camera, performer, replication, action))
            name = f"S{SETUP:03}C{camera:03}P{performer:03}R{replication:03}A{action:03}"
            content = text(tracks).encode()
            with name_file_in_errors(folder):
                (folder / f"{name}.skeleton").write_bytes(content)
            clips[name] = center_clip(actors(*read_skeleton(content)))
    names, longest = sorted(clips), max(map(len, clips.values()))
    write_protocols(root, protocols.dataset("DEMO"), names, longest, lambda i: clips[names[i]])


def main(argv=None):
    gone = dict.fromkeys(["--seed", "--performers", "--noise"], "gone: the demo set is always the same")
    parser = ArgumentParser(description=__doc__, elsewhere=gone)
    parser.add_argument("--root", type=Path, default=HERE, help="folder to write to (%(default)s)")
    make(parser.parse_args(argv).root, TAKES)


if __name__ == "__main__":
    with exit_on_error():
        main()
