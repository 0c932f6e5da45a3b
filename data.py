"""From a data set's h5 to batches: all clips packed into one tensor, and a batch is a few tensor operations on it.

    clips = Clips.read("data/ntu/NTU_CS.h5").to(device)
    x = PAPER.vary(clips.draw(ids, generator), theta=0.3, generator=generator)     # (batch, 20, 75)

No workers, no collate function and no padding: NTU RGB+D's 56,578 clips take about 2 GB, on the GPU when there is one.
(SPEC, "From a clip to the network's input".)
"""

import hashlib
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import torch
from tqdm import tqdm

from recipes import PAPER, Recipe
from util import UserError, replacing

ROOT = Path(__file__).resolve().parent
sys.path.append(str(ROOT / "data"))  # a plain folder: the scripts there, and the layout of the h5 they write
from layout import SPLITS, about, one_hot  # noqa: E402
from skeletons import SKELETONS  # noqa: E402


@dataclass(frozen=True)
class Dataset:
    """What belongs to a data set; joints, persons and classes are read from its h5."""

    folder: str  # below data/
    files: tuple[str, ...]  # case 0, case 1, ...
    theta: tuple[float, ...]  # training rotation in radians, case by case; 0 where the axes are not x, y, z
    how: str  # to make the files


HEADER = ("joints", "persons", "class_names", "protocol", "sha256")  # of Clips: what is kept of the h5 besides arrays
_NTU_HOW = "run the three scripts of data/ntu on the .skeleton files (README, 'Data')"

DATASETS = {
    "NTU": Dataset("ntu", ("NTU_CS.h5", "NTU_CV.h5"), (0.3, 0.5), _NTU_HOW),
    "NTU120": Dataset("ntu", ("NTU120_CS.h5", "NTU120_CSet.h5"), (0.3, 0.3), _NTU_HOW),
    "NUCLA": Dataset("nucla", ("NUCLA_CV.h5",), (0.5,), "run data/nucla/make_nucla.py all_sqe.zip"),
    "SYSU": Dataset("sysu", ("SYSU_CS.h5", "SYSU_SS.h5"), (0.3, 0.3), "run data/sysu/make_sysu.py FOLDER"),
    # x, y and score instead of x, y, z: turning these into one another would mean nothing
    "KINETICS": Dataset("kinetics", ("KINETICS_val.h5",), (0.0,), "run data/kinetics/make_kinetics.py FOLDER"),
    "DEMO": Dataset("demo", ("DEMO_CS.h5", "DEMO_CV.h5"), (0.3, 0.5), "run data/demo/make_demo.py"),
}


def resolve(dataset, case, folder=None):
    """The h5 file of a data set's case, its name for results/, and its training rotation.

    dataset: a key of DATASETS, or a path to any h5 in the same layout (case 0 only). folder: where the h5 lies,
    instead of the data set's own folder below data/. Returns (path, name, theta in radians).
    Raises UserError for an unknown data set or case.
    """
    if dataset not in DATASETS:
        known = ", ".join(DATASETS)
        if not dataset.endswith((".h5", ".hdf5")):
            raise UserError(f"--dataset {dataset}: not one of {known}, and not a path to an .h5 file")
        if case != 0:
            raise UserError(f"--case {case}: a file of one's own has case 0 only")
        if Path(dataset).stem in DATASETS or folder:
            raise UserError(f"--dataset {dataset}: a path goes without --data, and needs a name other than {known}")
        return Path(dataset), Path(dataset).stem, 0.3
    entry = DATASETS[dataset]
    if case not in range(len(entry.files)):
        cases = ", ".join(f"{i} ({Path(name).stem})" for i, name in enumerate(entry.files))
        raise UserError(f"--case {case}: {dataset} has {cases}")
    return Path(folder or ROOT / "data" / entry.folder) / entry.files[case], dataset, entry.theta[case]


