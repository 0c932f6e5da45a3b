"""What all programs share: errors, files, flags, and the record of how something was made."""

import os
import signal
import socket
import subprocess
import sys

import pytest

import util
from engine.logs import read_log, write_log
from safe import program
from safe.files import exclusive_lock, remove_stale_parts
from util import UserError


@pytest.mark.parametrize(
    "error, code, what",
    [
        (UserError("x.h5: no such file"), 2, "error: x.h5: no such file"),
        (OSError(28, "No space left on device", "a/b.h5"), 2, "error: a/b.h5: No space left on device"),
        (MemoryError("array of 9 GB"), 2, "reduce --batch-size"),
        (RuntimeError("CUDA out of memory.\nTried"), 2, "reduce --batch-size"),
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "interrupted"),
    ],
)
def test_errors_and_signals_end_a_program_with_one_line(error, code, what, capsys):
    with pytest.raises(SystemExit) as stopped, program.exit_on_error(reduce="--batch-size"):
        if isinstance(error, Exception):
            raise error
        signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background ignore it
        signal.raise_signal(error)
    err = capsys.readouterr().err
    assert stopped.value.code == code and what in err and err.count("\n") == 1


WRONG = [f"--size {10**18}", "--size 1.5", "--lr 1e400", "--lr nan", "--fps 1e-9", "--seeds 1,1", "--seeds 101"]


@pytest.mark.parametrize("flags", [*WRONG, "--sise 3", "--a\x1b[2J\n"])
def test_a_wrong_flag_is_one_line(flags, capsys):
    parser = program.ArgumentParser()
    types = {"size": program.positive_int, "lr": program.positive_float, "fps": program.fps}
    for name, kind in (types | {"seeds": program.seed_list}).items():
        parser.add_argument(f"--{name}", type=kind)
    assert [parser.parse_args(["--seeds", text]).seeds for text in ("4,7", "3")] == [[4, 7], [1, 2, 3]]
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(flags.split(" "))
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.startswith("error: ") and err.count("\n") == 1
    assert util.readable(flags.split(" ")[0]) in err and ("did you mean --size?" in err) == ("sise" in flags)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with util.atomic_write(path) as part:
        part.write_text("one", encoding="utf-8")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), util.atomic_write(path) as part:
        part.write_text("half", encoding="utf-8")
        _ = 1 / 0
    assert path.read_text() == "one" and os.listdir(path.parent) == ["a.txt"]
    with pytest.raises(OSError, match="No space left on device: .*a.txt"), util.atomic_write(path):
        raise RuntimeError("unable to write (file write failed: errno = 28, ...)")  # as HDF5 says it


def test_a_lock_leaves_nothing_behind(tmp_path):
    path = tmp_path / "new" / "folder" / ".lock"
    for _ in range(2):
        with exclusive_lock(path), pytest.raises(UserError, match="another run"), exclusive_lock(path):
            pass
        assert not os.listdir(tmp_path)


def test_stale_parts_are_this_machine_s_own_dead_ones_of_that_name(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    host, dead = socket.gethostname(), process.pid
    living, of_another_machine = f"0_best.pth.{host}.{os.getpid()}.part", f"0_best.pth.other.{dead}.part"
    kept = {living, of_another_machine, f"1_best.pth.{host}.{dead}.part", f"0_best.pth.{host}.{'9' * 20}.part"}
    for name in {f"0_best.pth.{host}.{dead}.part", *kept}:
        (tmp_path / name).touch()
    remove_stale_parts(tmp_path, "0_")
    assert set(os.listdir(tmp_path)) == kept


def test_a_log_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "a.csv"
    row = {"epoch": 1, "train_loss": 2.5, "train_acc": 40.0, "valid_loss": 2.0, "valid_acc": 50.0, "lr": 0.001}
    write_log(path, ["seed: 1"], [row])
    assert path.read_text() == "# seed: 1\nepoch,train_loss,train_acc,valid_loss,valid_acc,lr\n1,2.5,40,2,50,0.001\n"
    assert read_log(path) == (["seed: 1"], {name.replace("valid", "eval"): [value] for name, value in row.items()})
    for text in ("", "loss\n1\n"):
        path.write_text(text)
        with pytest.raises(UserError, match="a.csv"):
            read_log(path)
