"""UTD-MHAD: converts `Skeleton.zip`, or the folder unpacked from it, to `UTDMHAD_CS.h5`.

    python data/utd_mhad/make_utd_mhad.py Skeleton.zip

861 clips of 27 actions by 8 subjects, one Kinect v1 in front of them, 30 frames a second (Chen, Jafari and Kehtarnavaz,
ICIP 2015). The usual protocol: odd subjects train, even ones test. A clip is a .mat with d_skel, (20 joints, 3, frames)
metres, y up. Joint 2, the spine, of its first frame becomes the origin, as in NTU's clips.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips.importing import convert
from clips.protocols import read_lines
from safe.mat import read_mats
from safe.program import exit_on_error
from safe.zips import read_members
from util import UserError

NAME = re.compile(r"a(\d{1,2})_s(\d{1,2})_t\d{1,2}_skeleton\.mat", re.ASCII)
# Kinect v1's joints in the order of d_skel, which begins with head, shoulder centre, spine, hip centre
ORDER = [3, 2, 1, 0, *range(4, 20)]
HERE = Path(__file__).resolve().parent
ACTIONS = read_lines(HERE / "actions.txt")


def read_clips(source):
    """Yields (name, subject, label from 0, (frames, 20, 3) metres in Kinect v1's order). Raises UserError."""
    members = ((match[0], content) for match, content in read_members(source, NAME, "a1_s1_t1_skeleton.mat"))
    for name, array in read_mats(members, "d_skel"):
        if array.shape[:2] != (20, 3):
            raise UserError(f"{source}: {name}: d_skel is {array.shape}, not (20, 3, frames)")
        action, subject = map(int, NAME.fullmatch(name).groups())
        yield name.removesuffix("_skeleton.mat"), subject, action - 1, array.transpose(2, 0, 1)[:, ORDER]


def main(argv=None):
    convert(argv, __doc__, HERE / "UTDMHAD_CS.h5", read_clips, ACTIONS)


if __name__ == "__main__":
    with exit_on_error():
        main()
