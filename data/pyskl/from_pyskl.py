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
left out. Nothing in the file is run: it may hold NumPy arrays, numbers, text and containers, and anything else is
refused. docs/importing.md says how such files differ from what the .skeleton files give.
"""

import re
import sys
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

import _path

import layout
import protocols
import safe_pickle
from safe_pickle import show
from seq_transformation import center_clip
from util import ArgumentParser, UserError, __version__, exit_on_error, progress, shorten

AXES_2D = "x - 0.5, y - 0.5, score"
# The data set and the protocol of the split lists of NTU's files
NTU_SPLITS = {"xsub": "CS", "xview": "CV", "xset": "CSet"}


def read_pickle(path):
    """(split lists or {}, annotations) of a file: {name: [frame_dir]} and [dict]. Raises UserError."""
    try:
        content = safe_pickle.load(path)
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
    if not np.isfinite(keypoint).all():
        raise error("has NaN or infinity in its keypoint")
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
    """A clip's name; of a path to one of NTU, such as a/S001C001P001R001A001.avi, the name alone."""
    end = PurePath(name.replace("\\", "/")).stem
    return end if protocols.NAME.fullmatch(end) else name


# ---- protocols


def ntu_dataset(splits, names):
    """NTU60 or NTU120 as in data/ntu/protocols.py; None if these are names of other clips."""
    if not names or not all(map(protocols.NAME.fullmatch, names)):
        return None
    is_120 = any(key.startswith("xset") for key in splits) or max(map(protocols.action, names)) > 60
    return protocols.dataset("NTU120" if is_120 else "NTU")


def ntu_protocols(splits, names, dataset, stem):
    """[(name of the h5, protocol in words, class names, training clips, test clips)], as by seq_transformation.py.

    names: of all clips, in order. Clips are indices of names. The file's lists are compared with the published ones.
    stem: how names of h5 files begin.
    """
    for protocol in dataset.protocols:
        train, test = protocol.split(names)
        for prefix in (prefix for prefix, its in NTU_SPLITS.items() if its == protocol.name):
            listed = set(map(plain_name, splits.get(f"{prefix}_train", ())))
            if listed and listed & set(names) != {names[i] for i in train}:
                print(f"note: {prefix}_train is not the published list, which is used instead", file=sys.stderr)
        yield f"{stem}_{protocol.name}", protocol.words, dataset.classes, train, test


def listed_protocols(splits, names, stem, classes):
    """The same from the file's own lists: train and val or test; or train1 and test1, train2 and test2, ..."""
    index = {name: i for i, name in enumerate(names)}
    for key in splits:
        prefix, is_train, number = key.partition("train")
        tests = [f"{prefix}{side}{number}" for side in ("test", "val")]
        test = next((side for side in tests if side in splits), None)
        if is_train and test:
            sides = [np.array([index[name] for name in splits[side] if name in index], int) for side in (key, test)]
            ending = f"{prefix}{number}".strip("_")
            if not re.fullmatch(r"[\w-]*", ending):
                raise UserError(f"{shorten(repr(key))}: not a name of a list, which names an h5")
            yield f"{stem}_{ending}" if ending else stem, f"{key} trains, {test} tests", classes, *sides


def write(path, words, classes, clips, train, test):
    """Writes one h5. train, test: indices of clips."""
    if len(train) < 2 or not len(test):
        raise UserError(f"{path} not written: {len(train)} training and {len(test)} test clips; both sides need some")
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
            axes=AXES_2D if is_2d else "x, y, z",
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
    clips = leave_out(clips, lambda clip: clip.is_empty, "nobody is in them")
    dataset = ntu_dataset(splits, [clip.name for clip in clips])
    if dataset:
        clips = leave_out(clips, lambda clip: clip.name in dataset.missing, "they are known to lack skeletons")
    names = [clip.name for clip in clips]
    if dataset:
        print(dataset.count(len(names)))
        stem = args.pickle.stem if clips and clips[0].is_2d else dataset.name
        found = list(ntu_protocols(splits, names, dataset, stem))
    else:
        classes = tuple(f"class {i}" for i in range(1 + max((clip.label for clip in clips), default=0)))
        found = list(listed_protocols(splits, names, args.pickle.stem, classes))
    if not found:
        raise UserError(f"{args.pickle}: no lists train and val, train and test, or train1 and test1, ... in it")
    for name, words, classes, train, test in found:
        classes = protocols.read_lines(args.classes) if args.classes else classes
        write(args.out / f"{name}.h5", words, classes, clips, train, test)
    return 0


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
