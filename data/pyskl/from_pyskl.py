"""The pickles of pyskl and mmaction2 to the h5 files of this project.

    python data/pyskl/from_pyskl.py ntu60_3danno.pkl --out data/ntu        # NTU_CS.h5 and NTU_CV.h5
    python data/pyskl/from_pyskl.py ntu120_3danno.pkl --out data/ntu       # NTU120_CS.h5 and NTU120_CSet.h5
    python data/pyskl/from_pyskl.py gym_hrnet.pkl --out . --classes names.txt      # gym_hrnet.h5
    python data/pyskl/from_pyskl.py ucf101_hrnet.pkl --out .               # ucf101_hrnet_1.h5, _2.h5 and _3.h5
    python data/pyskl/from_pyskl.py gym_train.pkl --test gym_val.pkl --out .       # older files, without lists

Of 3D files (Kinect v2, 25 joints, metres) clips are centered, ordered and split as from .skeleton files. Of 2D files
(17 joints of COCO) a joint is x - 0.5, y - 0.5 (in widths and heights of the picture) and its score, and zeros if its
score is not above 0; of more than two persons the two with the highest mean score are kept. --skeleton names any other.
5% of the training clips are for validation. Clips without a person, and those of NTU that are known to lack skeletons,
are left out. A name in a list may differ from the clip's own in folders and endings. What is odd is noted. The file may
hold NumPy arrays, numbers, text and containers; anything else is refused, and nothing in it is run.
"""

import re
import sys
from collections import Counter
from itertools import chain
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import h5 as layout
from clips import protocols
from clips.arrays import absent_if_nan
from clips.importing import add_arguments, count_from_0, name_classes, origin_of, place, write_set
from clips.ntu import center_clip
from clips.poses import fill_absent
from clips.skeletons import known_skeleton
from clips.skipped import BadFile
from clips.units import FARTHEST
from safe import pickles
from safe.arguments import ArgumentParser
from safe.pickles import show
from safe.program import exit_on_error
from safe.progress import note
from util import UserError, __version__, shorten

# The training lists of NTU's files by protocol
NTU_LISTS = {"CS": "xsub_train", "CV": "xview_train", "CSet": "xset_train"}
ENDING = re.compile(
    r"(_rgb)?\.(skeleton|avi|mp4|m4v|mkv|mov|wmv|flv|webm|mpe?g|npy|npz|json|pkl|mat|txt|csv)$", re.IGNORECASE
)


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


# ---- clips


class Clip(NamedTuple):
    name: str
    label: int
    keypoint: np.ndarray  # (persons, frames, joints, 3) metres, or (persons, frames, joints, 2) pixels
    score: np.ndarray | None  # (persons, frames, joints), of 2D clips
    size: tuple[int, int] | None  # height and width of the picture in pixels, of 2D clips

    @property
    def is_2d(self):
        return self.score is not None

    @property
    def is_empty(self):
        return not (self.score > 0 if self.is_2d else np.nan_to_num(self.keypoint)).astype(np.float32).any()

    def rows(self, args=None):
        """What the h5 holds: (frames, persons * joints * 3) float32, at most two persons. args: None for NTU's."""
        keypoint = self.keypoint.astype(np.float32)
        if self.is_2d:
            score, (height, width) = np.nan_to_num(self.score.astype(np.float32)), self.size
            score[np.isnan(keypoint).any(axis=3)] = 0
            best = np.sort(np.argsort(-score.mean(axis=(1, 2)), kind="stable")[:2])
            keypoint, score = keypoint[best], score[best][..., None]
            keypoint = np.concatenate([keypoint / np.float32([width, height]) - np.float32(0.5), score], axis=3)
            keypoint = np.where(score > 0, keypoint, np.float32(0))
            return keypoint.swapaxes(0, 1).reshape(keypoint.shape[1], -1)
        skeleton = args.skeleton if args else "kinect_v2"
        keypoint = fill_absent(keypoint.swapaxes(0, 1), skeleton).swapaxes(0, 1)
        keypoint = keypoint[keypoint.any(axis=(1, 2, 3))][:2]
        if args and not args.as_ntu:
            return place(keypoint.swapaxes(0, 1), args, f"{args.pickle}: {shorten(self.name)}")
        if len(self.keypoint) > 1:  # as get_raw_denoised_data.py does where there are several bodies
            keypoint = keypoint[:, keypoint.any(axis=(0, 2, 3))]
        return center_clip(keypoint.swapaxes(0, 1).reshape(keypoint.shape[1], -1))


