"""Step 3 of 3: centers each clip and writes one h5 for each protocol.

    python seq_transformation.py                     # in data/ntu, after get_raw_denoised_data.py
    python seq_transformation.py --root DIR --dataset NTU120

Reads DIR/denoised_data/NTU.h5, writes DIR/NTU_CS.h5 and NTU_CV.h5 (NTU120_CS.h5 and NTU120_CSet.h5), in the layout
of clips/h5.py.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import protocols
from clips.importing import write_set
from clips.ntu import center_clip
from clips.protocols import read_columns
from safe.files import open_h5
from safe.program import exit_on_error
from util import UserError


def write_protocols(root, dataset, names, longest, read):
    """Writes the h5 of each protocol. names: of the clips, sorted. longest: how many frames one has at most. read: i ->
    a clip as from `center_clip`. Raises UserError for a protocol without enough clips, after the other is written."""
    labels, errors = [protocols.action(name) - 1 for name in names], []
    about = {"frames": longest, "persons": 2, "skeleton": "kinect_v2"}
    for protocol in dataset.protocols:
        train, test = protocol.split(names)
        sides, neither = {"": train, "test_": test}, np.setdiff1d(range(len(names)), [*train, *test])
        dropped = [([names[i] for i in neither], f"their {protocol.field} is on neither side")]
        path = root / f"{dataset.name}_{protocol.name}.h5"
        try:
            write_set(path, read, labels, sides, dataset.classes, dropped, protocol=protocol.words, **about)
        except UserError as error:
            errors.append(str(error))
            continue
        if protocol.full:
            is_full = protocol.full == (len(train), len(test))
            print("  the full counts" if is_full else "  not the full {:,} and {:,}".format(*protocol.full))
    if errors:
        raise UserError("; ".join(errors))


def main(argv=None):
    args = protocols.parse_arguments(__doc__, argv, skips=False)
    dataset = protocols.dataset(args.dataset)
    source = protocols.made_by(args.root / "denoised_data" / f"{dataset.name}.h5", "get_raw_denoised_data.py")
    with open_h5(source) as file:
        names, frames, width = read_columns(file, "names", "frames", "width")
        names, end, joints = [name.decode() for name in names], (frames * width).cumsum(), file["joints"]

        def read(i):
            return center_clip(joints[end[i] - frames[i] * width[i] : end[i]].reshape(frames[i], width[i]))

        print(dataset.count(len(names)))
        write_protocols(args.root, dataset, names, int(frames.max(initial=0)), read)


if __name__ == "__main__":
    with exit_on_error():
        main()
