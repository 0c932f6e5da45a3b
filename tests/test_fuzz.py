"""The fuzzer finds nothing in some files of each kind, and would; and what its readers do with what is no file."""

import faulthandler
import os
import signal

import numpy as np
import pytest

import fuzz
from clips.skipped import BadFile
from util import UserError

pytestmark = pytest.mark.slow


def crash(path):
    faulthandler.disable()
    os.kill(os.getpid(), signal.SIGSEGV)


def refuse_in_lines(path):
    raise UserError("a\nb")


FAULTS = {
    "the process ended with code -11": crash,
    "KeyError: 'key'": lambda path: {}["key"],
    "refused in several lines": refuse_in_lines,
    "read, but it is not finite": lambda path: np.array([np.nan]),
}


def test_the_fuzzer_finds_nothing_and_would(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert fuzz.main(["--files", "108", "--keep", "found"]) == 0, capsys.readouterr().out
    names = fuzz.kinds(tmp_path)["names"]
    monkeypatch.setattr(fuzz, "kinds", lambda _: {what: names._replace(read=read) for what, read in FAULTS.items()})
    assert fuzz.main(["--files", "8", "--keep", "found"]) == 1
    out = capsys.readouterr().out
    assert len(os.listdir("found")) == 8 and all(out.count(f": {what}") == 2 for what in FAULTS)


def test_no_reader_waits_for_a_fifo(tmp_path):
    every = fuzz.kinds(tmp_path)
    for name in every.keys() - {"feed", "cache"}:  # that is standard input, and this is made anew
        os.mkfifo(path := tmp_path / f"{name}{every[name].suffix}")
        with pytest.raises((OSError, UserError, BadFile), match="a FIFO"):
            every[name].read(path)
