"""Two processes on the CPU train as one does, and stop, fail and resume together."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mbz import weights
from mbz.training import checkpoint, loop, record, settings
from mbz.training.run import run

OTHER = "FailedElsewhere: another process failed"
PROGRAM = Path(__file__).with_name("two_processes.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def both(*words) -> None:
    """Runs a Python program as two processes that know of each other."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, *words],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            said = process.communicate(timeout=300)[1]
            assert (process.returncode, said) == (0, "")
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def two(tiny_config, tmp_path_factory):
    """The folder of the runs of two processes, and the settings of these."""
    folder = tmp_path_factory.mktemp("two")
    random = np.random.default_rng(0)
    (folder / "text").mkdir()
    for i in range(40):
        content = random.choice([97, 98, 99], 200).astype(np.uint8)
        (folder / "text" / str(i)).write_bytes(content)
    config = settings.resolve(
        {
            "name": "same",
            "model": tiny_config.to_dict(),
            "train": {
                "sequence": 64,
                "batch": 8,
                "accumulate": 2,
                "average": 0.9,
                "matrix_rate": 0.005,
                "other_rate": 0.002,
                "warmup": 1,
                "steps": 6,
                "validations": 2,
            },
            "data": {"paths": [str(folder / "text")], "validation": 0.3},
        },
        {},
        on_cpu=True,
        shape_of=None,
    )
    (folder / "config.toml").write_text(settings.dump(config))
    both(PROGRAM, folder / "config.toml", folder)
    return folder, config


@pytest.fixture
def alone(two, tmp_path, monkeypatch):
    """The folder of the same run, of one process."""
    monkeypatch.setattr(loop, "SPACING", 1)
    run(two[1], tmp_path, device="cpu")
    return tmp_path


def column(folder, name):
    return [line[name] for line in record.read(folder / record.LOG) if name in line]


@pytest.mark.parametrize("name", ["replicated", "sharded", "resumed"])
def test_two_processes_see_the_losses_of_one(two, alone, name):
    folder = two[0] / name
    # The rounding of int8 turns the last bit of a sum, now and then, into a step of a weight.
    for what, count, rtol in (("loss", 6, 1e-4), ("norm", 6, 3e-3), ("validation", 2, 1e-4)):
        expected, got = column(alone, what), column(folder, what)
        assert len(expected) == count
        np.testing.assert_allclose(got, expected, rtol=rtol)
    assert (folder / weights.FILE_NAME).exists()


def test_resumed_processes_repeat_the_same_bits(two):
    resumed, straight = (two[0] / name for name in ("resumed", "replicated"))
    assert column(resumed, "loss") == column(straight, "loss")
    assert (resumed / weights.FILE_NAME).read_bytes() == (straight / weights.FILE_NAME).read_bytes()


def test_one_process_goes_on_with_what_two_had_spread(two, alone):
    folder = two[0] / "moved"
    assert checkpoint.steps(folder)[-1] == 4  # the second process asked, both stopped
    assert not (folder / weights.FILE_NAME).exists()
    run(two[1], folder, device="cpu", resume=True)
    np.testing.assert_allclose(column(folder, "loss"), column(alone, "loss"), rtol=1e-4)


def test_of_two_failing_processes_one_says_why(two):
    for name, first, second in (
        ("uneven", "ValueError: batch must be a multiple of accumulate times 2 processes", OTHER),
        ("lacking", OTHER, "FileNotFoundError: [Errno 2] No such file or directory: '/nosuch'"),
    ):
        assert [(two[0] / f"{name}{rank}").read_text() for rank in range(2)] == [first, second]
