"""A predictor that finds out, while it works, how many threads make its steps fastest.

A step for a few lanes is about a hundred parallel regions of some ten microseconds. Two idle cores
nearly halve its time; but if another program keeps one of them busy, every region waits for a
thread that is not running, and the step takes ten times as long (docs/log.md). The counts are the
same for any number of threads, so trying is free of risk.
"""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mbz.exact import Predictor

WINDOW = 16  # steps that are timed together
FIRST_WAIT, LONGEST_WAIT = 8, 256  # windows between trials
GAIN = 0.95  # what a trial must take, of the usual time, to be kept


class PacedThreads:
    """The `Predictor` of another one, with its threads turned up and down."""

    def __init__(self, predictor: Predictor, most: int, set_threads: Callable[[int], None]) -> None:
        """Takes the predictor, the most threads it may use, and what sets their number."""
        self.predictor, self.set_threads = predictor, set_threads
        self.levels = sorted({min(1 << i, most) for i in range(most.bit_length() + 1)})
        self.level = self.trial = len(self.levels) - 1
        self.wait, self.left, self.direction = FIRST_WAIT, 1, -1
        self.usual = float("inf")

    def reset(self, lanes: int) -> None:
        """Starts `lanes` empty streams."""
        self.set_threads(self.levels[self.level])
        self.predictor.reset(lanes)
        self.trial, self.steps, self.since = self.level, 0, time.perf_counter()

    def counts(self) -> NDArray[np.float32]:
        """Counts of the next byte of each lane, (B, 256)."""
        return self.predictor.counts()

    def push(self, symbols_B: NDArray[np.uint8]) -> None:
        """Appends one byte to each lane."""
        self.predictor.push(symbols_B)
        self.steps += 1
        if self.steps % WINDOW == 0:
            now = time.perf_counter()
            self.end_window(now - self.since)
            self.since = time.perf_counter()

    def end_window(self, seconds: float) -> None:
        """Keeps what a trial found, or starts the next trial when it is due."""
        if self.trial != self.level:
            if seconds < GAIN * self.usual:
                self.level, self.wait = self.trial, FIRST_WAIT
            else:
                self.wait = min(2 * self.wait, LONGEST_WAIT)
                self.direction = -self.direction
            self.trial, self.left = self.level, self.wait
        else:
            self.usual = seconds
            self.left -= 1
            if self.left <= 0:
                self.trial = self.level + self.direction
                if not 0 <= self.trial < len(self.levels):
                    self.direction = -self.direction
                    self.trial = max(0, min(self.level + self.direction, len(self.levels) - 1))
                    self.left = self.wait
        self.set_threads(self.levels[self.trial])

    def score(self, symbols_BS: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Counts before each of S given bytes, (B, S, 256); long regions, so all threads."""
        self.set_threads(self.levels[-1])
        counts = self.predictor.score(symbols_BS)
        self.set_threads(self.levels[self.level])
        return counts
