"""The compiled range code gives the words of constriction, and takes them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stub_predictor import StubPredictor
from test_coder import halves, one_sure, random_rows

from mbz import coder, range_code
from mbz.exact import crew
from mbz.exact.torch_backend import intervals_of


def intervals(symbols, counts) -> np.ndarray:
    sizes = counts.astype(np.int64) + 1
    ends = sizes.cumsum(1)
    rows = np.arange(len(symbols))
    found = np.stack([ends[rows, symbols] - sizes[rows, symbols], sizes[rows, symbols]], 1)
    return found.astype(np.uint32)


def encode(symbols, counts, cut=0) -> bytes:
    encoder = range_code.Encoder()
    encoder.encode(intervals(symbols[:cut], counts[:cut]))
    encoder.encode(intervals(symbols[cut:], counts[cut:]))
    return encoder.finish()


def constriction(symbols, counts) -> bytes:
    encoder = coder.Encoder()
    encoder.encode(symbols, counts)
    return encoder.finish()


def decode(code, counts, lanes=1) -> np.ndarray:
    """Bytes of rows that are known before, which those of real models are not."""
    row = np.zeros((lanes, 256), np.uint32)
    decoding = range_code.Decoding(code, len(counts), np.zeros(lanes, np.uint8), row)
    with crew.at_work(range_code.step_address(), [decoding.address], 1) as (_, argument):
        for start in range(0, len(counts), lanes):
            part = counts[start : start + lanes]
            row[: len(part)] = part
            crew.step(argument)
    return decoding.symbols_TL.reshape(-1)[: len(counts)]


def check(symbols, counts, cut=0, lanes=1) -> None:
    code = encode(symbols, counts, cut)
    assert code == constriction(symbols, counts)
    if len(symbols):
        np.testing.assert_array_equal(decode(code, counts, min(lanes, len(symbols))), symbols)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 300),
    sharpness=st.sampled_from([0, 1, 8, 300]),
    likely=st.booleans(),
    cut=st.integers(0, 300),
    lanes=st.integers(1, 9),
)
def test_random_rows(seed, n, sharpness, likely, cut, lanes):
    rng = np.random.default_rng(seed)
    counts = random_rows(rng, n, sharpness)
    symbols = counts.argmax(axis=1) if likely else rng.integers(0, 256, n)
    check(symbols.astype(np.uint8), counts, cut, lanes)


@pytest.mark.parametrize("first", [0, 255])
@pytest.mark.parametrize("last", [0, 3, 255])
@pytest.mark.parametrize("n", [2, 31, 32, 33, 63, 64, 65, 97, 200])
def test_carries(first, last, n):
    symbols = np.full(n, 255 - first, np.uint8)
    symbols[0], symbols[-1] = first, last
    check(symbols, halves(n))


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("byte", [0, 7, 255])
def test_the_certain_and_the_impossible(value, byte):
    check(np.full(1000, byte, np.uint8), one_sure(1000, value))


def test_any_code_decodes_to_something():
    for code in (b"", b"\xff" * 40, b"\0" * 9 + b"\xff" * 9):
        decoded = decode(code, one_sure(50, 0), 3)
        again = decode(code, halves(50), 4)
        assert len(decoded) == len(again) == 50
        assert set(again) <= {*range(256)}


def test_intervals_of_predictors():
    symbols = np.random.default_rng(0).integers(0, 256, (3, 40)).astype(np.uint8)
    symbols[:, :4] = [0, 255, 255, 0]
    one, other = StubPredictor(), StubPredictor()
    one.reset(3)
    other.reset(3)
    counts = one.score(symbols)
    found = range_code.intervals_of(other, symbols)
    expected = intervals(symbols.reshape(-1), counts.reshape(-1, 256)).reshape(3, 40, 2)
    np.testing.assert_array_equal(found, expected)
    of_torch = intervals_of(torch.from_numpy(counts), torch.from_numpy(symbols).long())
    np.testing.assert_array_equal(of_torch.numpy(), expected)
