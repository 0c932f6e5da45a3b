"""What the README says, run or at least parsed, so that it cannot rot."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest

import main
import verify
from data import DATASETS, ROOT, resolve
from logs import figures_of

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.M | re.S)


def commands(program):
    lines = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]
    found = (re.search(rf"python\S* {re.escape(program)}(.*?)(#.*|&&.*)?$", line) for line in lines)
    return [shlex.split(match[1]) for match in found if match]


def test_quick_start_has_two_commands_that_stand_alone():
    section = README.split("## Quick start")[1].split("\n## ")[0]
    fenced = re.findall(r"^```bash\n(.*?)^```", section, re.M | re.S)
    assert len(fenced) == 2
    assert all(len(text.splitlines()) == 1 and "pip install -r requirements" in text for text in fenced)


@pytest.mark.parametrize("words", commands("main.py"), ids=" ".join)
def test_every_command_is_one_that_main_takes(words):
    args = main.parse_args(words)
    assert args.dataset in DATASETS or args.dataset.endswith(".h5")


def test_every_file_it_names_is_there():
    named = set(re.findall(r"`((?:data|tools|results|tests)/[\w./+-]+\.(?:py|md|pth|csv))`", README))
    named |= {f"data/ntu/{name}" for name in re.findall(r"^python ((?:get|seq)\w+\.py)", README, re.M)}
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_nothing_in_it_waits_to_be_filled_in():
    assert "@@" not in README


LOGS = {path.stem: path.read_text() for path in (ROOT / "results/NUCLA/logs").glob("*.csv")}
FIGURE = r"^(?:last epoch|epoch) .*top-1 ([\d.]+)%"
ROWS = (  # of the table of results: the logs, how many, and what tells the row
    ("batch64", 3, "--seeds 3` (batch 64)"),
    ("batch16", 3, "--seeds 3 -b 16`"),
    ("amp", 5, "--seeds 5 --amp` (batch 64)"),
    ("amp_batch16", 5, "--seeds 5 --amp -b 16`"),
    ("amp_val", 5, "--seeds 5 --amp --select val`"),
    ("amp_batch16_val", 5, "--seeds 5 --amp -b 16 --select val`"),
    ("plus", 5, "--recipe plus --select last`"),
)


def test_every_figure_of_nucla_is_that_of_a_log():
    said = [line for _, text in BLOCKS for line in text.splitlines() if re.match("(last )?epoch.*top-1", line)]
    said += re.findall(r"`(epoch[^`]*464 test clips)`", README)
    said = [line for line in said if "of the 464" in line or "epoch 120" in line]
    assert len(said) >= 3
    assert [line for line in said if not any(f"# {line}\n" in log for log in LOGS.values())] == []
    for kind, seeds, command in ROWS:
        figures = [figures_of(ROOT / f"results/NUCLA/logs/{kind}_seed{seed}.csv") for seed in range(1, seeds + 1)]
        _, best, last = zip(*figures, strict=True)
        (row,) = (line for line in README.splitlines() if command in line and line.startswith("|"))
        for values in (best, last):
            assert verify.stated(values) in row
        pairs = zip(best, last, strict=True)
        seed_by_seed = [f"{v:.2f}" if best == last else f"{b:.2f} / {v:.2f}" for b, v in pairs]
        assert ", ".join(seed_by_seed) in " ".join(README.split())


@pytest.mark.skipif(not resolve("DEMO", 1)[0].is_file(), reason="Quick start, which makes the demo set, was not run")
def test_the_checkpoint_of_the_demo_set_gives_the_figure(tmp_path, capsys):
    (stated,) = re.findall(r"cross-view ([\d.]+) / [\d.]+", README)  # the other protocol is what .ci/run trains
    shutil.copytree(ROOT / "results/DEMO", tmp_path / "DEMO")
    main.main(["--dataset", "DEMO", "--case", "1", "--train", "0", "--results", str(tmp_path)])
    (given,) = re.findall(FIGURE, capsys.readouterr().out, re.M)
    assert float(given) == pytest.approx(float(stated), abs=3)  # it may have been trained anew here


def test_every_link_leads_somewhere():
    titles = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)", README, re.M)
    }
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert targets
    for target in targets:
        assert target.removeprefix("#") in titles if target.startswith("#") else (ROOT / target).exists(), target


@pytest.mark.parametrize("persons", [1, 2])
def test_the_example_of_ones_own_data_runs_through_training(tmp_path, persons):
    (code,) = [text for language, text in BLOCKS if language == "python" and "write_h5" in text]
    code = code.replace('"data"', repr(str(ROOT / "data")))
    if persons == 2:
        code = code.replace("persons=1", "persons=2").replace("51))", "102))")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    checked = [sys.executable, ROOT / "tools/check_h5.py", tmp_path / "mine.h5"]
    assert f"17 joints, {persons} person" in subprocess.run(checked, check=True, capture_output=True, text=True).stdout
    flags = ["--results", str(tmp_path), "--max-epochs", "1", "--device", "cpu"]
    main.main(["--dataset", str(tmp_path / "mine.h5"), *flags])
    assert len((tmp_path / "mine" / "SGN" / "0_pred.txt").read_text().splitlines()) == 50
