"""The three scripts as they are run: from files to h5, stopped and started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import blocks
import get_raw_skes_data
import h5py
import numpy as np
import protocols
import pytest
from layout import SPLITS, check, hold_out
from ntu_text import CLIPS, FILES, STEPS, contents, run, write_root, written

from util import UserError


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


def test_h5_is_golden(done):
    names = sorted(CLIPS)
    for protocol in protocols.dataset("NTU").protocols:
        train, test = protocol.split(names)
        with h5py.File(done / f"NTU_{protocol.name}.h5") as file:
            assert check(file) == []
            assert file.attrs["protocol"] == protocol.words
            for split, indices in zip(SPLITS, (*hold_out(train), test), strict=True):
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
    before = written(root), os.stat(root / "NTU_CS.h5").st_ino
    said = capsys.readouterr().out
    assert run(root) == [0, 0, 0]
    assert (written(root), os.stat(root / "NTU_CS.h5").st_ino) == before
    assert capsys.readouterr().out == said


def test_changed_input_is_noticed_and_only_its_blocks_are_made_again(root, done):
    run(root)
    before = written(root)
    path = root / "nturgb+d_skeletons" / f"{min(CLIPS)}.skeleton"
    path.write_bytes(path.read_bytes().replace(b" ", b"  "))  # another file, the same clip
    run(root)
    changed = {block for block, when in written(root).items() if when != before[block]}
    assert changed == {f"{step}/{min(CLIPS)[:12]}" for step in ("raw_data", "denoised_data")}
    assert contents(root) == contents(done)


def test_files_that_are_gone_or_new_are_noticed(root, done):
    run(root)
    path = root / "nturgb+d_skeletons" / f"{max(CLIPS)}.skeleton"
    path.rename(root / "elsewhere")
    run(root)
    with h5py.File(root / "NTU_CV.h5") as file:
        assert sum(len(file[f"{split}x"]) for split in SPLITS) == len(CLIPS) - 1
    (root / "elsewhere").rename(path)
    run(root)
    assert contents(root) == contents(done)


def test_unfinished_blocks_are_not_taken_for_finished_ones(root, done):
    run(root, steps=STEPS[:2])
    some = sorted((root / "raw_data").glob("S*.h5"))
    some[0].write_bytes(some[0].read_bytes()[:-100])
    some[1].write_bytes(b"")
    some[2].unlink()
    with pytest.raises(UserError, match="first run get_raw_skes_data.py --dataset NTU"):
        (root / "denoised_data" / "NTU.json").unlink()
        for block in (root / "denoised_data").glob("S*.h5"):
            block.unlink()
        run(root, steps=STEPS[1:2])
    run(root)
    assert contents(root) == contents(done)


SCRIPTS = Path(get_raw_skes_data.__file__).parent
NAMES = [step.__file__ for step in STEPS]


def test_killed_at_any_moment_it_goes_on(root, done):
    """SIGKILL in the midst of each script, which is then started again."""
    for name, folder, files in zip(NAMES, ("raw_data", "denoised_data", "."), (4, 4, 1), strict=True):
        command = [sys.executable, name, "--root", str(root), "--workers", "2"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while process.poll() is None and len(list((root / folder).glob("*.h5"))) < files:
            assert time.monotonic() < end
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        made = {path: path.stat().st_mtime_ns for path in (root / folder).glob("*.h5")}
        run(root, steps=[step for step in STEPS if step.__file__ == name])
        assert all(path.stat().st_mtime_ns == when for path, when in made.items())
    assert contents(root) == contents(done)


def test_interrupted_it_ends_in_one_line_and_leaves_nothing_behind(root, done):
    command = [sys.executable, NAMES[0], "--root", str(root), "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while process.poll() is None and not written(root):
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (130, 0, -signal.SIGINT)  # the latter if it was done before
    assert "Traceback" not in said
    assert process.returncode != 130 or said.splitlines()[-1].startswith("interrupted: ")
    assert not list(root.rglob("*.part"))
    run(root)
    assert contents(root) == contents(done)


def test_what_killed_runs_leave_is_removed(root):
    ours, gone = os.getpid(), subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    run(root)
    for folder in ("", "raw_data", "denoised_data"):
        for process in (ours, gone.pid):
            (root / folder / f"S001.h5.{process}.part").write_bytes(b"")
    run(root)
    assert {path.name for path in root.rglob("*.part")} == {f"S001.h5.{ours}.part"}


def test_ntu120_in_two_folders_shares_its_blocks_with_ntu(root):
    names = [f"S0{setup}C001P{performer:03}R001A1{k:02}" for setup in (18, 19) for performer in (1, 3) for k in (1, 20)]
    (root / "nturgb+d_skeletons120").mkdir()
    for name in names:
        (root / "nturgb+d_skeletons120" / f"{name}.skeleton").write_bytes(FILES[min(CLIPS)])
    run(root)
    ntu = written(root)
    run(root, "--dataset", "NTU120")
    assert ntu.items() <= written(root).items()
    run(root)
    for protocol in ("CS", "CSet"):
        with h5py.File(root / f"NTU120_{protocol}.h5") as file:
            assert sum(len(file[f"{split}x"]) for split in SPLITS) == len(CLIPS) + len(names)
            assert file["y"].shape[1] == len(file.attrs["class_names"]) == 120
    with h5py.File(root / "NTU_CS.h5") as file:
        assert sum(len(file[f"{split}x"]) for split in SPLITS) == len(CLIPS)


def test_demo_has_its_own_classes_and_no_missing_clips(root):
    (root / "actions.txt").write_text("\n".join(f"action {i}" for i in range(60)))
    run(root, "--dataset", "DEMO")
    with h5py.File(root / "DEMO_CV.h5") as file:
        assert sum(len(file[f"{split}x"]) for split in SPLITS) == len(FILES)
        assert file.attrs["class_names"][0] == "action 0"


def test_whether_the_counts_are_the_full_ones_is_said(root, capsys, monkeypatch):
    run(root)
    out = capsys.readouterr().out
    assert f"{len(CLIPS)} clips: not the full NTU60, which has 56,578" in out
    assert "not the full 40,091 and 16,487" in out
    ntu = protocols.dataset("NTU")
    sides = [tuple(map(len, protocol.split(sorted(CLIPS)))) for protocol in ntu.protocols]
    made_up = [protocol._replace(full=side) for protocol, side in zip(ntu.protocols, sides, strict=True)]
    monkeypatch.setattr(protocols, "dataset", lambda *_: ntu._replace(full=len(CLIPS), protocols=tuple(made_up)))
    run(root)
    out = capsys.readouterr().out
    assert f"{len(CLIPS)} clips: the full NTU60" in out
    assert out.count(": the full counts") == 2


def test_what_is_missing_is_said_in_one_line(tmp_path):
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


@pytest.mark.parametrize("name", NAMES)
def test_command_line(name, tmp_path):
    def ends(*arguments):
        end = subprocess.run([sys.executable, name, *arguments], capture_output=True, text=True, cwd=tmp_path)
        return end.returncode, (end.stdout + end.stderr).splitlines()

    code, lines = ends("--root", "nothing")
    assert (code, lines) == (2, ["error: --root nothing: no such folder"])
    assert ends("--workers", "0")[0] == 2
    assert ends("--dataset", "NTU61")[0] == 2
    assert ends("--help")[0] == 0
    code = "import sys; sys.path.insert(0, sys.argv[1]); __import__(sys.argv[2]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, Path(name).parent, Path(name).stem], check=True)


def test_a_worker_that_is_killed_is_reported():
    with pytest.raises(UserError, match="a worker was killed"):
        list(blocks.parallel(os._exit, [(1,), (1,)], workers=2))
