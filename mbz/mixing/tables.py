"""Constants and look-up tables of the mixing coder (docs/mixing.md, section 2).

Every table is computed in Python's integers, so that all machines hold the same bits. Tables are
made once and shared: nobody writes to them.

Units: a probability is that of a one, in 1/65536, from 1 to 65535; a logit ("stretched"
probability) is in 1/256 nat.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

LIMIT = 2880
"""Largest magnitude of a logit; there the probability is within 1/65536 of certainty."""

_SCALE = 200  # fractional bits of the numbers below


@cache
def _exponentials() -> list[int]:
    """exp(n / 512) for n = 0 .. 2 * LIMIT, times 2**_SCALE, by the series of exp(1 / 512)."""
    step, term, k = 0, 1 << _SCALE, 0
    while term:
        step += term
        k += 1
        term //= 512 * k
    powers = [1 << _SCALE]
    for _ in range(2 * LIMIT):
        powers.append((powers[-1] * step) >> _SCALE)
    return powers


@cache
def squash_table() -> NDArray[np.int32]:
    """Probability of the logits -LIMIT .. LIMIT, (2 * LIMIT + 1,), by index logit + LIMIT."""
    one = 1 << _SCALE
    powers = _exponentials()[::2]
    above = [min(((e << 17) // (e + one) + 1) >> 1, 65535) for e in powers]
    below = [65536 - p for p in above[:0:-1]]
    return np.array([*below, *above], np.int32)


@cache
def stretch_table() -> NDArray[np.int16]:
    """Logit of each probability, rounded to nearest, (65536,); entry 0 equals entry 1."""
    one = 1 << _SCALE
    # Odd powers are the bounds between two logits: p / (65536 - p) is above from here on.
    bounds = [(e << 16) // (e + one) + 1 for e in _exponentials()[1::2]]
    half = np.searchsorted(bounds, np.arange(32768, 65536), "right").astype(np.int16)
    table = -half[:0:-1]
    return np.concatenate([table[:1], table, half])


@cache
def rate_table() -> NDArray[np.int32]:
    """65536 / (n + 1.5): the share of the n-th error by which an adaptive probability moves."""
    return np.array([(2 * 65536) // (2 * n + 3) for n in range(1024)], np.int32)


_HISTORY = 4  # histories of up to this many bits are kept whole
_MOST = (50, 25, 16, 12, 6, 5)  # the larger count, by the smaller one
_RECENT = 6  # larger counts than this tell by themselves which bit came last

State = tuple[int, int, int]  # zeros, ones, and the last bits: all of them, or the last one


def _states() -> Iterator[State]:
    for length in range(_HISTORY + 1):
        for bits in range(1 << length):
            ones = bits.bit_count()
            yield length - ones, ones, bits
    for fewer, most in enumerate(_MOST):
        for more in range(max(fewer, _HISTORY + 1 - fewer), most + 1):
            for zeros, ones in sorted({(fewer, more), (more, fewer)}):
                for last in (0, 1):
                    if last == (ones > zeros) or (fewer and more <= _RECENT):
                        yield zeros, ones, last


@cache
def states() -> list[State]:
    """All bit histories, fewer than 256; state 0 has seen nothing."""
    return list(_states())


def _after(state: State, bit: int) -> State:
    zeros, ones, bits = state
    if zeros + ones < _HISTORY:
        return zeros + 1 - bit, ones + bit, bits << 1 | bit
    same, other = (ones, zeros) if bit else (zeros, ones)
    same += 1
    if other > 2:  # a surprise: most of what spoke for the other bit is out of date
        other = 2 + other.bit_length() // 2
    if same + other <= _HISTORY:
        bits = (1 << same) - 1 if bit else ((1 << other) - 1) << same
    else:
        same = min(same, _MOST[min(same, other)])
        bits = int(same > other) ^ 1 ^ bit if max(same, other) > _RECENT else bit
    return (other, same, bits) if bit else (same, other, bits)


@cache
def next_state_table() -> NDArray[np.uint8]:
    """The state after a bit, (256, 2); unused rows are 0."""
    index = {state: n for n, state in enumerate(states())}
    table = np.zeros((256, 2), np.uint8)
    for state, n in index.items():
        for bit in (0, 1):
            table[n, bit] = index[_after(state, bit)]
    return table


@cache
def state_chance_table() -> NDArray[np.int32]:
    """First guess of the probability of a one by state, (256,): (ones + 0.4) / (all + 0.8)."""
    table = np.full(256, 32768, np.int32)
    for n, (zeros, ones, _) in enumerate(states()):
        table[n] = ((10 * ones + 4) << 16) // (10 * (zeros + ones) + 8)
    return table


def share_below(distance: NDArray[np.int64], spread: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Share of a logistic curve of mean miss `spread` below a distance, in 1/65536."""
    logits = np.clip(distance * 355 // spread, -LIMIT, LIMIT)  # 256 * 2 * ln(2)
    share: NDArray[np.int64] = squash_table()[logits + LIMIT].astype(np.int64)
    return share
