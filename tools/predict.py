"""Classifies recordings, or frames as they arrive: the likeliest classes and their probabilities.

    python tools/predict.py S001C001P001R001A010.skeleton --checkpoint results/NTU/SGN/0_best.pth
    python tools/predict.py recordings/ more.npy --checkpoint results/NTU/SGN/0_best.pth --json > predictions.jsonl
    camera | python tools/predict.py --live --checkpoint results/NTU/SGN/0_best.pth

A recording is a .skeleton file of NTU RGB+D, a .json of N-UCLA, a file of OpenPose (a folder of .json), MMPose,
Ultralytics or MediaPipe (.json, .jsonl), or an .npy of (frames, joints, 3) or (frames, persons, joints, 3): x, y, z in
metres, zeros for an absent person. It is preprocessed as in training, and the logits of several samples of its frames
are averaged, as in testing. The same file and seed give the same answer. Poses in pixels need --size.

The skeleton must be that of the checkpoint. MediaPipe's joints are mapped to those of a Kinect (clips/joint_map.py) if
the network was trained with one. An .npy is taken to have the checkpoint's skeleton, one of 33 joints MediaPipe's.

With --live, each line of standard input is a frame: what one of these estimators gives for it, in JSON; or for each
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

from clips import recordings
from clips.joint_map import MAPS
from clips.poses import LivePoses, is_numbers
from clips.recordings import as_poses, find_recordings, flags_of, read_any
from clips.skipped import BadFile
from clips.units import check_size, describe_up, find_up
from engine.classifier import Classifier, LiveClassifier
from safe import arguments, program, progress
from util import UserError, shorten

EXIT_CODES = """exit codes:
  0  done
  2  wrong or missing input, or nothing could be classified; one line says why
  3  done, but some files or lines were skipped, each named on standard error
  130, 143  interrupted or terminated
