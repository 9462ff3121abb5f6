"""Colours that were brightness and two chroma, as in pictures decoded from JPEG: the memory.

Such a pixel's channels are rounded sums of three whole numbers, so that few colours come about, and
chroma is smooth, often that of every other column or row only. What is done is in chroma.py.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mbz.mixing.tables import share_below, squash_table

_I32: TypeAlias = NDArray[np.int32]
_I64: TypeAlias = NDArray[np.int64]

COLOUR_INPUTS = 3
ON, ORDER, PHASE, MEAN, GUESS, SCALE = 0, 1, 2, 3, 4, 6  # of state; two guesses in 1/4, classes
LAST = 16  # value of the second regression: what the first one guesses
FIT = 16  # fractional bits of the share of pixels that such colours explain
WITHIN = 16  # chroma differ by less from their guesses
TERMS = 17
_PHASES = 4  # odd columns, odd rows
_SCALES = 32  # classes of how far off guesses may be
UNIT = 14  # fractional bits of the shares of differences at first
BUCKETS = 46


class Colours(NamedTuple):
    """See `open_colours`. Orders: red or blue first. Chroma: of the first channel, of the last."""

    added: _I64  # (2 orders, 2, 256) what chroma, less -128, adds to the first or last channel
    green: _I64  # (2 orders, 2) and takes from the second, times 65536
    nearest: _I64  # (2 orders, 2, 1024) chroma that adds nearest to a number, less -512
    fit: _I64  # (2,) share of pixels lately that either order explains
    chroma: NDArray[np.int16]  # (2, numbers) of a pixel, at its first number
    misses: NDArray[np.int16]  # (2, numbers) of their guesses, in 1/4
    lately: _I64  # (2, _PHASES) times 16
    sums: _I64  # (2, _PHASES, W, W)
    weights: _I64  # (2, _PHASES, W)
    shares: _I64  # (2, _SCALES, 8 * WITHIN + 1) of differences from the guess, in 1/4
    values: _I64  # (L, 2, W)
    state: _I64  # (L, 8): see above
    counts: _I64  # (L, 257) running sums of the shares of the number's values
    keys: _I64  # (L,) entry of chances in use, -1 for none
    chances: _I32  # (2 * 8 * 8 * BUCKETS,) adaptive, by channel, bit, fit and logit


def open_colours(numbers: int, lanes: int) -> Colours:
    """The memory before the first pixel of a block of so many numbers; 0 if they are no colours."""
    some = min(numbers, 1)
    added, nearest, shares = _added(), np.zeros((2, 2, 0), np.int64), np.zeros((2, 0, 0), np.int64)
    if some:  # most blocks have none, and these take milliseconds to make
        nearest, shares = _nearest(added), _first_shares()
    return Colours(
        added=added,
        green=np.array([[46802, 22554], [22554, 46802]]),
        nearest=nearest,
        fit=np.full(2, 1 << FIT - 1),
        chroma=np.zeros((2, numbers), np.int16),
        misses=np.zeros((2, numbers), np.int16),
        lately=np.full((2, _PHASES), 1024),
        sums=np.zeros((2, _PHASES, TERMS + 1, TERMS + 1), np.int64),
        weights=np.zeros((2, _PHASES, TERMS + 1), np.int64),
        shares=shares,
        values=np.zeros((lanes, 2, TERMS + 1), np.int64),
        state=np.zeros((lanes, 8), np.int64),
        counts=np.zeros((lanes, 257), np.int64),
        keys=np.full(lanes * some, -1),
        chances=np.tile(squash_table()[::128] << 14, 2 * 8 * 8).astype(np.int32),
    )


def _added() -> _I64:
    """As in JFIF: red is brightness plus 1.402 chroma, blue plus 1.772."""
    chroma = np.arange(-128, 128)
    red, blue = (91881 * chroma + 32768) >> 16, (116130 * chroma + 32768) >> 16
    return np.array([[red, blue], [blue, red]])


def _nearest(added: _I64) -> _I64:
    miss = np.abs(np.arange(-512, 512)[:, None] - added[:, :, None, :])
    nearest: _I64 = miss.argmin(-1) - 128
    return nearest


def _first_shares() -> _I64:
    """A logistic curve for each class: half an octave wider than the one before."""
    shares = np.zeros((2, _SCALES, 8 * WITHIN + 1), np.int64)
    for scale in range(_SCALES):
        spread = max((4 + scale % 2 * 2) << scale // 2, 5)  # in 1/32, as is the distance
        distance = np.arange(-4 * WITHIN, 4 * WITHIN + 1) * 8
        part = share_below(distance + 16, spread) - share_below(distance - 16, spread)
        shares[:, scale] = np.maximum(part >> 16 - UNIT, 1)
    return shares
