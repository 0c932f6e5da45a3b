"""Says what is done in raw recordings, or in a stream of frames: the likeliest classes and their probabilities.

    python tools/predict.py S001C001P001R001A010.skeleton --checkpoint results/NTU/SGN/0_best.pth
    python tools/predict.py recordings/ more.npy --checkpoint results/NTU/SGN/0_best.pth --json > said.jsonl
    camera | python tools/predict.py --stream --checkpoint results/NTU/SGN/0_best.pth

A recording is a .skeleton file of NTU RGB+D, a .json of N-UCLA (no label needed), or an .npy of (frames, joints, 3) or
(frames, persons, joints, 3), in metres, zeros for who is not there. It goes through the preprocessing of training, and
the logits of --draws draws of 20 frames are averaged, as in testing. The same file and seed give the same answer,
whatever else is classified beside it.

With --stream, standard input has a frame a line: the 3 * joints numbers of a person, x y z joint by joint, in metres,
with white space or commas between; a second person's after them; or a JSON list, flat or nested. An empty line is a
frame with nobody. A line is printed for each prediction, which is about the last --window frames; it begins with the
number of the line that completed them. A bad line is skipped, as if the camera had dropped that frame; a bad first line
ends it.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import _path

import util
from recognise import ORIGIN, READERS, Classifier, Recogniser, read_recording
from util import UserError, exit_on_error

EXIT_CODES = """exit codes:
  0  done
  2  wrong or missing input, or no file (no line of the stream) could be used; one line says why
  3  done, but some files (lines) were skipped: each is named on standard error
  130, 143  interrupted or terminated
