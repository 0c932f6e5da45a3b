"""benchmarks/gpu.py: what it reports."""

import json

import pytest

import gpu
from helpers import run_script
from util import UserError


@pytest.mark.slow
def test_it_writes_a_report_and_a_page(tmp_path):
    code, out, err = run_script("benchmarks/gpu.py", "--device", "cpu", "--parts", "machine", "--out", tmp_path)
    assert code == 0, err
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report["about"][0]["device"] == "cpu" and "errors" not in report
    assert (tmp_path / "gpu.md").read_text().splitlines() == out
    with pytest.raises(UserError, match="--device cuda:99"):
        gpu.main(["--device", "cuda:99", "--out", str(tmp_path / "none")])


@pytest.mark.parametrize(
    "text, seconds, why",
    [("import time; time.sleep(60)", 0, "not finished after"), ("1 / 0", 60, "ended with exit code 1")],
)
def test_what_a_part_has_found_is_kept_when_it_fails_or_takes_too_long(tmp_path, monkeypatch, text, seconds, why):
    path, program = tmp_path / "tests.jsonl", tmp_path / "part.py"
    report = gpu.Report(path)
    report.add("steps", batch=16, ours=1.5)
    with report.attempt("a measurement"):
        raise RuntimeError("no\nmemory")
    path.write_text(path.read_text() + '{"table": "steps", "batc')  # cut off
    program.write_text(text)
    monkeypatch.setattr(gpu, "__file__", str(program))
    first, *errors = gpu.run_part("tests", [], path, seconds)
    assert first == {"table": "steps", "batch": 16, "ours": 1.5}
    assert errors[0]["error"] == "RuntimeError: no memory" and why in errors[1]["error"]


def test_the_page_names_each_test_that_failed_and_has_only_what_was_measured():
    name = "tests/a.py::b[{'amp': True}]"
    report = {
        "about": [{"hardware": "NVIDIA H100", "torch": "2.13.0"}],
        "tests": [{"name": name, "outcome": "failed"}, {"name": "c", "outcome": "passed"}],
        "reasons": [{"name": name, "reason": "assert 1 == 2"}],
        "steps": [{"precision": "tf32", "batch": 16, "release": 6.0, "ours": 2.0}],
    }
    page = gpu.to_markdown(report)
    assert f"- `{name}`: assert 1 == 2" in page and "1 failed, 1 passed" in page
    assert "| tf32 | 16 | 6 | 2 | 3 |" in page
    assert "N-UCLA" not in page and "Testing" not in page
