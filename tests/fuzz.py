"""Damages correct files in thousands of random ways, and checks that the readers read or refuse each of them.

    python tests/fuzz.py                       # 8,000 files, as many of each kind
    python tests/fuzz.py --files 100000 --seed 7

One byte is changed; bytes and fields are changed, removed and repeated; values, keys, shapes, types and strides are
replaced by odd ones. What is read is finite, and a refusal is one line. Anything else is a fault: another exception, a
crash, more than 10 seconds, or more than 1 GiB of memory. The file is kept in --keep and named, and the exit code is 1.
Needs Linux or macOS.
"""

import io
import json
import multiprocessing
import pickle
import resource
import signal
import sys
import tempfile
import warnings
import zipfile
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from scipy.io import savemat

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root
sys.path += [str(Path(sys.path[0], "data", name)) for name in ("arrays", "pyskl", "nucla", "ntu")]

import from_arrays
import from_pyskl
import make_nucla
import ntu_text
import util
from clips import kinetics
from clips.h5 import SPLITS, write_h5
from clips.poses import read_poses
from clips.recordings import read_any
from clips.skeletons import read_skeleton_file
from clips.skipped import BadFile
from conftest import toy_clips
from data import Clips
from engine.classifier import Classifier, read_class_names
from engine.config import Config
from engine.logs import read_log
from engine.runs import RunState
from made import read_recording
from safe import mat, program
from safe.torch_files import read_torch_file
from tool_forms import FORMS, SIZE, record
from tools import predict
from train import Trainer
from util import UserError

SECONDS = 10  # of the processor
MEMORY = 2**30 if sys.platform == "darwin" else 2**20  # 1 GiB, in the system's unit
WORDS = b"-1|1000000000|999999999999999999999|nan|inf|-1e39|1e-400|word|1.5|0x10|1_0|\xff\xfe|\xed\xb3\xbf|\x00|25|26"
WORDS = [*WORDS.split(b"|"), b"", b" ", b"\n", b"\r\n", b"72057594037944738"]
ODD = [None, True, -1, 0, 1, 2**31, 2**63, 10**30, 0.5, float("nan"), float("inf"), "", "word", "a\nb", "\udcff"]
ODD += ["x" * 10**5, [], {}, [[]], [[1, 2], [3]], {"a": 1}, b"\xff"]
KEYS = ["word", "\udcff", -1, 2**40, (1, (2, 3))]
SHARED = ["ha"] * 10  # in a pickle: a few bytes, and a billion texts if they are written out
for _ in range(8):
    SHARED = [SHARED] * 10


# ---- damage


def pick(rng, items):
    return items[int(rng.integers(len(items)))]


def damage_bytes(rng, data):
    """One byte is changed; or one to four times, bytes are removed, repeated or replaced, or a line changes."""
    if rng.random() < 0.4:
        i = int(rng.integers(len(data)))
        return data[:i] + rng.bytes(1) + data[i + 1 :]
    for _ in range(rng.integers(1, 5)):
        i, j = sorted(rng.integers(0, len(data) + 1, 2).tolist())
        j = min(j, i + 60)
        if rng.random() < 0.4:
            data = damage_line(rng, data)
        else:
            noise = rng.bytes(j - i)
            data = pick(rng, [data[:i], data[:i] + data[j:], data[:j] + data[i:], data[:i] + noise + data[j:]])
    return data


def damage_line(rng, data):
    """A line is removed, or a word of it replaced."""
    lines = data.split(b"\n")
    i = int(rng.integers(len(lines))) if rng.random() < 0.7 else 0
    if rng.random() < 0.3:
        return b"\n".join(lines[:i] + lines[i + 1 :])
    words = lines[i].split(b" ")
    words[rng.integers(len(words))] = pick(rng, WORDS)
    lines[i] = b" ".join(words)
    return b"\n".join(lines)


def change(rng, value, odd):
    """A value with one of the values in it removed, moved, or replaced: by one of `odd` if it is no array or tensor."""
    if isinstance(value, np.ndarray | torch.Tensor):
        return odd_numbers(rng, value)
    if not isinstance(value, dict | list | tuple) or not value or rng.random() < 0.05:
        return pick(rng, odd)
    new = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    key, other = pick(rng, list(new)), pick(rng, list(new))
    match rng.integers(10):
        case 0:
            del new[key]
        case 1:
            new[key] = new[other]
        case 2:
            new[pick(rng, KEYS)] = new[key]
        case _:
            new[key] = change(rng, new[key], odd)
    return new if isinstance(value, dict) else list(new.values())


