"""Classifies recordings, or a stream of frames: the likeliest classes and their probabilities.

    python tools/predict.py S001C001P001R001A010.skeleton --checkpoint results/NTU/SGN/0_best.pth
    python tools/predict.py recordings/ more.npy --checkpoint results/NTU/SGN/0_best.pth --json > predictions.jsonl
    camera | python tools/predict.py --stream --checkpoint results/NTU/SGN/0_best.pth

A recording is a .skeleton file of NTU RGB+D, a .json of N-UCLA, a file of OpenPose (a folder of .json), MMPose,
Ultralytics or MediaPipe (.json, .jsonl), or an .npy of (frames, joints, 3) or (frames, persons, joints, 3): x, y, z in
metres, zeros for an absent person. It is preprocessed as in training, and the logits of several samples of its frames
are averaged, as in testing. The same file and seed give the same answer. Poses in pixels need --size.

The skeleton must be that of the checkpoint. MediaPipe's joints are mapped to those of a Kinect (clips/joint_map.py) if
the network was trained with one. An .npy is taken to have the checkpoint's skeleton, one of 33 joints MediaPipe's.

With --stream, each line of standard input is a frame: what one of these estimators gives for it, in JSON; or for each
person the 3 * joints numbers x y z of joint after joint, separated by white space or commas, or as a JSON list. Persons
of an estimator are tracked from frame to frame. An empty line is a frame without persons. A line of output is a
prediction for the last --window frames, and begins with the number of the last one. Bad lines are named and skipped; if
the first line is bad, the program ends.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from clips.joint_map import MAPS
from clips.poses import PoseStream, is_frame, picture_size
from clips.recordings import UP, as_poses, find_recordings, read_any
from clips.skipped import BadFile
from clips.units import check_size, describe_up, find_up
from engine.classifier import Classifier, StreamClassifier
from safe import program
from util import UserError

EXIT_CODES = """exit codes:
  0  done
  2  wrong or missing input, or nothing could be classified; one line says why
  3  done, but some files or lines were skipped, each named on standard error
  130, 143  interrupted or terminated
