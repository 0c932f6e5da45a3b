"""Files and folders that an ordinary user may not read or write: one line, and nothing is left behind."""

import os
import shutil

import pytest

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
    for h5, named in ((tmp_path / "a.h5", "a.h5"), (toy, "b.h5")):
        words = "--dataset", h5, "--classes", "a,b", "--out", tmp_path / "b.h5"
        code, _, err = run_script("tools/subset_h5.py", *words, prefix=PREFIX)
        assert code == 2 and len(err) == 1 and err[0].startswith(f"error: {tmp_path / named}: Permission denied")
    assert os.listdir(tmp_path) == ["a.h5"]
