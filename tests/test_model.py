"""The float network: shapes, causality, attention on the CPU, and where training starts."""

import itertools
from dataclasses import replace

import conftest
import pytest
import torch

from mbz import layers
from mbz.config import PRESETS
from mbz.model import Ngrams
from mbz.training.start import untrained


def random_bytes(batch: int, length: int) -> torch.Tensor:
    return torch.randint(0, 256, (batch, length), generator=torch.Generator().manual_seed(1))


def test_one_row_of_logits_for_each_byte(model, lively_model):
    for patches in (1, 2, 13):
        length = patches * model.config.patch
        assert lively_model(random_bytes(3, length)).shape == (3, length, 256)


def test_a_byte_changes_only_what_comes_after_it(model, lively_model):
    length = 12 * model.config.patch
    data = random_bytes(1, length)
    with torch.no_grad():
        before = lively_model(data)[0]
        for t in range(length - 1):
            changed = data.clone()
            changed[0, t] ^= 0x55
            after = lively_model(changed)[0]
            assert torch.equal(after[: t + 1], before[: t + 1])
            assert not torch.equal(after[t + 1], before[t + 1])


def test_parameters_are_counted(model, lively_model):
    matrices = [p for name, p in lively_model.named_parameters() if is_stored_in_bytes(name)]
    assert sum(p.numel() for p in matrices) == model.config.parameters


def is_stored_in_bytes(name: str) -> bool:
    return name.endswith("weight") and name not in {"local_bytes.weight", "global_bytes.weight"}


def ngram_values(ngrams: Ngrams, data: torch.Tensor) -> torch.Tensor:
    """What n-grams add to the local input."""
    width = 64
    bytes_part = torch.zeros(256, width), torch.zeros(1, width)
    return layers.embed(data, *bytes_part, *ngrams(data))


def test_an_ngram_reaches_as_far_as_its_order():
    config = replace(conftest.NGRAMS, ngram_orders=(2, 5), ngram_rows=1 << 16, ngram_width=4)
    ngrams = Ngrams(config)
    data = random_bytes(1, 24)
    with torch.no_grad():
        before = ngram_values(ngrams, data)
        assert not before[:, :, 8:].any()
        changed = data.clone()
        changed[0, 10] += 1
        moved = ngram_values(ngrams, changed) != before
    for start, order in ((0, 2), (4, 5)):
        seen = moved[0, :, start : start + 4].any(-1).nonzero()[:, 0].tolist()
        assert seen == list(range(11, 11 + order))


def test_values_of_ngrams_are_bytes_in_steps_and_learn_as_if_they_were_not():
    ngrams = Ngrams(conftest.NGRAMS)
    values = ngram_values(ngrams, random_bytes(2, 40))
    steps = values.detach() * 64
    assert torch.equal(steps, steps.round())
    assert steps.abs().max() <= 127
    values.sum().backward()
    assert ngrams.table.weight.grad.sum() == 2 * 40 * ngrams.table.weight.shape[1]


def plain_attention(q, k, v, window):
    """Scores of every position against every other, masked by the definition."""
    shared = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
    index = torch.arange(q.shape[2])
    own, other = index[:, None], index
    visible = (other <= own) & (other // window >= own // window - 1)
    scores = (q @ k.transpose(-1, -2)).masked_fill(~visible, -torch.inf)
    return scores.softmax(-1) @ v


@pytest.mark.parametrize(
    ("length", "window"), list(itertools.product([1, 4, 5, 8, 23], [1, 4, 7, 30]))
)
def test_attention_is_a_masked_softmax(length, window):
    generator = torch.Generator().manual_seed(length)
    qkv = torch.randn((2, length, 8 * 6), generator=generator)
    q, k, v = qkv.unflatten(2, (8, 6)).transpose(1, 2).split([4, 2, 2], 1)
    expected = plain_attention(q, k, v, window).transpose(1, 2).flatten(2)
    got = layers.window_attention(qkv, window, 4, 2)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_training_starts_from_the_uniform_distribution(model):
    start = untrained(model.config, seed=3, device="cpu")
    assert start.loss(random_bytes(2, 8 * model.config.patch)).item() == pytest.approx(8, abs=1e-6)


def test_every_parameter_learns(model, lively_model):
    lively_model.loss(random_bytes(4, 20 * model.config.patch)).backward()
    for name, parameter in lively_model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    lively_model.zero_grad()


@pytest.mark.parametrize(("name", "millions"), [("tiny", 0.57), ("base", 9.34)])
def test_cost_of_the_presets(name, millions):
    config = PRESETS[name]
    assert config.multiply_adds_per_byte / 1e6 == pytest.approx(millions, abs=0.01)
    assert {config.global_stack.head_dim, config.local_stack.head_dim} == {64}
