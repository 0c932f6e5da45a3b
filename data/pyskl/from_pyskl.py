"""The pickles of pyskl and mmaction2 to the h5 files of this project.

    python data/pyskl/from_pyskl.py ntu60_3danno.pkl --out data/ntu        # NTU_CS.h5 and NTU_CV.h5
    python data/pyskl/from_pyskl.py ntu120_3danno.pkl --out data/ntu       # NTU120_CS.h5 and NTU120_CSet.h5
    python data/pyskl/from_pyskl.py gym_hrnet.pkl --out . --classes names.txt      # gym_hrnet.h5
    python data/pyskl/from_pyskl.py ucf101_hrnet.pkl --out .               # ucf101_hrnet_1.h5, _2.h5 and _3.h5
    python data/pyskl/from_pyskl.py gym_train.pkl --test gym_val.pkl --out .       # older files, without lists

Of 3D files (Kinect v2, 25 joints, metres) clips are centered, ordered and split as from .skeleton files. Of 2D files
(17 joints of COCO) a joint is x - 0.5, y - 0.5 (in widths and heights of the picture) and its score, and zeros if its
score is not above 0, as in Kinetics-Skeleton; of more than two persons the two with the highest mean score are kept. 5%
of the training clips are for validation. Clips without a person, and those of NTU that are known to lack skeletons, are
left out. A name in a list may have folders and an ending that the clip's own lacks, or the other way round. What is odd
about lists and labels is noted. Nothing in the file is run: it may hold NumPy arrays, numbers, text and containers, and
anything else is refused. docs/data.md says how such files differ from what the .skeleton files give.
"""

import re
import sys
from collections import Counter
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project's root

from clips import h5 as layout
from clips import protocols
from clips.checks import FARTHEST
from clips.ntu import center_clip
from safe import pickles
from safe.pickles import show
from safe.program import exit_on_error
from util import ArgumentParser, UserError, __version__, progress, readable, shorten

# The data set and the protocol of the split lists of NTU's files
NTU_SPLITS = {"xsub": "CS", "xview": "CV", "xset": "CSet"}
ENDING = re.compile(r"(_rgb)?\.(skeleton|avi|mp4|mkv|mov|webm|mpe?g|npy)", re.IGNORECASE)


