"""From a data set's h5 to batches. All clips are packed into one tensor, and a batch is a few tensor operations on it.

    clips = Clips.read("data/ntu/NTU_CS.h5").to(device)
    x = PAPER.augment(clips.sample(ids, generator), theta=0.3, generator=generator)        # (batch, 20, 75)

There are no workers, no collate function and no padding: the 56,578 clips of NTU RGB+D take about 2 GB, on the GPU if
there is one.
"""

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import torch

import util
from clips.checks import describe, read_parts
from clips.h5 import SPLITS, read_header
from clips.skeletons import Skeleton, read_skeleton, unknown_skeleton
from safe.h5 import open_h5

# Fields of Clips that a cache keeps as they are
CACHE = "packed clips"  # how the state of a cache begins
HEADER = ("joints", "persons", "class_names", "protocol", "axes", "sha256")


@dataclass(frozen=True)
class Clips:
    """All clips of an h5, packed: persons split, empty frames dropped, no padding.

    frames: (all frames + 1, joints * 3) float32, metres, clip after clip; the last row is zeros, for padding.
    start, length: (clips,) int64, each clip's first row in frames, and its number of rows.
    label: (clips,) int64.
    splits: the clips of each split, {"train": range, "valid": range, "test": range}.
    joints, persons, class_names, protocol, axes, skeleton, origin: from the h5's header.
    sha256: digest of clips, labels and splits, the same for equal clips whichever program wrote the h5.
    resplits: (random splits, clips) uint8 on the CPU, from the h5 (clips/h5.py), or None.
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
    axes: str
    skeleton: Skeleton
    sha256: str
    origin: int | None = None
    resplits: torch.Tensor | None = None

    @classmethod
    def read(cls, path, cache=False, block=None):
        """Reads an h5 in the layout of clips/h5.py, `block` clips at a time (default: 64 MiB of them).

        cache: keep the packed clips in `<name>.packed.h5` beside the h5, and map them into memory the next time. A
        cache of an h5 that has changed since is written anew.
        Peak memory is little above that of the packed clips. Raises UserError for a file that is not in the layout,
        OSError for one that is missing or cannot be read.
        """
        path = Path(path)
        packed, state = path.with_suffix(".packed.h5"), state_of(util.regular(path))
        if cache and (clips := cls._read_cache(packed, state)):
            return clips
        with open_h5(path) as file:
            clips = cls._pack(file, path, block)
        if cache:
            try:
                if packed.exists() and not _is_cache(packed):
                    raise FileExistsError(0, "a file of this name that is no cache is there")
                clips._write_cache(packed, state)
            except OSError as error:
                print(f"note: {packed}: not written: {error.strerror}", file=sys.stderr)
        return clips

    @classmethod
    def _pack(cls, file, path, block):
        header = read_header(file)
        persons, width = header["persons"], header["joints"] * 3
        frames, used = np.empty((0, width), np.float32), 0
        lengths, labels = [np.zeros(0, np.int64)], []
        sizes = [len(file[f"{split}x"]) for split in SPLITS]
        with util.progress(total=sum(sizes), desc=path.name, unit="clip", delay=2, leave=False) as bar:
            for split, _, x, label, wrong in read_parts(file, SPLITS, block):
                if wrong:
                    raise util.UserError(f"{path}: {next(describe(wrong))}")
                dense = x.reshape(-1, x.shape[1], persons, width)
                present = is_present(dense)
                rows = present.sum(axis=(1, 2))
                if (used + rows.sum()) * width * 4 > max(2**26, 100 * file.id.get_filesize()):
                    raise util.UserError(f"{path}: {split}x unpacks to more than a hundred times the size of the file")
                if used + rows.sum() >= len(frames):  # grown in place: the clips are never in memory twice
                    frames.resize((max(used + rows.sum() + 1, len(frames) * 5 // 4), width), refcheck=False)
                frames[used : used + rows.sum()] = dense[present]
                used += rows.sum()
                lengths.append(rows)
                labels.append(label)
                bar.update(len(x))
        frames.resize((used + 1, width), refcheck=False)
        frames[-1] = 0
        length, label = np.concatenate(lengths), np.concatenate(labels)
        splits = _ranges(sizes)
        digest = hashlib.sha256(str(list(splits.values())).encode())
        for array in (frames, length, label):
            digest.update(array)
        resplits = file["resplits"][:] if "resplits" in file else None
        return cls._from_numpy(frames, length, label, splits, header | {"sha256": digest.hexdigest()}, resplits)

    @classmethod
    def from_clip(cls, clip):
        """One clip that is in no h5, as a test clip: (frames, persons, joints, 3) float32, metres."""
        frames, persons, joints, _ = clip.shape
        dense = clip.reshape(frames, persons, joints * 3)
        rows = np.concatenate([dense[is_present(dense)], np.zeros((1, joints * 3), np.float32)])
        header = {"joints": joints, "persons": persons, "class_names": (), "protocol": "", "axes": "", "sha256": ""}
        header["skeleton"] = unknown_skeleton(joints)
        return cls._from_numpy(rows, np.array([len(rows) - 1]), np.zeros(1, np.int64), _ranges([0, 0, 1]), header)

    @classmethod
    def _from_numpy(cls, frames, length, label, splits, header, resplits=None):
        frames, length, label = (torch.from_numpy(array) for array in (frames, length, label))
        resplits = None if resplits is None else torch.from_numpy(resplits)
        return cls(frames, length.cumsum(0) - length, length, label, splits, **header, resplits=resplits)

    def _write_cache(self, packed, state):
        with util.atomic_write(packed) as part, h5py.File(part, "w") as file:
            for name in ("frames", "length", "label"):
                file[name] = getattr(self, name).numpy()
            if self.resplits is not None:
                file["resplits"] = self.resplits.numpy()
            file.attrs.update(state=state, splits=[len(ids) for ids in self.splits.values()])
            file.attrs.update({name: getattr(self, name) for name in HEADER} | self.skeleton.to_attributes())
            if self.origin is not None:
                file.attrs["origin"] = self.origin

    @classmethod
    def _read_cache(cls, packed, state):
        """The clips of a cache; None if there is none, or it is damaged, or was made from another state of the h5."""
        try:
            with open_h5(packed) as file:
                if file.attrs.get("state") != state:
                    return None
                frames, length, label = file["frames"], file["length"][:], file["label"][:]
                # Mapped copy-on-write: torch wants memory that it may write to
                frames = np.memmap(packed, np.float32, "c", frames.id.get_offset(), frames.shape)
                header = {name: file.attrs[name] for name in HEADER}
                header |= {"class_names": tuple(header["class_names"]), "joints": int(header["joints"])}
                header["skeleton"] = read_skeleton(file.attrs, header["joints"])
                header["origin"] = int(file.attrs["origin"]) if "origin" in file.attrs else None
                sizes = [int(size) for size in file.attrs["splits"]]
                if not len(label) == len(length) == sum(sizes) or length.sum() + 1 != len(frames):
                    return None
                if (np.array(sizes) < 0).any() or (length < 0).any() or frames.shape[1] != header["joints"] * 3:
                    return None
                if len(label) and not (label.min() >= 0 and label.max() < len(header["class_names"])):
                    return None
                resplits = file["resplits"][:] if "resplits" in file else None
                return cls._from_numpy(frames, length, label, _ranges(sizes), header, resplits)
        except (OSError, KeyError, ValueError, TypeError, RuntimeError):
            return None

    def to(self, device):
        """The same clips on another device."""
        tensors = ("frames", "start", "length", "label")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})

    def resplit(self, number):
        """The same clips in the h5's random split of that number, from 1; None: as they are.

        Raises UserError if there is no such split.
        """
        if number is None:
            return self
        available = 0 if self.resplits is None else len(self.resplits)
        if not 1 <= number <= available:
            raise util.UserError(f"split {number}: the h5 has {available or 'no'} random splits (clips/h5.py)")
        split = self.resplits[number - 1]
        order = split.argsort(stable=True)
        moved = {name: getattr(self, name)[order.to(self.label.device)] for name in ("start", "length", "label")}
        splits = _ranges(split.bincount(minlength=3).tolist())
        return replace(self, **moved, splits=splits, resplits=self.resplits[:, order])

    @property
    def unnamed(self):
        """Whether the h5 does not name its classes (layout.read_header)."""
        return self.class_names[0] == "class 0"

    @property
    def spatial(self):
        """Whether a joint's three values are x, y, z: not in 2D data, where the third is a score."""
        return self.axes == "x, y, z"

    def bones(self):
        """(bones, 2) int64, the joints at each bone's ends. Raises UserError if the skeleton is unknown."""
        if not len(self.skeleton.bones()):
            raise util.UserError("the h5 does not state its skeleton, so its bones are not known (docs/data.md)")
        return self.skeleton.bones()

    def stream(self, name):
        """The linear map of the joints for a stream of STREAMS, as Skeleton.stream. Raises UserError."""
        try:
            return self.skeleton.stream(name, not self.spatial)
        except ValueError as error:
            raise util.UserError(f"--stream {name}: {error} (docs/data.md)") from None

    def flip_pairs(self):
        """(joints,) int64 on the clips' device, each joint's counterpart on the other side; None if unknown."""
        pairs = self.skeleton.flip_pairs()
        return None if pairs is None else torch.from_numpy(pairs).to(self.label.device)

    def ids(self, *splits):
        """The clips of these splits ("train", "valid", "test"), (n,) int64 on the clips' device."""
        ranges = [self.splits[split] for split in splits]
        return torch.cat([torch.arange(ids.start, ids.stop, device=self.label.device) for ids in ranges])

    def sample(self, ids, generator, seg=20, whole_clip=False, crop=1.0):
        """One sample of each clip: `seg` frames, one from each segment. (n,) int64 -> (n, seg, joints * 3) float32.

        A clip of L frames, padded with zeros up to seg, is cut into seg segments of a = L // seg frames, and one frame
        of each is chosen uniformly. The last L - seg * a frames are never sampled, as in the release (data.py,
        TSN-like sampling of section 4.2). whole_clip, crop: as in recipes.Recipe.
        """
        return self.gather(ids, self.sample_frames(ids, generator, seg, whole_clip, crop))

    def sample_frames(self, ids, generator, seg=20, whole_clip=False, crop=1.0):
        """The frames of a sample: (n, seg) int64. Frames from the clip's length on stand for zeros."""
        length = self.length[ids, None]
        segment = torch.arange(seg, device=ids.device)
        u = torch.rand(len(ids), seg, generator=generator, device=ids.device)
        if not whole_clip:
            a = (length // seg).clamp(min=1)
            return segment * a + (u * a).long()
        share, start = 1, 0
        if crop < 1:
            share, start = torch.rand(2, len(ids), 1, generator=generator, device=ids.device)
            share = crop + (1 - crop) * share
        position = start * (1 - share) + (segment + u) / seg * share  # 0 to 1, as a fraction of the clip
        return (position * length).long().minimum(length - 1).clamp(min=0)

    def gather(self, ids, frames):
        """These frames of these clips: (n,) and (n, seg) int64 -> (n, seg, joints * 3) float32."""
        rows = (self.start[ids, None] + frames).masked_fill_(frames >= self.length[ids, None], len(self.frames) - 1)
        return self.frames.index_select(0, rows.flatten()).unflatten(0, rows.shape)


def is_present(dense):
    """Which persons are in which frames: (..., frames, persons, joints * 3) -> (..., frames, persons) bool."""
    return (dense != 0).any(axis=-1)


def _is_cache(path):
    try:
        with open_h5(path) as file:
            return str(file.attrs.get("state")).startswith(CACHE)
    except util.UserError:
        return False


def _ranges(sizes):
    """The splits of clips that lie one split after another."""
    train, valid, test = sizes
    return {
        "train": range(train),
        "valid": range(train, train + valid),
        "test": range(train + valid, train + valid + test),
    }


def state_of(path):
    """A text that changes whenever the file does: every write sets its ctime, which no program can set back."""
    stat = path.stat()
    return f"{CACHE} 5, {stat.st_size} bytes, inode {stat.st_ino}, {stat.st_mtime_ns}, {stat.st_ctime_ns} ns"
