"""A predictor without a network: adaptive byte frequencies of each lane, in integers."""

import numpy as np

from mbz.exact import COUNT_SUM


class StubPredictor:
    """Fulfils `mbz.exact.Predictor`; `weight` is how much one byte adds to its frequency."""

    def __init__(self, weight: int = 32) -> None:
        self._weight = weight
        self.most_lanes = 4096
        self._seen_BV = np.zeros((0, 256), np.int64)
        self._asked = False

    def reset(self, lanes: int) -> None:
        assert lanes >= 1
        self._seen_BV = np.ones((lanes, 256), np.int64)
        self._asked = False

    def counts(self) -> np.ndarray:
        assert not self._asked
        self._asked = True
        seen_BV = self._seen_BV
        counts_BV = seen_BV * COUNT_SUM // seen_BV.sum(axis=1, keepdims=True)
        # What rounding down left over goes to the most frequent byte.
        lanes = np.arange(len(seen_BV))
        counts_BV[lanes, seen_BV.argmax(axis=1)] += COUNT_SUM - counts_BV.sum(axis=1)
        return counts_BV.astype(np.float32)

    def push(self, symbols_B: np.ndarray) -> None:
        assert self._asked
        assert symbols_B.dtype == np.uint8
        assert symbols_B.shape == self._seen_BV.shape[:1]
        self._asked = False
        self._seen_BV[np.arange(len(symbols_B)), symbols_B] += self._weight

    def score(self, symbols_BS: np.ndarray) -> np.ndarray:
        rounds = []
        for symbols_B in symbols_BS.T:
            rounds.append(self.counts())
            self.push(symbols_B)
        return np.stack(rounds, axis=1)