"""
TOLD = 20  # bad lines of a stream that are named one by one; after that they are counted


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("files", type=Path, nargs="*", metavar="FILE", help="recordings, or folders of them")
    add("--checkpoint", type=Path, required=True, help="a trained network: <case>_best.pth, ours or the release's")
    add(
        "--draws",
        type=positive_int,
        help="draws of frames whose logits are averaged (as in testing: 5, or 20 of --recipe plus; in a stream 1)",
    )
    add("--seed", type=util.seed, default=1, help="of the draws (%(default)s)")
    add("--top", type=positive_int, default=5, help="classes to show (%(default)s)")
    add("--json", action="store_true", help="print a JSON object a line")
    names = "the classes' names, one a line, or the h5 trained on (those of the checkpoint's data set)"
    add("--classes", type=Path, metavar="FILE", help=names)
    origin = "joint, from 1, of the first frame that becomes the origin of an .npy or a window; 0: none (%(default)s)"
    add("--origin", type=int, default=ORIGIN, help=origin)
    add("--stream", action="store_true", help="read frames from standard input")
    add("--window", type=positive_int, help="frames of the stream that make a clip (about the mean length in training)")
    add("--stride", type=positive_int, help="frames of the stream between predictions (1)")
    add("--persons", type=positive_int, help="at most so many in a frame of the stream (2)")
    args = parser.parse_args(argv)
    if args.stream == bool(args.files):
        parser.error("take either files (or folders), or --stream")
    only = [f"--{name}" for name in ("window", "stride", "persons") if getattr(args, name)]
    if only and not args.stream:
        parser.error(f"{only[0]}: only with --stream")
    if args.origin < 0:
        parser.error(f"--origin {args.origin}: a joint from 1, or 0")
    return args


def find(sources):
    """The files of these files and folders, in name order within a folder; one with no such file stands for itself."""
    for source in sources:
        inside = sorted(path for path in source.rglob("*") if path.suffix in READERS) if source.is_dir() else []
        yield from inside or [source]


def classify(args, network):
    """Prints the likeliest classes of each file. Returns the exit code; UserError if there is none to classify."""
    files, done = list(find(args.files)), 0
    width = max(len(str(path)) for path in files)
    for path in tqdm(files, unit="file", leave=False, disable=None if len(files) > 1 else True):
        try:
            top = network.top(probabilities(args, network, path), args.top)
        except (UserError, OSError) as error:
            why = str(error) if isinstance(error, UserError) else f"{path}: {error.strerror or error}"
            if len(files) == 1:
                raise UserError(why) from None
            tqdm.write(f"skipped: {why}", file=sys.stderr)
            continue
        if args.json:
            tqdm.write(json.dumps({"file": str(path), "top": top}))
        else:
            if not done:
                tqdm.write(f"{'file':{width}}  probability  class")
            heads = [str(path), *[""] * (args.top - 1)]
            tqdm.write("\n".join(f"{head:{width}}  {row(each)}" for head, each in zip(heads, top, strict=False)))
        done += 1
    if not done:
        raise UserError(f"none of the {len(files)} files could be classified")
    if done < len(files):
        print(f"{len(files) - done} of {len(files)} files were skipped", file=sys.stderr)
    return 0 if done == len(files) else 3


def probabilities(args, network, path):
    if path.is_dir():
        raise UserError(f"{path}: a folder with no .skeleton, .json or .npy file in it")
    clip = read_recording(path, args.origin)
    try:
        logits = network.logits(clip, args.draws, torch.Generator().manual_seed(args.seed))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return logits.softmax(dim=-1).numpy()


def row(one):
    return f"{one['probability']:11.1%}  {one['name']}"


def frame(line, joints):
    """A line of the stream to (persons, joints, 3); None if it is empty. Raises ValueError that says what is wrong."""
    if not line.strip():
        return None
    if line.lstrip()[:1] == b"[":
        try:
            values = np.asarray(json.loads(line), np.float64)
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise ValueError("not a JSON list of numbers") from None
        if values.ndim > 1 and values.shape[-2:] != (joints, 3):
            raise ValueError(f"a list of shape {values.shape}, not ({joints}, 3) or (persons, {joints}, 3)")
    else:
        values = np.array([number(field) for field in line.replace(b",", b" ").split()])
    if not np.isfinite(values).all():
        raise ValueError("NaN or infinity; zeros stand for a person who is not there")
    if values.size % (3 * joints):
        raise ValueError(f"{values.size} numbers, not {3 * joints} a person ({joints} joints)")
    return values.reshape(values.size // (3 * joints), joints, 3)


def number(field):
    try:
        return float(field)
    except ValueError:
        raise ValueError(f"{field[:30].decode(errors='replace')!r} is not a number") from None


def follow(args, network, lines):
    """Prints a line for each prediction. Returns the exit code; UserError for a bad first line, or no prediction."""
    recogniser = Recogniser(
        network, args.window, args.stride or 1, args.draws or 1, args.persons or 2, args.origin, args.seed
    )
    skipped = predictions = 0
    for i, line in enumerate(lines, 1):
        try:
            said = recogniser.update(frame(line, network.joints))
        except ValueError as error:
            if not recogniser.frames:
                raise UserError(f"standard input, line {i}: {error}") from None
            skipped += 1
            if skipped <= TOLD:
                print(f"skipped: line {i}: {error}", file=sys.stderr)
            continue
        if said is not None:
            predictions += 1
            top = network.top(said, args.top)
            if args.json:
                print(json.dumps({"frame": i, "top": top}), flush=True)
            else:
                likely = ", ".join(f"{each['probability']:.1%} {each['name']}" for each in top)
                print(f"{i:8}  {likely}", flush=True)
    if not predictions:
        seg = network.net.seg
        raise UserError(
            f"{recogniser.frames} frames and no prediction: it takes {recogniser.window} (--window), and somebody in "
            f"at least {seg} of them"
        )
    if skipped:
        print(f"{skipped} lines were skipped", file=sys.stderr)
    return 3 if skipped else 0


def main(argv=None, stream=None):
    args = parse_args(argv)
    network = Classifier(args.checkpoint, args.classes)
    if not args.stream:
        return classify(args, network)
    torch.set_num_threads(1)  # one clip is too little to share, and waiting threads would burn the other cores
    return follow(args, network, sys.stdin.buffer if stream is None else stream)


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
