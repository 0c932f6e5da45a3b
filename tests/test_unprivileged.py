"""Files and folders that an ordinary user may not read or write: one line, and nothing that was computed is lost."""

import os
import shutil

import pytest

from conftest import flags, run, same, weights
from helpers import run_script, start_script, wait_for

# Root may read and write everything, unless it gives up its capabilities
ROOT_USER = hasattr(os, "geteuid") and os.geteuid() == 0
PREFIX = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"] if ROOT_USER else []
NOBODY = os.name != "posix" or bool(PREFIX and not shutil.which("setpriv"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(NOBODY, reason="no ordinary user at hand")]


def is_denied(path, code, err):
    """Whether a program ended with the one line that it may not read or write `path`."""
    assert not any("Traceback" in line for line in err)
    return code == 2 and err[-1].startswith(f"error: {path}") and "Permission denied" in err[-1]


def test_files_that_may_not_be_read_and_folders_that_may_not_be_written(toy, trained, tmp_path):
    shutil.copy(toy, tmp_path / "toy.h5")
    shutil.copy(trained / "0_best.pth", tmp_path / "a.pth")
    for name in ("toy.h5", "a.pth"):
        (tmp_path / name).chmod(0)
    tmp_path.chmod(0o555)
    files = sorted(os.listdir(tmp_path))
    for name, script, *args in (
        ("toy.h5", "main.py", *flags(tmp_path / "toy.h5", tmp_path)),
        ("a.pth", "tools/export.py", tmp_path / "a.pth", "--out", tmp_path / "a.pt2"),
        ("toy", "main.py", *flags(toy, tmp_path)),
    ):
        code, _, err = run_script(script, *args, prefix=PREFIX)
        assert is_denied(tmp_path / name, code, err)
    assert sorted(os.listdir(tmp_path)) == files


def test_a_folder_that_becomes_read_only_loses_no_epoch(toy, trained, tmp_path):
    folder, command = tmp_path / "toy" / "SGN", flags(toy, tmp_path, "--resume", epochs=12)
    process = start_script("main.py", *command, prefix=PREFIX)
    wait_for((folder / "0_state.pth").exists, process)
    folder.chmod(0o555)
    _, err = process.communicate(timeout=120)
    assert is_denied(folder, process.returncode, err.splitlines())
    folder.chmod(0o755)
    assert 1 <= sum(line[0].isdigit() for line in (folder / "0_log.csv").read_text().splitlines()) < 12
    run(toy, tmp_path, "--resume", epochs=12)
    assert same(weights(folder), weights(trained))