"""
MOST_NAMED = 20  # bad lines that are named; further ones are only counted


def parse_args(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    if "--stream" in argv:
        print("note: --stream is called --live now", file=sys.stderr)
        argv = ["--live" if word == "--stream" else word for word in argv]
    parser = arguments.ArgumentParser(description=__doc__, epilog=EXIT_CODES)
    add = parser.add_argument
    add("files", type=Path, nargs="*", metavar="FILE", help="recordings, or folders of them")
    add("--checkpoint", type=Path, required=True, help="a <case>_best.pth, ours or the release's")
    samples = "samples of frames, whose logits are averaged (as in testing: 5, or 20 of --recipe plus; live 1)"
    add("--samples", type=arguments.positive_int, help=samples)
    add("--seed", type=arguments.seed, default=1, help="of the samples (%(default)s)")
    add("--top", type=arguments.positive_int, default=5, help="classes to print (%(default)s)")
    add("--json", action="store_true", help="print a JSON object a line")
    add("--classes", type=Path, help="file of class names, one a line, or the h5 trained on (the checkpoint's names)")
    recordings.add_arguments(parser)
    origin = "joint, from 1, that becomes the origin of an .npy, of MediaPipe's poses or of a window; 0: none (that of "
    origin += "the clips that the network was trained on; if not known, 2, or 0 in 2D and for MediaPipe's skeleton)"
    add("--origin", type=int, help=origin)
    add("--live", action="store_true", help="read frames from standard input")
    add("--window", type=arguments.positive_int, help="live: frames of a prediction (about a training clip's length)")
    add("--stride", type=arguments.positive_int, help="live: frames between predictions (1)")
    args = parser.parse_args(argv)
    if args.live == bool(args.files):
        why = "--live reads standard input: leave out the files"
        parser.error(why if args.live else "give files or folders, or --live")
    if not args.live and (args.window or args.stride):
        parser.error("--window, --stride: only with --live")
    if args.origin is not None and args.origin < 0:
        parser.error(f"--origin {args.origin}: a joint from 1, or 0")
    return args


class Inputs:
    """Recordings as clips, and lines as frames, for the network."""

    def __init__(self, args, classifier):
        self.args, self.classifier, self.skeleton = args, classifier, classifier.skeleton.name
        self.live = LivePoses(**flags_of(args))
        self.noted = set()

    def read(self, path):
        """A recording: (frames, persons, joints, 3). Raises UserError or OSError."""
        poses = read_any(path, self.skeleton, **flags_of(self.args))
        self.note(poses, f"{path}: ")
        up = None if poses.stated else find_up(poses.clip, poses.skeleton)
        if up is not None and (odd := describe_up(up, self.args.up, poses.skeleton)):
            self.note_once("up", f"{path}: {odd}")
        return self.classifier.adapt(poses, self.args.origin)

    def note(self, poses, where=""):
        for text in poses.notes:
            self.note_once(text, f"{where}{text}")
        if (poses.skeleton, self.skeleton) in MAPS:
            what = f"joints of {poses.skeleton} are mapped to those of {self.skeleton}; some are guessed"
            self.note_once("map", what)

    def note_once(self, kind, text):
        if kind not in self.noted:
            self.noted.add(kind)
            print(f"note: {text}", file=sys.stderr)

    def parse(self, line):
        """A line: (persons, joints, 3), or None if nobody is in it. Raises ValueError."""
        line = line.strip()
        try:
            if line.startswith((b"[", b"{", b"null")):
                content = json.loads(line)
            else:
                content = [float(field) for field in line.replace(b",", b" ").split()]
        except (ValueError, RecursionError) as error:
            raise ValueError(f"neither numbers nor JSON ({shorten(error)})") from None
        try:
            if is_numbers(content):
                return self.numbers(content)
            poses = self.live.update(content)
            if poses is None:
                return None
            self.note(poses)
            check_size(poses.clip[None], poses.skeleton, None if poses.stated else self.args.scale)
            return self.classifier.fit(poses).clip
        except BadFile as error:
            raise ValueError(error.args[1]) from None

    def numbers(self, values):
        """Numbers as (persons, joints, 3) float64. Raises ValueError or BadFile."""
        joints, scale = self.classifier.joints, self.args.scale
        try:
            values = np.asarray(values, np.float64)
        except (ValueError, TypeError, OverflowError):
            raise ValueError("not a JSON list of numbers, nor a frame of a pose estimator") from None
        if values.ndim > 1 and values.shape[-2:] != (joints, 3) or values.size % (3 * joints):
            wanted = f"{3 * joints} for each person, ({joints}, 3) or (persons, {joints}, 3)"
            raise ValueError(f"{values.size} numbers of shape {values.shape}, not {wanted}")
        poses = as_poses(values.reshape(1, -1, joints, 3), self.skeleton, self.args.up, scale)
        self.note(poses)
        if poses.clip.any():
            check_size(poses.clip, poses.skeleton, scale)
        return poses.clip[0]


def classify_files(args, classifier):
    """Prints the likeliest classes of each file. Returns the exit code; UserError if no file could be classified."""
    files, done = [path for source in args.files for path in find_recordings(source)], 0
    if (args.up or args.scale != 1) and all(path.suffix == ".skeleton" for path in files):
        raise UserError("--up, --scale: not for .skeleton files, and there are no others")
    width, inputs = max(len(str(path)) for path in files), Inputs(args, classifier)
    for path in progress.progress(files, unit="file", leave=False, disable=len(files) < 2):
        try:
            clip = inputs.read(path)
            logits = classifier.logits(clip, torch.Generator().manual_seed(args.seed), args.samples)
        except (UserError, OSError) as error:
            why = error if isinstance(error, UserError) else error.strerror or error
            why = why if str(why).startswith(str(path)) else f"{path}: {why}"
            if len(files) == 1:
                raise error if isinstance(error, OSError) else UserError(why) from None
            tqdm.write(f"skipped: {why}", file=sys.stderr)
            continue
        top = classifier.top(logits.softmax(dim=-1).numpy(), args.top)
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
    return 0 if done == len(files) else 3


def classify_live(args, classifier, file):
    """Prints a line for each prediction. Returns the exit code; UserError for a bad first line, or no prediction."""
    options = {"stride": args.stride or 1, "samples": args.samples or 1, "persons": args.persons}
    live = LiveClassifier(classifier, args.window, **options, origin=args.origin, seed=args.seed)
    inputs = Inputs(args, classifier)
    skipped = predictions = 0
    for i, line in enumerate(file, 1):
        try:
            probabilities = live.update(inputs.parse(line))
        except ValueError as error:
            if not live.frames:
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
        needed = f"a window of {live.window} (--window), {classifier.seg} of them with a person, is needed"
        raise UserError(f"{live.frames} frames, too few for a prediction: {needed}")
    if skipped:
        print(f"{skipped} lines were skipped", file=sys.stderr)
    return 3 if skipped else 0


def main(argv=None, file=None):
    """Returns the exit code. file: binary, in place of standard input."""
    args = parse_args(argv)
    classifier = Classifier(args.checkpoint, args.classes)
    if not args.live:
        return classify_files(args, classifier)
    torch.set_num_threads(1)  # one clip is too little to share between cores
    return classify_live(args, classifier, file or sys.stdin.buffer)


if __name__ == "__main__":
    with program.exit_on_error("--samples or --window"):
        sys.exit(main())
