"""The README and docs/: their commands, links, files and figures."""

import argparse
import csv
import importlib
import re
import shlex
import sys
from pathlib import Path

import main
from util import ROOT

PAGES = [*(ROOT / f"{folder}README.md" for folder in ("", "pretrained/", "results/")), *sorted(ROOT.glob("docs/*.md"))]
TEXT = {path: path.read_text(encoding="utf-8") for path in PAGES}
README, ALL = TEXT[ROOT / "README.md"], "\n".join(TEXT.values())
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", ALL, re.M | re.S)
FILES = [path.relative_to(ROOT) for path in ROOT.rglob("*.*")]
FILES = [path for path in FILES if not any(part.startswith(".") for part in path.parts[:-1])]  # as .venv


class Parsed(Exception):
    """A command line was read without an error."""


def find_commands():
    """Every command line of the project's programs, in blocks of bash and in `code`: [(program, words)]."""
    lines = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]
    lines += re.findall(r"`((?:python |tools/|data/|main\.py )[^`\n]* [^`\n]*)`", ALL)
    parts = [part for line in lines for part in re.split(r" \| | && ", line)]
    found = (re.search(r"(?:^|python\S* )((?:\w+/)*\w+\.py)( [^#<]*)?", part) for part in parts)
    return sorted({(match[1], (match[2] or "").strip()) for match in found if match})


def test_every_command_can_be_read_by_its_program(monkeypatch):
    read, wrong = argparse.ArgumentParser.parse_known_args, []

    def read_and_stop(self, args=None, namespace=None):
        if unknown := read(self, args, namespace)[1]:
            raise ValueError(unknown)
        raise Parsed

    for program, words in find_commands():
        module = importlib.import_module(Path(program).stem)
        checks_more = program in ("main.py", "tools/sweep.py")  # than each flag
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [program, *shlex.split(words)])
            if not checks_more:
                patch.setattr(argparse.ArgumentParser, "parse_known_args", read_and_stop)
            try:
                module.parse_args(sys.argv[1:]) if hasattr(module, "parse_args") else module.main()
            except Parsed:
                pass
            except (Exception, SystemExit) as error:  # with 0 after --help
                wrong += [(program, words, error)] if getattr(error, "code", 1) else []
    assert wrong == []


def test_every_link_leads_somewhere_and_the_readme_links_every_page():
    for path, text in TEXT.items():
        for target in re.findall(r"\]\((?!https://)([^)]+)\)", text):
            file, _, anchor = target.partition("#")
            page = (path.parent / file).resolve() if file else path
            assert page.exists(), (path, target)
            headings = re.findall(r"^#+ (.*)", TEXT.get(page, ""), re.M)
            anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert not anchor or anchor in anchors, (path, target)
    code = "".join((ROOT / path).read_text(encoding="utf-8") for path in FILES if path.suffix == ".py")
    pages = {f"docs/{path.name}" for path in ROOT.glob("docs/*.md")}
    assert set(re.findall(r"docs/\w+\.md", code)) <= pages <= set(re.findall(r"docs/\w+\.md", README))


def test_every_file_and_function_named_exists():
    named = re.findall(r"`([\w./+-]+\.(?:py|md|txt|cff)|pretrained/[\w./+-]+\.\w+)`", ALL)
    ends = {Path(*path.parts[i:]).as_posix() for path in FILES for i in range(len(path.parts))}
    assert {name for name in named if name not in ends} == set()
    for module, name in re.findall(r"`((?:engine|clips)\.\w+)\.(\w+)`", ALL):
        assert hasattr(importlib.import_module(module), name), (module, name)


def test_every_mean_over_seeds_is_in_the_ledger_unless_it_is_marked():
    with open(ROOT / "pretrained/results.csv", newline="", encoding="utf-8") as file:
        ledger = list(csv.DictReader(file))
    figures = {row[column] for row in ledger for column in ("selected", "last")}
    stated = {(path.name, found) for path in PAGES for found in re.findall(r"\d+\.\d+ ± \d+\.\d+(?!\d|†)", TEXT[path])}
    assert {(name, found) for name, found in stated if found not in figures} == set()
    zoo = re.findall(r"^\| `(\S+\.pth)` \| ([\d.]+) \|", README, re.M)
    assert set(zoo) == {(row["checkpoint"], row["selected"]) for row in ledger if row["checkpoint"]}


def test_the_example_of_own_data_can_be_trained_on(tmp_path, monkeypatch):
    (code,) = [text for language, text in BLOCKS if language == "python" and "write_h5" in text]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    exec(code.replace("random_clips(64)", "random_clips(16)"), {})
    main.main(["--dataset", "mine.h5", "--results", str(tmp_path), "--epochs", "1", "-b", "16", "--device", "cpu"])
    assert (tmp_path / "mine/SGN/0_best.pth").is_file()