"""
MOST_NAMED = 20  # bad lines of a stream that are named; further ones are only counted
LONGEST_LINE = 2**20  # bytes


def parse_args(argv=None):
    parser = util.ArgumentParser(description=__doc__, epilog=EXIT_CODES)
    add = parser.add_argument
    add("files", type=Path, nargs="*", metavar="FILE", help="recordings, or folders of them")
    add("--checkpoint", type=Path, required=True, help="a <case>_best.pth, ours or the release's")
    samples = "samples of frames, whose logits are averaged (as in testing: 5, or 20 of --recipe plus; in a stream 1)"
    add("--samples", type=util.positive_int, help=samples)
    add("--seed", type=util.seed, default=1, help="of the samples (%(default)s)")
    add("--top", type=util.positive_int, default=5, help="classes to print (%(default)s)")
    add("--json", action="store_true", help="print a JSON object a line")
    add("--classes", type=Path, help="file of class names, one a line, or the h5 trained on (the checkpoint's names)")
    add("--size", type=util.argument_type(picture_size), metavar="WxH", help="of the pictures, if poses are in pixels")
    add("--persons", type=util.positive_int, default=2, help="most persons of poses and streams (%(default)s)")
    origin = "joint, from 1, that becomes the origin of an .npy, of MediaPipe's poses or of a window; 0: none (that of "
    origin += "the clips that the network was trained on; if not known, 2, or 0 in 2D and for MediaPipe's skeleton)"
    add("--origin", type=int, help=origin)
    add("--up", choices=UP, help="the axis that points up in an .npy or in lines of numbers, as in --up=-z (y)")
    add("--scale", type=util.positive_float, default=1.0, help="factor from their unit to metres (%(default)s)")
    add("--stream", action="store_true", help="read frames from standard input")
    add("--window", type=util.positive_int, help="of a stream: frames of a prediction (about a training clip's length)")
    add("--stride", type=util.positive_int, help="of a stream: frames between predictions (1)")
    args = parser.parse_args(argv)
    if args.stream == bool(args.files):
        why = "--stream reads standard input: leave out the files"
        parser.error(why if args.stream else "give files or folders, or --stream")
    for name in ("window", "stride"):
        if getattr(args, name) and not args.stream:
            parser.error(f"--{name}: only with --stream")
    if args.origin is not None and args.origin < 0:
        parser.error(f"--origin {args.origin}: a joint from 1, or 0")
    return args


def classify_files(args, classifier):
    """Prints the likeliest classes of each file. Returns the exit code; UserError if no file could be classified."""
    files, done = [path for source in args.files for path in find_recordings(source)], 0
    if (args.up or args.scale != 1) and all(path.suffix != ".npy" for path in files):
        raise UserError("--up, --scale: only for .npy files, and there are none")
    width, inputs = max(len(str(path)) for path in files), Inputs(args, classifier)
    for path in util.progress(files, unit="file", leave=False, disable=len(files) < 2):
        try:
            top = classifier.top(classify(args, classifier, inputs, path), args.top)
        except (UserError, OSError) as error:
            if len(files) == 1:
                raise
            why = error if isinstance(error, UserError) else f"{path}: {error.strerror or error}"
            tqdm.write(f"skipped: {why}", file=sys.stderr)
            continue
        if args.json:
            tqdm.write(json.dumps({"file": str(path), "top": top}, allow_nan=False))
        else:
            if not done:
                tqdm.write(f"{'file':{width}}  probability  class")
            for i, entry in enumerate(top):
                tqdm.write(f"{'' if i else str(path):{width}}  {entry['probability']:11.1%}  {entry['name']}")
        done += 1
    if not done:
        raise UserError(f"none of the {len(files)} files could be classified")
    if done < len(files):
        print(f"{len(files) - done} of {len(files)} files were skipped", file=sys.stderr)
        return 3
    return 0


def classify(args, classifier, inputs, path):
    """The probabilities of a file's classes, (classes,). Raises UserError or OSError."""
    clip = inputs.read(path)
    try:
        logits = classifier.logits(clip, torch.Generator().manual_seed(args.seed), args.samples)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return logits.softmax(dim=-1).numpy()


def read_lines(stream):
    """Yields (number from 1, line) of a binary stream. Raises UserError for a line that is too long to be a frame."""
    i = 0
    while line := stream.readline(LONGEST_LINE + 1):
        i += 1
        if len(line) > LONGEST_LINE:
            raise UserError(f"standard input, line {i}: longer than {LONGEST_LINE} bytes; a frame is a line")
        yield i, line


