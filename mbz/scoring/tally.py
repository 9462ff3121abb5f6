"""Adds up bits: per document, per group, in all."""

import math
from dataclasses import dataclass, field
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from mbz.scoring import Piece

SPAN = 1 << 10
"""Bytes of what is called best and worst of a document."""


@dataclass(slots=True)
class Score:
    """Bits of some bytes.

    Attributes:
        name: of the document or group.
        bytes: how many.
        bits: their sum.
        best: bits per byte of the whole span of SPAN bytes that took least, or of all if shorter.
        worst: of the one that took most.
        files: documents of a group.
    """

    name: str
    bytes: int = 0
    bits: float = 0.0
    best: float = np.inf
    worst: float = -np.inf
    files: int = 1
    _open: list[NDArray[np.float32]] = field(default_factory=list)

    @property
    def bpb(self) -> float | None:
        """Bits per byte; None of nothing."""
        return self.bits / self.bytes if self.bytes else None

    def add(self, piece: Piece) -> None:
        """Counts the next piece of the document."""
        self.bytes += piece.bits.size
        self.bits += float(piece.bits.sum(dtype=np.float64))
        bits = np.concatenate([*self._open, piece.bits])
        spans = bits[: bits.size // SPAN * SPAN].reshape(-1, SPAN)
        self._open = [bits[spans.size :]]
        if len(spans):
            self._extend(spans.mean(1, dtype=np.float64))

    def finish(self) -> None:
        """Ends the document."""
        if self.bytes and self.bytes < SPAN:
            self._extend(np.array([self.bits / self.bytes]))
        self._open = []

    def include(self, other: "Score") -> None:
        """Counts all of another score too."""
        self.bytes += other.bytes
        self.bits += other.bits
        self.best = min(self.best, other.best)
        self.worst = max(self.worst, other.worst)
        self.files += other.files

    def to_dict(self) -> dict[str, str | int | float | None]:
        """The score as plain data; None where there are no bytes."""
        return {
            "name": self.name,
            "files": self.files,
            "bytes": self.bytes,
            "bits": self.bits,
            "bpb": self.bpb,
            "best": self.best if self.bytes else None,
            "worst": self.worst if self.bytes else None,
        }

    def _extend(self, means: NDArray[np.float64]) -> None:
        self.best = min(self.best, float(means.min()))
        self.worst = max(self.worst, float(means.max()))


def chosen(orders: list[Score]) -> Score:
    """The best of some orders of the same content, and what it takes to say which it is."""
    best = min(orders, key=lambda score: score.bits)
    best.bits += math.log2(len(orders)) if best.bytes else 0
    return best


def total(scores: list[Score], name: str = "total") -> Score:
    """All in one."""
    found = Score(name, files=0)
    for score in scores:
        found.include(score)
    return found


def groups(scores: list[Score], by: str) -> list[Score]:
    """Scores by "ext", the last suffix of the name in lower case, or by "folder"; sorted."""
    parts: dict[str, list[Score]] = {}
    for score in scores:
        path = PurePath(score.name.split("#", 1)[0])
        name = path.suffix.lower() or "(none)" if by == "ext" else str(path.parent)
        parts.setdefault(name, []).append(score)
    return [total(parts[name], name) for name in sorted(parts)]
