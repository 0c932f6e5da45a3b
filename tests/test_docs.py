"""The README and docs/: their commands, files, links and figures."""

import re
import shlex
import subprocess
import sys

import pytest

import main
import sweep
import verify
from engine.logs import read_log
from util import ROOT

PAGES = [*(ROOT / f"{folder}README.md" for folder in ("", "pretrained/", "results/")), *sorted(ROOT.glob("docs/*.md"))]
TEXT = {path: path.read_text(encoding="utf-8") for path in PAGES}
README, ALL = TEXT[ROOT / "README.md"], "\n".join(TEXT.values())
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", ALL, re.M | re.S)
FLAGS_OF_SEVERAL = ("clips/skipped.py", "clips/protocols.py", "tools/pictures.py", "main.py")


def find_commands():
    """Every command line of the project's programs, in blocks of bash and in `code`: [(program, words)]."""
    lines = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]
    lines += re.findall(r"`((?:python |tools/|data/|main\.py )[^`\n]* [^`\n]*)`", ALL)
    found = (re.search(r"(?:^|python\S* |torchrun .* )((?:data/|tools/)?\S+\.py)( [^#&<]*)?", line) for line in lines)
    return sorted({(match[1], (match[2] or "").strip()) for match in found if match})


each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())


def test_quick_start_has_two_commands_of_one_line():
    section = README.split("## Quick start")[1].split("\n## ")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```", section, re.M | re.S)
    assert [len(text.splitlines()) for text in blocks] == [1, 1]
    assert all("pip install -r requirements" in text for text in blocks)


@pytest.mark.parametrize("program, words", find_commands())
def test_every_command_has_a_program_with_these_flags(program, words):
    words = shlex.split(words)
    if program == "main.py" and words != ["--help"]:
        main.parse_args(words)
    if program == "tools/sweep.py":
        sweep.parse_args(words)
    sources = "".join((ROOT / file).read_text(encoding="utf-8") for file in (program, *FLAGS_OF_SEVERAL))
    unknown = [word for word in words if re.match("--?[a-z]+(-[a-z]+)*$", word) and f'"{word}"' not in sources]
    assert unknown in ([], ["--help"])


@each_page
def test_pages_are_short_and_complete(path):
    assert len(TEXT[path].splitlines()) <= (180 if path.parent == ROOT else 200)
    assert "@@" not in TEXT[path]


@each_page
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\((?!https://)([^)]+)\)", TEXT[path]):
        file, _, anchor = target.partition("#")
        page = (path.parent / file).resolve() if file else path
        assert page.exists(), target
        headings = re.findall(r"^#+ (.*)", TEXT.get(page, ""), re.M)
        anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, target


def test_every_file_named_exists():
    named = {*re.findall(r"`([\w./+-]+\.(?:py|md|txt))`", ALL), *re.findall(r"`(pretrained/[\w./+-]+\.pth)`", ALL)}
    folders = [ROOT, *(ROOT / name for name in ("data", "docs", "pretrained", "tools", "tests"))]
    files = "\n".join(str(path) for folder in folders for path in folder.glob("*" if folder == ROOT else "**/*")) + "\n"
    assert len(named) > 30
    assert [name for name in sorted(named) if f"/{name}\n" not in files and not name.startswith("results/")] == []


def test_results_in_the_readme_are_those_of_the_table():
    rows = verify.read_table()
    checkpoints = {(row["checkpoint"], row[verify.RESULT].split(" / ")[0], row["sha256"]) for row in rows} - {("", "")}
    zoo = re.findall(r"^\| `(\S+\.pth)` \|.*?\| ([\d.]+) \|.*`(\w{64})` \|$", README, re.M)
    assert set(zoo) == {row for row in checkpoints if row[0]}
    figures = {figure for row in rows for figure in row[verify.RESULT].split(" / ")}
    assert set(re.findall(r"[\d.]+ ± [\d.]+", README)) <= figures


@pytest.mark.parametrize(
    "kind, command",
    [
        ("batch64", "--seeds 3` (batch 64)"),
        ("batch16", "--seeds 3 -b 16`"),
        ("amp", "--seeds 5 --amp` (batch 64)"),
        ("amp_batch16", "--seeds 5 --amp -b 16`"),
        ("amp_val", "--seeds 5 --amp --select val`"),
        ("amp_batch16_val", "--seeds 5 --amp -b 16 --select val`"),
        ("plus", "--recipe plus --select last`"),
    ],
)
def test_results_of_nucla_are_those_of_the_logs(kind, command):
    page = TEXT[ROOT / "docs/results.md"]
    (row,) = (line for line in page.splitlines() if line.startswith("|") and command in line)
    logs = sorted((verify.FOLDER / "NUCLA/logs").glob(f"{kind}_seed*.csv"))
    results = [verify.figures_of(read_log(log)[0]) for log in logs]
    assert f"--seeds {len(results)} " in row.replace("`", " ")
    assert all(verify.mean_and_std(values) in row for values in zip(*results, strict=True))
    by_seed = [f"{last:.2f}" if selected == last else f"{selected:.2f} / {last:.2f}" for selected, last in results]
    assert ", ".join(by_seed) in " ".join(page.split())


@pytest.mark.parametrize("persons", [1, 2])
def test_the_example_of_own_data_can_be_trained_on(tmp_path, persons):
    (code,) = [text for language, text in BLOCKS if language == "python" and "write_h5" in text]
    code = code.replace("persons=1", f"persons={persons}").replace("51))", f"{51 * persons}))")
    code = code.replace('".", "data"', f"{str(ROOT)!r}, {str(ROOT / 'data')!r}")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    h5 = tmp_path / "mine.h5"
    subprocess.run([sys.executable, ROOT / "tools/check_h5.py", h5], check=True)
    main.main(["--dataset", str(h5), "--results", str(tmp_path), "--epochs", "1", "--device", "cpu"])
    assert len((tmp_path / "mine/SGN/0_pred.txt").read_text().splitlines()) == 50
