"""Running the project's programs in tests."""

import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def start_script(script, *args, prefix=(), **kwargs):
    """Starts a program of the project: a Popen. script: its path below the project's root. prefix: what runs it."""

    def allow_interrupt():
        """Ctrl-C works in the child even if the tests were started in the background, which ignores it."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    command = [*prefix, sys.executable, str(ROOT / script), *map(str, args)]
    kwargs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | kwargs
    return subprocess.Popen(command, preexec_fn=allow_interrupt, **kwargs)


def run_script(script, *args, **kwargs):
    """Runs a program of the project: (exit code, lines of output, lines of errors)."""
    process = start_script(script, *args, **kwargs)
    out, err = process.communicate(timeout=300)
    return process.returncode, out.splitlines(), err.splitlines()


def wait_for(condition, process):
    """Waits until the condition holds or the process has ended."""
    end = time.monotonic() + 60
    while process.poll() is None and not condition():
        assert time.monotonic() < end
        time.sleep(0.002)
