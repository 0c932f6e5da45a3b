"""pretrained/README.md states what its logs and checkpoints give, and tools/verify.py finds where it does not."""

import shutil

import pytest

import verify
from util import UserError


@pytest.fixture
def rows():
    return verify.read_table()


def test_every_claim_holds(tmp_path, capsys):
    assert verify.main(["--data", str(tmp_path)]) == 0, capsys.readouterr().out  # checkpoints by their SHA-256 alone


def test_every_checkpoint_and_log_has_a_row(rows):
    checkpoints = {path.relative_to(verify.FOLDER).as_posix() for path in verify.FOLDER.glob("*/SGN*/*_best.pth")}
    assert checkpoints <= {row["checkpoint"] for row in rows}
    logs = {path for row in rows if row["logs"] for path in verify.FOLDER.glob(row["logs"])}
    assert set(verify.FOLDER.glob("*/logs/*.csv")) <= logs


@pytest.mark.parametrize(
    "change, message",
    [
        ({verify.RESULT: "99.99 ± 0.01 / 1.00 ± 0.01"}, "its logs have"),
        ({"seeds": "7"}, "its logs have the seeds 1, 2"),
        ({"command": "main.py --dataset NUCLA -b 7"}, "was run with another .*batch_size"),
        ({"logs": "none/*.csv"}, "no none/"),
    ],
)
def test_a_row_that_differs_from_its_logs_is_found(rows, change, message):
    row = next(row for row in rows if "±" in row[verify.RESULT])
    verify.check_logs(row, verify.FOLDER)
    with pytest.raises(UserError, match=message):
        verify.check_logs(row | change, verify.FOLDER)


def test_a_checkpoint_that_is_missing_or_changed_is_found(rows, tmp_path):
    row = next(row for row in rows if row["checkpoint"])
    with pytest.raises(UserError, match="no "):
        verify.check_checkpoint(row, tmp_path, tmp_path)
    copy = tmp_path / row["checkpoint"]
    copy.parent.mkdir(parents=True)
    shutil.copy(verify.FOLDER / row["checkpoint"], copy)
    assert "SHA-256" in verify.check_checkpoint(row, tmp_path, tmp_path)
    with open(copy, "ab") as file:
        file.write(b".")
    with pytest.raises(UserError, match="another SHA-256"):
        verify.check_checkpoint(row, tmp_path, tmp_path)
