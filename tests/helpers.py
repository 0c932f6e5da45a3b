"""Running the project's programs in tests."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_script(script, *args, prefix=()):
    """Runs a program of the project: (exit code, lines of output, lines of errors). script: its path below the
    project's root. prefix: what runs it."""
    command = [*prefix, sys.executable, str(ROOT / script), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()