def read_clip(annotation, path, i, nan=None):
    """The Clip of an annotation. nan: as of --nan. Raises UserError."""
    name = annotation.get("frame_dir") if isinstance(annotation, dict) else None

    def error(what):
        return UserError(f"{path}: annotation {i} (frame_dir {show(name)}) {what}")

    try:
        if "keypoint" not in annotation and "raw_file" in annotation:
            raise error("keeps its joints in another file (raw_file): such tables of contents cannot be read")
        label, keypoint = annotation["label"], annotation["keypoint"].array
        score, size = annotation.get("keypoint_score"), annotation.get("img_shape") or annotation.get("original_shape")
        score = None if score is None else score.array
    except (KeyError, TypeError, AttributeError):
        raise error("lacks frame_dir, label or keypoint") from None
    if not isinstance(name, str) or type(label) is not int or not 0 <= label < 10_000:
        raise error(f"has the label {show(label)}, not a number from 0")
    if not is_numbers(keypoint) or keypoint.ndim != 4 or keypoint.shape[3] not in (2, 3):
        found = f"{getattr(keypoint, 'dtype', 'that is damaged')} {getattr(keypoint, 'shape', '')}"
        raise error(f"has a keypoint {found}, not (persons, frames, joints, 2 or 3)")
    if protocols.NAME.fullmatch(plain_name(name)):
        name = plain_name(name)
    is_2d = keypoint.shape[3] == 2
    if is_2d and (not is_numbers(score) or score.shape != keypoint.shape[:3]):
        raise error(f"has no keypoint_score of shape {keypoint.shape[:3]}")
    try:
        keypoint = absent_if_nan(keypoint, nan)
        score = absent_if_nan(score[..., None], nan)[..., 0] if is_2d else None
    except BadFile as found:
        raise error(f"has {found.args[1]}") from None
    if any((np.abs(values) >= np.float32(FARTHEST)).any() for values in (keypoint, score) if values is not None):
        raise error("has too large a number in it")
    if is_2d and not (
        isinstance(size, list | tuple) and len(size) == 2 and all(type(n) is int and 0 < n < 10**6 for n in size)
    ):
        raise error("has no img_shape (height, width)")
    return Clip(name, label, keypoint, score, tuple(size) if is_2d else None)


def read_clips(path, args):
    """The split lists and the Clips of a file. pyskl's script leaves None where a clip has no body."""
    splits, found = read_pickle(path)
    return splits, [read_clip(one, path, i, args.nan) for i, one in enumerate(found) if one is not None]


def choose_skeleton(clips, args):
    """Sets args.skeleton to that of all clips, and args.as_ntu if they are treated as NTU's. Raises UserError."""
    (joints, values), *others = {clip.keypoint.shape[2:]: clip for clip in clips}
    if others:
        raise UserError(f"{args.pickle}: clips of {joints} joints of {values} values are in it, and of {others[0]}")
    placed = args.origin is not None or args.up or args.scale != 1
    args.as_ntu = args.skeleton in (None, "kinect_v2") and not placed
    args.skeleton = args.skeleton or {(25, 3): "kinect_v2", (17, 2): "coco17"}.get((joints, values))
    known = known_skeleton(args.skeleton)
    if not known or len(known.joints) != joints or known.is_2d != (values == 2):
        found = f"clips of {joints} joints of {values} values"
        raise UserError(f"{args.pickle}: {found}; name a skeleton that has these, with --skeleton NAME or FILE.json")
    if known.is_2d and placed:
        raise UserError("--up, --scale, --origin: only for 3D joints")


