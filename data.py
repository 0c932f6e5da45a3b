"""From a data set's h5 to batches: clips, sampling and augmentation, on whichever device the clips are.

    clips = Clips.read("data/ntu/NTU_CS.h5").to(device)
    x = augment(clips.sample(ids, rng), recipe, theta=0.3, rng=rng)         # (batch, 20, 75)

All clips are packed into one tensor, and a batch is a few tensor operations on it: no workers, no collate function, no
padding. The 56,578 clips of NTU RGB+D take about 2 GB. (The folder data/ has the scripts that write the h5;
engine/config.py knows the data sets by name.)
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from clips.checks import describe, read_parts
from clips.h5 import SPLITS, read_header
from clips.skeletons import Skeleton, unknown_skeleton
from safe.files import open_h5
from safe.program import progress
from util import UserError


@dataclass(frozen=True, eq=False)
class Clips:
    """All clips of an h5, packed: persons split, empty frames dropped, no padding.

    frames: (all frames + 1, joints * 3) float32, metres, clip after clip; the last row is zeros, for padding.
    start, length: (clips,) int64, each clip's first row in frames, and its number of rows.
    label: (clips,) int64.
    splits: the clips of each split, {"train": range, "valid": range, "test": range}.
    joints, persons, class_names, protocol, axes, skeleton, origin: from the h5's header (clips/h5.py).
    sha256: digest of clips, labels and splits, the same for equal clips whichever program wrote the h5.
    resplits: (random splits, clips) uint8 on the CPU, from the h5, or None.
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

    # ---- reading

    @classmethod
    def read(cls, path, block=None):
        """Reads an h5 in the layout of clips/h5.py, `block` clips at a time (default: 64 MiB of them).

        Peak memory is little above that of the packed clips. Raises UserError for a file that is not in the layout,
        OSError for one that is missing or cannot be read.
        """
        with open_h5(path) as file:
            header = read_header(file)
            sizes = [len(file[f"{split}x"]) for split in SPLITS]
            limit = max(2**26, 100 * file.id.get_filesize())  # bytes
            frames, used, lengths, labels = np.empty((0, header["joints"] * 3), np.float32), 0, [], []
            with progress(total=sum(sizes), desc=Path(path).name, unit="clip", delay=2, leave=False) as bar:
                for _, _, x, label, wrong in read_parts(file, SPLITS, block):
                    if wrong:
                        raise UserError(f"{path}: {next(describe(wrong))}")
                    dense = x.reshape(*x.shape[:2], header["persons"], -1)
                    present = is_present(dense)
                    end = used + np.count_nonzero(present)
                    if end * frames.shape[1] * 4 > limit:
                        raise UserError(f"{path}: x unpacks to more than a hundred times the size of the file")
                    if end >= len(frames):  # grown in place: the clips are never in memory twice
                        frames.resize((max(end + 1, len(frames) * 5 // 4), frames.shape[1]), refcheck=False)
                    frames[used:end], used = dense[present], end
                    lengths.append(present.sum(axis=(1, 2)))
                    labels.append(label)
                    bar.update(len(label))
            frames.resize((used + 1, frames.shape[1]), refcheck=False)
            frames[-1] = 0
            resplits = file["resplits"][:] if "resplits" in file else None
        length, label = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (lengths, labels))
        splits = as_ranges(sizes)
        digest = hashlib.sha256(str(list(splits.values())).encode())
        for array in (frames, length, label):
            digest.update(array)
        return cls.from_arrays(frames, length, label, splits, header | {"sha256": digest.hexdigest()}, resplits)

    @classmethod
    def from_clip(cls, clip):
        """One clip that is in no h5, as a test clip: (frames, persons, joints, 3) float32, metres."""
        frames, persons, joints, _ = clip.shape
        dense = clip.reshape(frames, persons, joints * 3)
        rows = np.concatenate([dense[is_present(dense)], np.zeros((1, joints * 3), np.float32)])
        header = {"joints": joints, "persons": persons, "class_names": (), "protocol": "", "axes": "", "sha256": ""}
        header["skeleton"] = unknown_skeleton(joints)
        return cls.from_arrays(rows, np.array([len(rows) - 1]), np.zeros(1, np.int64), as_ranges([0, 0, 1]), header)

    @classmethod
    def from_arrays(cls, frames, length, label, splits, header, resplits=None):
        """From NumPy's arrays and the other fields."""
        frames, length, label = (torch.from_numpy(array) for array in (frames, length, label))
        resplits = None if resplits is None else torch.from_numpy(resplits)
        return cls(frames, length.cumsum(0) - length, length, label, splits, **header, resplits=resplits)

    # ---- what is known of the clips

    @property
    def spatial(self):
        """Whether a joint's three values are x, y, z: not in 2D data, where the third is a score."""
        return self.axes == "x, y, z"

    @property
    def unnamed(self):
        """Whether the h5 does not name its classes."""
        return self.class_names[0] == "class 0"

    def bones(self):
        """(bones, 2) int64, the joints at each bone's ends. Raises UserError if the skeleton is unknown."""
        if not len(self.skeleton.bones()):
            raise UserError("the h5 does not state its skeleton, so its bones are not known (docs/data.md)")
        return self.skeleton.bones()

    def stream(self, name):
        """The linear map of the joints for a stream of STREAMS, as Skeleton.stream. Raises UserError."""
        try:
            return self.skeleton.stream(name, not self.spatial)
        except ValueError as error:
            raise UserError(f"--stream {name}: {error} (docs/data.md)") from None

    def flip_pairs(self):
        """(joints,) int64 on the clips' device, each joint's counterpart on the other side; None if unknown."""
        pairs = self.skeleton.flip_pairs()
        return None if pairs is None else torch.from_numpy(pairs).to(self.label.device)

    def ids(self, *splits):
        """The clips of these splits ("train", "valid", "test"), (n,) int64 on the clips' device."""
        ranges = [self.splits[split] for split in splits]
        return torch.cat([torch.arange(ids.start, ids.stop, device=self.label.device) for ids in ranges])

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
            raise UserError(f"split {number}: the h5 has {available or 'no'} random splits (clips/h5.py)")
        split = self.resplits[number - 1]
        order = split.argsort(stable=True)
        moved = {name: getattr(self, name)[order.to(self.label.device)] for name in ("start", "length", "label")}
        splits = as_ranges(split.bincount(minlength=3).tolist())
        return replace(self, **moved, splits=splits, resplits=self.resplits[:, order])

    # ---- sampling

    def sample(self, ids, rng, seg=20, whole_clip=False, crop=1.0):
        """One sample of each clip: `seg` frames, one from each segment. (n,) int64 -> (n, seg, joints * 3) float32.

        A clip of L frames, padded with zeros up to seg, is cut into seg segments of a = L // seg frames, and one frame
        of each is chosen uniformly. The last L - seg * a frames are never sampled, as in the release (data.py,
        TSN-like sampling of section 4.2). whole_clip, crop: as in engine.config.Recipe.
        """
        return self.gather(ids, self.sample_frames(ids, rng, seg, whole_clip, crop))

    def sample_frames(self, ids, rng, seg=20, whole_clip=False, crop=1.0):
        """The frames of a sample: (n, seg) int64. Frames from the clip's length on stand for zeros."""
        length = self.length[ids, None]
        segment = torch.arange(seg, device=ids.device)
        u = torch.rand(len(ids), seg, generator=rng, device=ids.device)
        if not whole_clip:
            a = (length // seg).clamp(min=1)
            return segment * a + (u * a).long()
        share, start = 1, 0
        if crop < 1:
            share, start = torch.rand(2, len(ids), 1, generator=rng, device=ids.device)
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


def as_ranges(sizes):
    """The splits of clips that lie one split after another."""
    train, valid, test = sizes
    return {
        "train": range(train),
        "valid": range(train, train + valid),
        "test": range(train + valid, train + valid + test),
    }


# ---- augmentation


def augment(x, recipe, theta, rng, flip_pairs=None, spatial=True):
    """A training batch, augmented: (n, frames, joints * 3) float32 metres. Each clip gets one linear map.

    recipe: an engine.config.Recipe. theta: the rotation, radians, of a recipe without its own. flip_pairs: (joints,)
    int64, each joint's counterpart on the other side; without it nothing is flipped. spatial: whether the three values
    of a joint are x, y, z; otherwise clips are only flipped.
    """
    n = len(x)

    def uniform(*shape):
        return 2 * torch.rand(*shape, generator=rng, device=x.device) - 1

    angles = uniform(n, 3)
    angles[:, ::2].mul_(recipe.rotate_xz if recipe.has_rotation else theta)
    angles[:, 1].mul_(recipe.rotate_y if recipe.has_rotation else theta)
    maps = rotation_matrices(angles)
    if recipe.shear or recipe.scale:
        diagonal, other = 1 + recipe.scale * uniform(n, 1), recipe.shear * uniform(n, 3, 3)
        other.diagonal(dim1=1, dim2=2).copy_(diagonal)
        maps = other @ maps
    if not spatial:
        maps = torch.eye(3, device=x.device).repeat(n, 1, 1)
    if recipe.flip and flip_pairs is not None:
        flipped = uniform(n, 1) < 0
        maps[:, :, 0].mul_(1 - 2 * flipped)
        x = torch.where(flipped[:, None], x.unflatten(2, (-1, 3))[:, :, flip_pairs].flatten(2), x)
    x = transform(x, maps)
    if recipe.noise and spatial:
        noise = recipe.noise * torch.randn(x.shape, generator=rng, device=x.device)
        x = x + noise * (x != 0).any(dim=-1, keepdim=True)
    return x


def rotation_matrices(angles):
    """Rz Ry Rx, (n, 3, 3), from angles about x, y and z, (n, 3) radians (the release's data.py, _rot)."""
    sin = angles.sin()
    (cx, cy, cz), (sx, sy, sz), (nx, ny, nz) = (values.unbind(1) for values in (angles.cos(), sin, -sin))
    zero, one = torch.zeros_like(cx), torch.ones_like(cx)
    x = (one, zero, zero, zero, cx, sx, zero, nx, cx)
    y = (cy, zero, ny, zero, one, zero, sy, zero, cy)
    z = (cz, sz, zero, nz, cz, zero, zero, zero, one)
    rx, ry, rz = torch.stack([*x, *y, *z], dim=1).view(-1, 3, 3, 3).unbind(1)
    return rz @ ry @ rx


def transform(x, maps):
    """p' = A p for every joint of every frame, with one A for each clip: (n, frames, joints * 3) and (n, 3, 3)."""
    return (x.view(len(x), -1, 3) @ maps.transpose(1, 2).contiguous()).view_as(x)
