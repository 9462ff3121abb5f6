"""The log and its picture."""

import math
import sys

import pytest

from mbz.errors import MbzError
from mbz.training import record
from mbz.training.record import Record


def test_a_resumed_log_forgets_the_steps_to_come(tmp_path):
    with Record(tmp_path, 0) as log:
        for step in (1, 2, 3):
            log.add(step, 0.5, loss=1.0 / step)
    with (tmp_path / record.LOG).open("a") as file:
        file.write('{"step": 4, "lo')  # the process was killed
    with Record(tmp_path, 2) as log:
        log.add(3, 0.5, loss=9.0)
    lines = record.read(tmp_path / record.LOG)
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 0.5), (3, 9.0)]


def test_what_is_no_number_is_null(tmp_path):
    with Record(tmp_path, 0) as log:
        log.add(1, 0.5, loss=math.nan, norm=math.inf)
    assert (
        tmp_path / record.LOG
    ).read_text() == '{"step": 1, "loss": null, "norm": null, "seconds": 0.5}\n'


def test_tensorboard_is_told_too(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for resumed_at, steps in ((0, (1, 2, 3)), (2, (3,))):
        with Record(tmp_path, resumed_at, tensorboard=True) as log:
            for step in steps:
                log.add(step, 0.5, loss=10.0 * step + resumed_at)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (1, 10.0),
        (2, 20.0),
        (3, 32.0),
    ]


def test_tensorboard_may_be_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MbzError, match=r"not installed; pip install 'mbz\[tensorboard\]'"):
        Record(tmp_path, 0, tensorboard=True)


def test_the_curve_is_drawn(tmp_path):
    with Record(tmp_path, 0) as log:
        record.draw(tmp_path)  # nothing to show yet
        for step in range(1, 200):
            log.add(step, 0.5, loss=8 / step)
        log.add(100, 0.5, validation=2.0)
    record.draw(tmp_path)
    picture = (tmp_path / record.CURVE).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
