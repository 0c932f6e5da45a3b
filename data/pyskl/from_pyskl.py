"""The pickles of pyskl and mmaction2 to the h5 files of this project.

    python data/pyskl/from_pyskl.py ntu60_3danno.pkl --out data/ntu        # NTU_CS.h5 and NTU_CV.h5
    python data/pyskl/from_pyskl.py ucf101_hrnet.pkl --out .               # ucf101_hrnet_1.h5, _2.h5 and _3.h5
    python data/pyskl/from_pyskl.py gym_train.pkl --test gym_val.pkl --out .       # older files, without lists

Clips of Kinect v2's 25 joints in 3D are centered, ordered and split as from .skeleton files. Of 2D files (17 joints of
COCO, also the first of 26, 133 or 136) a joint is x - 0.5, y - 0.5, in widths and heights of the picture, and its
score, and zeros if its score is not above 0; of more than two persons the two with the highest mean score are kept.
--skeleton names any other. Names in lists may differ from the clips' in folders and endings. Nothing in it is run.
"""

import re
import sys
from collections import Counter
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import protocols
from clips.arrays import absent_if_nan
from clips.checks import FARTHEST, SAMPLE, pick
from clips.importing import add_arguments, count_from_0, name_classes, origin_of, place, to_metres, write_set
from clips.ntu import center_clip
from clips.poses import outside
from clips.recordings import check_size
from clips.skeletons import known_skeleton
from clips.skipped import BadFile, named
from clips.tools import COCO
from safe import pickles
from safe.pickles import show
from safe.program import ArgumentParser, exit_on_error, note
from util import UserError, shorten

NTU_LISTS = {"CS": "xsub_train", "CV": "xview_train", "CSet": "xset_train"}  # of training clips, by protocol
ENDING = re.compile(r"(_rgb)?\.(skeleton|avi|mp4|m4v|mkv|mov|wmv|flv|webm|mpe?g|np[yz]|json|pkl|mat|txt|csv)$", re.I)


class Clip(NamedTuple):
    name: str
    label: int
    values: np.ndarray  # (persons, frames, joints, 3): x, y, z, or pixels and score; NaN where absent
    size: tuple[int, int] | None  # width and height of the picture in pixels, of 2D clips

    def is_empty(self):
        return not (self.values[..., 2] > 0 if self.size else np.nan_to_num(self.values)).astype(np.float32).any()

    def read(self, args):
        """What the h5 holds: (frames, persons, joints, 3) float32, at most two persons. Raises UserError."""
        values = self.values.astype(np.float32)
        if self.size:
            score = np.nan_to_num(values[..., 2])
            best = np.sort(np.argsort(-score.mean(axis=(1, 2)), kind="stable")[:2])
            values = values[best] / np.float32([*self.size, 1]) - np.float32([0.5, 0.5, 0])
            return np.where(score[best, ..., None] > 0, values, np.float32(0)).swapaxes(0, 1)
        clip = values[np.nan_to_num(values).any(axis=(1, 2, 3))][:2].swapaxes(0, 1)
        what = f"{args.pickle}: {shorten(self.name)}"
        if not args.as_ntu or len(values) > 1:
            return place(clip, args, what, stated=args.as_ntu)
        return center_clip(to_metres(clip, args, what, stated=True).reshape(len(clip), -1))  # keeps all frames


# ---- reading


def read_pickle(path):
    """(split lists or {}, annotations) of a file: {name: [frame_dir]} and [dict]. Raises UserError."""
    content = pickles.read(path, "pyskl")
    content = content if isinstance(content, dict) else {"annotations": content}
    splits, annotations = content.get("split", {}), content.get("annotations")
    if not isinstance(annotations, list) or not annotations or not isinstance(splits, dict):
        raise UserError(f"{path}: not {{'split': lists of names, 'annotations': clips}}, nor a list of clips")
    for key, names in splits.items():
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in (key, *names)):
            raise UserError(f"{path}: split {show(key)} is not a list of names")
    return splits, annotations


def read_clips(path, nan):
    """The split lists and the Clips of a file. nan: as of --nan. Raises UserError."""
    splits, annotations = read_pickle(path)
    clips = []
    for i, annotation in enumerate(annotations):
        if annotation is not None:  # as pyskl's script leaves it where a clip has no body
            name = annotation.get("frame_dir") if isinstance(annotation, dict) else None
            with named(f"{path}: annotation {i} (frame_dir {show(name)})"):
                clips.append(read_clip(annotation, nan))
    return splits, clips


