"""Step 3 of 3: centers each clip and writes one h5 for each protocol.

    python seq_transformation.py                     # in data/ntu, after get_raw_denoised_data.py
    python seq_transformation.py --root DIR --dataset NTU120

Reads DIR/denoised_data/NTU.h5, writes DIR/NTU_CS.h5 and NTU_CV.h5 (NTU120_CS.h5 and NTU120_CSet.h5, DEMO_CS.h5 and
DEMO_CV.h5), in the layout of clips/h5.py. With two workers both are written at the same time.
"""

import io
import sys
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import protocols
from clips.importing import write_set
from clips.ntu import center_clip
from clips.protocols import read_columns
from safe.files import remove_stale_parts
from safe.h5 import open_h5
from safe.program import exit_on_error
from safe.workers import parallel_map
from util import UserError


def write_protocol(out, source, protocol, dataset, position):
    """Writes the h5 of one protocol, in a worker: what there is to print, and why there is no h5, or None."""
    with open_h5(source) as file, redirect_stdout(io.StringIO()) as printed:
        names, frames, width = read_columns(file, "names", "frames", "width")
        names, end = [name.decode() for name in names], (frames * width).cumsum()
        train, test = protocol.split(names)
        print(f"{out}: {count_sides(protocol, len(train), len(test), len(names))}")

        def read(i):
            return center_clip(file["joints"][end[i] - frames[i] * width[i] : end[i]].reshape(frames[i], width[i]))

        try:
            labels, sides = [protocols.action(name) - 1 for name in names], {"": train, "test_": test}
            about = {"persons": 2, "skeleton": "kinect_v2", "protocol": protocol.words, "position": position}
            write_set(out, read, labels, sides, dataset.classes, frames=int(frames.max(initial=0)), **about)
            return printed.getvalue(), None
        except UserError as error:
            return printed.getvalue(), str(error)


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
    dataset = protocols.dataset(args.dataset)
    source = protocols.made_by(args.root / "denoised_data" / f"{dataset.name}.h5", "get_raw_denoised_data.py")
    with open_h5(source) as file:
        print(dataset.count(len(file["names"])))
    files = [args.root / f"{dataset.name}_{protocol.name}.h5" for protocol in dataset.protocols]
    jobs, errors = [(files[i], source, protocol, dataset, i) for i, protocol in enumerate(dataset.protocols)], []
    try:
        for printed, error in parallel_map(write_protocol, jobs, args.workers):
            print(printed, end="")
            errors += [error] if error else []
    finally:
        remove_stale_parts(args.root)  # of workers that an interrupt killed
    if errors:
        raise UserError("; ".join(errors))


if __name__ == "__main__":
    with exit_on_error():
        main()