class Inputs:
    """Recordings as clips, and lines of a stream as frames, for the network."""

    def __init__(self, args, classifier):
        self.args, self.classifier, self.skeleton = args, classifier, classifier.skeleton.name
        self.stream = PoseStream(args.size, args.persons)
        self.mapped = self.noted = False  # said already

    def read(self, path):
        """A recording: (frames, persons, joints, 3). Raises UserError or OSError."""
        args = self.args
        origin = self.classifier.trained_origin if args.origin is None else args.origin
        poses = read_any(path, self.skeleton, args.size, args.persons, origin, args.up, args.scale)
        self.say_mapped(poses)
        if path.suffix == ".npy":
            self.note_up(poses, path)
        try:
            return self.classifier.adapt(poses, args.origin)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    def note_up(self, poses, path):
        """Notes, once, that y does not point from feet to heads."""
        up = find_up(poses.clip, poses.skeleton)
        if up is not None and not self.noted and (odd := describe_up(up, self.args.up, poses.skeleton)):
            self.noted = True
            print(f"note: {path}: {odd}", file=sys.stderr)

    def parse(self, line):
        """A line: (persons, joints, 3), or None if nobody is in it. Raises ValueError."""
        line = line.strip()
        if line.startswith((b"[", b"{", b"null")):
            try:
                content = json.loads(line)
            except (ValueError, RecursionError):
                raise ValueError("not JSON") from None
        else:
            content = [parse_number(field) for field in line.replace(b",", b" ").split()]
        if content and isinstance(content, list) and not (is_frame(content) or is_frame(content[0])):
            return self.numbers(content)
        poses = self.stream.update(content)
        if poses is None:
            return None
        if self.args.up or self.args.scale != 1:
            raise ValueError("--up and --scale are for lines of numbers, not for poses")
        self.say_mapped(poses)
        return self.classifier.fit(self.checked(poses)).clip

    def say_mapped(self, poses):
        if (poses.skeleton, self.skeleton) in MAPS and not self.mapped:
            self.mapped = True
            print(f"MediaPipe's joints are mapped to those of {self.skeleton}; some are guessed", file=sys.stderr)

    def numbers(self, values):
        """Numbers as (persons, joints, 3) float64."""
        joints = self.classifier.joints
        try:
            values = np.asarray(values, np.float64)
        except (ValueError, TypeError, OverflowError):
            raise ValueError("not a JSON list of numbers, nor a frame of a pose estimator") from None
        if values.ndim > 1 and values.shape[-2:] != (joints, 3):
            raise ValueError(f"a list of shape {values.shape}, not ({joints}, 3) or (persons, {joints}, 3)")
        if values.size % (3 * joints):
            raise ValueError(f"{values.size} numbers, not {3 * joints} for each person")
        try:
            poses = as_poses(values.reshape(1, -1, joints, 3), self.skeleton, self.args.up, self.args.scale)
        except BadFile as error:
            raise ValueError(error.args[1]) from None
        return self.checked(poses, self.args.scale).clip[0]

    def checked(self, poses, scale=None):
        """Poses of a frame. Raises ValueError if somebody is in it who has no person's size."""
        if poses.clip.any():
            try:
                check_size(poses.clip.reshape(1, -1, *poses.clip.shape[-2:]), poses.skeleton, scale)
            except BadFile as error:
                raise ValueError(error.args[1]) from None
        return poses


def parse_number(field):
    try:
        return float(field)
    except ValueError:
        raise ValueError(f"{field[:30].decode(errors='replace')!r} is not a number") from None


def classify_stream(args, classifier, stream):
    """Prints a line for each prediction. Returns the exit code; UserError for a bad first line, or no prediction."""
    options = {"stride": args.stride or 1, "samples": args.samples or 1, "persons": args.persons}
    classify_next = StreamClassifier(classifier, args.window, **options, origin=args.origin, seed=args.seed)
    inputs = Inputs(args, classifier)
    skipped = predictions = 0
    for i, line in read_lines(stream):
        try:
            probabilities = classify_next.update(inputs.parse(line))
        except ValueError as error:
            if not classify_next.frames:
                raise UserError(f"standard input, line {i}: {error}") from None
            skipped += 1
            if skipped <= MOST_NAMED:
                print(f"skipped: line {i}: {error}", file=sys.stderr)
            continue
        if probabilities is None:
            continue
        predictions += 1
        top = classifier.top(probabilities, args.top)
        if args.json:
            print(json.dumps({"frame": i, "top": top}, allow_nan=False), flush=True)
        else:
            print(f"{i:8}  " + ", ".join(f"{entry['probability']:.1%} {entry['name']}" for entry in top), flush=True)
    if not predictions:
        needed = f"a window of {classify_next.window} (--window), {classifier.seg} of them with a person, is needed"
        raise UserError(f"{classify_next.frames} frames, too few for a prediction: {needed}")
    if skipped:
        print(f"{skipped} lines were skipped", file=sys.stderr)
    return 3 if skipped else 0


def main(argv=None, stream=None):
    """Returns the exit code. stream: binary, in place of standard input."""
    args = parse_args(argv)
    classifier = Classifier(args.checkpoint, args.classes)
    if not args.stream:
        return classify_files(args, classifier)
    torch.set_num_threads(1)  # one clip is too little to share between cores
    return classify_stream(args, classifier, stream or sys.stdin.buffer)


if __name__ == "__main__":
    with program.exit_on_error("--samples or --window"):
        sys.exit(main())