def read_clip(annotation, nan):
    """The Clip of an annotation. Raises BadFile."""
    annotation = annotation if isinstance(annotation, dict) else {}
    name, label = annotation.get("frame_dir"), annotation.get("label")
    values, size = getattr(annotation.get("keypoint"), "array", None), None
    is_named = isinstance(name, str) and type(label) is int and 0 <= label < 10_000
    if not is_named or not is_numbers(values) or values.ndim != 4 or values.shape[3] not in (2, 3):
        why = "frame_dir must be a text, label a number from 0, keypoint numbers (persons, frames, joints, 2 or 3)"
        raise BadFile(None, f"{why}, not {show(label)}, {getattr(values, 'shape', None)}")
    if (total := annotation.get("total_frames", values.shape[1])) != values.shape[1]:
        raise BadFile(None, f"total_frames is {show(total)}, but keypoint has {values.shape[1]}: {values.shape}")
    if values.shape[3] == 2:
        values, size = add_score(values, annotation)
    values = absent_if_nan(values, nan)
    if (np.abs(values) >= np.float32(FARTHEST)).any():
        raise BadFile(None, "a number is too large")
    plain = plain_name(name)
    return Clip(plain if protocols.NAME.fullmatch(plain) else name, label, values, size)


def add_score(pixels, annotation):
    """The values of a 2D annotation with its scores, and width and height of its picture. Raises BadFile."""
    score = getattr(annotation.get("keypoint_score"), "array", None)
    size = annotation.get("img_shape") or annotation.get("original_shape")
    if not is_size(size) or not is_numbers(score) or score.shape != pixels.shape[:3]:
        raise BadFile(None, "2D joints need keypoint_score (persons, frames, joints) and img_shape (height, width)")
    height, width = size
    return np.concatenate([pixels, score[..., None]], axis=3), (width, height)


def is_numbers(array):
    return isinstance(array, np.ndarray) and array.dtype.kind in "fiu"


def is_size(size):
    return isinstance(size, list | tuple) and len(size) == 2 and all(type(n) is int and 0 < n < 10**6 for n in size)