def is_numbers(array):
    return isinstance(array, np.ndarray) and array.dtype.kind in "fiu"


def plain_name(name):
    """A clip's name without folders, and without the ending of a file."""
    return ENDING.sub("", PurePath(name.replace("\\", "/")).name)


# ---- lists and labels


def find_listed(splits, names):
    """The clip that each name in a list means, or None: {key: [name of a clip]}. names: of all clips."""
    known, counts = set(names), Counter(map(plain_name, names))
    short = {plain_name(name): name for name in names if counts[plain_name(name)] == 1}
    return {
        key: [name if name in known else short.get(plain_name(name)) for name in listed]
        for key, listed in splits.items()
    }


def find_odd(splits, lists, clips, wrong, dataset, parts):
    """Yields what is odd about lists and labels: ([name], what these are), and no more of it if there is no name.

    lists: as from `find_listed`. wrong: clips whose labels are not those of their names. parts: as from `listed_parts`.
    """
    names = {clip.name for clip in clips}
    pairs = {*chain(*(zip(splits[key], listed, strict=True) for key, listed in lists.items()))}
    matched = sorted(f"{shorten(name)} and {shorten(clip)}" for name, clip in pairs if clip and clip != name)
    yield matched, "names in lists are of clips with another folder or ending, and are taken for the same"
    for key, listed in lists.items():
        absent = [name for name, clip in zip(splits[key], listed, strict=True) if clip is None]
        yield absent, f"of the {len(listed):,} names in {key} are of no clip"
        again = [name for name, n in Counter(listed).items() if name and n > 1]
        yield again, f"clips are in {key} several times, and are taken once"
    yield [clip.name for clip in wrong], "labels are not those of the clips' names, and are kept"
    for name, words, _, train, test in parts:
        trained, tested = ({clips[i].name for i in side} for side in (train, test))
        if dataset and (listed := lists.get(key := NTU_LISTS[name.rpartition("_")[2]])):
            odd = sorted(trained ^ (names & {*listed}))
            yield odd, f"clips differ between {key} and the published list, which is used"
        yield sorted(trained & tested), f"of the {len(tested):,} test clips of {name} train too ({words})"


# ---- protocols: (name of the h5, protocol in words, class names, training clips, test clips), clips by their place


def ntu_dataset(splits, names):
    """NTU60 or NTU120 as in clips/protocols.py; None if these are names of other clips."""
    if not all(map(protocols.NAME.fullmatch, names)):
        return None
    is_120 = any(key.startswith("xset") for key in splits) or any(protocols.action(name) > 60 for name in names)
    return protocols.dataset("NTU120" if is_120 else "NTU")


def listed_parts(lists, names, path, classes):
    """The protocols of the file's own lists: train and val or test; or train1 and test1, train2 and test2, ..."""
    place, parts = {name: i for i, name in enumerate(names)}, {}
    for key in lists:
        prefix, is_train, number = key.partition("train")
        test = next((f"{prefix}{side}{number}" for side in ("test", "val") if f"{prefix}{side}{number}" in lists), None)
        if not is_train or not test:
            continue
        ending = f"{prefix}{number}".strip("_")
        name = f"{path.stem}_{ending}" if ending else path.stem
        if name in parts or not re.fullmatch(r"[\w-]*", ending):
            raise UserError(f"{path}: its list {shorten(repr(key))} cannot name an h5, or names the same as another")
        sides = ([place[clip] for clip in dict.fromkeys(lists[side]) if clip in place] for side in (key, test))
        parts[name] = name, f"{key} trains, {test} tests", classes, *(np.array(side, int) for side in sides)
    return list(parts.values())


