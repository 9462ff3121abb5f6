"""Draws bytes from a model: with the same seed the same ones on every machine.

Counts are exact (docs/exact.md). A temperature is applied in decimal arithmetic, whose logarithm
and exponential are correctly rounded, so they have one possible result too. Bytes are drawn by
comparing integers, from the raw output of PCG64, which numpy promises not to change.
"""

from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal

import numpy as np
from numpy.random import PCG64
from numpy.typing import NDArray

from mbz.exact import Predictor

PART = 4096  # bytes of a prompt that are scored at once, to bound the memory for their counts
ONE = 1 << 40  # weight of the likeliest byte at a temperature other than 0 and 1
ARITHMETIC = Context(prec=15, rounding=ROUND_HALF_EVEN, traps=[])


def sample(
    predictor: Predictor, prompt: bytes = b"", *, temperature: float = 1.0, seed: int
) -> Iterator[int]:
    """Draws bytes that go on after a prompt, without end.

    Args:
        predictor: of the model; it is reset.
        prompt: what comes before the first byte.
        temperature: as for `weights`.
        seed: at least 0.

    Yields:
        Bytes as integers; each is drawn when it is asked for.

    Raises:
        ValueError: the temperature or the seed is out of range.
    """
    random = PCG64(seed)
    predictor.reset(1)
    for start in range(0, len(prompt), PART):
        predictor.score(np.frombuffer(prompt[start : start + PART], np.uint8)[None])
    while True:
        byte = draw(weights(predictor.counts()[0], temperature), random.random_raw())
        yield byte
        predictor.push(np.array([byte], np.uint8))


def weights(counts: NDArray[np.float32], temperature: float) -> NDArray[np.int64]:
    """Integers in proportion to the probabilities to the power of 1 / temperature, (256,).

    Args:
        counts: of one lane, (256,), as a `Predictor` gives them.
        temperature: at least 0. At 1 the weights are the exact probabilities, times 2**24; at 0
            the likeliest byte, the first of several, has all the weight; else the likeliest has
            2**40 and the others are rounded down.

    Raises:
        ValueError: the temperature is negative or not finite.
    """
    if not 0 <= temperature < float("inf"):
        msg = f"the temperature must be at least 0 and finite, not {temperature}"
        raise ValueError(msg)
    frequencies: NDArray[np.int64] = counts.astype(np.int64) + 1
    if temperature == 1:
        return frequencies
    if temperature == 0:
        return np.eye(1, 256, int(counts.argmax()), np.int64).ravel()
    a, inverse = ARITHMETIC, Decimal(temperature)
    values, places = np.unique(frequencies, return_inverse=True)  # most bytes share the least
    logs = [a.ln(int(value)) for value in values]
    powers = [a.exp(a.divide(a.subtract(log, logs[-1]), inverse)) for log in logs]
    return np.array([int(a.multiply(power, ONE)) for power in powers], np.int64).take(places)


def draw(weights: NDArray[np.int64], random: int) -> int:
    """The byte to which a random number of 64 bits falls, by weights (256,) of at most 2**40."""
    ends = np.cumsum(weights)
    return int(np.searchsorted(ends, random * int(ends[-1]) >> 64, side="right"))
