"""Several runs: side by side, and as variants in a table."""

import csv
import shlex

import pytest

import main
import sweep
import train
from conftest import CLASSES, JOINTS, flags, run, same, weights
from engine.logs import read_log
from model import ABLATIONS, SGN
from safe.torch_files import read_torch_file
from util import UserError


@pytest.mark.slow
def test_runs_side_by_side_are_those_of_one_after_another(toy, tmp_path, capsys):
    one = run(toy, tmp_path / "one", "--seeds", "2", epochs=1)
    printed = capsys.readouterr().out
    two = run(toy, tmp_path / "two", "--seeds", "2", "--jobs", "2", epochs=1)
    assert capsys.readouterr().out == printed
    for seed in ("seed1", "seed2"):
        assert same(weights(one / seed), weights(two / seed))
        assert len({(folder / seed / "0_pred.txt").read_bytes() for folder in (one, two)}) == 1


@pytest.mark.slow
def test_the_table_has_means_deviations_and_differences(toy, tmp_path, monkeypatch, capsys):
    variant, path = "--ablate one-gcn,joint-type -b 8", tmp_path / "toy" / "0_sweep.csv"
    command = flags(toy, tmp_path, "--seeds", "2", f"--vary={variant}", epochs=1)
    sweep.main(command)
    assert capsys.readouterr().out.endswith(path.with_suffix(".md").read_text())
    rows = list(csv.DictReader(line for line in path.read_text().splitlines() if not line.startswith("#")))
    assert [row["variant"] for row in rows] == ["as it is", variant]
    of_variant = tmp_path / "sweep/ablate_one-gcn,joint-type_-b_8/toy/SGN-joint-type+one-gcn"
    means = []
    for row, folder, ablate in zip(
        rows, (tmp_path / "toy/SGN", of_variant), ((), ("joint-type", "one-gcn")), strict=True
    ):
        a, b = (read_torch_file(folder / f"seed{n}/0_state.pth")["results"]["last_top1"] for n in (1, 2))
        means.append((a + b) / 2)
        stated = [float(row[f"last_top1{what}"]) for what in ("", "_std", "_difference")]
        assert stated == pytest.approx([means[-1], abs(a - b) / 2**0.5, means[-1] - means[0]], abs=0.01)
        assert int(row["parameters"]) == sum(p.numel() for p in SGN(CLASSES, JOINTS, 8, ablate=ablate).parameters())
        logged = read_log(folder / "seed2/0_log.csv")[0][0].removeprefix("command: main.py ")  # has main.py's command
        args = main.parse_args(shlex.split(logged))
        assert (args.ablate, args.batch_size) == (ablate, 8 if ablate else 16)
    monkeypatch.setattr(train.Trainer, "train", None)
    before = path.read_bytes()
    sweep.main(command)  # all is there, so nothing is trained
    assert path.read_bytes() == before


def test_ablations_leave_out_what_the_data_do_not_allow(toy, tmp_path, capsys, monkeypatch):
    def stopped(runs, *_):
        assert len(runs) == 3 * (1 + len(ABLATIONS))  # all and both semantics, without skeleton-graph
        raise KeyboardInterrupt("stopped")

    monkeypatch.setattr(sweep, "run_all", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep.main(["--dataset", str(toy), "--results", str(tmp_path), "--device", "cpu", "--ablations"])
    assert "without --ablate skeleton-graph" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        *([], ["--vary=--ablate gcn"], ["--vary=-b 8", "--no-such-flag"], ["--vary=--recipe 'paper"]),
        *(["--vary=-b 8", "--train", "0"], ["--vary=--dataset DEMO"], ["--vary=-b 8", "--vary=--batch-size=8"]),
    ],
)
def test_a_sweep_refuses_what_it_does_not_take(toy, words):
    with pytest.raises((UserError, SystemExit)):
        sweep.main(["--dataset", str(toy), *words])
