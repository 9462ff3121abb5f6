"""Exact inference: integer next-byte counts that are equal on every machine (docs/exact.md).

A `Predictor` is what the coder sees of a model. `open_predictor` picks the fastest backend whose
self-test passes; `reference.py` is the definition that every backend must equal bit for bit.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mbz.exact.fixed import COUNT_SUM

__all__ = ["COUNT_SUM", "Predictor"]


class Predictor(Protocol):
    """Next-byte counts for B independent byte streams ("lanes") that advance together.

    Counts are integers >= 0 held in float32, and each row of 256 sums to `COUNT_SUM` = 2**24 - 256.
    Byte v then has probability (counts[v] + 1) / 2**24.
    """

    def reset(self, lanes: int) -> None:
        """Forgets everything and starts `lanes` >= 1 empty streams."""

    def counts(self) -> NDArray[np.float32]:
        """Counts of the next byte of each lane, shape (B, 256); may be called only once a byte."""

    def push(self, symbols_B: NDArray[np.uint8]) -> None:
        """Appends one byte to each lane; `counts` must have been called before."""

    def score(self, symbols_BS: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Appends S bytes to each lane and returns the counts before each, shape (B, S, 256).

        Equal bit for bit to S rounds of `counts` and `push`, for any split into calls.
        """
