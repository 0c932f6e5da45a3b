"""--tensorboard writes what the log has."""

import pytest

from conftest import run
from engine.logs import read_log


def test_it_has_the_columns_of_the_log(toy, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run(toy, tmp_path, "--tensorboard", epochs=2)
    events = EventAccumulator(str(folder / "0_tensorboard")).Reload()
    for name, values in read_log(folder / "0_log.csv")[1].items():
        written = events.Scalars(name.replace("eval_", "test_"))
        assert [event.step for event in written] == [1, 2]
        assert [event.value for event in written] == pytest.approx(values, rel=1e-5)
