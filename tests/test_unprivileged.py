"""Files and folders that an ordinary user may not read or write: one line, and nothing is left behind."""

import os
import shutil

import pytest

from conftest import flags
from helpers import run_script

# Root may read and write everything, unless it gives up its capabilities
ROOT_USER = hasattr(os, "geteuid") and os.geteuid() == 0
PREFIX = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"] if ROOT_USER else []
NOBODY = os.name != "posix" or bool(PREFIX and not shutil.which("setpriv"))


@pytest.mark.slow
@pytest.mark.skipif(NOBODY, reason="no ordinary user at hand")
def test_files_that_may_not_be_read_and_folders_that_may_not_be_written(toy, tmp_path):
    shutil.copy(toy, tmp_path / "a.h5").chmod(0)
    tmp_path.chmod(0o555)
    for h5, named in ((tmp_path / "a.h5", "a.h5"), (toy, "toy")):
        code, _, err = run_script("main.py", *flags(h5, tmp_path), prefix=PREFIX)
        assert code == 2 and err[-1].startswith(f"error: {tmp_path / named}: Permission denied")
        assert "Traceback (most recent call last):" not in err
    assert os.listdir(tmp_path) == ["a.h5"]
