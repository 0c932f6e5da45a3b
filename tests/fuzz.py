"""Damages correct files in thousands of random ways, and checks that the readers read or refuse each of them.

    python tests/fuzz.py                       # 7,000 files, as many of each kind
    python tests/fuzz.py --files 100000 --seed 7

Bytes and fields are changed, removed and repeated; values, keys, shapes, types and strides are replaced by odd ones. A
refusal is one line. Anything else is a fault: another exception, a crash, more than 10 seconds, or more than 1 GiB of
memory. The file is kept in --keep and named, and the exit code is 1. Needs Linux or macOS.
"""

import os
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root
sys.path.extend(
    str(Path(__file__).resolve().parents[1] / f"data/{name}") for name in ("ntu", "pyskl", "kinetics", "nucla")
)

import damage
import from_arrays
import from_pyskl
import make_nucla
import util
from clips import kinetics
from clips.poses import read_poses
from clips.recordings import read_recording
from clips.skipped import BadFile
from data import Clips
from engine.classifier import Classifier, read_class_names
from engine.config import Config
from engine.logs import read_log
from engine.state import RunState
from safe import arguments, program, progress
from safe.torch_files import read_torch_file
from train import Trainer
from util import UserError

SECONDS, WAIT, MEMORY = 10, 100, 2**30  # of the processor; by the clock, of one that waits; bytes


# ---- kinds of files


class Kind(NamedTuple):
    suffix: str
    read: callable  # a function of a path
    content: callable  # of a generator: what is in a correct file, which `dump` writes
    dump: callable = damage.dump_json  # of a generator, content and path
    odd: list = damage.ODD  # what is put in place of its values
    change: callable = None  # of a generator and the path of a correct file: damage that only this kind knows


def kinds(folder):
    """{name: Kind} of all readers."""
    damage.write_h5(None, None, folder / "toy.h5")
    config = Config(dataset="toy", batch_size=4, seg=20, num_classes=3, theta=0.3, epochs=2)
    clips = Clips.read(folder / "toy.h5")
    trainer, run = Trainer(config, clips), RunState(config, clips, folder)
    trainer.train_step(trainer.net, trainer.train_ids[:4])
    run.add_epoch(trainer.net, trainer.optimizer, 1.0, 50.0, 1.0, 50.0, 0.001)
    checkpoint, state = (read_torch_file(run.file(name)) for name in ("best.pth", "state.pth"))

    def resume(path):
        """And trains for a step: memory that is not the optimizer's own would be written to."""
        run.file("state.pth").unlink(missing_ok=True)
        run.file("state.pth").symlink_to(path.absolute())
        run.resume(trainer.net, trainer.optimizer)
        trainer.train_step(trainer.net, trainer.train_ids[:4])

    def read_h5(path):
        clips = Clips.read(path)
        clips.sample(clips.ids("train", "test"), None)
        read_class_names(path, len(clips.class_names))

    def read_zip(path):
        for name, text in make_nucla.read_all(path):
            make_nucla.read_json(text, name)

    def read_npz(path):
        (folder / "out.h5").unlink(missing_ok=True)
        with redirect_stdout(None):
            from_arrays.main([str(path), "--out", str(folder / "out.h5")])

    def read_pickle(path):
        for i, annotation in enumerate(from_pyskl.read_pickle(path)[1]):
            clip = from_pyskl.read_clip(annotation, path, i)
            if clip.keypoint.any():
                clip.rows()

    shared = [*damage.ODD, damage.SHARED]
    zipped_json, zipped_npy = damage.dump_zip(".json", damage.dump_json), damage.dump_zip(".npy", damage.dump_npy)
    return {
        "skeleton": Kind(".skeleton", read_recording, damage.skeleton, damage.dump_text),
        "names": Kind(".txt", lambda path: read_class_names(path, 2), lambda rng: "a\nb\n", damage.dump_text),
        "log": Kind(".csv", read_log, damage.log, damage.dump_text),
        "nucla": Kind(".json", read_recording, damage.nucla),
        "poses": Kind(".json", lambda path: read_poses(path, (640, 480)), damage.poses),
        "kinetics": Kind(".json", kinetics.read_json, damage.kinetics),
        "npy": Kind(".npy", read_recording, lambda rng: rng.normal(size=(6, 5, 3)), damage.dump_npy),
        "zip": Kind(".zip", read_zip, damage.nucla_clips, zipped_json),
        "npz": Kind(".npz", read_npz, damage.npz, zipped_npy),
        "h5": Kind(".h5", read_h5, lambda rng: None, damage.write_h5, change=damage.change_h5),
        "pyskl": Kind(".pkl", read_pickle, damage.pyskl, damage.dump_pickle, shared),
        "checkpoint": Kind(".pth", Classifier, lambda rng: dict(checkpoint), damage.save_torch, shared),
        "state": Kind(".pth", resume, lambda rng: dict(state), damage.save_torch, shared),
    }


