"""results/README.md states what the logs and checkpoints beside it say, and tools/verify.py sees it where not."""

import shutil

import pytest

import verify


@pytest.fixture
def rows():
    return verify.claims()


def test_every_claim_holds(capsys):
    assert verify.main([]) == 0, capsys.readouterr().out


def test_every_shipped_checkpoint_and_log_has_a_row(rows):
    results = verify.CLAIMS.parent
    shipped = {path.relative_to(results).as_posix() for path in results.glob("*/SGN*/*_best.pth")}
    assert shipped <= {row["checkpoint"] for row in rows}
    logs = {path for row in rows if row["logs"] for path in results.glob(row["logs"])}
    assert set(results.glob("*/logs/*.csv")) <= logs


def test_what_differs_is_seen(rows, tmp_path):
    several = next(row for row in rows if "±" in row["top-1, best / last"])
    assert verify.of_logs(several, verify.ROOT) is None
    assert "the logs say" in verify.of_logs(several | {"top-1, best / last": "99.99 ± 0.01 / 1.00 ± 0.01"}, verify.ROOT)
    assert "of the seeds 1, 2" in verify.of_logs(several | {"seeds": "7"}, verify.ROOT)
    other = several | {"command": several["command"] + " -b 7 --recipe plus"}
    assert verify.of_logs(other, verify.ROOT) == "the logs were run with other batch_size, lr_factor, recipe"
    assert "there is no" in verify.of_logs(several | {"logs": "none/*.csv"}, verify.ROOT)
    row = next(row for row in rows if row["checkpoint"])
    copy = tmp_path / "results" / row["checkpoint"]
    assert verify.of_checkpoint(row, tmp_path, None)[0] == "it is not there"
    copy.parent.mkdir(parents=True)
    shutil.copy(verify.ROOT / "results" / row["checkpoint"], copy)
    assert verify.of_checkpoint(row, tmp_path, tmp_path)[0] is None
    with open(copy, "ab") as file:
        file.write(b".")
    assert verify.of_checkpoint(row, tmp_path, tmp_path)[0] == "its SHA-256 is another"
