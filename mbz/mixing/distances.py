"""Bins and classes of how far off guesses are."""

import numpy as np

from mbz.mixing.compiled import part

FRACTION = 4  # bits of a guess below one


@part
def bin_of(n, distance):
    """Four bins an octave, below 64, of a distance >= 0 in 1 / 2**FRACTION."""
    if distance < 4096:
        return np.int64(n.bins[distance])
    if distance < 1 << 20:
        return min(np.int64(n.bins[distance >> 8]) + 32, 63)
    return np.int64(63)


@part
def class_of(n, distance):
    """Two classes an octave, below 32."""
    return bin_of(n, distance) >> 1
