"""Classifies recordings, or frames as they arrive: a line for each with the likeliest classes.

    python tools/predict.py S001C001P001R001A010.skeleton --checkpoint results/NTU/SGN/0_best.pth
    python tools/predict.py recordings/ more.npy --checkpoint results/NTU/SGN/0_best.pth --json > predictions.jsonl
    python tools/predict.py hour.jsonl --windows --fps 25 --checkpoint results/NTU/SGN/0_best.pth
    camera | python tools/predict.py --live --checkpoint results/NTU/SGN/0_best.pth

A recording is a .skeleton file of NTU RGB+D, a .json of N-UCLA, a file of a pose tool, or an array (docs/inference.md).
It is preprocessed as in training, and the logits of several samples of its frames are averaged, as in testing. The same
file and seed give the same answer.

With --windows, a long recording is classified window by window: start, end and class of each stretch, in seconds with
--fps, else in frames, from 0, the end excluded. Every --stride frames get the mean of the windows that they are in.

With --live, each line of standard input is a frame: what a pose tool gives for it, in JSON; or for each person the
3 * joints numbers x y z of joint after joint, separated by white space or commas, or as a JSON list; or nothing, where
nobody is. A line of output is a prediction for the last --window frames, and begins with the number of the last one.
Bad lines are named and skipped; if the first line is bad, the program ends.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from clips import recordings
from clips.arrays import absent_if_nan
from clips.poses import LivePoses, is_numbers
from clips.recordings import as_poses, check_size, find_recordings, flags_of, read_any
from clips.skeletons import known_skeleton
from clips.skipped import BadFile
from data import Clips
from engine.classifier import LONGEST, RATE, Classifier, LiveClassifier, Stretch, find_stretches, people
from safe import program
from tools.common import named_or_own, read_each
from train import predict_logits
from util import UserError, readable, shorten

KEPT = 0.95  # of the validation clips that are right, by --choose-unknown


def window_length(text):
    """An argparse type: "60" for frames, "2s" for seconds: (the number, whether it is seconds)."""
    seconds = text.endswith("s")
    return (program.positive_float if seconds else program.whole(1, LONGEST))(text.removesuffix("s")), seconds


def parse_args(argv=None):
    parser = program.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("files", type=Path, nargs="*", metavar="FILE", help="recordings, or folders of them")
    add("--checkpoint", type=Path, required=True, help="a <case>_best.pth, ours or the release's")
    samples = "samples of frames, whose logits are averaged (as in testing: 5, or 20 of --recipe plus; live 1)"
    add("--samples", type=program.whole(1, 1000), help=samples)
    add("--seed", type=program.seed, default=1, help="of the samples (%(default)s)")
    add("--top", type=program.positive_int, help="classes to print (5; of windows 1)")
    add("--unknown", type=program.fraction, default=0.0, metavar="P", help="below this probability: unknown")
    choose = f"print the P at which {KEPT:.0%}% of the validation clips that are recognised are not unknown"
    add("--choose-unknown", type=Path, metavar="H5", help=choose)
    add("--per-person", action="store_true", help="classify each person alone")
    add("--json", action="store_true", help="print a JSON object a line")
    add("--classes", type=Path, help="file of class names, one a line, or the h5 trained on (the checkpoint's names)")
    recordings.add_arguments(parser)
    origin = "joint, from 1, that becomes the origin, if a file's is not known; 0: none (that of the training clips)"
    add("--origin", type=program.whole(0, 1000), help=origin)
    add("--fps", type=program.fps, help=f"frames a second, if not about {RATE} as in training: they are resampled")
    add("--windows", action="store_true", help="classify a long recording window by window")
    add("--live", action="store_true", help="read frames from standard input")
    window = "frames of a window, or seconds, as in 2s (about a training clip's length)"
    add("--window", type=window_length, default=(None, False), help=window)
    add("--stride", type=program.positive_int, help="frames from window to window (live 1, else a quarter window)")
    args = parser.parse_args(argv)
    if [bool(args.files), args.live, bool(args.choose_unknown)].count(True) != 1:
        parser.error("give files or folders; or --live, which reads standard input; or --choose-unknown")
    if args.windows and not args.files or (args.window[0] or args.stride) and not (args.live or args.windows):
        parser.error("--windows is of files; --window and --stride are of --windows or --live")
    if args.window[1] and not args.fps:
        parser.error("--window in seconds needs --fps")
    return args


class Inputs:
    """Recordings as clips, and lines as frames, for the network."""

    def __init__(self, args, classifier):
        self.args, self.classifier, self.trained = args, classifier, classifier.checkpoint.person_size
        self.skeleton = args.skeleton or named_or_own(classifier.skeleton)  # of numbers
        self.live, self.notes, self.judged = LivePoses(**flags_of(args)), program.Notes(), False

    def read(self, path):
        """A recording, as Poses. Raises UserError or OSError."""
        poses = read_any(path, self.skeleton, self.trained, **flags_of(self.args))
        self.notes.add(self.classifier.odd(poses, self.args.up), f"{path}: ")
        return poses

    def parse(self, line):
        """A line: (persons, joints, 3), or None if nobody is in it. Raises ValueError."""
        try:
            content = parse_line(line.strip())
            poses = self.from_numbers(content) if is_numbers(content) else self.from_tool(content)
            if poses is None or not poses.clip.any():
                return None
            clip = poses.clip[None]
            judged = poses._replace(clip=clip, stated=poses.stated or self.judged)  # the first frame with a person
            self.notes.add(self.classifier.odd(judged, self.args.up))
            self.judged = True
            check_size(clip, poses.skeleton, None if poses.stated else self.args.scale, self.trained)
            return self.classifier.fit(poses).clip
        except BadFile as error:
            raise ValueError(error.args[1]) from None

    def from_tool(self, content):
        """A frame in the JSON of a pose tool as Poses of (persons, joints, 3), or None. Raises ValueError."""
        poses = self.live.update(content)
        if poses and self.args.skeleton not in (None, poses.skeleton):
            self.notes.add([("skeleton", f"--skeleton is not for these poses, whose is {poses.skeleton}")])
        return poses

    def from_numbers(self, values):
        """Numbers as Poses of (persons, joints, 3) float64. Raises ValueError or BadFile."""
        known = known_skeleton(self.skeleton)
        joints = len(known.joints) if known else self.classifier.joints
        try:
            values = np.asarray(values, np.float64)
        except (ValueError, TypeError, OverflowError):
            raise ValueError("neither lists of numbers nor a frame of a pose tool") from None
        if values.ndim > 1 and values.shape[-2:] != (joints, 3) or values.size % (3 * joints):
            raise ValueError(f"{values.size} numbers of shape {values.shape}, not ({joints}, 3) for each person")
        clip = absent_if_nan(values.reshape(1, -1, joints, 3), self.args.nan)
        poses = as_poses(clip, self.skeleton, self.args.up, self.args.scale, self.args.size, self.args.nan)
        return poses._replace(clip=poses.clip[0])


def parse_line(line):
    """What is in a line of bytes: JSON, or a list of numbers. Raises ValueError."""
    try:
        if line.startswith((b"[", b"{", b"null")):
            return json.loads(line)
        return [float(field) for field in line.replace(b",", b" ").split()]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"neither numbers nor JSON ({shorten(error)})") from None


def make_live(args, classifier, persons):
    """A LiveClassifier of the flags."""
    window, in_seconds = args.window
    window, usual = math.ceil(window * args.fps) if in_seconds else window, 1 if args.live else None
    options = {"origin": args.origin, "seed": args.seed, "fps": args.fps, "per_person": args.per_person}
    return LiveClassifier(classifier, window, args.stride or usual, args.samples or usual, persons, **options)


def classify(args, classifier, poses):
    """A recording as a list of Stretch: with --windows of one answer each, else the whole, of each person or of all."""
    clip = classifier.fit(poses).clip
    if args.windows and len(clip) >= (live := make_live(args, classifier, clip.shape[1])).window:
        if stretches := find_stretches(live, clip, args.unknown):
            return stretches
        raise UserError(f"no window has the {classifier.seg} frames with a person that are needed")
    rng, alone = torch.Generator().manual_seed(args.seed), people(poses) if args.per_person else {None: poses}
    clips = {i: classifier.adapt(one, args.origin, args.fps) for i, one in alone.items()}
    return [Stretch(i, 0, len(clip), classifier.probabilities(one, rng, args.samples)) for i, one in clips.items()]


def print_answer(args, classifier, where, stretch):
    """Prints a line with the likeliest classes of a Stretch of `where`, {"file" or "frame": it}."""
    about, words = where, [f"{at!s:>8}" for at in where.values()]
    if args.per_person:
        about = about | {"person": stretch.person}
        words.append(f"person {stretch.person}")
    if args.windows:
        start, end = ((round(at / args.fps, 2) if args.fps else at) for at in (stretch.start, stretch.end))
        about = about | {"start": start, "end": end, "unit": "s" if args.fps else "frames"}
        words.append(f"{start:8} to {end:8} {about['unit']}")
    top = classifier.top(stretch.probabilities, args.top or (1 if args.windows else 5), args.unknown)
    words.append(", ".join(f"{entry['probability']:.1%} {entry['name']}" for entry in top))
    tqdm.write(json.dumps(about | {"top": top}, allow_nan=False) if args.json else readable("  ".join(words)))
    sys.stdout.flush()


def classify_files(args, classifier):
    """Prints the likeliest classes of each file. Returns the exit code; UserError if no file could be classified."""
    files = [path for source in args.files for path in find_recordings(source)]
    inputs, skipped = Inputs(args, classifier), []
    for path, stretches in read_each(files, lambda path: classify(args, classifier, inputs.read(path)), skipped):
        for stretch in stretches:
            print_answer(args, classifier, {"file": str(path)}, stretch)
    return 3 if skipped else 0


def classify_live(args, classifier, file):
    """Prints a line for each prediction. Returns the exit code; UserError for a bad first line, or no prediction."""
    live, inputs = make_live(args, classifier, args.persons), Inputs(args, classifier)
    skipped = predictions = 0
    for i, line in enumerate(file, 1):
        try:
            found = live.step(inputs.parse(line))
        except ValueError as error:
            if not live.frames:
                raise UserError(f"standard input, line {i}: {error}") from None
            skipped += 1
            print(readable(f"skipped: line {i}: {error}"), file=sys.stderr)
            continue
        for person, probabilities in found.items():
            print_answer(args, classifier, {"frame": i}, Stretch(person, i - live.window, i, probabilities))
            predictions += 1
    if not predictions:
        needed = f"a window has {live.window} (--window), {classifier.seg} of them with a person"
        raise UserError(f"{live.frames} frames are too few: {needed}")
    if skipped:
        print(f"{skipped} lines were skipped", file=sys.stderr)
    return 3 if skipped else 0


def choose_unknown(args, classifier):
    """Prints the --unknown at which KEPT of the validation clips that are right stay. Returns the exit code."""
    checkpoint, clips = classifier.checkpoint, Clips.read(args.choose_unknown)
    checkpoint.check_fits(clips)
    if checkpoint.select != "val" and checkpoint.about.get("data_sha256") == clips.sha256:
        program.note("it was trained on these clips: --unknown is too high; train with --select val")
    clips = clips.resplit(checkpoint.split)
    ids = clips.ids("valid")
    logits = predict_logits(checkpoint.net, clips, ids, checkpoint.recipe, args.seed, args.samples)
    probability, label = logits.softmax(dim=1).max(dim=1)
    right = label == clips.label[ids]
    if not right.any():
        raise UserError(f"{args.choose_unknown}: none of its {len(ids)} validation clips is recognised")
    ordered = probability[right].sort(descending=True).values
    unknown = max(0.001, math.floor(1000 * ordered[math.ceil(KEPT * len(ordered)) - 1].item()) / 1000)
    of_right, of_wrong = (f"{(probability[at] >= unknown).sum()} of {at.sum()}" for at in (right, ~right))
    print(f"--unknown {unknown:g} keeps {of_right} validation clips that are right, and {of_wrong} that are wrong")
    return 0


def main(argv=None, file=None):
    """Returns the exit code. file: binary, in place of standard input."""
    args = parse_args(argv)
    classifier = Classifier(args.checkpoint, args.classes)
    if args.choose_unknown:
        return choose_unknown(args, classifier)
    if not args.live:
        return classify_files(args, classifier)
    torch.set_num_threads(1)  # one clip is too little to share between cores
    return classify_live(args, classifier, file or sys.stdin.buffer)


if __name__ == "__main__":
    with program.exit_on_error("--samples or --window"):
        sys.exit(main())
