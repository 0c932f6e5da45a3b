"""Step 3 of 3: centers each clip and writes one h5 for each protocol.

    python seq_transformation.py                     # in data/ntu, after get_raw_denoised_data.py
    python seq_transformation.py --root DIR --dataset NTU120

Reads DIR/denoised_data/NTU.h5, writes DIR/NTU_CS.h5 and NTU_CV.h5 (NTU120_CS.h5 and NTU120_CSet.h5), in the layout
of clips/h5.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import protocols
from clips.columns import read_columns
from clips.importing import write_set
from clips.ntu import center_clip
from safe.h5 import open_h5
from safe.program import exit_on_error
from util import UserError


def count_sides(protocol, train, test, clips):
    """The numbers of training and test clips in words, and whether these are all."""
    text = f"{train:,} training (5% of them for validation) and {test:,} test clips"
    if protocol.full:
        is_full = protocol.full == (train, test)
        text += ": the full counts" if is_full else ": not the full {:,} and {:,}".format(*protocol.full)
    neither = f"; {clips - train - test:,} clips have a {protocol.field} that is on neither side"
    return text + neither * (train + test < clips)


def main(argv=None):
    args = protocols.parse_arguments(__doc__, argv, skips=False)
    dataset, errors = protocols.dataset(args.dataset), []
    source = protocols.made_by(args.root / "denoised_data" / f"{dataset.name}.h5", "get_raw_denoised_data.py")
    with open_h5(source) as file:
        names, frames, width = read_columns(file, "names", "frames", "width")
        names, end = [name.decode() for name in names], (frames * width).cumsum()
        labels = [protocols.action(name) - 1 for name in names]
        print(dataset.count(len(names)))

        def read(i):
            return center_clip(file["joints"][end[i] - frames[i] * width[i] : end[i]].reshape(frames[i], width[i]))

        for protocol in dataset.protocols:
            out, (train, test) = args.root / f"{dataset.name}_{protocol.name}.h5", protocol.split(names)
            print(f"{out}: {count_sides(protocol, len(train), len(test), len(names))}")
            about = {"frames": int(frames.max(initial=0)), "persons": 2, "skeleton": "kinect_v2"}
            try:
                sides = {"": train, "test_": test}
                write_set(out, read, labels, sides, dataset.classes, protocol=protocol.words, **about)
            except UserError as error:  # the other protocol may have enough clips
                errors.append(str(error))
    if errors:
        raise UserError("; ".join(errors))


if __name__ == "__main__":
    with exit_on_error():
        main()
