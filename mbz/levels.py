"""What the levels of compression mean: how much is predicted with (docs/mixing.md)."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Level:
    """One level: whether a network takes part, and which set of experts."""

    network: bool
    experts: str


_LEAN, _MIDDLE, _RICH = Level(True, "lean"), Level(True, "middle"), Level(True, "rich")

LEVELS: Final = (
    Level(False, "lean"),
    *(_LEAN, _LEAN),
    *(_MIDDLE, _MIDDLE, _MIDDLE),
    *(_RICH, _RICH, _RICH, _RICH),
)
"""Levels 0 to 9."""

DEFAULT: Final = 3
