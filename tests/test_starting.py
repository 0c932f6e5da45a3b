"""Ways of starting: closed and full streams, names and terminals of any bytes, ignored signals, no assertions."""

import io
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from conftest import flags, run
from helpers import ROOT, run_script, start_script, wait_for
from model import SGN


@pytest.mark.parametrize("name", [os.fsdecode(b"r\xffs"), "a\nb"])
def test_results_may_have_any_name(toy, tmp_path, name):
    folder = run(toy, tmp_path / name, epochs=1)
    run(toy, tmp_path / name, "--resume", epochs=1)
    assert (folder / "0_log.csv").read_bytes().decode("utf-8").splitlines()[-1].startswith("1,")


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.slow
@pytest.mark.parametrize("env", [ASCII, {"PYTHONIOENCODING": "ascii"}])
def test_terminals_may_lack_characters(tmp_path, env):
    torch.save({"state_dict": SGN(4, 5).state_dict()}, tmp_path / "a.pth")
    (tmp_path / "names").write_text("é\n飲む\nc\nd\n", encoding="utf-8")
    np.save(tmp_path / "é.npy", np.random.default_rng(0).normal(size=(30, 5, 3)))
    command = [tmp_path / "é.npy", "--checkpoint", tmp_path / "a.pth", "--classes", tmp_path / "names"]
    code, out, err = run_script("tools/predict.py", *command, env=os.environ | env)
    assert (code, err) == (0, []) and r"\xe9" in "".join(out)


PROGRAM = f"""
import contextlib, os, sys
sys.path.insert(0, {str(ROOT)!r})
from safe import program
with program.exit_on_error():
    file = open(os.path.join(sys.argv[1], "file"), "w")
    with contextlib.suppress(OSError):
        os.write(2, b"of a library\\n")
    for stream in (sys.stdout, sys.stderr):
        print("first é\\udcff", file=stream)
    os.write(1, b"then ")
    for stream in (sys.stdout, sys.stderr):
        print("line", file=stream)
    file.write("content")
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "redirection, code", [("<&-", 0), ("2>&-", 0), (">&-", 0), ("2>/dev/full", 0), (">/dev/full", 2)]
)
def test_programs_survive_streams_that_are_closed_or_full(tmp_path, redirection, code, unbuffered):
    command = ["bash", "-c", f'exec "$@" {redirection}', "bash", sys.executable, "-c", PROGRAM, str(tmp_path)]
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == code and "Traceback" not in done.stderr and "ignored" not in done.stderr
    if code:
        assert done.stderr.splitlines()[-1].startswith("error: ") and "No space left" in done.stderr
        return
    assert (tmp_path / "file").read_text() == "content"
    if not redirection.startswith(">"):  # what is unbuffered stays so
        lines = ["first é\\udcff\n", "then ", "line\n"] if unbuffered else ["then ", "first é\\udcff\n", "line\n"]
        assert done.stdout == "".join(lines)
    if not redirection.startswith("2"):
        assert done.stderr == "of a library\nfirst é\\udcff\nline\n"


@pytest.mark.slow
def test_an_ignored_interrupt_does_not_stop_a_run_and_termination_does(toy, tmp_path):
    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it starts in the background

    log = tmp_path / "toy" / "SGN" / "0_log.csv"
    command = [sys.executable, ROOT / "main.py", *flags(toy, tmp_path, epochs=1000)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=ignore)
    wait_for(log.exists, process)
    process.send_signal(signal.SIGINT)
    before = log.stat().st_mtime_ns
    wait_for(lambda: log.stat().st_mtime_ns > before, process)
    assert process.poll() is None
    process.terminate()
    assert "--resume continues" in process.communicate(timeout=30)[1] and process.returncode == 143


@pytest.mark.slow
def test_programs_do_not_rely_on_assertions(toy):
    process = start_script("tools/check_h5.py", toy, env=os.environ | {"PYTHONOPTIMIZE": "1"})
    assert "correct: 48 training" in process.communicate(timeout=60)[0] and process.returncode == 0


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("disable", ["", "1"])
def test_bars_are_seen_on_a_terminal_alone_and_not_against_one_s_will(toy, tmp_path, monkeypatch, disable):
    monkeypatch.setenv("TQDM_DISABLE", disable)
    monkeypatch.setattr("sys.stderr", Terminal())
    run(toy, tmp_path, epochs=2)
    text = sys.stderr.getvalue()
    assert ("step/s" in text) != bool(disable) and "epoch 2/2: train_loss" in text


def test_how_a_run_goes_is_a_line_an_epoch_in_a_log(toy, tmp_path, capsys):
    """In the columns of the csv, and no bar."""
    folder = run(toy, tmp_path, epochs=2)
    err = capsys.readouterr().err
    assert "\r" not in err and "step/s" not in err
    names, *rows = (line.split(",") for line in (folder / "0_log.csv").read_text().splitlines() if line[0] != "#")
    said = [line for line in err.splitlines() if line.startswith("epoch ")]
    for line, row in zip(said, rows, strict=True):
        assert all(f"{name} {float(value):.4g}" in line for name, value in zip(names[1:], row[1:], strict=True))
