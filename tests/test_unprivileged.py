"""Files and folders that an ordinary user may not read or write: one line, and nothing that was computed is lost."""

import os
import shutil

import pytest

from conftest import flags
from helpers import run_script

# Root may read and write everything, unless it gives up its capabilities
ROOT_USER = hasattr(os, "geteuid") and os.geteuid() == 0
PREFIX = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"] if ROOT_USER else []
NOBODY = os.name != "posix" or bool(PREFIX and not shutil.which("setpriv"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(NOBODY, reason="no ordinary user at hand")]


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
        assert code == 2 and err[-1].startswith(f"error: {tmp_path / name}: Permission denied")
        assert "Traceback (most recent call last):" not in err
    assert sorted(os.listdir(tmp_path)) == files