def choose_skeleton(clips, args):
    """The Clips, with COCO's joints alone where others come behind them. Sets args.skeleton to that of all clips, and
    args.as_ntu if they become what NTU's scripts make of .skeleton files. Raises UserError."""
    kinds = {(clip.values.shape[2], bool(clip.size)) for clip in clips if clip.values.size} or {(0, False)}
    found = " and ".join(f"{joints} joints in {'2D' if is_2d else '3D'}" for joints, is_2d in kinds)
    if len(kinds) > 1:
        raise UserError(f"{args.pickle}: clips of {shorten(found, 150)} are in it; all need the same")
    ((joints, is_2d),) = kinds
    usual = COCO.get(joints) if is_2d else {25: "kinect_v2"}.get(joints)
    args.skeleton = args.skeleton or usual
    known = known_skeleton(args.skeleton)
    if not known or known.is_2d != is_2d or joints != len(known.joints) and known.name != usual:
        how = "say which skeleton, with --skeleton NAME or FILE.json (of 2D joints, scores belong in keypoint_score)"
        raise UserError(f"{args.pickle}: {found}: {how}")
    if joints > len(known.joints):
        note(f"of {joints} joints the first {len(known.joints)} are taken, COCO's; --skeleton FILE.json takes all")
    is_placed = args.origin is not None or args.up or args.scale != 1
    if is_2d and is_placed:
        raise UserError("--up, --scale, --origin: only for 3D joints")
    args.as_ntu = known.name == "kinect_v2" and not is_placed
    people = []
    for clip in clips[:: 1 + len(clips) // SAMPLE] if args.as_ntu else ():
        people += pick(np.nan_to_num(clip.values.astype(np.float32)).swapaxes(0, 1))
    if people:
        with named(args.pickle):  # of all together: a sensor may see more than persons in a clip
            check_size(np.concatenate(people)[:, None], known, args.scale)
    return [clip._replace(values=clip.values[:, :, : len(known.joints)]) for clip in clips]


# ---- lists


def plain_name(name):
    """A clip's name without folders, and without the ending of a file."""
    return ENDING.sub("", PurePath(name.replace("\\", "/")).name)


def find_listed(splits, names, kept):
    """{key: the clips in a list, each once, by their place in `kept`}; without folders and endings, if the names of all
    clips differ then."""
    short = plain_name if len({*map(plain_name, names)}) == len(names) else str
    names, known = {*names}, {*map(short, names)}
    place = {short(name): i for i, name in enumerate(kept)}
    lists = {}
    for key, listed in splits.items():
        absent = [name for name in listed if short(name) not in known]
        note_some(absent, f"of the {len(listed):,} names in {key} are of no clip")
        other = [name for name in listed if name not in names and short(name) in known]
        note_some(other, f"names in {key} are of clips in another folder or with another ending")
        found = [place[short(name)] for name in listed if short(name) in place]
        lists[key] = np.array([*dict.fromkeys(found)], int)  # each once
    return lists


def note_some(names, what):
    if names:
        note(f"{len(names):,} {what}, for example {shorten(names[0])}")


def ntu_dataset(splits, names):
    """NTU60 or NTU120 as in clips/protocols.py; None if these are names of other clips."""
    if not all(map(protocols.NAME.fullmatch, names)):
        return None
    is_120 = any(key.startswith("xset") for key in splits) or any(protocols.action(name) > 60 for name in names)
    return protocols.dataset("NTU120" if is_120 else "NTU")


def split_by_lists(lists, path):
    """[(name of an h5, protocol in words, training clips, test clips)], of the lists train and test or val, or train1
    and test1, train2 and test2, ... Raises UserError."""
    parts = {}
    for key in lists:
        test = next((name for side in ("test", "val") if (name := key.replace("train", side, 1)) in lists), key)
        if test == key:
            continue
        ending = key.replace("train", "", 1).strip("_")
        name = f"{path.stem}_{ending}" if ending else path.stem
        if name in parts or not re.fullmatch(r"[\w-]*", ending):
            raise UserError(f"{path}: its list {shorten(repr(key))} cannot name an h5, or names the same as another")
        parts[name] = name, f"{key} trains, {test} tests", lists[key], lists[test]
    if not parts:
        why = "" if lists else "; name the file of the test clips with --test"
        raise UserError(f"{path}: no lists train and val, train and test, or train1 and test1, ... in it{why}")
    return [*parts.values()]


def split_ntu(dataset, lists, names, stem):
    """As `split_by_lists`, of NTU's protocols. Notes where the file's own lists differ."""
    for protocol in dataset.protocols:
        (train, test), key = protocol.split(names), NTU_LISTS[protocol.name]
        odd = [names[i] for i in np.setxor1d(train, lists[key])] if len(lists.get(key, ())) else []
        note_some(odd, f"clips differ between {key} and the published list, which is used")
        yield f"{stem}_{protocol.name}", protocol.words, train, test


def check_labels(names, labels, args):
    """Says where labels are not those of the names of NTU's clips. Raises UserError without --classes."""
    wrong = [name for name, label in zip(names, labels, strict=True) if label != protocols.action(name) - 1]
    if wrong:
        what = f"{len(wrong):,} labels are not those of the clips' names, for example {wrong[0]}"
        if not args.classes:
            raise UserError(f"{args.pickle}: {what}: use --first-label 1, or --classes if they are your own")
        note(what)


def convert(clips, splits, args):
    """Writes an h5 for each protocol."""
    path, names = args.pickle, [clip.name for clip in clips]
    if again := [name for name, n in Counter(names).items() if n > 1]:
        raise UserError(f"{path}: two clips of one name are in it: {shorten(again[0])}")
    dataset = ntu_dataset(splits, names)
    clips = sorted(choose_skeleton(clips, args), key=lambda clip: clip.name)
    empty = [clip.name for clip in clips if clip.is_empty()]
    missing = sorted(dataset.missing & {*names}) if dataset else []
    clips = [clip for clip in clips if clip.name not in {*empty, *missing}]
    if not clips:
        raise UserError(f"{path}: no clips are left: nobody is in them")
    odd = [clip.name for clip in clips if clip.size and outside(clip.values / [*clip.size, 1] - [0.5, 0.5, 0])]
    note_some(odd, "clips have many joints outside of the picture: is img_shape (height, width)?")
    kept, labels = [clip.name for clip in clips], count_from_0([clip.label for clip in clips], args, path)
    lists = find_listed(splits, names, kept)
    if dataset:
        print(dataset.count(len(kept)))
        check_labels(kept, labels, args)
        parts = [*split_ntu(dataset, lists, kept, path.stem if clips[0].size else dataset.name)]
    else:
        parts = split_by_lists(lists, path)
    classes = dataset.classes if dataset and not args.classes else name_classes(1 + labels.max(), args)
    persons = 2 if args.as_ntu else min(2, max(len(clip.values) for clip in clips))
    about = {"frames": max(clip.values.shape[1] for clip in clips), "persons": persons, "skeleton": args.skeleton}
    about["origin"] = None if args.as_ntu else origin_of(args.skeleton, args)
    what = [f"{path}: {shorten(name)}" for name in kept]
    for name, words, train, test in parts:
        unlisted = np.setdiff1d(range(len(kept)), [*train, *test])
        dropped = [(empty, "nobody is in them"), (missing, "they are known to lack skeletons")]
        dropped.append(([kept[i] for i in unlisted], f"they neither train nor test ({words})"))
        h5, sides = args.out / f"{name}.h5", {"": train, "test_": test}
        about["protocol"] = words
        write_set(h5, lambda i: clips[i].read(args), labels, sides, classes, dropped, what.__getitem__, **about)


def main(argv=None):
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("pickle", type=Path, metavar="FILE.pkl")
    add("--out", type=Path, required=True, help="folder for the h5 files")
    test = "the test clips, if FILE.pkl is a list of the training clips alone"
    add("--test", type=Path, metavar="FILE.pkl", help=test)
    add_arguments(parser, "the joints")
    args = parser.parse_args(argv)
    splits, clips = read_clips(args.pickle, args.nan)
    if args.test:
        _, test = read_clips(args.test, args.nan)
        splits = {"train": [clip.name for clip in clips], "test": [clip.name for clip in test]}
        clips += test
    convert(clips, splits, args)


if __name__ == "__main__":
    with exit_on_error():
        main()
