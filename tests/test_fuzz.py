"""The fuzzer finds nothing in some files of each kind, and would."""

import faulthandler
import os
import signal

import fuzz
from util import UserError


def test_the_fuzzer_finds_nothing_and_would(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert fuzz.main(["--files", "140", "--keep", "found"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 faults")
    faults = {
        "crash": lambda path: (faulthandler.disable(), os.kill(os.getpid(), signal.SIGSEGV)),
        "bug": lambda path: {}["key"],
        "lines": lambda path: (_ for _ in ()).throw(UserError("a\nb")),
    }
    real = fuzz.kinds

    def kinds(folder):
        return {name: real(folder)["names"]._replace(read=read) for name, read in faults.items()}

    monkeypatch.setattr(fuzz, "kinds", kinds)
    assert fuzz.main(["--files", "6", "--keep", "found"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("6 faults") and len(os.listdir("found")) == 6
    for what in ("ended with code -11", "KeyError: 'key'", "refused in several lines"):
        assert sum(what in line for line in lines) == 2
