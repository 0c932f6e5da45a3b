"""--tensorboard writes what the log holds."""

import importlib.util

import pytest

from test_main import run
from util import UserError


def test_it_holds_the_log_and_goes_on_where_the_run_does(toy, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run(toy, tmp_path, "--tensorboard", epochs=2)
    events = EventAccumulator(str(folder / "0_tensorboard")).Reload()
    log = [line for line in (folder / "0_log.csv").read_text().splitlines() if not line.startswith("#")]
    for column, name in enumerate(log[0].split(",")):
        values = [(event.step, event.value) for event in events.Scalars(name)]
        assert values == [(i, pytest.approx(float(log[i].split(",")[column]), rel=1e-5)) for i in (1, 2)]


def test_without_the_package_it_is_one_line(toy, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else find(name))
    with pytest.raises(UserError, match="--tensorboard: needs its package; pip install -r requirements-extra.txt"):
        run(toy, tmp_path, "--tensorboard", epochs=1)