# ---- running


def make_input(rng, kind, path):
    """Writes a file whose content is damaged, or its bytes."""
    way, content = rng.random(), kind.content(rng)
    in_content = way < 0.6 and not isinstance(content, str | None)
    for _ in range(rng.integers(1, 4) if in_content else 0):
        with suppress(ValueError, TypeError, RuntimeError, OverflowError):  # of what was changed before
            content = damage.change(rng, content, kind.odd)
    kind.dump(rng, content, path)
    if way < 0.6 and kind.change:
        kind.change(rng, path)
    elif not in_content:
        path.write_bytes(damage.damage_bytes(rng, path.read_bytes()))


def read_some(name, kind, numbers, args, outcomes):
    """Reads the inputs of these numbers, and writes a line for each to the file `outcomes`. In a process of its own."""
    for i in progress.progress(numbers, desc=name, unit="file"):
        path = args.keep / f"{name}-{i}{kind.suffix}"
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        make_input(np.random.default_rng([args.seed, i, *name.encode()]), kind, path)
        before = peak_memory()
        signal.alarm(WAIT)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            kind.read(path)
            outcome = "read"
        except Exception as error:  # a type that is not a refusal is what we look for
            refused = isinstance(error, UserError | BadFile) or (isinstance(error, OSError) and error.filename)
            outcome = "refused" if refused else f"{type(error).__name__}: {util.shorten(error, 200)}"
            outcome += " in several lines" if refused and "\n" in str(error) else ""
        taken = peak_memory() - before
        outcome = outcome if taken <= MEMORY else f"took {taken >> 20} MiB of memory, and was then: {outcome}"
        print(outcome, file=outcomes, flush=True)
        if outcome in ("read", "refused"):
            path.unlink()


def fuzz(name, kind, n, args, folder):
    """Reads n damaged files of a kind. Prints a line for the table, and names those with faults. Returns their number.

    A process that crashes, or takes too long for one file, is replaced by another.
    """
    path, lines = folder / f"{name}.outcomes", []
    while len(lines) < n:
        sys.stdout.flush()
        if not (process := os.fork()):
            try:
                with open(path, "a", **util.UTF8) as file:
                    read_some(name, kind, range(len(lines), n), args, file)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        if code:
            late = code in (-signal.SIGALRM, -signal.SIGPROF)
            lines.append("took too long" if late else f"the process ended with code {code}")
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    counts = Counter(lines)
    read, refused = counts.pop("read", 0), counts.pop("refused", 0)
    print(f"{name:12}{n:10,}{read:10,}{refused:10,}{sum(counts.values()):10,}")
    for i, line in enumerate(lines):
        if line in counts:
            print(f"  {args.keep / f'{name}-{i}{kind.suffix}'}: {line}")
    return sum(counts.values())


def main(argv=None):
    parser = arguments.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--files", type=arguments.positive_int, default=7000, help="damaged files, of all kinds together (%(default)s)")
    add("--seed", type=arguments.seed, default=1, help="(%(default)s)")
    add("--keep", type=Path, default=Path("fuzz-found"), help="folder for the files with faults (%(default)s)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # threads do not survive a fork
    args.keep = args.keep.absolute()
    args.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        every = kinds(Path(folder))
        print(f"{'kind':12}{'files':>10}{'read':>10}{'refused':>10}{'faults':>10}")
        faults = sum(fuzz(name, kind, -(-args.files // len(every)), args, Path(folder)) for name, kind in every.items())
    print(f"{faults} faults")
    with suppress(OSError):  # it is not empty
        args.keep.rmdir()
    return 1 if faults else 0


def peak_memory():
    """The most memory that this process has had so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    with program.exit_on_error():
        sys.exit(main())
