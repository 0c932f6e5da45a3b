"""Damages correct files in thousands of random ways, and checks that the readers read or refuse each of them.

    python tools/fuzz.py                        # 10,000 .skeleton files, 1,000 h5 files and 1,000 checkpoints
    python tools/fuzz.py --skeletons 100000 --seed 7

A refusal is one line. Anything else is a fault: another exception, more than 10 seconds, or, over all files, more than
1 GiB of memory. The file is kept in --keep and named, and the exit code is 1. Needs Linux or macOS.
"""

import resource
import signal
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

import _path

import util
from blocks import BadFile
from checkpoint import load_checkpoint, save_torch_file
from data import Clips
from get_raw_skes_data import read_skeleton
from layout import SPLITS, write_h5
from model import SGN
from util import UserError

SECONDS, MEMORY = 10, 2**30
TOKENS = b"-1|1000000000|999999999999999999999|nan|inf|-1e39|1e-400|word|1.5|0x10|1_0|\xff\xfe|\x00|25|26|24".split(
    b"|"
)
TOKENS += [b"", b" ", b"\n", b"\r\n", b"72057594037944738"]


def make_skeleton(rng):
    """The text of a correct .skeleton file: up to 3 bodies in each of 12 to 40 frames."""
    frames = int(rng.integers(12, 40))
    lines = [frames]
    for _ in range(frames):
        bodies = int(rng.integers(0, 4))
        lines.append(bodies)
        for body in range(bodies):
            lines += [f"7205759403794473{body} 0 1 1 0 0 0 0.1 -0.2 2", 25]
            lines += [" ".join(f"{value:.6f}" for value in row) + " 2" for row in rng.normal(size=(25, 11))]
    return "\n".join(map(str, lines)).encode() + b"\n"


def make_h5(rng, path):
    """The bytes of a correct h5 of 15 clips."""
    labels = np.arange(5) % 3
    clips = [rng.normal(size=(int(rng.integers(1, 30)), 15)) for _ in labels]
    header = dict(frames=30, joints=5, persons=1, class_names="abc", protocol="fuzz", made_by="fuzz")
    write_h5(path, dict.fromkeys(SPLITS, (clips, labels)), **header)
    return path.read_bytes()


def make_checkpoint(path):
    """The files in a correct checkpoint, which is a zip: {name: bytes}."""
    save_torch_file({"epoch": 3, "seed": 1, "best": 88.1, "state_dict": SGN(3, 5).state_dict()}, path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def damage(data, rng):
    """One to four changes of some bytes: cut off, removed, repeated, replaced; lines removed, fields replaced."""
    for _ in range(rng.integers(1, 5)):
        i, j = sorted(rng.integers(0, len(data) + 1, 2).tolist())
        k = min(j, i + int(rng.integers(1, 60)))
        lines = data.split(b"\n")
        line = int(rng.integers(len(lines)))
        match rng.integers(0, 7):
            case 0:
                data = data[:i]
            case 1:
                data = data[:i] + data[k:]
            case 2:
                data = data[:k] + data[i:]
            case 3:
                data = data[:i] + rng.bytes(k - i) + data[k:]
            case 4:
                data = b"\n".join(lines[:line] + lines[line + 1 :])
            case _:
                line = line if rng.random() < 0.7 else 0
                fields = lines[line].split(b" ")
                fields[int(rng.integers(len(fields)))] = TOKENS[int(rng.integers(len(TOKENS)))]
                lines[line] = b" ".join(fields)
                data = b"\n".join(lines)
    return data


def raise_timeout(*_):
    raise TimeoutError(f"took over {SECONDS} seconds")


def fuzz(kind, read, files, n, rng, keep):
    """Reads n damaged copies of files, bytes. Prints how many were read and refused. Returns the number of faults."""
    outcome = Counter()
    for i in tqdm(range(n), desc=kind, unit="file"):
        data = damage(files[i % len(files)], rng)
        signal.alarm(SECONDS)
        try:
            read(data)
            outcome["read"] += 1
        except (UserError, BadFile) as error:
            outcome["refused in several lines" if "\n" in str(error) else "refused"] += 1
        except Exception as error:  # any other is what we look for
            outcome[type(error).__name__] += 1
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{kind}-{i}").write_bytes(data)
            tqdm.write(f"{keep / f'{kind}-{i}'}: {type(error).__name__}: {error}")
        finally:
            signal.alarm(0)
    print(f"{kind}: {n} files: " + ", ".join(f"{n} {what}" for what, n in outcome.items()))
    return n - outcome["read"] - outcome["refused"]


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(argv=None):
    parser = util.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--skeletons", type=util.positive_int, default=10_000, help="damaged .skeleton files (%(default)s)")
    add("--h5", type=util.positive_int, default=1_000, help="damaged h5 files (%(default)s)")
    add("--checkpoints", type=util.positive_int, default=1_000, help="damaged checkpoints (%(default)s)")
    add("--seed", type=util.seed, default=1, help="(%(default)s)")
    add("--keep", type=Path, default=Path("fuzz-found"), help="folder for the files with faults (%(default)s)")
    args = parser.parse_args(argv)
    rng = np.random.default_rng(args.seed)
    signal.signal(signal.SIGALRM, raise_timeout)
    before = peak_memory()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        skeletons, h5, parts = [make_skeleton(rng) for _ in range(20)], make_h5(rng, path), make_checkpoint(path)

        def read_h5(data):
            path.write_bytes(data)
            clips = Clips.read(path)
            clips.sample(clips.ids("train", "test"), None)

        def read_checkpoint(data):  # the data replace the pickle in it, which says what it consists of
            with zipfile.ZipFile(path, "w") as archive:
                for name, content in parts.items():
                    archive.writestr(name, data if name.endswith("data.pkl") else content)
            load_checkpoint(path)

        pickle = [content for name, content in parts.items() if name.endswith("data.pkl")]
        faults = fuzz("skeleton", read_skeleton, skeletons, args.skeletons, rng, args.keep)
        faults += fuzz("h5", read_h5, [h5], args.h5, rng, args.keep)
        faults += fuzz("checkpoint", read_checkpoint, pickle, args.checkpoints, rng, args.keep)
    memory = peak_memory() - before
    print(f"peak memory rose by {memory / 2**20:.0f} MiB")
    return 1 if faults or memory > MEMORY else 0


if __name__ == "__main__":
    with util.exit_on_error():
        sys.exit(main())