def write(path, words, classes, clips, train, test, dropped, args):
    """Writes one h5. train, test: indices of clips; both may have the same. dropped: as in `write_set`."""
    listed, is_2d = {*train, *test}, clips[0].is_2d
    dropped = [*dropped, ([clip.name for i, clip in enumerate(clips) if i not in listed], "they are in no list")]
    order = [*train, *test]
    write_set(
        path,
        ((k, clips[i].rows(args)) for k, i in enumerate(order)),
        [clips[i].label for i in order],
        {"": np.arange(len(train)), "test_": np.arange(len(train), len(order))},
        classes,
        dropped,
        lambda k: f"{args.pickle}: {shorten(clips[order[k]].name)}",
        frames=max(clip.keypoint.shape[1] for clip in clips),
        joints=clips[0].keypoint.shape[2],
        persons=2 if args.as_ntu and not is_2d else min(2, max(len(clip.keypoint) for clip in clips)),
        protocol=words,
        axes=layout.AXES_2D if is_2d else layout.AXES_3D,
        skeleton=args.skeleton,
        origin=None if is_2d or args.as_ntu else origin_of(args.skeleton, args),
        made_by=f"from_pyskl.py {__version__}",
    )


def main(argv=None):
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("pickle", type=Path, metavar="FILE.pkl")
    add("--out", type=Path, required=True, help="folder for the h5 files")
    test = "the test clips, if FILE.pkl is a list of the training clips alone"
    add("--test", type=Path, metavar="FILE.pkl", help=test)
    add_arguments(parser, "the joints", labels=True)
    args = parser.parse_args(argv)
    path = args.pickle
    splits, clips = read_clips(path, args)
    if args.test:
        _, test = read_clips(args.test, args)
        splits = {"train": [clip.name for clip in clips], "test": [clip.name for clip in test]}
        clips += test
    names = [clip.name for clip in clips]
    if again := [name for name, n in Counter(names).items() if n > 1]:
        raise UserError(f"{path}: two clips of one name are in it: {shorten(again[0])}")
    lists = find_listed(splits, names)
    empty = sorted(clip.name for clip in clips if clip.is_empty)
    dataset = ntu_dataset(splits, names)
    missing = sorted(dataset.missing & {*names}) if dataset else []
    dropped = [(empty, "nobody is in them"), (missing, "they are known to lack skeletons")]
    clips = sorted((clip for clip in clips if clip.name not in {*empty, *missing}), key=lambda clip: clip.name)
    if not clips:
        raise UserError(f"{path}: no clips are left: nobody is in them")
    choose_skeleton(clips, args)
    names, labels = [clip.name for clip in clips], count_from_0([clip.label for clip in clips], args, path)
    clips = [clip._replace(label=int(label)) for clip, label in zip(clips, labels, strict=True)]
    wrong = [clip for clip in clips if dataset and clip.label != protocols.action(clip.name) - 1]
    if wrong and not args.classes:
        what = f"{len(wrong):,} of {len(clips):,} labels are not those of the clips' names, for example "
        what += f"{wrong[0].label} of {wrong[0].name}: use --first-label 1, or --classes if they are your own"
        raise UserError(f"{path}: {what}")
    if dataset:
        print(dataset.count(len(names)))
        stem = path.stem if clips[0].is_2d else dataset.name
        classes = name_classes(0, args) or dataset.classes
        parts = [(f"{stem}_{one.name}", one.words, classes, *one.split(names)) for one in dataset.protocols]
    else:
        parts = listed_parts(lists, names, path, name_classes(1 + labels.max(), args))
    if not parts:
        what = "no lists train and val, train and test, or train1 and test1, ... in it"
        raise UserError(f"{path}: {what}{'' if splits else '; name the file of the test clips with --test'}")
    for examples, what in find_odd(splits, lists, clips, wrong, dataset, parts):
        if examples:
            note(f"{len(examples):,} {what}, for example {examples[0]}")
    for name, words, classes, train, test in parts:
        write(args.out / f"{name}.h5", words, classes, clips, train, test, dropped, args)
    return 0


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
