"""Loops in vectors give what they give one by one."""

import numpy as np
import pytest

from mbz.mixing import vectors
from mbz.mixing.compiled import function
from mbz.mixing.vectors import each, least, most, scaled, signed, unsigned, where, wrapped


def step(k, shorts, longs, places, words, numbers, y):
    a = shorts[places[k]] + y
    b = scaled(numbers[k], longs[places[k]], 40)
    high = signed(words[k] >> 31)
    mixed = wrapped(words[k] ^ unsigned(places[k]), 0x2C1B3C6D, 0x3C6EF372)
    old = words[places[k]]
    words[places[k]] = where((high != 0) & (a < b), mixed ^ (mixed >> 15), old)
    numbers[k] = most(least(a - b, 1 << 20), -(1 << 20)) * (1 - 2 * high)
    return where(a > b, 1, 0) | (-high << 1)


in_vectors = each(step)


@function
def compiled(num, shorts, longs, places, words, numbers, y):
    return in_vectors(num, shorts, longs, places, words, numbers, y)


@pytest.mark.parametrize("num", [0, 1, 7, 8, 9, 16, 17, 24, 25, 64])
def test_vectors_equal_single_numbers(num):
    rng = np.random.default_rng(num)
    arguments = [
        rng.integers(-2000, 2000, 65).astype(np.int16),  # the last is read with the one before
        rng.integers(0, 1 << 31, 64),
        rng.integers(0, 64, 64).astype(np.int32),  # several the same: the later one counts
        rng.integers(0, 1 << 32, 64, dtype=np.uint32),
        rng.integers(-(1 << 20), 1 << 20, 64).astype(np.int32),
    ]
    copies = [array.copy() for array in arguments]
    plain = vectors._in_blocks(step)
    assert compiled(num, *arguments, 77) == plain(num, *copies, 77)
    for array, copy in zip(arguments, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_loops_cannot_branch_on_their_numbers():
    @each
    def branching(k, numbers):
        numbers[k] = 1 if numbers[k] > 0 else 2

    @function
    def entry(numbers):
        return branching(numbers.size, numbers)

    with pytest.raises(Exception, match="use `where`"):
        entry(np.zeros(3, np.int32))
