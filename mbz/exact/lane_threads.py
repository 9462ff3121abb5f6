"""Several predictors on threads of their own, each with a group of the lanes.

Lanes don't see each other, so the counts don't depend on how they are grouped. Threads meet once
a byte; inside, nothing is shared but the weights. With threads inside each operation instead, one
busy core made a step ten times slower (docs/log.md).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mbz.exact import Predictor

T = TypeVar("T")


class LaneThreads:
    """The `Predictor` made of predictors of the same weights, one to a thread."""

    def __init__(self, predictors: list[Predictor], start_thread: Callable[[], None]) -> None:
        """Takes one predictor for each thread; `start_thread` runs first in each thread."""
        self.predictors = predictors
        self.pool = ThreadPoolExecutor(len(predictors), "lanes", start_thread)

    def reset(self, lanes: int) -> None:
        """Starts `lanes` empty streams, in groups of nearly equal size."""
        used = min(len(self.predictors), lanes)
        self.edges = [lanes * i // used for i in range(used + 1)]
        self.pushed: NDArray[np.uint8] | None = None
        self.each(lambda predictor, part: predictor.reset(part.stop - part.start))

    def each(self, work: Callable[[Predictor, slice], T]) -> list[T]:
        """Results of `work` on every predictor in use and its lanes, all at the same time."""
        jobs = [self.pool.submit(work, *pair) for pair in self.groups()]
        return [job.result() for job in jobs]

    def groups(self) -> Iterator[tuple[Predictor, slice]]:
        """Predictors in use and their lanes."""
        parts = map(slice, self.edges, self.edges[1:])
        return zip(self.predictors, parts, strict=False)  # some may be idle

    def counts(self) -> NDArray[np.float32]:
        """Counts of the next byte of each lane, (B, 256)."""
        symbols_B, self.pushed = self.pushed, None

        def step(predictor: Predictor, part: slice) -> NDArray[np.float32]:
            if symbols_B is not None:
                predictor.push(symbols_B[part])
            return predictor.counts()

        return np.concatenate(self.each(step))

    def push(self, symbols_B: NDArray[np.uint8]) -> None:
        """Appends one byte to each lane; the work waits for the next call, to meet only once."""
        self.pushed = symbols_B.copy()

    def score(self, symbols_BS: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Counts before each of S given bytes, (B, S, 256)."""
        pushed_B, self.pushed = self.pushed, None

        def score(predictor: Predictor, part: slice) -> NDArray[np.float32]:
            if pushed_B is not None:
                predictor.push(pushed_B[part])
            return predictor.score(symbols_BS[part])

        return np.concatenate(self.each(score))
