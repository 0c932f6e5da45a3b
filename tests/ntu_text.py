"""Helpers of the NTU tests: .skeleton text from arrays, the clips of the fixtures, and the three scripts."""

import io
import tarfile
from pathlib import Path

import h5py
import numpy as np

import get_raw_denoised_data
import get_raw_skes_data
import seq_transformation
from clips.h5 import SPLITS

FIXTURES = Path(__file__).parent / "fixtures"


def text(frames, eol="\n"):
    """frames: a list of frames, each a list of (ID, (25, 3) array). Returns bytes."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for id, joints in bodies:
            lines += [f"{id} 0 1 1 1 1 0 0.0276 -0.0574 2", "25"]
            lines += [f"{x!s} {y!s} {z!s} 250.1 200.2 950.3 500.4 -0.2 0.05 0.97 -0.12 2" for x, y, z in joints]
    return eol.join([*lines, ""]).encode()


def skeletons():
    """The .skeleton files of the fixture, {name: bytes}; the last one is in missing_skeletons.txt."""
    with tarfile.open(fileobj=io.BytesIO((FIXTURES / "ntu_skeletons.tar.xz").read_bytes())) as tar:
        return {member.name.removesuffix(".skeleton"): tar.extractfile(member).read() for member in tar}


def golden():
    """The release's results for them, {name: {"denoised", "moved"}}, and all arrays of the fixture."""
    with np.load(FIXTURES / "ntu_preprocess.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    shapes = list(zip(arrays["frames"].tolist(), arrays["width"].tolist(), strict=True))
    ends = np.cumsum([frames * width for frames, width in shapes])[:-1]
    clips = {str(name): {} for name in arrays["names"]}
    for step in ("denoised", "moved"):
        for clip, flat, shape in zip(clips.values(), np.split(arrays[step], ends), shapes, strict=True):
            clip[step] = flat.reshape(shape)
    return clips, arrays


def write_root(root, files=None):
    """Writes the files ({name: bytes}, default: the fixture's) to root/nturgb+d_skeletons. Returns that folder."""
    folder = root / "nturgb+d_skeletons"
    folder.mkdir(parents=True)
    for name, data in (skeletons() if files is None else files).items():
        (folder / f"{name}.skeleton").write_bytes(data)
    return folder


FILES = skeletons()
CLIPS, ARRAYS = golden()
STEPS = (get_raw_skes_data, get_raw_denoised_data, seq_transformation)


def run(root, *more, steps=STEPS, workers=1):
    """Runs the scripts; returns their exit codes."""
    return [step.main(["--root", str(root), "--workers", str(workers), *more]) for step in steps]


def contents(folder):
    """Every dataset of every h5 below a folder, as bytes."""
    found = {}
    for path in sorted(folder.rglob("*.h5")):
        with h5py.File(path) as file:
            found |= {(path.relative_to(folder), key): np.asarray(file[key][()]).tobytes() for key in file}
    return found


def clips_in(path):
    """Number of clips in an h5."""
    with h5py.File(path) as file:
        return sum(len(file[f"{split}y"]) for split in SPLITS)
