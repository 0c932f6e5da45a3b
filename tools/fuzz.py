"""Damages good files in thousands of ways and gives them to the readers, which must take or refuse each.

    python tools/fuzz.py                        # 10,000 .skeleton files, 1,000 h5 files and 1,000 checkpoints
    python tools/fuzz.py --skeletons 100000 --seed 7

A file that makes a reader raise anything but its own refusal, take over 10 seconds or ask for over 1 GiB more memory
is kept in --keep and named, and the exit code is 1. It needs nothing but this repository, on Linux or macOS.
"""

import argparse
import collections
import resource
import signal
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

import _path

ROOT = Path(__file__).resolve().parents[1]
from checkpoint import load_checkpoint
from data import Clips
from get_raw_skes_data import BadFile, read_skeleton
from layout import write_h5
from model import SGN
from util import UserError, exit_on_error, save_checkpoint, seed

SECONDS, MEMORY = 10, 2**30
TOKENS = (b"", b"-1", b"1000000000", b"999999999999999999999", b"nan", b"inf", b"-1e39", b"1e-400", b"word")
TOKENS += (
    b"1.5",
    b"0x10",
    b"1_0",
    b"\xff\xfe",
    b"\x00",
    b"25",
    b"26",
    b"24",
    b"72057594037944738",
    b"\n",
    b"\r\n",
    b" ",
)


def skeleton(rng):
    """The text of a good file: 1 to 3 bodies over 12 to 40 frames, some of them empty."""
    lines = [frames := int(rng.integers(12, 40))]
    for _ in range(frames):
        bodies = int(rng.integers(0, 4))
        lines.append(bodies)
        for body in range(bodies):
            lines += [f"7205759403794473{body} 0 1 1 0 0 0 0.1 -0.2 2", 25]
            lines += [" ".join(f"{value:.6f}" for value in row) + " 2" for row in rng.normal(size=(25, 11))]
    return "\n".join(map(str, lines)).encode() + b"\n"


def damaged(data, rng):
    """One to four things done to some bytes: cut, repeated, put elsewhere, flipped, or a token put in for another."""
    for _ in range(rng.integers(1, 5)):
        i, j = sorted(rng.integers(0, len(data) + 1, 2).tolist())
        k = min(j, i + int(rng.integers(1, 60)))
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
                lines = data.split(b"\n")
                del lines[int(rng.integers(len(lines)))]
                data = b"\n".join(lines)
            case _:
                lines = data.split(b"\n")
                at = int(rng.integers(len(lines))) if rng.random() < 0.7 else 0
                fields = lines[at].split(b" ")
                fields[int(rng.integers(len(fields)))] = TOKENS[int(rng.integers(len(TOKENS)))]
                lines[at] = b" ".join(fields)
                data = b"\n".join(lines)
    return data


def h5(rng, path):
    """The bytes of a good h5 of ten clips."""
    labels = np.arange(5) % 3
    clips = [rng.normal(size=(int(rng.integers(1, 30)), 15)) for _ in labels]
    splits = {split: (clips, labels) for split in ("", "valid_", "test_")}
    about = dict(joints=5, persons=1, class_names="abc", protocol="fuzz", made_by="fuzz")
    write_h5(path, splits, frames=30, **about)
    return path.read_bytes()


def read_h5(data, path):
    path.write_bytes(data)
    clips = Clips.read(path)
    clips.draw(clips.ids("", "test_"), None)


def checkpoint(path):
    """The files in a good checkpoint, which is a zip: {name: bytes}."""
    save_checkpoint({"epoch": 3, "seed": 1, "best": 88.1, "state_dict": SGN(3, 5).state_dict()}, path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def read_checkpoint(data, path, files):
    """`data` takes the place of the pickle in it, which says what the checkpoint is made of."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, data if name.endswith("data.pkl") else content)
    load_checkpoint(path)


def too_long(*_):
    raise TimeoutError(f"took over {SECONDS} seconds")


def fuzz(kind, good, read, refusal, number, rng, keep):
    """Reads `number` damaged files. Returns how many were read, refused, and anything else, by the exception's name."""
    outcome = collections.Counter()
    for i in tqdm(range(number), desc=kind, unit="file"):
        data = damaged(good(), rng)
        signal.alarm(SECONDS)
        try:
            read(data)
            outcome["read"] += 1
        except refusal as error:
            outcome["refused"] += 1
            if "\n" in str(error):
                outcome["refused in more than a line"] += 1
        except Exception as error:  # whatever it is: it is what we are here to find
            outcome[type(error).__name__] += 1
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{kind}-{i}").write_bytes(data)
            tqdm.write(f"{keep / f'{kind}-{i}'}: {type(error).__name__}: {error}")
        finally:
            signal.alarm(0)
    return outcome


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skeletons", type=positive_int, default=10_000, help="damaged .skeleton files (%(default)s)")
    parser.add_argument("--h5", type=positive_int, default=1_000, help="damaged h5 files (%(default)s)")
    parser.add_argument("--checkpoints", type=positive_int, default=1_000, help="damaged checkpoints (%(default)s)")
    parser.add_argument("--seed", type=seed, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"), help="folder for what is found (%(default)s)")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    signal.signal(signal.SIGALRM, too_long)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        texts, whole = [skeleton(rng) for _ in range(20)], h5(rng, path)
        files = checkpoint(path)
        pickled = next(content for name, content in files.items() if name.endswith("data.pkl"))
        found = 0
        for kind, good, read, refusal, number in (
            ("skeleton", lambda: texts[rng.integers(20)], read_skeleton, BadFile, args.skeletons),
            ("h5", lambda: whole, lambda data: read_h5(data, path), UserError, args.h5),
            (
                "checkpoint",
                lambda: pickled,
                lambda data: read_checkpoint(data, path, files),
                ValueError,
                args.checkpoints,
            ),
        ):
            outcome = fuzz(kind, good, read, refusal, number, rng, args.keep)
            print(f"{kind}: {number} files: " + ", ".join(f"{n} {what}" for what, n in outcome.items()))
            found += number - outcome["read"] - outcome["refused"] + outcome["refused in more than a line"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) - used
    print(f"peak memory rose by {peak / 2**20:.0f} MiB")
    return int(found > 0 or peak > MEMORY)


if __name__ == "__main__":
    with exit_on_error():
        sys.exit(main())
