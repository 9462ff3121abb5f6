"""What the levels of compression mean: how much is predicted with (docs/mixing.md)."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Level:
    """One level of compression.

    Attributes:
        model: alias of the shipped model that takes part; None for no network.
        experts: the set of experts.
        lane_bytes: as for `codec.compress`, where the network takes part.
    """

    model: str | None
    experts: str
    lane_bytes: int


# What one lane learns of a block comes late for the others, so few lanes are better, most of all
# for code: a block up to 128 KiB has one. But going through all the weights of a network for one
# lane is slow (docs/log.md).
_LEAN = Level("tiny", "lean", 1 << 17)
_MIDDLE = Level("small", "middle", 1 << 17)
_RICH = Level("base", "rich", 1 << 17)

LEVELS: Final = (
    Level(None, "lean", 0),
    *(_LEAN, _LEAN),
    *(_MIDDLE, _MIDDLE, _MIDDLE),
    *(_RICH, _RICH, _RICH),
    Level("base", "rich", 1 << 18),
)
"""Levels 0 to 9."""

DEFAULT: Final = 3
