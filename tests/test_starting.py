"""Ways of starting: closed and full streams, names and terminals of any bytes, ignored signals."""

import io
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from conftest import flags, run
from helpers import ROOT, run_script, start_script, wait_for
from model import SGN


def test_results_may_have_any_name(toy, tmp_path):
    results = tmp_path / os.fsdecode(b"r\xff\nb")
    folder = run(toy, results, epochs=1)
    run(toy, results, "--resume", epochs=1)
    assert (folder / "0_log.csv").read_text(encoding="utf-8").splitlines()[-1].startswith("1,")


@pytest.mark.slow
def test_terminals_may_lack_characters(tmp_path):
    torch.save({"state_dict": SGN(4, 5).state_dict()}, tmp_path / "a.pth")
    (tmp_path / "names").write_text("é\n飲む\nc\nd\n", encoding="utf-8")
    np.save(tmp_path / "é.npy", np.random.default_rng(0).normal(size=(30, 5, 3)))
    command = [tmp_path / "é.npy", "--checkpoint", tmp_path / "a.pth", "--classes", tmp_path / "names"]
    ascii = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, out, err = run_script("tools/predict.py", *command, env=os.environ | ascii)
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
@pytest.mark.parametrize("redirection", ["<&-", "2>&-", ">&-", "2>/dev/full", ">/dev/full"])
def test_programs_survive_streams_that_are_closed_or_full(tmp_path, redirection, unbuffered):
    command = ["bash", "-c", f'exec "$@" {redirection}', "bash", sys.executable, "-c", PROGRAM, str(tmp_path)]
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr
    if redirection == ">/dev/full":
        assert done.returncode == 2 and "\nerror: " in done.stderr and "No space left" in done.stderr
        return
    assert done.returncode == 0 and (tmp_path / "file").read_text() == "content"
    if not redirection.startswith(">"):  # what is unbuffered stays so
        lines = ["first é\\udcff\n", "then ", "line\n"] if unbuffered else ["then ", "first é\\udcff\n", "line\n"]
        assert done.stdout == "".join(lines)
    if not redirection.startswith("2"):
        assert done.stderr == "of a library\nfirst é\\udcff\nline\n"


def test_an_interrupt_during_the_imports_is_one_line():
    show_imports = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    process = start_script("main.py", "--help", stdout=subprocess.DEVNULL, env=show_imports)
    next(line for line in process.stderr if re.search(r"\| +torch\.", line))
    process.send_signal(signal.SIGINT)
    lines = [line for line in process.communicate(timeout=30)[1].splitlines() if not line.startswith("import time")]
    assert process.returncode == 130 and len(lines) == 1 and lines[0].startswith("interrupted: ")


@pytest.mark.slow
def test_an_ignored_interrupt_does_not_stop_a_run_and_termination_does(toy, tmp_path):
    log, command = tmp_path / "toy" / "SGN" / "0_log.csv", flags(toy, tmp_path, epochs=1000)
    # As a shell does for what it starts in the background
    ignoring = ["bash", "-c", "trap '' INT; exec \"$@\"", "bash"]
    process = start_script("main.py", *command, prefix=ignoring, stdout=subprocess.DEVNULL)
    wait_for(log.exists, process)
    process.send_signal(signal.SIGINT)
    before = log.stat().st_mtime_ns
    wait_for(lambda: log.stat().st_mtime_ns > before, process)
    assert process.poll() is None
    process.terminate()
    assert "--resume" in process.communicate(timeout=30)[1] and process.returncode == 143


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    "terminal, disable, bar", [(Terminal(), "", True), (Terminal(), "1", False), (io.StringIO(), "", False)]
)
def test_a_run_shows_a_bar_on_a_terminal_alone_and_the_log_s_columns_everywhere(
    toy, tmp_path, monkeypatch, terminal, disable, bar
):
    monkeypatch.setenv("TQDM_DISABLE", disable)
    monkeypatch.setattr("sys.stderr", terminal)
    folder = run(toy, tmp_path, epochs=1)
    text = terminal.getvalue()
    assert ("step/s" in text) == bar
    names, row = (line.split(",") for line in (folder / "0_log.csv").read_text().splitlines() if line[0] != "#")
    line = next(line for line in text.splitlines() if "epoch 1/1: " in line)
    assert all(f"{name} {float(value):.4g}" in line for name, value in zip(names[1:], row[1:], strict=True))
