"""benchmarks/gpu.py: what it reports."""

import json

import pytest

import gpu


@pytest.mark.slow
def test_it_writes_a_report_and_a_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "run_tests", lambda args: [])
    assert gpu.main(["--device", "cpu", "--small", "--out", str(tmp_path)], [gpu.speed]) == 0
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert {"what": "device", "value": "cpu"} in report["Machine"] and len(report["Training step, ms"]) == 4
    assert (tmp_path / "gpu.md").read_text() == capsys.readouterr().out


def test_what_fails_is_named_and_the_rest_goes_on_until_the_time_is_over(tmp_path, monkeypatch):
    def part(args, device):
        yield "steps", lambda: (("Steps", {"batch": n, "ours": 100 / n}) for n in (1, 16))
        yield "a fault", lambda: 1 // 0
        args.end = 0
        yield "epochs", None

    def killed(command, stdout, **_):
        stdout.write(
            "tests/a.py::b PASSED [1%]\ntests/a.py::c[d e] FAILED [2%]\nFAILED tests/a.py::c[d e] - assert 1 == 2\n"
        )
        stdout.flush()
        raise gpu.subprocess.TimeoutExpired("pytest", 180)

    monkeypatch.setattr(gpu.subprocess, "run", killed)
    monkeypatch.setattr(gpu, "provenance", lambda *_, **more: {})
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path)], [part]) == 1
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report["Steps"] == [{"batch": 1, "ours": 100.0}, {"batch": 16, "ours": 6.25}]
    assert [row["what"] for row in report["Failed"]][1:] == ["a fault", "epochs"]
    page = (tmp_path / "gpu.md").read_text()
    assert "| 1 | 100 |" in page and "| 16 | 6.25 |" in page
    assert "| tests/a.py::c[d e] | failed | assert 1 == 2 |" in page and "1 passed" in page
