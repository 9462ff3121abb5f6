"""Constants and look-up tables of the exact network (docs/exact.md, sections 2 and 3).

Every table is defined by integers or stored with the weights, never computed by a float library
function at inference time, so that all machines hold the same bits. Tables are made once and
shared: nobody writes to them.
"""

from functools import cache
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

COUNT_SUM = 2**24 - 256
"""Sum of the 256 counts of one symbol; the coder adds 1 to each count, over 2**24."""

SMALLEST = np.float32(2.0**-40)
"""Floor of the largest magnitude of a row, so that a row of zeros quantises to zeros."""

STEP = np.float32(1 / 127)
"""Step size of a quantised row per unit of its largest magnitude."""

VALUE_STEPS = 32
"""Attention values are normalised and rounded to 1/32."""

NGRAM_STEPS = 64
"""Tables of n-grams hold int8 multiples of 1/64."""

OCTAVE = 64
"""Steps per factor of two in both exponential tables."""


def value_scale(head_dim: int) -> np.float32:
    """VALUE_STEPS times the root of the head width, to the nearest 2**-8."""
    return np.float32((isqrt((VALUE_STEPS**2 * head_dim) << 18) + 1) // 2 / 256)


ATTENTION_BITS = 12
ATTENTION_SUM = 1 << 14
"""Softmax weights start as integers of 12 bits and are scaled to sum to at most 2**14."""

OUTPUT_BITS = 22
OUTPUT_OCTAVES = 23
"""Output weights are integers of 22 bits; what is 23 or more octaves below the top gets zero."""

ROOT_BITS = 10
"""Mantissa bits that select an entry of the table of reciprocal roots."""


def _exp2_table(bits: int, octaves: int) -> NDArray[np.float32]:
    """round(2**(bits - n / OCTAVE)) for n = 0 .. octaves * OCTAVE; the last entry is 0.

    Integers only: with r = 2**(1/64) the fraction 2**(-n/64) is the 64th root of 2**-n, taken as
    six square roots of a fixed-point number of 2**200 scale.
    """
    scale = 200
    powers = []
    for n in range(OCTAVE):
        root = 1 << (scale - n) if n <= scale else 0
        for _ in range(6):  # 2**6 == OCTAVE
            root = isqrt(root << scale)
        powers.append(root)
    table = []
    for n in range(octaves * OCTAVE):
        shift = scale - bits + n // OCTAVE
        table.append((powers[n % OCTAVE] + (1 << (shift - 1))) >> shift)
    return np.array([*table, 0], np.float32)


@cache
def attention_table() -> NDArray[np.float32]:
    """Softmax weight by distance to the row's maximum, (ATTENTION_BITS * OCTAVE + 1,)."""
    return _exp2_table(ATTENTION_BITS, ATTENTION_BITS)


@cache
def output_table() -> NDArray[np.float32]:
    """Output weight by distance to the largest logit, (OUTPUT_OCTAVES * OCTAVE + 1,)."""
    return _exp2_table(OUTPUT_BITS, OUTPUT_OCTAVES)


@cache
def root_table() -> NDArray[np.float32]:
    """1 / sqrt(n) for integers 1 <= n < 2**27, by exponent and top ROOT_BITS mantissa bits.

    Entry (e << ROOT_BITS) + j stands for n in [m, m + 1) * 2**(e - ROOT_BITS), m = 2**ROOT_BITS
    + j, and holds the reciprocal root of the interval's middle, cut to a multiple of 2**-30.
    """
    size = 1 << ROOT_BITS
    roots = [
        isqrt((1 << (61 + ROOT_BITS - e)) // (2 * (size + j) + 1))
        for e in range(27)
        for j in range(size)
    ]
    return np.array(roots, np.float32) * np.float32(2.0**-30)


def rotary_table(window: int, head_dim: int) -> NDArray[np.float32]:
    """Cosines and sines of the positions 0 .. 2W-1, (2, 2 * window, head_dim / 2).

    Every frequency is a whole multiple of one turn in 2W positions, so that position t may be
    taken modulo 2W for ever. Rounded to 2**-14 and stored with the weights.
    """
    turns = np.round(np.geomspace(1, window, head_dim // 2))
    angles = np.arange(2 * window)[:, None] * turns * (np.pi / window)
    both = np.stack([np.cos(angles), np.sin(angles)])
    return (np.round(both * 2.0**14) / 2.0**14).astype(np.float32)


HASH_STEP, HASH_MIX = 0x2C1B3C6D, 0x61C88647
"""Odd, and below 2**31, so that a product with 32 bits fits in int64."""


def ngram_factors(orders: tuple[int, ...]) -> NDArray[np.int64]:
    """Factors of the last max(orders) bytes in the hash of each order, (orders, bytes).

    The newest byte is the last and has factor 1, the one before HASH_STEP, and so on modulo 2**32;
    bytes beyond the order have 0.
    """
    ages = range(max(orders) - 1, -1, -1)
    table = [[pow(HASH_STEP, age, 1 << 32) if age < n else 0 for age in ages] for n in orders]
    return np.array(table, np.int64)


def ngram_rows(bytes_BTH: Any, factors_OH: Any, rows: int) -> Any:  # noqa: ANN401
    """Rows (B, T, O) of tables with `rows` = 2**n rows, by the hash of the bytes before.

    Takes and returns int64, in numpy or torch. No sum overflows: 8 terms below 2**32 * 257.
    """
    low = (1 << 32) - 1
    h = ((bytes_BTH + 1)[..., None, :] * factors_OH).sum(-1) & low
    return ((h * HASH_MIX) & low) >> (33 - rows.bit_length())
