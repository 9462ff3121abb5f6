"""A small run: its settings, its data, and one thread."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mbz.training import record
from mbz.training.config import DataConfig, RunConfig, TrainConfig

TRAIN = TrainConfig(sequence=64, batch=4, steps=8, seconds=0, warmup=1, validations=2)


@pytest.fixture(autouse=True)
def one_thread():
    """Networks as small as these only wait for each other's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_curves(request, monkeypatch):
    """Drawing takes longer than all else in a small run; tests that want it ask for `curves`."""
    if "curves" not in request.fixturenames:
        monkeypatch.setattr(record, "can_draw", lambda: False)


@pytest.fixture
def curves():
    """Lets runs draw their curves."""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A folder of forty files, of which some are held out."""
    folder = tmp_path / "text"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(40):
        (folder / str(i)).write_bytes(random.choice([97, 98, 99], 200).astype(np.uint8))
    return folder


@pytest.fixture
def config(tiny_config, text) -> RunConfig:
    """Eight steps of the smallest model."""
    data = DataConfig(paths=(str(text),), validation=0.3)
    return RunConfig(model=tiny_config, train=TRAIN, data=data)


@pytest.fixture
def changed(config):
    """A function that changes the training settings of `config`."""

    def change(**changes) -> RunConfig:
        return replace(config, train=replace(config.train, **changes))

    return change
