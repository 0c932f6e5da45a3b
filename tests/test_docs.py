"""The README and docs/: their commands, links, files and figures."""

import argparse
import csv
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import main
from util import ROOT

PAGES = [*(ROOT / f"{folder}README.md" for folder in ("", "pretrained/", "results/")), *sorted(ROOT.glob("docs/*.md"))]
TEXT = {path: path.read_text(encoding="utf-8") for path in PAGES}
README, ALL = TEXT[ROOT / "README.md"], "\n".join(TEXT.values())
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", ALL, re.M | re.S)


class Parsed(Exception):
    """A command line was read without an error."""


def find_commands():
    """Every command line of the project's programs, in blocks of bash and in `code`: {(program, words)}."""
    lines = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]
    lines += re.findall(r"`((?:python |tools/|data/|main\.py )[^`\n]* [^`\n]*)`", ALL)
    parts = [part for line in lines for part in re.split(r" \| | && ", line)]
    found = (re.search(r"(?:^|python\S* |torchrun .* )((?:\w+/)*\w+\.py)( [^#<]*)?", part) for part in parts)
    return sorted({(match[1], (match[2] or "").strip()) for match in found if match})


def parse(program, words):
    """Gives a command line to its program, which goes no further than to read it."""
    module = importlib.import_module(Path(program).stem)
    if hasattr(module, "parse_args"):
        module.parse_args(words)
    else:
        module.main(words)


def test_quick_start_has_two_commands_of_one_line():
    section = README.split("## Quick start")[1].split("\n## ")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```", section, re.M | re.S)
    assert [len(text.splitlines()) for text in blocks] == [1, 1]
    assert all("pip install -r requirements" in text for text in blocks)


def test_every_command_can_be_read_by_its_program(monkeypatch, capsys):
    read = argparse.ArgumentParser.parse_known_args

    def read_and_stop(self, args=None, namespace=None):
        read(self, args, namespace)
        raise Parsed

    wrong = []
    for program, words in find_commands():
        with monkeypatch.context() as patch:
            if program not in ("main.py", "tools/sweep.py"):  # these check more than each flag, and touch nothing
                patch.setattr(argparse.ArgumentParser, "parse_known_args", read_and_stop)
            try:
                parse(program, shlex.split(words))
            except Parsed:
                pass
            except SystemExit as end:
                wrong += [(program, words)] if end.code else []
            except Exception as error:
                wrong.append((program, words, error))
    assert wrong == []


def test_every_link_leads_somewhere():
    for path, text in TEXT.items():
        for target in re.findall(r"\]\((?!https://)([^)]+)\)", text):
            file, _, anchor = target.partition("#")
            page = (path.parent / file).resolve() if file else path
            assert page.exists(), (path, target)
            headings = re.findall(r"^#+ (.*)", TEXT.get(page, ""), re.M)
            anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert not anchor or anchor in anchors, (path, target)


def test_every_page_is_linked_and_the_code_names_no_other():
    named = set(
        re.findall(r"docs/\w+\.md", "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("*/*.py")))
    )
    pages = {f"docs/{path.name}" for path in ROOT.glob("docs/*.md")}
    assert named <= pages <= set(re.findall(r"docs/\w+\.md", README))


def test_every_file_named_exists():
    named = {
        *re.findall(r"`([\w./+-]+\.(?:py|md|txt))`", ALL),
        *re.findall(r"`(pretrained/[\w./+-]+\.(?:pth|csv))`", ALL),
    }
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    ends = {"/".join(Path(file).parts[i:]) for file in files for i in range(len(Path(file).parts))}
    assert named - ends == set()


def test_every_mean_over_seeds_is_in_the_ledger_unless_it_is_marked():
    with open(ROOT / "pretrained/results.csv", newline="", encoding="utf-8") as file:
        figures = {row[column] for row in csv.DictReader(file) for column in ("selected", "last")}
    stated = {path.name: set(re.findall(r"([\d.]+ ± [\d.]+)(?!\d|†)", text)) for path, text in TEXT.items()}
    assert {name: found - figures for name, found in stated.items() if found - figures} == {}
    zoo = re.findall(r"^\| `(\S+\.pth)` \|.*?\| ([\d.]+) \|", README, re.M)
    with open(ROOT / "pretrained/results.csv", newline="", encoding="utf-8") as file:
        assert set(zoo) == {(row["checkpoint"], row["selected"]) for row in csv.DictReader(file) if row["checkpoint"]}


@pytest.mark.parametrize("persons", [1, 2])
def test_the_example_of_own_data_can_be_trained_on(tmp_path, monkeypatch, persons):
    (code,) = [text for language, text in BLOCKS if language == "python" and "write_h5" in text]
    code = code.replace("persons=1", f"persons={persons}").replace("51))", f"{51 * persons}))")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    exec(code, {})
    main.main(["--dataset", "mine.h5", "--results", str(tmp_path), "--epochs", "1", "--device", "cpu"])
    assert len((tmp_path / "mine/SGN/0_pred.txt").read_text().splitlines()) == 50
