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


def test_a_device_that_is_not_there_is_a_line(tmp_path):
    with pytest.raises(UserError, match="--device cuda:99"):
        gpu.main(["--device", "cuda:99", "--out", str(tmp_path)])
    assert not (tmp_path / "gpu.json").exists()


def test_what_a_part_has_found_is_kept_when_it_fails_or_takes_too_long(tmp_path, monkeypatch):
    path = tmp_path / "tests.jsonl"
    report = gpu.Report(path)
    report.add("steps", batch=16, ours=1.5)
    with report.attempt("a measurement"):
        raise RuntimeError("no\nmemory")
    path.write_text(path.read_text() + '{"table": "steps", "batc')
    program = tmp_path / "part.py"
    for text, why in (("import time; time.sleep(60)", "not finished after 1 s"), ("1 / 0", "ended with exit code 1")):
        program.write_text(text)
        monkeypatch.setattr(gpu, "__file__", str(program))
        rows = gpu.run_part("tests", [], path, 1 if "sleep" in text else 60)
        assert rows[0] == {"table": "steps", "batch": 16, "ours": 1.5}
        assert [row["error"] for row in rows[1:]] == ["RuntimeError: no memory", why]


def test_the_page_names_each_test_that_failed_and_has_only_what_was_measured():
    name = "tests/a.py::b[{'amp': True}]"
    report = {
        "about": [{"hardware": "NVIDIA H100", "torch": "2.13.0"}],
        "tests": [{"name": name, "outcome": "failed"}, {"name": "c", "outcome": "passed"}],
        "reasons": [{"name": name, "reason": "assert 1 == 2"}],
        "steps": [{"precision": "tf32", "batch": 16, "release": 6.0, "ours": 2.0}],
        "kernels": [{"recipe": "plus", "batch": 64, "step": "whole", "step_ms": 4.0, "kernels_ms": 1.0}],
        "epochs": [{"recipe": "paper", "graph": True, "run_s": 90.0}],
    }
    page = gpu.to_markdown(report)
    assert f"- `{name}`: assert 1 == 2" in page and "1 failed, 1 passed" in page
    assert "| tf32 | 16 | 6 | 2 | 3 |" in page and "| 4 | 1 | 0.25 |" in page and "| paper | yes | 90 |" in page
    assert "N-UCLA" not in page and "Testing" not in page


def test_an_unknown_part_is_refused(tmp_path):
    with pytest.raises(SystemExit):
        gpu.parse_args(["--out", str(tmp_path), "--parts", "sped"])
