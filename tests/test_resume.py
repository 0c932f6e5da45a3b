"""Stopped in any way and resumed, a run ends like one that was left alone."""

import random
import re
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch

import main
import train
from data import ROOT, Clips
from test_main import run, same, weights
from util import UserError

EPOCHS = 8


def command(toy, results, *more, epochs=EPOCHS):
    flags = ["--max-epochs", str(epochs), "-b", "8", "--device", "cpu", "--print-freq", "1"]
    return [sys.executable, ROOT / "main.py", "--dataset", str(toy), "--results", str(results), *flags, *more]


def rows(folder):
    log = folder / "0_log.csv"
    return sum(not line.startswith("#") for line in log.read_text().splitlines()) - 1 if log.exists() else 0


def start_and_wait(args, folder, at_least, **kwargs):
    """Starts a training process and returns it once the log has so many rows."""
    process = subprocess.Popen(args, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, **kwargs)
    while rows(folder) < at_least and process.poll() is None:
        time.sleep(0.005)
    return process


@pytest.fixture(scope="module")
def undisturbed(toy, tmp_path_factory):
    results = tmp_path_factory.mktemp("undisturbed")
    subprocess.run(command(toy, results, "--resume"), check=True, capture_output=True)
    return results / "toy" / "SGN"


def assert_same_run(folder, other):
    assert same(weights(folder), weights(other))
    for name in ("0_log.csv", "0_pred.txt", "0_lable.txt"):
        texts = [re.sub(r"# command.*", "", (where / name).read_text()) for where in (folder, other)]
        assert texts[0] == texts[1], name
    states = [torch.load(where / "0_state.pth", weights_only=True) for where in (folder, other)]
    assert same(states[0]["net"], states[1]["net"])
    assert not list(folder.glob("*.part"))


def test_killed_at_random_points_it_ends_with_the_same_bits(toy, undisturbed, tmp_path):
    folder = tmp_path / "toy" / "SGN"
    args = command(toy, tmp_path, "--resume")
    rng, killed = random.Random(0), 0
    for _ in range(4):
        process = start_and_wait(args, folder, rows(folder) + 1)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed >= 2
    subprocess.run(args, check=True, capture_output=True)
    assert_same_run(folder, undisturbed)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_politely_it_says_how_to_go_on(toy, undisturbed, tmp_path, number, code):
    folder = tmp_path / "toy" / "SGN"
    args = command(toy, tmp_path, "--resume")
    process = start_and_wait(args, folder, 2)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert re.search(r"interrupted: \d of 8 epochs are kept in .*; the same command with --resume goes on", err)
    assert "Traceback" not in err
    subprocess.run(args, check=True, capture_output=True)
    assert_same_run(folder, undisturbed)


def test_a_finished_run_resumed_stays_as_it_is(toy, undisturbed):
    before = (undisturbed / "0_best.pth").read_bytes(), (undisturbed / "0_log.csv").read_bytes()
    subprocess.run(command(toy, undisturbed.parents[1], "--resume"), check=True, capture_output=True)
    assert before == ((undisturbed / "0_best.pth").read_bytes(), (undisturbed / "0_log.csv").read_bytes())


def test_other_settings_are_refused_with_the_differences(toy, tmp_path):
    folder = run(toy, tmp_path, epochs=1)
    before = weights(folder)
    with pytest.raises(UserError, match=r"select test -> val, lr 0.001 -> 0.002\."):
        run(toy, tmp_path, "--resume", "--lr", "0.002", "--select", "val", epochs=1)
    with pytest.raises(UserError, match=r"max_epochs 1 -> 2"):
        run(toy, tmp_path, "--resume", epochs=2)
    assert same(weights(folder), before)
    (folder / "0_state.pth").write_text("words")
    with pytest.raises(UserError, match="not a checkpoint that can be read safely"):
        run(toy, tmp_path, "--resume", epochs=1)


