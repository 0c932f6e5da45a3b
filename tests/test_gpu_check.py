"""benchmarks/gpu.py: what it reports."""

import json

import pytest

import gpu
from helpers import run_script
from util import UserError


@pytest.mark.slow
def test_it_writes_a_report_and_a_page(tmp_path):
    small = ("--device", "cpu", "--small", "--parts", "speed", "--out", tmp_path)
    code, out, err = run_script("benchmarks/gpu.py", *small)
    assert code == 0, err
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert {"what": "device", "value": "cpu"} in report["Machine"] and len(report["Training step, ms"]) == 4
    assert (tmp_path / "gpu.md").read_text().splitlines() == out


def test_what_a_part_has_found_is_kept_when_it_fails_or_takes_too_long(tmp_path, monkeypatch):
    path, program = tmp_path / "tests.jsonl", tmp_path / "part.py"
    report = gpu.Report(path)
    report.add("steps", batch=16, ours=1.5)
    with report.attempt("a measurement"):
        raise RuntimeError("no\nmemory")
    written = path.read_text() + '["steps", {"batc'
    monkeypatch.setattr(gpu, "__file__", str(program))
    for text, why in (("import time; time.sleep(60)", "not finished after 1 s"), ("1 / 0", "ended with exit code 1")):
        program.write_text(f"open({str(path)!r}, 'w').write({written!r})\n{text}")
        found, *errors = gpu.run_part("tests", [], path, 1 if "sleep" in text else 60)
        assert found == ["steps", {"batch": 16, "ours": 1.5}]
        assert [row["error"] for _, row in errors] == ["RuntimeError: no memory", why]
    rows = [["Not measured", {"what": "machine", "error": "UserError: --device cuda:99"}]]  # nothing to show
    monkeypatch.setattr(gpu, "run_part", lambda *_: rows)
    with pytest.raises(UserError, match="--device cuda:99"):
        gpu.main(["--out", str(tmp_path)])
    assert not (tmp_path / "gpu.json").exists()


def test_the_page_names_each_test_that_failed_and_has_what_was_measured():
    failed = {"test": "tests/a.py::b", "outcome": "failed", "reason": "assert 1 == 2"}
    steps = [{"precision": "tf32", "release": 6.0}, {"precision": "tf32", "graph": True, "release": 123.4}]
    page = gpu.to_markdown({"Tests": [failed, {"test": "c", "outcome": "passed"}], "Steps": steps})
    assert "| tests/a.py::b | failed | assert 1 == 2 |" in page and "1 passed" in page and "| c |" not in page
    assert "| tf32 | 6 |  |" in page and "| tf32 | 123 | True |" in page