def find(dataset, case, folder=None, make=True):
    """As `resolve`, with the file there: the demo set is made when it is not there yet, unless `make` is off.

    Raises UserError that says how other data are made.
    """
    path, name, theta = resolve(dataset, case, folder)
    if make and not path.is_file() and name == "DEMO" and not folder:
        print(f"{path.name} is not there yet: making the demo set, which takes about a minute")
        if subprocess.run([sys.executable, ROOT / "data/demo/make_demo.py"]).returncode:
            raise UserError("data/demo/make_demo.py did not finish; its own line above says why")
    if not path.is_file():
        how = DATASETS[name].how if name in DATASETS else "README, 'Your own data', shows how one is written"
        raise UserError(f"no data: {path} is missing; {how}. --dataset DEMO runs without any data")
    return path, name, theta


@dataclass(frozen=True)
class Clips:
    """All clips of an h5, packed: persons split, empty frames dropped, nothing padded.

    frames: (all frames + 1, joints * 3) float32, metres, clip after clip; the last row is zeros and stands for every
        frame that is appended to a clip shorter than the segments.
    start, length: (clips,) int64, a clip's first row in frames and its number of rows.
    label: (clips,) int64.
    splits: the clips of each split, {"": range, "valid_": range, "test_": range}.
    joints, persons, class_names, protocol: what the h5 says of itself. sha256: of the clips, their labels and
        splits, so that it is the same whichever program wrote the h5.
    resplits: (random splits, clips) uint8 on the CPU, the h5's table of them (data/layout.py); None if it has none.
    recipe: how frames are drawn from them.
    """

    frames: torch.Tensor
    start: torch.Tensor
    length: torch.Tensor
    label: torch.Tensor
    splits: dict[str, range]
    joints: int
    persons: int
    class_names: tuple[str, ...]
    protocol: str
    sha256: str
    resplits: torch.Tensor | None = None
    recipe: Recipe = PAPER

    @classmethod
    def read(cls, path, cache=False, block=None):
        """Reads an h5 in the layout of data/layout.py once, `block` clips at a time (default: 64 MiB of them).

        cache: keep the packed clips beside the h5, in `<name>.packed.h5`, and take them from there the next time. They
        are mapped into memory, so that start is nearly free; a cache of another state of the h5 is made anew.
        Peak memory is little above that of the packed clips.
        Raises UserError when the file is missing, is no h5 or is not in that layout.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        packed = path.with_suffix(".packed.h5")
        state = _state(path)
        try:
            if cache and (clips := cls._map(packed, state)):
                return clips
            with h5py.File(path) as file:
                clips = cls._read(file, path, block)
        except UserError:
            raise
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError) as error:  # for a damaged file
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(f"{path}: cannot be read as h5 ({why})") from None
        if cache:
            try:
                clips._keep(packed, state)
            except OSError as error:  # the clips are there all the same
                print(f"{packed}: not kept: {error.strerror}", file=sys.stderr)
        return clips

    @classmethod
    def _read(cls, file, path, block):
        header = about(file)
        persons, width = header["persons"], header["joints"] * 3
        lengths, labels, splits, first = [np.zeros(0, np.int64)], [], {}, 0
        frames, used = np.empty((0, width), np.float32), 0
        total = sum(len(file[f"{split}x"]) for split in SPLITS)
        with tqdm(total=total, desc=path.name, unit="clip", delay=2, leave=False) as bar:
            for split in SPLITS:
                x, y = file[f"{split}x"], file[f"{split}y"]
                splits[split] = range(first, first := first + len(x))
                several = block or max(1, 2**26 // max(1, 4 * x.shape[1] * x.shape[2]))
                for i in range(0, len(x), several):
                    labels.append((one := y[i : i + several]).argmax(axis=1))
                    if not (right := one_hot(one)).all():
                        raise UserError(f"{path}: {split}y: the label of clip {i + right.argmin()} is not one-hot")
                    dense = x[i : i + several].reshape(-1, x.shape[1], persons, width)
                    there = present(dense)
                    lengths.append(there.sum(axis=(1, 2)))
                    rows = lengths[-1].sum()
                    if used + rows >= len(frames):  # grown in place by realloc: the clips are never held twice
                        frames.resize((max(used + rows + 1, len(frames) * 5 // 4), width), refcheck=False)
                    frames[used : used + rows] = packed = dense[there]
                    if not np.isfinite(packed).all():
                        clip = i + (~np.isfinite(dense)).any(axis=(1, 2, 3)).argmax()
                        raise UserError(f"{path}: {split}x: clip {clip} has NaN or infinity")
                    used += rows
                    bar.update(len(dense))
        frames.resize((used + 1, width), refcheck=False)
        frames[-1] = 0
        length, label = np.concatenate(lengths), np.concatenate(labels)
        resplits = file["resplits"][:] if "resplits" in file else None
        digest = hashlib.sha256(str(list(splits.values())).encode())
        for array in (frames, length, label):
            digest.update(array)
        return cls._of(frames, length, label, splits, header | {"sha256": digest.hexdigest()}, resplits)

    @classmethod
    def one(cls, clip):
        """A single clip that is in no h5, as a test clip of label 0: (frames, persons, joints, 3) float32, metres."""
        frames, persons, joints, _ = clip.shape
        dense = clip.reshape(frames, persons, joints * 3)
        rows = dense[present(dense)]
        header = {"joints": joints, "persons": persons, "class_names": (), "protocol": "", "sha256": ""}
        return cls._of(
            np.concatenate([rows, np.zeros((1, joints * 3), np.float32)]),
            np.array([len(rows)]),
            np.zeros(1, np.int64),
            {"": range(0), "valid_": range(0), "test_": range(1)},
            header,
        )

    @classmethod
    def _of(cls, frames, length, label, splits, header, resplits=None):
        frames, length, label = (torch.from_numpy(array) for array in (frames, length, label))
        resplits = None if resplits is None else torch.from_numpy(resplits)
        return cls(frames, length.cumsum(0) - length, length, label, splits, **header, resplits=resplits)

    def _keep(self, packed, state):
        with replacing(packed) as part, h5py.File(part, "w") as file:
            for name in ("frames", "length", "label"):
                file[name] = getattr(self, name).numpy()
            if self.resplits is not None:
                file["resplits"] = self.resplits.numpy()
            file.attrs.update(state=state, splits=[len(self.splits[split]) for split in SPLITS])
            file.attrs.update({name: getattr(self, name) for name in HEADER})

    @classmethod
    def _map(cls, packed, state):
        """The clips of a cache; None where there is none, or one of another state of the h5, or a damaged one."""
        try:
            return cls._mapped(packed, state)
        except (OSError, KeyError, ValueError, TypeError, RuntimeError):
            return None

    @classmethod
    def _mapped(cls, packed, state):
        with h5py.File(packed) as file:
            if file.attrs.get("state") != state:
                return None
            frames, (length, label) = file["frames"], (file[name][:] for name in ("length", "label"))
            # Copy on write: torch wants memory that can be written; the file is not
            frames = np.memmap(packed, np.float32, "c", frames.id.get_offset(), frames.shape)
            header = {name: file.attrs[name] for name in HEADER}
            header |= {"class_names": tuple(header["class_names"]), "joints": int(header["joints"])}
            ends = np.cumsum(file.attrs["splits"]).tolist()
            if not len(label) == len(length) == ends[-1] or length.sum() + 1 != len(frames):
                return None
            splits = {split: range(*ends_) for split, ends_ in zip(SPLITS, pairwise([0, *ends]), strict=True)}
            resplits = file["resplits"][:] if "resplits" in file else None
            return cls._of(frames, length, label, splits, header, resplits)

    def to(self, device):
        """The same clips on another device."""
        tensors = ("frames", "start", "length", "label")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})

    def resplit(self, number):
        """The same clips, parted as in the h5's random split of that number, from 1. Raises UserError without one.

        Nothing is copied but start, length and label: the clips of a split stay one range.
        """
        there = 0 if self.resplits is None else len(self.resplits)
        if not 1 <= number <= there:
            has = f"has {there} random splits" if there else "has no random splits"
            raise UserError(f"split {number}: the h5 {has}; data/layout.py says how they are written")
        parts = self.resplits[number - 1]
        order = parts.argsort(stable=True)
        ends = [0, *parts.bincount(minlength=len(SPLITS)).cumsum(0).tolist()]
        moved = {name: getattr(self, name)[order.to(self.label.device)] for name in ("start", "length", "label")}
        splits = {split: range(*ends_) for split, ends_ in zip(SPLITS, pairwise(ends), strict=True)}
        return replace(self, **moved, splits=splits, resplits=self.resplits[:, order])

    def bones(self):
        """(bones, 2) int64, the joints at each bone's ends. Raises UserError where no skeleton has so many joints."""
        if self.joints not in SKELETONS:
            known = ", ".join(f"{skeleton.name}'s {n}" for n, skeleton in sorted(SKELETONS.items()))
            raise UserError(f"the bones of {self.joints} joints are not known, only those of {known}")
        return SKELETONS[self.joints].bones()

    def sides(self):
        """(joints,) int64 on the clips' device: each joint's counterpart on the other side; None if it is not known."""
        skeleton = SKELETONS.get(self.joints)
        return None if skeleton is None else torch.from_numpy(skeleton.sides()).to(self.label.device)

    def ids(self, *splits):
        """The clips of these splits, (n,) int64 on the clips' device."""
        ranges = (self.splits[split] for split in splits)
        return torch.cat([torch.arange(ids.start, ids.stop, device=self.label.device) for ids in ranges])

    def draw(self, ids, generator, seg=20, crop=1.0):
        """One draw of `seg` frames from each clip (SPEC, "From a clip to the network's input").

        A clip of L frames, zeros appended up to seg, is cut into seg segments of a = L // seg frames, and one frame of
        each is drawn uniformly. The last L - seg * a frames are never drawn, as in the release. With a recipe that
        draws from the whole clip, the segments are L / seg long, whole or not, and nothing is left over or appended.
        ids: (n,) int64 clips. Returns (n, seg, joints * 3) float32, metres.
        """
        return self.gather(ids, self.draw_frames(ids, generator, seg, crop))

    def draw_frames(self, ids, generator, seg=20, crop=1.0):
        """The drawing alone: which frames of each clip, (n, seg) int64; those from the clip's length on are zeros.

        crop: with a recipe that draws from the whole clip, it draws from a random part of it, at least this share.
        """
        length = self.length[ids, None]
        segment = torch.arange(seg, device=ids.device)
        u = torch.rand(len(ids), seg, generator=generator, device=ids.device)
        if not self.recipe.whole:
            a = (length // seg).clamp(min=1)
            return segment * a + (u * a).long()
        share, place = torch.rand(2, len(ids), 1, generator=generator, device=ids.device) if crop < 1 else (1, 0)
        share = crop + (1 - crop) * share
        at = place * (1 - share) + (segment + u) / seg * share  # of the clip's length
        return (at * length).long().minimum(length - 1).clamp(min=0)

    def gather(self, ids, frames):
        """Those frames of those clips: (n,) and (n, seg) int64 -> (n, seg, joints * 3) float32."""
        rows = torch.where(frames < self.length[ids, None], self.start[ids, None] + frames, len(self.frames) - 1)
        return self.frames.index_select(0, rows.flatten()).unflatten(0, rows.shape)


def present(dense):
    """Who is there: (…, frames, persons, joints * 3) -> (…, frames, persons) bool.

    dense[present(dense)] is frame by frame, person by person, whoever is there: so persons are split, and empty frames
    are dropped.
    """
    return (dense != 0).any(axis=-1)


def _state(path):
    """What changes with a file's content: any write sets its ctime, which no program can set back."""
    stat = path.stat()
    return f"packed clips 3, {stat.st_size} bytes, inode {stat.st_ino}, {stat.st_mtime_ns}, {stat.st_ctime_ns} ns"
