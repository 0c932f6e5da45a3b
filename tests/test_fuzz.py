"""The fuzzer's files are correct before it damages them, it finds nothing in some of each kind, and it would."""

import os
import signal

import numpy as np
import pytest

import fuzz
from clips.skipped import BadFile
from util import UserError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    return fuzz.kinds(tmp_path_factory.mktemp("fuzz"))


FAULTS = {
    "the process ended with code -9": lambda path: os.kill(os.getpid(), signal.SIGKILL),
    "KeyError: 'key'": lambda path: {}["key"],
    "read, but it is not finite": lambda path: np.array([np.nan]),
}


def test_the_fuzzer_finds_nothing_and_would(kinds, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fuzz, "kinds", lambda _: kinds)
    assert fuzz.main(["--files", "108", "--keep", f"{tmp_path}/found"]) == 0, capsys.readouterr().out
    faults = {what: kinds["names"]._replace(read=read) for what, read in FAULTS.items()}
    monkeypatch.setattr(fuzz, "kinds", lambda _: faults)
    assert fuzz.main(["--files", "3", "--keep", f"{tmp_path}/found"]) == 1
    out = capsys.readouterr().out
    assert len(os.listdir(tmp_path / "found")) == 3 and all(f": {what}\n" in out for what in FAULTS)


def test_readers_take_what_is_correct_and_wait_for_no_fifo(kinds, tmp_path):
    for name, kind in kinds.items():
        path = tmp_path / f"{name}{kind.suffix}"
        for content in kind.contents:
            path.write_bytes(fuzz.to_bytes(np.random.default_rng(0), content, kind.form))
            kind.read(path)
        path.unlink()
        os.mkfifo(path)
        if name != "feed":  # that is standard input
            with pytest.raises((OSError, UserError, BadFile), match="a FIFO"):
                kind.read(path)
