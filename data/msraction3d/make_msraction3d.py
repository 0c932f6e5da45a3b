"""MSRAction3D: converts `MSRAction3DSkeletonReal3D.zip`, or the folder unpacked from it, to `MSRACTION3D_CS.h5`.

    python data/msraction3d/make_msraction3d.py MSRAction3DSkeletonReal3D.zip

567 clips of 20 actions by 10 subjects, in front of a depth camera, 15 frames a second (Li, Zhang and Liu, CVPRW
2010). The usual protocol: odd subjects train, even ones test. A clip is a text of 20 lines a frame, x y z confidence in
metres, y up. Joint 2, the spine, of its first frame becomes the origin, as in NTU's clips. One clip is empty, and in 37
the legs are crossed.
"""

import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips.importing import convert
from clips.protocols import read_lines
from safe.program import exit_on_error
from safe.zips import read_members
from util import UserError

NAME = re.compile(r"a(\d\d)_s(\d\d)_e\d\d_skeleton3D\.txt", re.ASCII)
ORDER = [6, 3, 2, 19, 0, 7, 9, 11, 1, 8, 10, 12, 4, 13, 15, 17, 5, 14, 16, 18]  # Kinect v1's joints among the 20 lines
HERE = Path(__file__).resolve().parent
ACTIONS = read_lines(HERE / "actions.txt")


def read_clips(source):
    """Yields (name, subject, label from 0, (frames, 20, 3) metres in Kinect v1's order). Raises UserError."""
    for match, content in read_members(source, NAME, "a01_s01_e01_skeleton3D.txt"):
        try:
            values = np.array(content.split(), np.float64).reshape(-1, 20, 4)
        except ValueError as error:
            raise UserError(f"{source}: {match[0]}: not lines of x y z confidence for 20 joints ({error})") from None
        yield match[0].removesuffix("_skeleton3D.txt"), int(match[2]), int(match[1]) - 1, values[:, ORDER, :3]


def main(argv=None):
    convert(argv, __doc__, HERE / "MSRACTION3D_CS.h5", read_clips, ACTIONS)


if __name__ == "__main__":
    with exit_on_error():
        main()
