"""The fuzzer finds nothing in some files of each kind, and would."""

import faulthandler
import os
import signal

import pytest

import fuzz
from util import UserError

pytestmark = pytest.mark.slow


def test_the_fuzzer_finds_nothing_and_would(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert fuzz.main(["--files", "140", "--keep", "found"]) == 0, capsys.readouterr().out
    faults = {
        "crash": lambda path: (faulthandler.disable(), os.kill(os.getpid(), signal.SIGSEGV)),
        "bug": lambda path: {}["key"],
        "lines": lambda path: (_ for _ in ()).throw(UserError("a\nb")),
    }
    real = fuzz.kinds
    monkeypatch.setattr(
        fuzz, "kinds", lambda _: {name: real(tmp_path)["names"]._replace(read=f) for name, f in faults.items()}
    )
    assert fuzz.main(["--files", "6", "--keep", "found"]) == 1
    out = capsys.readouterr().out
    assert len(os.listdir("found")) == 6
    for what in ("ended with code -11", "KeyError: 'key'", "refused in several lines"):
        assert out.count(what) == 2