def read_pickle(path):
    """(split lists or {}, annotations) of a file: {name: [frame_dir]} and [dict]. Raises UserError."""
    try:
        content = pickles.load(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged pickle can raise anything
        why = shorten(error, 150) or type(error).__name__
        raise UserError(f"{path}: cannot be read as a pickle of pyskl ({why})") from None
    splits, annotations = {}, content
    if isinstance(content, dict):
        splits, annotations = content.get("split", {}), content.get("annotations")
    lists = isinstance(splits, dict) and all(
        isinstance(names, list | tuple) and all(isinstance(name, str) for name in (key, *names))
        for key, names in splits.items()
    )
    if not lists or not isinstance(annotations, list) or not annotations:
        raise UserError(f"{path}: not {{'split': lists of names, 'annotations': clips}}, nor a list of clips")
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
        return not (self.score > 0 if self.is_2d else self.keypoint).any()

    def rows(self):
        """What the h5 holds: (frames, persons * joints * 3) float32, at most two persons."""
        keypoint = self.keypoint.astype(np.float32)
        if self.is_2d:
            best = np.sort(np.argsort(-self.score.astype(np.float32).mean(axis=(1, 2)), kind="stable")[:2])
            keypoint, score = keypoint[best], self.score[best].astype(np.float32)[..., None]
            height, width = self.size
            keypoint = np.concatenate([keypoint / np.float32([width, height]) - np.float32(0.5), score], axis=3)
            keypoint = np.where(score > 0, keypoint, np.float32(0))
        else:
            keypoint = keypoint[keypoint.any(axis=(1, 2, 3))][:2]
            if len(self.keypoint) > 1:  # as get_raw_denoised_data.py does where there are several bodies
                keypoint = keypoint[:, keypoint.any(axis=(0, 2, 3))]
        rows = keypoint.swapaxes(0, 1).reshape(keypoint.shape[1], -1)
        return rows if self.is_2d else center_clip(rows)


def read_clip(annotation, path, i):
    """The Clip of an annotation. Raises UserError."""
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
    if not is_numbers(keypoint) or keypoint.ndim != 4 or not keypoint.size:
        found = f"{getattr(keypoint, 'dtype', 'that is damaged')} {getattr(keypoint, 'shape', '')}"
        raise error(f"has a keypoint {found}, not (persons, frames, joints, 2 or 3)")
    if not (np.abs(keypoint) < np.float32(FARTHEST)).all():
        raise error("has NaN, infinity or too large a number in its keypoint")
    if protocols.NAME.fullmatch(plain_name(name)):
        name = plain_name(name)
    if keypoint.shape[2:] == (25, 3):
        return Clip(name, label, keypoint, None, None)
    if keypoint.shape[2:] != (17, 2):
        raise error(f"has {keypoint.shape[2]} joints of {keypoint.shape[3]} values, not 25 of 3 or 17 of 2")
    if not is_numbers(score) or score.shape != keypoint.shape[:3] or not np.isfinite(score).all():
        raise error(f"has no keypoint_score of shape {keypoint.shape[:3]}")
    if not (isinstance(size, list | tuple) and len(size) == 2 and all(type(n) is int and 0 < n < 10**6 for n in size)):
        raise error("has no img_shape (height, width)")
    return Clip(name, label, keypoint, score, tuple(size))


def is_numbers(array):
    return isinstance(array, np.ndarray) and array.dtype.kind in "fiu"


def plain_name(name):
    """A clip's name without folders, and without the ending of a file."""
    end = PurePath(name.replace("\\", "/")).name
    found = ENDING.search(end)
    return end[: found.start()] if found and found.end() == len(end) else end


# ---- lists and labels


def note(text):
    print(f"note: {readable(text)}", file=sys.stderr)


def some(names, what):
    """Names from a file for a message: how many, and one of them."""
    return f"{len(names):,} {what}, for example {shorten(names[0])}"


def find_listed(splits, names):
    """The clips of each list, each once: {key: [name of a clip]}. names: of all clips. Notes what is odd."""
    known, counts = set(names), Counter(map(plain_name, names))
    short = {plain_name(name): name for name in names if counts[plain_name(name)] == 1}
    lists = {}
    for key, listed in splits.items():
        found = [name if name in known else short.get(plain_name(name)) for name in listed]
        if absent := [name for name, clip in zip(listed, found, strict=True) if clip is None]:
            note(f"{shorten(key)}: {some(absent, f'of its {len(listed):,} names are of no clip')}")
        times = Counter(name for name in found if name is not None)
        if again := [name for name, n in times.items() if n > 1]:
            note(f"{shorten(key)}: {some(again, 'clips are listed several times')}: each is taken once")
        lists[key] = list(times)
    return lists


def check_labels(clips, path, dataset, names):
    """Raises UserError if labels cannot be right, and notes what is odd. names: given names of the classes, or None."""
    labels = {clip.label for clip in clips}
    if len(labels) == 1:
        raise UserError(
            f"{path}: all {len(clips):,} clips have the label {labels.pop()}; at least two classes are needed"
        )
    if dataset:
        wrong = [clip for clip in clips if clip.label != protocols.action(clip.name) - 1]
        if wrong and not names:
            what = f"{len(wrong):,} of {len(clips):,} labels are not those of the clips' names, for example "
            what += f"{wrong[0].label} of {wrong[0].name}, not {protocols.action(wrong[0].name) - 1}; "
            shifted = all(clip.label == protocols.action(clip.name) for clip in clips)
            raise UserError(f"{path}: {what}use {'--first-label 1' if shifted else '--classes if they are your own'}")
        if wrong:
            note(f"{len(wrong):,} of {len(clips):,} labels are not those of the clips' names, and are kept")
        return
    empty = sorted(set(range(max(labels, default=0))) - labels)
    if empty[:1] == [0]:
        note("no clip has the label 0: if labels count from 1, use --first-label 1")
    elif empty:
        note(some([f"class {i}" for i in empty], "classes have no clips"))


# ---- protocols


def ntu_dataset(splits, names):
    """NTU60 or NTU120 as in clips/protocols.py; None if these are names of other clips."""
    if not names or not all(map(protocols.NAME.fullmatch, names)):
        return None
    is_120 = any(key.startswith("xset") for key in splits) or max(map(protocols.action, names)) > 60
    return protocols.dataset("NTU120" if is_120 else "NTU")


def ntu_protocols(lists, names, dataset, stem):
    """[(name of the h5, protocol in words, class names, training clips, test clips)], as by seq_transformation.py.

    names: of all clips, in order. Clips are indices of names. The file's lists, as from find_listed, are compared with
    the published ones. stem: how names of h5 files begin.
    """
    for protocol in dataset.protocols:
        train, test = protocol.split(names)
        for prefix in (prefix for prefix, its in NTU_SPLITS.items() if its == protocol.name):
            listed = set(lists.get(f"{prefix}_train", ()))
            if listed and listed & set(names) != {names[i] for i in train}:
                print(f"note: {prefix}_train is not the published list, which is used instead", file=sys.stderr)
        yield f"{stem}_{protocol.name}", protocol.words, dataset.classes, train, test


def listed_protocols(lists, names, path, classes):
    """The same from the file's own lists: train and val or test; or train1 and test1, train2 and test2, ..."""
    index, found = {name: i for i, name in enumerate(names)}, {}
    for key in lists:
        prefix, is_train, number = key.partition("train")
        tests = [f"{prefix}{side}{number}" for side in ("test", "val")]
        test = next((side for side in tests if side in lists), None)
        if is_train and test:
            train, tested = ([index[name] for name in lists[side] if name in index] for side in (key, test))
            ending = f"{prefix}{number}".strip("_")
            if not re.fullmatch(r"[\w-]*", ending):
                raise UserError(f"{shorten(repr(key))}: not a name of a list, which names an h5")
            name = f"{path.stem}_{ending}" if ending else path.stem
            if name in found:
                raise UserError(f"{path}: its lists {key} and {found[name][1].split()[0]} name one file, {name}.h5")
            if both := set(train) & set(tested):
                note(f"{len(both):,} of the {len(tested):,} clips of {test} train too: they say nothing of new clips")
            sides = (np.array(side, int) for side in (train, tested))
            found[name] = name, f"{key} trains, {test} tests", classes, *sides
    if found and (rest := sorted(set(names) - {name for listed in lists.values() for name in listed})):
        note(some(rest, "clips are in no list"))
    return list(found.values())


def write(path, words, classes, clips, train, test):
    """Writes one h5. train, test: indices of clips."""
    if len(train) < 2 or not len(test):
        raise UserError(f"{path} not written: {len(train)} training and {len(test)} test clips; both sides need some")
    trained, tested = (Counter(clips[i].label for i in side) for side in (train, test))
    if len(trained) < 2:
        raise UserError(f"{path} not written: all training clips have the label {min(trained)}")
    if unseen := sorted(tested.keys() - trained.keys()):
        n, numbers = sum(tested[label] for label in unseen), ", ".join(map(str, unseen))
        note(f"{path.name}: {n:,} test clips have labels that no training clip has: {shorten(numbers)}")
    parts = dict(zip(layout.SPLITS, (*layout.split_validation(train), test), strict=True))
    joints, is_2d = clips[0].keypoint.shape[2], clips[0].is_2d
    with progress(total=len(train) + len(test), desc=path.name, unit="clip") as bar:

        def rows(ids):
            for i in ids:
                yield clips[i].rows()
                bar.update()

        layout.write_h5(
            path,
            {split: (rows(ids), np.array([clips[i].label for i in ids], int)) for split, ids in parts.items()},
            frames=max(clip.keypoint.shape[1] for clip in clips),
            joints=joints,
            persons=min(2, max(len(clip.keypoint) for clip in clips)) if is_2d else 2,
            class_names=classes,
            protocol=words,
            axes=layout.AXES_2D if is_2d else layout.AXES_3D,
            skeleton="coco17" if is_2d else "kinect_v2",
            made_by=f"from_pyskl.py {__version__}",
        )
    print("{}: {:,} training, {:,} validation and {:,} test clips".format(path, *map(len, parts.values())))


def read_clips(annotations, path):
    """The Clips of a file's annotations. pyskl's script leaves None where a clip has no body."""
    return [read_clip(annotation, path, i) for i, annotation in enumerate(annotations) if annotation is not None]


def leave_out(clips, is_left_out, why):
    """Those that stay, by name. A line says how many do not."""
    left_out = sorted(clip.name for clip in clips if is_left_out(clip))
    if left_out:
        print(f"{len(left_out):,} clips are left out, for example {shorten(left_out[0])}: {why}")
    return sorted((clip for clip in clips if not is_left_out(clip)), key=lambda clip: clip.name)


def main(argv=None):
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("pickle", type=Path, metavar="FILE.pkl")
    add("--out", type=Path, required=True, help="folder for the h5 files")
    add("--classes", type=Path, metavar="FILE", help="the class names, one a line (NTU's are known)")
    add(
        "--test",
        type=Path,
        metavar="FILE.pkl",
        help="the test clips, if FILE.pkl is a list of the training clips alone",
    )
    add("--first-label", type=int, choices=(0, 1), default=0, help="1 if labels count from 1 (%(default)s)")
    args = parser.parse_args(argv)
    splits, annotations = read_pickle(args.pickle)
    clips = read_clips(annotations, args.pickle)
    if args.test:
        _, annotations = read_pickle(args.test)
        test = read_clips(annotations, args.test)
        splits = {"train": [clip.name for clip in clips], "test": [clip.name for clip in test]}
        clips += test
    del annotations
    if len({clip.is_2d for clip in clips}) > 1 or len({clip.name for clip in clips}) < len(clips):
        raise UserError(f"{args.pickle}: 2D and 3D clips, or two clips of one name, are in it")
    if any(clip.label < args.first_label for clip in clips):
        raise UserError(f"{args.pickle}: labels are counted from 0 in it: leave out --first-label")
    clips = [clip._replace(label=clip.label - args.first_label) for clip in clips]
    lists = find_listed(splits, [clip.name for clip in clips])
    clips = leave_out(clips, lambda clip: clip.is_empty, "nobody is in them")
    dataset = ntu_dataset(splits, [clip.name for clip in clips])
    if dataset:
        clips = leave_out(clips, lambda clip: clip.name in dataset.missing, "they are known to lack skeletons")
    names = [clip.name for clip in clips]
    classes = protocols.read_lines(args.classes) if args.classes else None
    check_labels(clips, args.pickle, dataset, classes)
    if dataset:
        print(dataset.count(len(names)))
        stem = args.pickle.stem if clips and clips[0].is_2d else dataset.name
        found = list(ntu_protocols(lists, names, dataset, stem))
    else:
        numbered = tuple(f"class {i}" for i in range(1 + max((clip.label for clip in clips), default=0)))
        found = listed_protocols(lists, names, args.pickle, numbered)
    if not found:
        raise UserError(f"{args.pickle}: no lists train and val, train and test, or train1 and test1, ... in it")
    for name, words, known, train, test in found:
        write(args.out / f"{name}.h5", words, classes or known, clips, train, test)
    return 0


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
