"""Helpers of the NTU tests: .skeleton text from arrays, the clips of the fixtures, and the three scripts."""

import tarfile
from pathlib import Path

import h5py
import numpy as np

import get_raw_denoised_data
import get_raw_skes_data
import seq_transformation

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


# The .skeleton files of the fixture, {name: bytes}; the last one is in missing_skeletons.txt
with tarfile.open(FIXTURES / "ntu_skeletons.tar.xz") as _tar:
    FILES = {member.name.removesuffix(".skeleton"): _tar.extractfile(member).read() for member in _tar}
# The release's results for them, {name: {"denoised", "moved"}}, and all arrays of the fixture
with np.load(FIXTURES / "ntu_preprocess.npz", allow_pickle=False) as _file:
    ARRAYS = {key: _file[key] for key in _file.files}
_shapes = np.stack([ARRAYS["frames"], ARRAYS["width"]], axis=1)
_flat = [np.split(ARRAYS[step], _shapes.prod(axis=1).cumsum()[:-1]) for step in ("denoised", "moved")]
CLIPS = {
    str(name): {"denoised": one.reshape(shape), "moved": other.reshape(shape)}
    for name, shape, one, other in zip(ARRAYS["names"], _shapes, *_flat, strict=True)
}


def write_root(root, files=None, folder="nturgb+d_skeletons"):
    """Writes the files ({name: bytes}, default: the fixture's) to a folder in root. Returns that folder."""
    folder = root / folder
    folder.mkdir(parents=True)
    for name, data in (FILES if files is None else files).items():
        (folder / f"{name}.skeleton").write_bytes(data)
    return folder


STEPS = (get_raw_skes_data, get_raw_denoised_data, seq_transformation)


def run(root, *more, steps=STEPS, workers=1):
    """Runs the scripts; returns their exit codes."""
    flags = {step: ["--workers", str(workers)] for step in STEPS[:2]}
    return [step.main(["--root", str(root), *flags.get(step, []), *more]) for step in steps]


def contents(folder):
    """Every dataset of every h5 below a folder, as bytes."""
    found = {}
    for path in sorted(folder.rglob("*.h5")):
        with h5py.File(path) as file:
            found |= {(path.relative_to(folder), key): np.asarray(file[key][()]).tobytes() for key in file}
    return found
