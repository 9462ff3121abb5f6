"""The tables of the exact network: golden hashes, and closeness to what they stand for."""

import hashlib

import numpy as np
import pytest
import torch

from mbz.exact import fixed


def sha(table: np.ndarray) -> str:
    return hashlib.sha256(table.astype("<f4").tobytes()).hexdigest()[:16]


def test_golden_tables():
    """A changed hash is another arithmetic: old archives would be lost."""
    assert sha(fixed.attention_table()) == "09a7c9705a9d0698"
    assert sha(fixed.output_table()) == "28698ae30d43fcba"
    assert sha(fixed.root_table()) == "2a8b7e676e60ab48"


@pytest.mark.parametrize(
    ("table", "bits"),
    [(fixed.attention_table(), fixed.ATTENTION_BITS), (fixed.output_table(), fixed.OUTPUT_BITS)],
)
def test_exponentials_are_rounded_powers(table, bits):
    n = np.arange(len(table) - 1)
    assert np.abs(table[:-1] - 2.0 ** (bits - n / fixed.OCTAVE)).max() <= 0.5 + 1e-9
    assert table[-1] == 0


def test_root_is_close_everywhere():
    n = np.unique(np.geomspace(1, 2**24, 40000).astype(np.int64)).astype(np.float32)
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


@pytest.mark.parametrize("order", [2, 3, 8])
@pytest.mark.parametrize("bits", [0, 15, 20])
def test_rows_of_ngrams_are_the_top_bits_of_a_hash(order, bits):
    """Of the oldest byte first, in integers of 32 bits; another hash is another arithmetic."""
    data = np.random.default_rng(0).integers(0, 256, (2, 20))
    data[0] = 255
    found = fixed.ngram_rows(data, order, 1 << bits)
    assert found.shape == (2, 21 - order)
    for lane, start in np.ndindex(found.shape):
        h = 0
        for byte in data[lane, start : start + order].tolist():
            h = (h * 0x2C1B3C6D + byte + 1) % 2**32
        assert found[lane, start] == h * 0x61C88647 % 2**32 >> (32 - bits)
    torch_found = fixed.ngram_rows(torch.from_numpy(data), order, 1 << bits)
    np.testing.assert_array_equal(torch_found.numpy(), found)


def test_ngrams_spread_over_their_table():
    pairs = np.stack(np.meshgrid(np.arange(256), np.arange(256)), -1).reshape(-1, 2)
    for rows in (1 << 12, 1 << 16):
        used = len(np.unique(fixed.ngram_rows(pairs, 2, rows)))
        assert used > 0.95 * rows * (1 - (1 - 1 / rows) ** len(pairs))
