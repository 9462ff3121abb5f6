"""Tells a step that would harm the model: a loss or gradient that is no number or far too large.

A step is judged by the running mean and deviation of the accepted steps before it. Only what is far
outside counts, for small batches of mixed data differ a lot; in most runs no step does.
"""

import math
from dataclasses import dataclass, field

MEMORY = 100
"""Accepted steps over which means run, and before which nothing but NaN and infinity is refused."""
FAR = 10.0
"""Deviations from the mean."""
PATIENCE = 10
"""Refused steps in a row after which a run has failed."""


@dataclass(slots=True)
class Level:
    """Running mean and variance of a measurement."""

    mean: float = 0.0
    variance: float = 0.0
    count: int = 0

    def excess(self, value: float) -> float:
        """Deviations of `value` above the mean; 0 as long as too little is known."""
        if self.count < MEMORY:
            return 0.0
        return (value - self.mean) / max(math.sqrt(self.variance), 1e-6)

    def add(self, value: float) -> None:
        """Takes one more value into account; the first ones count equally."""
        self.count = min(self.count + 1, MEMORY)
        before, self.mean = self.mean, self.mean + (value - self.mean) / self.count
        spread = (value - before) * (value - self.mean)
        self.variance += (spread - self.variance) / self.count


@dataclass(slots=True)
class Guard:
    """Judges steps by loss, in bits per byte, and gradient norm; `refused` in a row so far."""

    loss: Level = field(default_factory=Level)
    norm: Level = field(default_factory=Level)  # of the logarithm, for it varies by factors
    refused: int = 0

    def accepts(self, loss: float, norm: float) -> bool:
        """Whether a step may change the weights."""
        size = math.log(max(norm, 1e-12)) if math.isfinite(norm) else math.inf
        harmless = (
            math.isfinite(loss)
            and math.isfinite(size)
            and not (self.loss.excess(loss) > FAR and loss > 1.5 * self.loss.mean)
            and not (self.norm.excess(size) > FAR and size > self.norm.mean + math.log(10))
        )
        if harmless:
            self.loss.add(loss)
            self.norm.add(size)
        self.refused = 0 if harmless else self.refused + 1
        return harmless
