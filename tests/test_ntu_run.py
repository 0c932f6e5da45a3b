"""The three scripts as they are run: from files to h5, interrupted and started again."""

import json
import os
import signal
import socket
import subprocess
import sys

import h5py
import numpy as np
import pytest

import util
from clips import protocols
from clips.h5 import SPLITS, split_validation, validate
from helpers import ROOT, run_script, start_script, wait_for
from ntu_text import CLIPS, FILES, STEPS, blocks_written, clips_in, contents, run, write_root
from safe.workers import parallel_map
from util import UserError

SCRIPTS = [f"data/ntu/{step.SCRIPT}" for step in STEPS]
EXTRA = [f"S0{setup}C001P{performer:03}R001A1{k:02}" for setup in (18, 19) for performer in (1, 3) for k in (1, 20)]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder in which all three scripts have run; not to be changed."""
    root = tmp_path_factory.mktemp("ntu")
    write_root(root)
    assert run(root) == [0, 0, 0]
    return root


@pytest.fixture
def root(tmp_path):
    """The same, before they ran."""
    write_root(tmp_path)
    return tmp_path


def add_ntu120(root):
    """Adds clips of NTU120, in a folder of their own."""
    (root / "nturgb+d_skeletons120").mkdir()
    for name in EXTRA:
        (root / "nturgb+d_skeletons120" / f"{name}.skeleton").write_bytes(FILES[min(CLIPS)])


def test_h5_is_golden(done):
    names = sorted(CLIPS)
    for protocol in protocols.dataset("NTU").protocols:
        train, test = protocol.split(names)
        with h5py.File(done / f"NTU_{protocol.name}.h5") as file:
            assert validate(file) == []
            assert file.attrs["protocol"] == protocol.words
            for split, indices in zip(SPLITS, (*split_validation(train), test), strict=True):
                x, y = file[f"{split}x"], file[f"{split}y"]
                assert x.shape == (len(indices), max(len(clip["moved"]) for clip in CLIPS.values()), 150)
                assert y.dtype == np.float64
                for row, i in enumerate(indices):
                    clip = CLIPS[names[i]]["moved"]
                    frames, width = clip.shape
                    assert np.array_equal(x[row, :frames, :width], clip)
                    assert not x[row, frames:].any() and not x[row, :, width:].any()
                    assert y[row].argmax() == int(names[i][-3:]) - 1


def test_two_workers_give_the_same(root, done):
    assert run(root, workers=2) == [0, 0, 0]
    assert contents(root) == contents(done)


def test_nothing_is_done_twice(root, capsys):
    run(root)
    before = blocks_written(root), os.stat(root / "NTU_CS.h5").st_ino
    out = capsys.readouterr().out
    assert run(root) == [0, 0, 0]
    assert (blocks_written(root), os.stat(root / "NTU_CS.h5").st_ino) == before
    assert capsys.readouterr().out == out


def test_changed_input_is_noticed_and_only_its_blocks_are_made_again(root, done):
    run(root)
    before = blocks_written(root)
    path = root / "nturgb+d_skeletons" / f"{min(CLIPS)}.skeleton"
    path.write_bytes(path.read_bytes().replace(b" ", b"  "))  # another file, the same clip
    run(root)
    changed = {block for block, time in blocks_written(root).items() if time != before[block]}
    assert changed == {f"{step}/{min(CLIPS)[:12]}" for step in ("raw_data", "denoised_data")}
    assert contents(root) == contents(done)


def test_removed_and_added_files_are_noticed(root, done):
    run(root)
    key = max(CLIPS)[:12]
    for path in (root / "nturgb+d_skeletons").glob(f"{key}*"):
        path.rename(root / path.name)
    run(root)
    assert clips_in(root / "NTU_CV.h5") == sum(not name.startswith(key) for name in CLIPS)
    assert blocks_written(done).keys() - blocks_written(root).keys() == {f"raw_data/{key}", f"denoised_data/{key}"}
    for path in root.glob("*.skeleton"):
        path.rename(root / "nturgb+d_skeletons" / path.name)
    run(root)
    assert contents(root) == contents(done)


def test_damaged_blocks_are_made_again(root, done):
    run(root, steps=STEPS[:1])
    paths = sorted((root / "raw_data").glob("S*.h5"))
    paths[0].write_bytes(paths[0].read_bytes()[:-100])
    paths[1].write_bytes(b"")
    paths[2].unlink()
    with pytest.raises(UserError, match="first run get_raw_skes_data.py --dataset NTU"):
        run(root, steps=STEPS[1:2])
    run(root)
    assert contents(root) == contents(done)


@pytest.mark.parametrize(
    "text", ["{}", "[]", '"a"', "{", '{"finished": true, "blocks": []}', '{"blocks": [[1]]}', "\xff"]
)
def test_a_damaged_or_foreign_index_is_one_clear_line(root, done, text):
    run(root, steps=STEPS[:1])
    (root / "raw_data" / "NTU.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="raw_data: .* first run get_raw_skes_data.py --dataset NTU$"):
        run(root, steps=STEPS[1:2])
    before = blocks_written(root)
    run(root, steps=STEPS[:1])
    assert blocks_written(root) == before


def test_killed_at_any_moment_it_continues(root, done):
    """SIGKILL during each script, which is then started again."""
    for step, script, folder, files in zip(STEPS, SCRIPTS, ("raw_data", "denoised_data", "."), (4, 4, 1), strict=True):
        process = start_script(script, "--root", root, "--workers", 2)
        wait_for(lambda path=root / folder, n=files: len(list(path.glob("*.h5"))) >= n, process)
        process.kill()
        process.communicate()
        made = {path: path.stat().st_mtime_ns for path in (root / folder).glob("*.h5")}
        run(root, steps=[step])
        assert all(path.stat().st_mtime_ns == time for path, time in made.items())
    assert contents(root) == contents(done)


def test_interrupted_it_ends_with_one_line_and_leaves_no_temporary_files(root, done):
    process = start_script(SCRIPTS[0], "--root", root, "--workers", 2)
    wait_for(lambda: blocks_written(root), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (130, 0, -signal.SIGINT)  # the latter if it was done before
    assert "Traceback" not in err
    assert process.returncode != 130 or err.splitlines()[-1].startswith("interrupted: ")
    assert not list(root.rglob("*.part"))
    run(root)
    assert contents(root) == contents(done)


def test_temporary_files_of_killed_runs_are_removed(root):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    run(root)
    ours, stale = (f"S001.h5.{socket.gethostname()}.{process}.part" for process in (os.getpid(), ended.pid))
    for folder in ("", "raw_data", "denoised_data"):
        (root / folder / ours).touch()
        (root / folder / stale).touch()
    run(root)
    assert {path.name for path in root.rglob("*.part")} == {ours}


def test_ntu120_in_two_folders_shares_its_blocks_with_ntu(root):
    add_ntu120(root)
    run(root)
    ntu = blocks_written(root)
    run(root, "--dataset", "NTU120")
    assert ntu.items() <= blocks_written(root).items()
    run(root)
    for protocol in ("CS", "CSet"):
        assert clips_in(root / f"NTU120_{protocol}.h5") == len(CLIPS) + len(EXTRA)
        with h5py.File(root / f"NTU120_{protocol}.h5") as file:
            assert file["y"].shape[1] == len(file.attrs["class_names"]) == 120
    assert clips_in(root / "NTU_CS.h5") == len(CLIPS)


@pytest.mark.parametrize("index", ["unfinished", "missing"])
def test_ntu_keeps_the_blocks_of_an_interrupted_ntu120(root, index):
    add_ntu120(root)
    run(root, "--dataset", "NTU120", steps=STEPS[:1])
    before, path = blocks_written(root), root / "raw_data" / "NTU120.json"
    if index == "missing":
        path.unlink()
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"finished": False}))
    run(root, steps=STEPS[:1])
    with pytest.raises(UserError, match="first run get_raw_skes_data.py --dataset NTU120"):
        run(root, "--dataset", "NTU120", steps=STEPS[1:2])
    run(root, "--dataset", "NTU120", steps=STEPS[:1])
    assert blocks_written(root) == before


@pytest.mark.parametrize("step, folder", [*zip(STEPS, ("raw_data", "denoised_data", "denoised_data"), strict=True)])
def test_two_runs_at_once_are_one_clear_line(root, done, step, folder):
    run(root, steps=STEPS[: STEPS.index(step)])
    with util.exclusive_lock(root / folder / ".lock"), pytest.raises(UserError, match=f"{folder}: another run is"):
        run(root, steps=[step])
    assert run(root, steps=[step]) == [0]


def test_the_demo_has_its_own_classes_and_no_missing_clips(tmp_path):
    files = {name: data for name, data in FILES.items() if int(name[-3:]) <= 13}
    write_root(tmp_path, files)
    run(tmp_path, "--dataset", "DEMO")
    assert clips_in(tmp_path / "DEMO_CV.h5") == len(files)
    with h5py.File(tmp_path / "DEMO_CV.h5") as file:
        assert file.attrs["class_names"][1] == "throw"


def test_missing_input_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        run(tmp_path / "nothing")
    with pytest.raises(UserError, match="put the .skeleton files there"):
        run(tmp_path)
    (tmp_path / "nturgb+d_skeletons").mkdir()
    with pytest.raises(UserError, match="no .skeleton file of NTU is in it"):
        run(tmp_path)
    for step, before in ((STEPS[1], "get_raw_skes_data.py"), (STEPS[2], "get_raw_denoised_data.py")):
        with pytest.raises(UserError, match=f"first run {before} --dataset NTU"):
            run(tmp_path, steps=[step])


def test_a_protocol_without_training_or_test_clips_is_not_written(tmp_path):
    name = "S001C00{}P001R001A00{}"
    write_root(tmp_path, {name.format(c, a): FILES[min(CLIPS)] for c in (1, 2) for a in (1, 2)})
    with pytest.raises(UserError, match="^NTU_CS.h5 not written: at least two training clips and one test clip"):
        run(tmp_path)
    with h5py.File(tmp_path / "NTU_CV.h5") as file:
        assert [len(file[f"{split}x"]) for split in SPLITS] == [1, 1, 2]


@pytest.mark.parametrize("script", SCRIPTS)
def test_command_line(script, tmp_path):
    assert run_script(script, "--root", "none", cwd=tmp_path) == (2, [], ["error: --root none: no such folder"])
    code, _, [line] = run_script(script, "--workers", 0)
    assert code == 2 and line.startswith("error: argument --workers: 0 is out of range")
    code, out, _ = run_script(script, "--help")
    assert code == 0 and out[0].startswith("usage: ")
    code = "import sys; sys.path.insert(0, sys.argv[1]); __import__(sys.argv[2]); assert 'torch' not in sys.modules"
    path = ROOT / script
    subprocess.run([sys.executable, "-c", code, path.parent, path.stem], check=True)


def test_a_worker_that_is_killed_is_reported():
    with pytest.raises(UserError, match="a worker was killed"):
        list(parallel_map(os._exit, [(1,), (1,)], workers=2))
