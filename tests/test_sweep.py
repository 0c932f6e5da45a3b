"""Several runs: side by side, and as variants in a table."""

import csv
import re
import shlex

import pytest

import main
import sweep
import train
from conftest import CLASSES, flags, run, same, weights, write_toy
from engine.logs import read_log
from helpers import run_script
from model import ABLATIONS, SGN
from util import UserError


def table(path):
    lines = path.read_text().splitlines()
    return {row["variant"]: row for row in csv.DictReader(line for line in lines if not line.startswith("#"))}


def test_runs_side_by_side_are_those_of_one_after_another(toy, tmp_path, capsys):
    run(toy, tmp_path / "one", "--seeds", "2", epochs=2)
    printed = capsys.readouterr().out
    command = flags(toy, tmp_path / "two", "--seeds", "2", "--jobs", "2", "--resume", epochs=2)
    done, out, err = run_script("main.py", *command)
    assert (done, out) == (0, printed.splitlines()), err
    for seed in ("seed1", "seed2"):
        assert sum(line.startswith(f"{seed} epoch ") for line in err) == 2  # each with its name
        folders = [tmp_path / which / "toy" / "SGN" / seed for which in ("one", "two")]
        assert same(*map(weights, folders))
        assert len({(folder / "0_pred.txt").read_bytes() for folder in folders}) == 1
    before = [path.stat().st_mtime_ns for path in tmp_path.glob("two/**/0_state.pth")]
    main.main(command)  # all is there, so nothing is trained
    assert capsys.readouterr().out == printed
    assert [path.stat().st_mtime_ns for path in tmp_path.glob("two/**/0_state.pth")] == before


def test_an_error_of_one_of_several_runs_is_one_line(toy, tmp_path):
    command = flags(toy, tmp_path, "--seeds", "2", "--jobs", "2", "--lr", "1e30")
    code, _, err = run_script("main.py", *command)
    assert code == 2 and "error: epoch 1, step 2: the loss is nan" in err[-1]
    assert not any("Traceback" in line for line in err)


def test_the_table(toy, tmp_path, capsys, monkeypatch):
    command = ["--dataset", str(toy), "--results", str(tmp_path), "--epochs", "1", "-b", "16", "--device", "cpu"]
    command += ["--seeds", "2", "--vary=--ablate one-gcn,joint-type", "--vary=-b 8"]
    sweep.main(command)
    text = capsys.readouterr().out
    rows = table(tmp_path / "toy" / "0_sweep.csv")
    assert list(rows) == ["as it is", "--ablate one-gcn,joint-type", "-b 8"]
    figures = [float(figure) for figure in re.findall(r"^last epoch 1: top-1 ([\d.]+)%", text, re.M)]
    assert len(figures) == 6
    means = [sum(figures[i : i + 2]) / 2 for i in (0, 2, 4)]
    for i, row in enumerate(rows.values()):
        assert float(row["last_top1"]) == pytest.approx(means[i], abs=0.01)
        assert float(row["last_top1_std"]) == pytest.approx(abs(figures[2 * i] - figures[2 * i + 1]) / 2**0.5, abs=0.01)
        assert float(row["last_top1_difference"]) == pytest.approx(means[i] - means[0], abs=0.01)
    nets = SGN(CLASSES, 5), SGN(CLASSES, 5, ablate=["joint-type", "one-gcn"]), SGN(CLASSES, 5)
    assert [int(row["parameters"]) for row in rows.values()] == [sum(p.numel() for p in n.parameters()) for n in nets]
    assert text.endswith((tmp_path / "toy" / "0_sweep.md").read_text())
    commands = [read_log(path)[0][0].removeprefix("command: main.py ") for path in tmp_path.rglob("seed2/0_log.csv")]
    logged = {(args.ablate, args.batch_size) for args in map(main.parse_args, map(shlex.split, commands))}
    assert logged == {((), 16), (("joint-type", "one-gcn"), 16), ((), 8)}  # each has main.py's command
    # Runs that main.py would put into the folders of others have their own
    assert (tmp_path / "sweep" / "b_8" / "toy" / "SGN" / "seed2" / "0_state.pth").is_file()
    assert (tmp_path / "toy" / "SGN-joint-type+one-gcn" / "seed1" / "0_state.pth").is_file()
    monkeypatch.setattr(train.Trainer, "train", None)
    sweep.main(command)  # all is there, so nothing is trained
    assert table(tmp_path / "toy" / "0_sweep.csv") == rows


def test_several_data_sets_have_a_row_each(toy, tmp_path, capsys):
    other = write_toy(tmp_path / "other.h5", test=7)
    names = [str(toy), str(other)]
    command = ["--results", str(tmp_path), "--epochs", "1", "-b", "16", "--device", "cpu", "--seeds", "1"]
    sweep.main([*command, "--datasets", *names, "--vary=--recipe plus"])
    with open(tmp_path / "sweep" / "0_sweep.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    pairs = [(row["variant"], row["dataset"]) for row in rows]
    assert pairs == [(v, d) for v in ("as it is", "--recipe plus") for d in ("toy", "other")]
    differences = [float(row["top1_difference"]) for row in rows]
    assert differences == pytest.approx([0, 0, *(float(rows[i + 2]["top1"]) - float(rows[i]["top1"]) for i in (0, 1))])
    assert (tmp_path / "other" / "SGN-plus,rotate_y=0.3,flip=0" / "seed1" / "0_best.pth").is_file()


def test_ablations_leave_out_what_the_data_do_not_allow(toy, tmp_path, capsys, monkeypatch):
    def stopped(runs, *_):
        assert len(runs) == 3 * (1 + len(ABLATIONS))  # all and both semantics, without skeleton-graph
        raise KeyboardInterrupt("stopped")

    monkeypatch.setattr(sweep, "run_all", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep.main(["--dataset", str(toy), "--results", str(tmp_path), "--device", "cpu", "--ablations"])
    assert "without --ablate skeleton-graph: the h5 does not state its skeleton" in capsys.readouterr().out


def test_a_sweep_refuses_what_it_does_not_take(toy):
    for words, why in (
        (["--splits", "2"], "--seeds and --splits"),
        (["--train", "0"], "leave out --train 0"),
        (["--vary=--dataset DEMO"], "the same data set"),
        (["--vary=--recipe 'paper"], "--vary"),
        (["--vary="], "--vary"),
        (["--vary=--batch-size=8"], "--vary"),  # spelt in two ways
    ):
        with pytest.raises(UserError, match=why):
            sweep.main(["--dataset", str(toy), "--vary=-b 8", *words])
    for words in ([], ["--vary=--ablate gcn"], ["--vary=-b 8", "--no-such-flag"], ["--vary=-b 8", "--seeds", "0"]):
        with pytest.raises(SystemExit):
            sweep.main(["--dataset", str(toy), *words])
