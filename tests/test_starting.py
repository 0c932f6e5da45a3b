"""Ways of starting: closed and full streams, terminals that lack characters, with and without a terminal."""

import io
import os
import subprocess
import sys

import pytest

from conftest import run
from helpers import ROOT
from safe import program

PROGRAM = f"""
import contextlib, os, sys
sys.path.insert(0, {str(ROOT)!r})
from safe import program
with program.exit_on_error():
    file = open(os.path.join(sys.argv[1], "file"), "w")
    with contextlib.suppress(OSError):
        os.write(2, b"of a library\\n")
    for stream in (sys.stdout, sys.stderr):
        print("\\xe9\\udcff", file=stream)
    file.write("content")
"""


@pytest.mark.parametrize("redirection", ["<&-", "2>&-", ">&-", ">/dev/full"])
def test_programs_survive_streams_that_are_closed_or_full_or_lack_characters(tmp_path, redirection):
    command = ["bash", "-c", f'exec "$@" {redirection}', "bash", sys.executable, "-c", PROGRAM, str(tmp_path)]
    ascii = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, env=os.environ | ascii, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr
    if redirection == ">/dev/full":
        assert done.returncode == 2 and "error: " in done.stderr and "No space left" in done.stderr
        return
    assert done.returncode == 0 and (tmp_path / "file").read_text() == "content"
    assert redirection == ">&-" or done.stdout == "\\xe9\\udcff\n"
    assert redirection == "2>&-" or done.stderr == "of a library\n\\xe9\\udcff\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_run_shows_a_bar_on_a_terminal_alone_and_the_log_s_columns_everywhere(toy, tmp_path, monkeypatch):
    for terminal in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", terminal)
        folder = run(toy, tmp_path, epochs=1)
        assert ("step/s" in terminal.getvalue()) == terminal.isatty()
        names, row = (line.split(",") for line in (folder / "0_log.csv").read_text().splitlines() if line[0] != "#")
        line = next(line for line in terminal.getvalue().splitlines() if "epoch 1/1: " in line)
        assert all(f"{name} {float(value):.4g}" in line for name, value in zip(names[1:], row[1:], strict=True))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert program.progress(file=Terminal()).disable