def test_what_is_not_the_state_of_such_a_run_is_refused(toy, tmp_path):
    folder = run(toy, tmp_path, epochs=1)
    args = main.parse_args(["--max-epochs", "1", "-b", "16"])
    args.command, args.seed, args.seg = "", 1, 20
    again = train.Run(args, Clips.read(toy), "toy", 0.3, folder)
    again.resume()
    state = torch.load(folder / "0_state.pth", weights_only=True)
    groups, moments = state["optimizer"]["param_groups"], state["optimizer"]["state"]
    row, first = state["rows"][0], next(iter(state["net"]))

    def optimizer(**entries):
        return {"optimizer": state["optimizer"] | {"state": moments | {0: moments[0] | entries}}}

    for other, why in (
        (torch.zeros(3), "holds other things"),
        ({"settings": 1}, "holds other things"),
        (state | {"settings": 1}, "holds other things"),
        (state | {"net": {}}, "state.net is {}"),
        (state | {"net": state["net"] | {first: torch.full_like(state["net"][first], torch.nan)}}, "not finite"),
        (state | {"optimizer": state["optimizer"] | {"param_groups": [groups[0] | {"params": [0]}]}}, "other entries"),
        (state | optimizer(exp_avg=torch.zeros(3)), r"state.optimizer.state.0.exp_avg is \(3,\) in torch.float32, not"),
        (state | optimizer(exp_avg=moments[0]["exp_avg"].double()), "in torch.float64"),
        (state | optimizer(exp_avg=moments[0]["exp_avg"].to("meta")), "exp_avg"),
        (state | optimizer(step=1), "state.optimizer.state.0.step is 1"),
        (state | {"rows": []}, "0 epochs"),
        (state | {"rows": [row, row]}, "2 epochs"),
        (state | {"rows": [row | {"loss": "x"}]}, "state.rows.0.loss is x"),
        (state | {"rows": [{"loss": 1.0}]}, "state.rows.0 has other entries"),
        (state | {"best": None}, "state.best is None"),
        (state | {"results": torch.zeros(2)}, "state.results is"),
        (state | {"results": {"lines": "ab"}}, "state.results has other entries"),
        (state | {"about": {"versions": 3}}, "state.about.versions is 3"),
    ):
        torch.save(other, folder / "0_state.pth")
        with pytest.raises(UserError, match=rf"not the state of such a run \(.*{why}") as raised:
            again.resume()
        assert "\n" not in str(raised.value)


def test_going_on_with_other_versions_is_said(toy, tmp_path, capsys):
    folder = run(toy, tmp_path, epochs=2)
    state = torch.load(folder / "0_state.pth", weights_only=True)
    state["about"]["versions"] = "torch 2.0.0"
    state |= {"rows": state["rows"][:1], "results": {}}
    torch.save(state, folder / "0_state.pth")
    run(toy, tmp_path, "--resume", epochs=2)
    assert re.search(
        r"^note: going on with sgn .*, not torch 2.0.0: the bits may differ$", capsys.readouterr().err, re.M
    )
    assert "# from epoch 2 on: sgn" in (folder / "0_log.csv").read_text()


def test_a_full_disk_is_one_line_and_the_last_good_state_is_kept(toy, undisturbed, tmp_path):
    folder = tmp_path / "toy" / "SGN"
    start_and_wait(command(toy, tmp_path, "--resume"), folder, 2).kill()
    done = rows(folder)

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    stopped = subprocess.run(
        command(toy, tmp_path, "--resume"), capture_output=True, text=True, preexec_fn=small_files, timeout=60
    )
    assert stopped.returncode == 2
    assert re.search(r"error: \S*0_\w+\.pth: File too large", stopped.stderr)
    assert "Traceback" not in stopped.stderr
    assert rows(folder) >= done
    subprocess.run(command(toy, tmp_path, "--resume"), check=True, capture_output=True)
    assert_same_run(folder, undisturbed)


def test_a_run_begun_anew_forgets_the_state_of_the_one_before(toy, undisturbed, tmp_path):
    folder = run(toy, tmp_path, epochs=1)
    (folder / "0_state.pth").write_bytes((undisturbed / "0_state.pth").read_bytes())
    process = subprocess.Popen(command(toy, tmp_path), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while (folder / "0_state.pth").exists() and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.wait()
    subprocess.run(command(toy, tmp_path, "--resume"), check=True, capture_output=True)
    assert_same_run(folder, undisturbed)


def test_a_loss_that_is_not_finite_stops_the_run(toy, tmp_path):
    with pytest.raises(UserError, match=r"epoch 1, step [2-7]: the loss is (nan|inf)"):
        run(toy, tmp_path, "--lr", "1e30", "-b", "8", "--weight-decay", "1e8")
    with pytest.raises(UserError, match=r"epoch 1: weights or logits are not finite"):  # seen only after the last step
        run(toy, tmp_path, "--lr", "1e30", "-b", "56", "--weight-decay", "1e8")
    assert not (tmp_path / "toy" / "SGN" / "0_best.pth").exists()


def test_seeds_run_one_after_another_and_go_on(toy, tmp_path, capsys):
    run(toy, tmp_path, "--seeds", "2", epochs=2)
    text = capsys.readouterr().out
    folders = [tmp_path / "toy" / "SGN" / f"seed{seed}" for seed in (1, 2)]
    assert not same(*map(weights, folders))
    figures = [float(f) for f in re.findall(r"last epoch 2: top-1 ([\d.]+)%", text)]
    mean, spread = re.search(r"^last epoch: top-1 ([\d.]+) \+- ([\d.]+)% over 2 seeds", text, re.M).groups()
    assert float(mean) == pytest.approx(sum(figures) / 2, abs=0.01)
    assert float(spread) == pytest.approx(abs(figures[0] - figures[1]) / 2**0.5, abs=0.01)
    before = (folders[0] / "0_state.pth").read_bytes()
    run(toy, tmp_path, "--seeds", "1,2", "--resume", epochs=2)
    assert capsys.readouterr().out.split("\n")[-3:-1] == text.split("\n")[-3:-1]
    assert (folders[0] / "0_state.pth").read_bytes() == before
    alone = run(toy, tmp_path / "alone", "--seed", "2", epochs=2)
    assert same(weights(alone), weights(folders[1]))