def odd_numbers(rng, x):
    """An array or tensor of other values, shape, type or strides."""
    others = [x * np.nan, x / 0, x * 0, x + 1e30, x.reshape(-1)[:0], x.reshape(-1), x[None], -1 * x]
    if isinstance(x, np.ndarray):
        others += [x.astype(kind) for kind in ("f8", "i4", ">f4", "c8", "?", "S4", "O")] + [x.T, x[..., ::-1], x[()]]
        return pick(rng, others)
    same = [torch.zeros(1).expand(x.shape), torch.zeros(x.numel() + 1).as_strided(x.shape, [1] * x.dim())]
    same += [x.repeat_interleave(2, -1)[..., ::2], x.mT.clone().mT] if x.dim() > 1 else []
    others += [x.to(kind) for kind in (torch.float64, torch.float16, torch.int8, torch.bool, torch.complex64)]
    others += [torch.zeros(4_000_000), torch.zeros(1).expand(10**9, 512), x.to("meta"), x.float().to_sparse()]
    return pick(rng, same if rng.random() < 0.5 else others)


def change_h5(rng, path):
    """Replaces an attribute, or a data set by one of other values, shape or chunks."""
    with h5py.File(path, "r+") as file:
        key, name = pick(rng, list(file)), pick(rng, list(file.attrs))
        x = file[key][()]
        match rng.integers(3):
            case 0:
                odd = [-1, 0, 2**63, 1.5, np.nan, "word", b"\xff", ["a", "b"], np.eye(2), file[key].ref]
                file.attrs[name] = pick(rng, odd)
            case 1:
                del file[key]
                file[key] = pick(rng, [x.astype("f2"), x * np.nan, x[:-1], x.T, x[0], x.astype("S4"), np.zeros(0)])
            case 2:
                del file[key]
                shape = tuple(pick(rng, [1, 9, 1000, 10**9]) if rng.random() < 0.3 else n for n in x.shape)
                options = pick(rng, [{"chunks": True}, {"compression": "gzip"}, {"fillvalue": 1}, {}])
                with suppress(ValueError):  # larger than HDF5 can write
                    file.create_dataset(key, shape, x.dtype, **options)


# ---- kinds of files


class Kind(NamedTuple):
    suffix: str
    form: str
    read: callable  # a function of a path; gives the numbers that must be finite, if there are any
    contents: list  # of correct files
    odd: list = ODD  # what is put in place of a value


