"""Drawing bytes: weights at a temperature, exact draws, and the same bytes everywhere."""

import decimal
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stub_predictor import StubPredictor

from mbz import sample as module
from mbz.exact import COUNT_SUM
from mbz.exact.reference import ReferencePredictor
from mbz.exact.torch_backend import TorchPredictor
from mbz.exact.torch_matrix import choose
from mbz.sample import draw, sample, weights

COUNTS = np.zeros(256, np.float32)
COUNTS[[65, 66, 67, 68]] = COUNT_SUM - 3_000_300, 2_000_000, 1_000_000, 300


def drawn(predictor, length, prompt=b"", **options) -> bytes:
    return bytes(islice(sample(predictor, prompt, **{"seed": 0} | options), length))


def test_at_temperature_1_weights_are_the_exact_probabilities():
    assert weights(COUNTS, 1).tolist() == (COUNTS.astype(int) + 1).tolist()
    assert weights(COUNTS, 1).sum() == 2**24


def test_at_temperature_0_the_first_likeliest_byte_has_all():
    counts = np.zeros(256, np.float32)
    counts[[9, 8]] = COUNT_SUM / 2
    assert np.flatnonzero(weights(counts, 0)).tolist() == [8]
    assert {draw(weights(counts, 0), random) for random in (0, 2**63, 2**64 - 1)} == {8}


@pytest.mark.parametrize("temperature", [0.3, 0.7, 0.999, 1.5, 10])
def test_weights_are_powers_of_the_probabilities(temperature):
    found = weights(COUNTS, temperature)
    expected = ((COUNTS.astype(float) + 1) / (COUNTS.max() + 1)) ** (1 / temperature)
    assert found.max() == 2**40
    assert np.allclose(found / 2**40, expected, rtol=0, atol=2**-39)


@pytest.mark.parametrize(("temperature", "others"), [(5e-324, 0), (1e-9, 0), (1.7e308, 2**40)])
def test_extreme_temperatures(temperature, others):
    assert set(weights(COUNTS, temperature).tolist()) == {2**40, others}


def test_weights_are_the_same_bits_everywhere():
    expected = [2**40, 128_813_777_561, 59_632_742_748, 7_290_887, 12_847]
    with decimal.localcontext(decimal.Context(prec=3, rounding=decimal.ROUND_UP)):
        assert weights(COUNTS, 0.9)[[65, 66, 67, 68, 0]].tolist() == expected


@pytest.mark.parametrize("temperature", [-0.1, float("nan"), float("inf")])
def test_what_is_no_temperature(temperature):
    with pytest.raises(ValueError, match="temperature must be at least 0 and finite"):
        drawn(StubPredictor(), 1, temperature=temperature)


@given(st.lists(st.integers(0, 2**40), min_size=256, max_size=256).filter(any), st.data())
def test_each_byte_is_drawn_by_its_weight(shares, data):
    total, ends = sum(shares), np.cumsum(shares).tolist()
    byte = data.draw(st.sampled_from([i for i in range(256) if shares[i]]))
    first = -(-((ends[byte] - shares[byte]) << 64) // total)  # the least random number for it
    last = -(-(ends[byte] << 64) // total) - 1
    assert draw(np.array(shares), first) == draw(np.array(shares), last) == byte
    assert first == 0 or draw(np.array(shares), first - 1) < byte
    assert last == 2**64 - 1 or draw(np.array(shares), last + 1) > byte


def test_bytes_are_drawn_as_often_as_the_model_says():
    class Always(StubPredictor):
        def counts(self):
            super().counts()
            return COUNTS[None]

    found = np.bincount(np.frombuffer(drawn(Always(), 4000), np.uint8), minlength=256)
    assert found[65] == pytest.approx(4000 * COUNTS[65] / 2**24, abs=90)
    assert found[66] == pytest.approx(4000 * COUNTS[66] / 2**24, abs=90)
    assert found[[65, 66, 67, 68]].sum() == 4000


def test_the_seed_decides_everything():
    assert drawn(StubPredictor(), 50) == drawn(StubPredictor(), 99)[:50]
    assert drawn(StubPredictor(), 50, seed=1) != drawn(StubPredictor(), 50)
    # Whoever writes down a seed must get these bytes from every release.
    assert drawn(StubPredictor(), 8).hex() == "a34d0d05b8dba3b8"


@pytest.mark.parametrize("temperature", [1, 0.5, 0])
def test_backends_draw_the_same(model, temperature):
    place = torch.device("cpu")
    fast = TorchPredictor(model.config, model.tensors, place, choose(place))
    slow = ReferencePredictor(model.config, model.tensors)
    prompt = b"some prompt"
    expected = drawn(slow, 40, prompt, temperature=temperature)
    assert drawn(fast, 40, prompt, temperature=temperature) == expected
    assert drawn(fast, 40, temperature=temperature) != expected


def test_the_prompt_is_taken_in_parts(model, monkeypatch):
    predictor = ReferencePredictor(model.config, model.tensors)
    sizes = []
    score = predictor.score
    monkeypatch.setattr(predictor, "score", lambda x: (sizes.append(x.shape), score(x)))
    expected = drawn(predictor, 20, b"some prompt")
    monkeypatch.setattr(module, "PART", 4)
    assert drawn(predictor, 20, b"some prompt") == expected
    assert sizes == [(1, 11), (1, 4), (1, 4), (1, 3)]
