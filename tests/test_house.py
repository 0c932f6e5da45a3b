"""Imports run one way: no file of a lower room imports a higher one."""

import ast
import subprocess
import sys

import pytest

from util import ROOT

ROOMS = ["util", "safe", "clips", "data", "engine", "train", "main"]  # from the lowest to the highest


def imported(path):
    """Names of the modules that a file imports, by their first word."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


@pytest.mark.parametrize("room", [*ROOMS, "model"])
def test_no_room_imports_a_higher_one(room):
    paths = [ROOT / f"{room}.py"] if (ROOT / f"{room}.py").exists() else sorted((ROOT / room).glob("*.py"))
    programs = {path.stem for folder in ("tools", "benchmarks") for path in (ROOT / folder).glob("*.py")}
    higher = {*ROOMS} if room == "model" else {*ROOMS[ROOMS.index(room) + 1 :], *programs, "tools", "benchmarks"}
    higher |= {"model", "torch"} if room in ("util", "clips") else set()
    assert paths and not [(path.name, name) for path in paths for name in imported(path) if name in higher]


def test_clips_need_no_torch():
    modules = [f"clips.{path.stem}" for path in (ROOT / "clips").glob("*.py")]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
