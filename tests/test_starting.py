"""Ways of starting: closed and full streams, names and terminals of any bytes, ignored signals, no assertions."""

import io
import os
import signal
import subprocess

import numpy as np
import pytest
import torch

from conftest import flags, run
from helpers import ROOT, allow_interrupt, run_script, start_script, wait_for
from model import SGN


@pytest.mark.parametrize("name", [os.fsdecode(b"r\xffs"), "a\nb"])
def test_results_may_have_any_name(toy, tmp_path, name):
    folder = run(toy, tmp_path / name, epochs=1)
    run(toy, tmp_path / name, "--resume", epochs=1)
    text = (folder / "0_log.csv").read_bytes().decode("utf-8")
    assert text.splitlines()[-1].startswith("1,") and (folder / "0_state.pth").exists()


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("env", [ASCII, {"PYTHONIOENCODING": "ascii"}])
def test_terminals_may_lack_characters(tmp_path, env):
    torch.save({"state_dict": SGN(4, 5).state_dict()}, tmp_path / "a.pth")
    (tmp_path / "names").write_text("é\n飲む\nc\nd\n", encoding="utf-8")
    np.save(tmp_path / "é.npy", np.random.default_rng(0).normal(size=(30, 5, 3)))
    command = [tmp_path / "é.npy", "--checkpoint", tmp_path / "a.pth", "--classes", tmp_path / "names"]
    code, out, err = run_script("tools/predict.py", *command, env=os.environ | env)
    assert (code, err, len(out)) == (0, [], 5) and r"\xe9" in "".join(out)


def start_with(redirection, *command):
    """(exit code, output, errors) of a command line of bash."""
    line = f'exec "$@" {redirection}'
    command = ["bash", "-c", line, "bash", os.sys.executable, *map(str, command)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=allow_interrupt)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
def test_a_run_survives_streams_that_are_closed_or_full(toy, tmp_path):
    names = {"0_best.pth", "0_lable.txt", "0_log.csv", "0_pred.txt", "0_state.pth"}
    for i, (redirection, code) in enumerate((("2>&- <&-", 0), (">&-", 0), ("2>/dev/full", 0), (">/dev/full", 2))):
        done, _, err = start_with(redirection, ROOT / "main.py", *flags(toy, tmp_path / str(i), epochs=1))
        assert done == code and (code or names <= set(os.listdir(tmp_path / str(i) / "toy" / "SGN")))
        assert "Traceback" not in err and "ignored" not in err
    assert err.splitlines()[-1] == "error: standard output: No space left on device"
    assert start_with(">/dev/full", ROOT / "tools/check_h5.py", toy)[::2] == (2, err.splitlines()[-1] + "\n")


def test_an_ignored_interrupt_does_not_stop_a_run_and_termination_does(toy, tmp_path):
    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it starts in the background

    log = tmp_path / "toy" / "SGN" / "0_log.csv"
    command = [os.sys.executable, ROOT / "main.py", *flags(toy, tmp_path, epochs=1000)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=ignore)
    wait_for(log.exists, process)
    process.send_signal(signal.SIGINT)
    before = log.stat().st_mtime_ns
    wait_for(lambda: log.stat().st_mtime_ns > before, process)
    assert process.poll() is None
    process.terminate()
    assert "--resume continues" in process.communicate(timeout=30)[1] and process.returncode == 143


def test_programs_do_not_rely_on_assertions(toy):
    process = start_script("tools/check_h5.py", toy, env=os.environ | {"PYTHONOPTIMIZE": "1"})
    assert "correct: 48 training" in process.communicate(timeout=60)[0] and process.returncode == 0


def test_what_is_unbuffered_stays_so():
    """Under PYTHONUNBUFFERED, as in containers, lines and bars come when they are printed."""
    code = "import os, sys, util\nwith program.exit_on_error():\n"
    for i, stream in enumerate(("stdout", "stderr")):
        code += f"    sys.{stream}.write('a' * 100_000 + 'b')\n    os.write({i + 1}, b'c')\n"
        code += f"    print('d', file=sys.{stream})\n"
    command, env = [os.sys.executable, "-c", code], os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout == done.stderr == "a" * 100_000 + "bcd\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("disable, bars, epochs, lines", [("", True, 20, 10), ("1", False, 2, 2)])
def test_how_a_run_goes_is_seen_on_a_terminal(toy, tmp_path, monkeypatch, disable, bars, epochs, lines):
    monkeypatch.setenv("TQDM_DISABLE", disable)
    monkeypatch.setattr("sys.stderr", Terminal())
    run(toy, tmp_path, epochs=epochs)
    text = os.sys.stderr.getvalue()
    assert ("step/s" in text) == bars and text.count(f"/{epochs}: train_loss") == lines


def test_how_a_run_goes_is_a_line_an_epoch_in_a_log(toy, tmp_path):
    """In the columns of the csv, and no bar; of several runs, each with its name."""
    more = "--seeds", "2", "--jobs", "2"
    code, out, err = run_script("main.py", *flags(toy, tmp_path, *more, epochs=2))
    assert code == 0 and not any("\r" in line or "step/s" in line for line in err)
    for seed in (1, 2):
        folder = tmp_path / "toy" / "SGN" / f"seed{seed}"
        rows = [line for line in (folder / "0_log.csv").read_text().splitlines() if not line.startswith("#")]
        said = [line for line in err if line.startswith(f"seed{seed} epoch ")]
        assert [line.split()[2] for line in said] == ["1/2:", "2/2:"]
        names, values = rows[0].split(","), rows[2].split(",")
        for name, value in list(zip(names, values, strict=True))[1:]:
            assert f"{name} {float(value):.4g}" in said[1]
        assert " s, best test_acc " in said[1] and said[1].endswith(" left")
