"""Runs the command line in this process, or as the real program where the system matters."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mbz_cli.app import app
from typer.testing import CliRunner, Result

from mbz import weights
from mbz.exact.reference import ReferencePredictor

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def content(tiny_model_dir: Path) -> bytes:
    """Bytes that the test model draws, so that it compresses them better than LZMA does."""
    model = weights.read(tiny_model_dir)
    predictor = ReferencePredictor(model.config, model.tensors)
    predictor.reset(1)
    random = np.random.default_rng(0)
    drawn = bytearray()
    for _ in range(400):
        counts = predictor.counts()[0].astype(np.float64)
        drawn.append(random.choice(256, p=counts / counts.sum()))
        predictor.push(np.array([drawn[-1]], np.uint8))
    return bytes(drawn)


@pytest.fixture
def environment(tiny_model_dir: Path, tmp_path: Path) -> dict[str, str]:
    """Variables with which only the test model and the shipped models are found."""
    return {
        "MBZ_MODELS": str(tiny_model_dir.parent),
        "XDG_DATA_HOME": str(tmp_path / "no-data"),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def mbz(environment: dict[str, str]) -> Run:
    """Runs `mbz ARGS` in this process."""

    def run(*args: str | Path, data: bytes | None = None) -> Result:
        return CliRunner(env=environment).invoke(app, [str(arg) for arg in args], input=data)

    return run


@pytest.fixture
def command(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that start the real program, which inherits the variables above."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return [sys.executable, "-m", "mbz_cli"]


@pytest.fixture
def sample(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "sample.txt"
    path.write_bytes(content)
    path.chmod(0o640)
    os.utime(path, ns=(1_500_000_000_000_000_000, 1_600_000_000_123_456_789))
    return path


@pytest.fixture
def archive(mbz: Run, sample: Path) -> Path:
    """The sample, compressed by the test model."""
    assert mbz("compress", "-m", "tiny-test", sample).exit_code == 0
    return sample.with_name("sample.txt.mbz")


@pytest.fixture
def wait_for() -> Callable[[Callable[[], object]], None]:
    """Waits until a condition holds."""

    def wait(condition: Callable[[], object]) -> None:
        limit = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < limit
            time.sleep(0.05)

    return wait
