"""The training loop, its schedule, log and evaluation, on the CPU."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mbz.training import loop
from mbz.training.config import TrainConfig
from mbz.training.data import Corpus
from mbz.training.loop import evaluate, rate_factor, train, untrained

TEXT = b"All work and no play makes Jack a dull boy.\n"
CORPUS = Corpus.of([TEXT * 40])
CONFIG = TrainConfig(sequence=64, batch=4, steps=8, seconds=1e9, warmup=1)


@pytest.fixture(autouse=True)
def one_thread():
    """Networks as small as these only wait for each other's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def losses(tiny_config, tmp_path, monkeypatch):
    """A function that trains, with changes to CONFIG, and returns the loss of every step."""
    monkeypatch.setattr(loop, "LOG_EVERY", 1)

    def run(**changes) -> list[float]:
        config = replace(CONFIG, **changes)
        reports = []
        model = untrained(tiny_config, config.seed, "cpu")
        train(model, CORPUS, config, tmp_path / "log", on_progress=reports.append)
        return [report.loss for report in reports]

    return run


def test_loss_falls_on_a_repetitive_corpus(losses):
    seen = losses(steps=40, matrix_rate=0.1, other_rate=0.02)
    assert seen[0] == pytest.approx(8, abs=1e-5)
    assert np.mean(seen[-5:]) < 1


def test_the_seed_decides_everything(losses):
    first = losses()
    torch.rand(1)  # the global random numbers do not matter
    assert losses() == first
    assert losses(seed=1) != first


def test_weights_are_drawn_from_the_seed_alone(tiny_config):
    state = torch.get_rng_state()
    first, same, other = (untrained(tiny_config, seed, "cpu").state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["global_bytes.weight"], other["global_bytes.weight"])


@pytest.mark.parametrize("limit", [{"steps": 3}, {"seconds": 1e-6}])
def test_the_first_limit_ends_the_run_and_the_log_says_all(tiny_config, tmp_path, limit):
    config = TrainConfig(sequence=64, batch=2, **limit)
    log = tmp_path / "log.jsonl"
    last = train(untrained(tiny_config, 0, "cpu"), CORPUS, config, log)
    assert last.step == limit.get("steps", 1)
    assert last.fraction == 1
    assert last.bytes == last.step * 128
    settings, *lines = map(json.loads, log.read_text().splitlines())
    assert settings["model"] == tiny_config.to_dict()
    assert TrainConfig(**settings["train"]) == config
    assert lines[-1]["loss"] == last.loss


def test_slow_steps_are_reported_too(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_SECONDS", 0.0)
    reports = []
    train(
        untrained(tiny_config, 0, "cpu"),
        CORPUS,
        CONFIG,
        tmp_path / "log",
        on_progress=reports.append,
    )
    assert [report.step for report in reports] == list(range(1, CONFIG.steps + 1))


@pytest.mark.parametrize(
    ("corpus", "config", "says"),
    [
        (
            Corpus.of([b"too short"]),
            CONFIG,
            "9 bytes of training data; one sequence alone takes 64",
        ),
        (CORPUS, TrainConfig(sequence=63), "sequence must be a multiple of the patch size, 4"),
    ],
)
def test_what_cannot_be_trained_is_refused(tiny_config, tmp_path, corpus, config, says):
    with pytest.raises(ValueError, match=says):
        train(untrained(tiny_config, 0, "cpu"), corpus, config, tmp_path / "log")


def test_diverging_is_an_error(tiny_config, tmp_path):
    model = untrained(tiny_config, 0, "cpu")
    with torch.no_grad():
        model.local_pad.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="loss became nan"):
        train(model, CORPUS, CONFIG, tmp_path / "log")


def test_rates_rise_stay_and_fall():
    config = TrainConfig(warmup=10, decay_from=0.5)
    assert [rate_factor(step, 0, config) for step in (0, 4, 9, 99)] == [0.1, 0.5, 1, 1]
    assert [rate_factor(99, fraction, config) for fraction in (0.5, 0.75, 1)] == [1, 0.5, 0]


def test_evaluation_is_total_bits_over_total_bytes(lively_model):
    patch = lively_model.config.patch
    data = np.random.default_rng(0).integers(0, 256, 5 * 4 * patch + 1, np.uint8)
    rows = torch.from_numpy(data[:-1].reshape(5, -1)).int()
    with torch.no_grad():
        expected = np.mean([lively_model.loss(row[None]).item() for row in rows])
    assert evaluate(lively_model, data, 4 * patch, batch=2) == pytest.approx(expected, abs=1e-3)
    assert np.isnan(evaluate(lively_model, data[:3], 4 * patch))