def to_bytes(rng, content, form):
    """A file of that form with a content."""
    file = io.BytesIO()
    match form:
        case "text" | "h5":
            return content if isinstance(content, bytes) else content.encode()
        case "json":
            return json.dumps(content, default=repr, skipkeys=True).encode()
        case "pickle":
            return pickle.dumps(content, protocol=int(rng.integers(6)))
        case "mat":
            savemat(file, {"d_skel": np.array(content, order="C"), "n": 3}, do_compression=rng.random() < 0.5)
        case "npy":
            np.save(file, np.asarray(content, None if isinstance(content, np.ndarray) else object), allow_pickle=True)
        case "zip of json" | "zip of npy":
            form, content = form.split()[-1], content if isinstance(content, dict) else {"a": content}
            with zipfile.ZipFile(file, "w", pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
                for name, value in content.items():
                    archive.writestr(f"{name}.{form}".encode("utf-8", "replace").decode(), to_bytes(rng, value, form))
        case "torch":  # also in the format of PyTorch before 1.6, and in other pickle protocols
            zipped, protocol = bool(rng.random() < 0.8), int(rng.integers(6)) if rng.random() < 0.1 else 2
            torch.save(content, file, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def rows(numbers):
    """A frame a line."""
    return "\n".join(" ".join(f"{value:.3f}" for value in row) for row in numbers)


def kinds(folder):
    """{name: Kind} of all readers."""
    toy, header = folder / "toy.h5", dict(frames=60, joints=5, persons=1, class_names="abcd", parents=[0, 0, 1, 2, 3])
    write_h5(toy, dict.fromkeys(SPLITS, toy_clips(9, 0)), **header, origin=1, axes="x, y, z", protocol="", made_by="")
    config = Config(dataset="toy", batch_size=4, seg=20, num_classes=4, theta=0.3, epochs=2)
    clips = Clips.read(toy)
    trainer, run = Trainer(config, clips), RunState(config, clips, folder)
    trainer.train_step(trainer.train_ids[:4])
    run.add_epoch(trainer.net, trainer.optimizer, 1.0, 50.0, 1.0, 50.0, 0.001)
    checkpoint, state = (read_torch_file(run.file(name)) for name in ("best.pth", "state.pth"))
    classifier = Classifier(run.file("best.pth"))

    def resume(path):
        """And trains for a step: memory that is not the optimizer's own would be written to."""
        run.file("state.pth").unlink(missing_ok=True)
        run.file("state.pth").symlink_to(path.absolute())
        run.resume(trainer.net, trainer.optimizer)
        trainer.train_step(trainer.train_ids[:4])

    def read_h5(path):
        clips = Clips.read(path)
        read_class_names(path, len(clips.class_names))
        return clips.sample(clips.ids("train", "test"), None)

    def read_feed(path):
        args = predict.parse_args(["--live", "--window", "20", "--checkpoint", "a.pth"])
        with path.open("rb") as file:
            predict.classify_live(args, classifier, file)

    def read_zip(path):
        return np.concatenate([make_nucla.read_json(text, name)[0] for name, text in make_nucla.read_all(path)])

    def read_npz(path):
        (folder / "out.h5").unlink(missing_ok=True)
        from_arrays.main([str(path), "--out", str(folder / "out.h5")])

    def read_pickle(path):
        from_pyskl.main([str(path), "--out", str(folder)])

    def read_tool(path):
        return read_poses(path, SIZE).clip

    def read_array(path):
        return read_any(path, "kinect_v2", nan="absent").clip

    rng, shared = np.random.default_rng(0), [*ODD, SHARED]
    bodies = [[(f"7205759403794473{i}", rng.normal(size=(25, 3))) for i in range(k % 4)] for k in range(20)]
    nucla = {"skeletons": rng.normal(size=(6, 20, 3)).round(3).tolist(), "label": 3}
    log = "# seed: 1\nepoch,train_loss,train_acc,test_loss,test_acc,lr\n" + "1,2,3,4,5,6\n" * 5
    own = {"joints": [*"abcde"], "parents": [0, 0, "a", 2, -1], "flip_pairs": [0, 1, "d", "c", 4], "is_2d": True}
    of_kinetics = {"data": record(FORMS["Kinetics-Skeleton"], 4)[1], "label": "x", "label_index": 5}
    clip, x, y = rng.normal(size=(6, 2, 25, 3)), rng.normal(size=(6, 9, 150)), np.eye(3)[[0, 1, 2, 0, 1, 2]]
    npz = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    arrays = [clip, clip[:, 0], clip.transpose(3, 0, 2, 1), clip[:, 0].transpose(1, 2, 0), clip.reshape(6, -1)]
    named = [{"frame_dir": str(i), "label": i, "keypoint": clip.swapaxes(0, 1).astype("f2")} for i in range(3)]
    pyskl = {"split": {"train": ["0", "1"], "test": ["2"]}, "annotations": named}
    return {
        "skeleton": Kind(".skeleton", "text", read_recording, [ntu_text.text(bodies)]),
        "names": Kind(".txt", "text", lambda path: read_class_names(path, 2), ["a\nb\n"]),
        "log": Kind(".csv", "text", read_log, [log]),
        "own skeleton": Kind(".json", "json", read_skeleton_file, [own]),
        "nucla": Kind(".json", "json", read_recording, [nucla]),
        "poses": Kind(".json", "json", read_tool, [form.file(record(form, 4)[1]) for form in FORMS.values()]),
        "feed": Kind(".txt", "text", read_feed, [rows(toy_clips(1, 0)[0][0][:24])]),
        "kinetics": Kind(".json", "json", lambda path: kinetics.read_json(path)[0], [of_kinetics]),
        "npy": Kind(".npy", "npy", read_array, arrays),
        "mat": Kind(".mat", "mat", read_array, arrays),
        "rows": Kind(".txt", "text", read_array, [rows(clip[:, 0].reshape(6, -1))]),
        "zip": Kind(".zip", "zip of json", read_zip, [{"a01_s01_e00_v01": nucla}]),
        "npz": Kind(".npz", "zip of npy", read_npz, [npz]),
        "h5": Kind(".h5", "h5", read_h5, [toy.read_bytes()]),
        "pyskl": Kind(".pkl", "pickle", read_pickle, [pyskl], shared),
        "checkpoint": Kind(".pth", "torch", Classifier, [checkpoint], shared),
        "state": Kind(".pth", "torch", resume, [state], shared),
    }


# ---- running


def make_input(rng, kind, path):
    """Writes a file whose content is damaged, or its bytes."""
    content, in_content = pick(rng, kind.contents), kind.form != "text" and rng.random() < 0.6
    for _ in range(rng.integers(1, 4) if in_content and kind.form != "h5" else 0):
        with suppress(Exception):  # of what was changed before
            content = change(rng, content, kind.odd)
    data = to_bytes(rng, content, kind.form)
    path.write_bytes(data if in_content else damage_bytes(rng, data))
    if in_content and kind.form == "h5":
        change_h5(rng, path)


def read_one(kind, path):
    """Reads a file: "read", "refused", or what is wrong with how it was read."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found = kind.read(path)
        finite = not isinstance(found, np.ndarray | torch.Tensor) or np.isfinite(np.asarray(found)).all()
        outcome = "read" if finite else "read, but it is not finite"
    except Exception as error:  # a type that is not a refusal is what we look for
        refused = isinstance(error, UserError | BadFile) or (isinstance(error, OSError) and error.filename)
        outcome = "refused" if refused else f"{type(error).__name__}: {util.shorten(error, 200)}"
        outcome += " in several lines" if refused and "\n" in str(error) else ""
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return outcome if taken <= MEMORY else f"took {taken} of memory, and was then: {outcome}"


def read_some(name, kind, n, args, outcomes):
    """Reads n damaged files, and adds a line for each to the file `outcomes`. In a process of its own."""
    warnings.simplefilter("ignore")  # of odd numbers
    mat._pool.cache_clear()  # its threads do not survive the fork
    for i in program.progress(range(n), desc=name, unit="file"):
        path = args.keep / f"{name}-{i}{kind.suffix}"
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # notes
            make_input(np.random.default_rng([args.seed, i, *name.encode()]), kind, path)
            outcome = read_one(kind, path)
        with open(outcomes, "a", **util.UTF8) as file:
            print(outcome, file=file)
        if outcome in ("read", "refused"):
            path.unlink()
    if mat._pool.cache_info().currsize:
        mat._pool().shutdown()  # or this process and the pool's wait for each other's end


def fuzz(name, kind, n, args, folder):
    """Reads n damaged files of a kind, the rest left out if one ends the process. Prints a line for the table, and
    names those with faults. Returns their number."""
    path = folder / f"{name}.outcomes"
    path.touch()
    process = multiprocessing.get_context("fork").Process(target=read_some, args=(name, kind, n, args, path))
    process.start()
    process.join()
    lines = path.read_text(encoding="utf-8").splitlines()
    if process.exitcode:
        late = process.exitcode == -signal.SIGPROF
        lines.append("took too long" if late else f"the process ended with code {process.exitcode}")
    faults = {i: line for i, line in enumerate(lines) if line not in ("read", "refused")}
    print(f"{name:12}{len(lines):10,}{lines.count('read'):10,}{lines.count('refused'):10,}{len(faults):10,}")
    for i, line in faults.items():
        print(f"  {args.keep / f'{name}-{i}{kind.suffix}'}: {line}")
    return len(faults)


def main(argv=None):
    parser = program.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--files", type=program.positive_int, default=8000, help="damaged files, of all kinds together (%(default)s)")
    add("--seed", type=program.seed, default=1, help="(%(default)s)")
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


if __name__ == "__main__":
    with program.exit_on_error():
        sys.exit(main())
