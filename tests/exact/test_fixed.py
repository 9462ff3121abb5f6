"""The tables of the exact network: golden hashes, and closeness to what they stand for."""

import hashlib

import numpy as np
import pytest
import torch

from mbz.config import MAX_PATCH_WIDTH
from mbz.exact import fixed


def sha(table: np.ndarray) -> str:
    return hashlib.sha256(table.astype("<f4").tobytes()).hexdigest()[:16]


def test_golden_tables():
    """A changed hash is another arithmetic: old archives would be lost."""
    assert sha(fixed.attention_table()) == "09a7c9705a9d0698"
    assert sha(fixed.output_table()) == "28698ae30d43fcba"
    assert sha(fixed.root_table()[: 25 << 10]) == "2a8b7e676e60ab48"  # all there was at first
    assert sha(fixed.root_table()) == "303d79fc46ac42e8"


@pytest.mark.parametrize(
    ("table", "bits"),
    [(fixed.attention_table(), fixed.ATTENTION_BITS), (fixed.output_table(), fixed.OUTPUT_BITS)],
)
def test_exponentials_are_rounded_powers(table, bits):
    n = np.arange(len(table) - 1)
    assert np.abs(table[:-1] - 2.0 ** (bits - n / fixed.OCTAVE)).max() <= 0.5 + 1e-9
    assert table[-1] == 0


def test_root_is_close_everywhere():
    n = np.unique(np.geomspace(1, 127**2 * MAX_PATCH_WIDTH, 40000).astype(np.int64)).astype(
        np.float32
    )
    index = (n.view(np.int32) >> (23 - fixed.ROOT_BITS)) - (127 << fixed.ROOT_BITS)
    assert np.abs(fixed.root_table()[index] * np.sqrt(n.astype(np.float64)) - 1).max() < 2.5e-4


@pytest.mark.parametrize("head_dim", [2, 10, 16, 64, 128])
def test_value_scale(head_dim):
    scale = float(fixed.value_scale(head_dim))
    assert abs(scale - fixed.VALUE_STEPS * head_dim**0.5) <= 2**-9
    assert scale * 256 == int(scale * 256)


def test_rotary_is_periodic_and_on_its_grid():
    table = fixed.rotary_table(8, 12).astype(np.float64)
    assert table.shape == (2, 16, 6)
    assert (table * 2**14 == np.round(table * 2**14)).all()
    turn = (table[0] + 1j * table[1])[1]
    assert np.abs(turn**16 - 1).max() < 1e-2


@pytest.mark.parametrize("bits", [0, 15, 20])
def test_rows_of_ngrams_are_the_top_bits_of_a_hash(bits):
    """Of the oldest byte first, in integers of 32 bits; another hash is another arithmetic."""
    orders = (2, 3, 8)
    data = np.random.default_rng(0).integers(0, 256, (2, 5, 8))
    data[0] = 255
    factors = fixed.ngram_factors(orders)
    found = fixed.ngram_rows(data, factors, 1 << bits)
    assert found.shape == (2, 5, 3)
    for *at, i in np.ndindex(found.shape):
        h = 0
        for byte in data[tuple(at)].tolist()[-orders[i] :]:
            h = (h * 0x2C1B3C6D + byte + 1) % 2**32
        assert found[*at, i] == h * 0x61C88647 % 2**32 >> (32 - bits)
    in_torch = fixed.ngram_rows(torch.from_numpy(data), torch.from_numpy(factors), 1 << bits)
    np.testing.assert_array_equal(in_torch.numpy(), found)


def test_ngrams_spread_over_their_table():
    pairs = np.stack(np.meshgrid(np.arange(256), np.arange(256)), -1).reshape(-1, 2)
    for rows in (1 << 12, 1 << 16):
        used = len(np.unique(fixed.ngram_rows(pairs, fixed.ngram_factors((2,)), rows)))
        assert used > 0.95 * rows * (1 - (1 - 1 / rows) ** len(pairs))
