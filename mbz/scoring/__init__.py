"""How many bits each byte of files takes, under a model or as an archive would have it.

`documents.py` finds what to score, a scorer (`windows.py`, `archive.py`) measures it, `score` runs
one over the other with bounded memory, and `tally.py` adds up. A document starts with nothing known
before it. Sums are of bits and of bytes and divided once, never means of means.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mbz.errors import MbzError
from mbz.reader import Readable
from mbz.scoring.documents import Document

__all__ = ["Document", "Failure", "Piece", "Scorer", "Window", "score"]


class Window(NamedTuple):
    """Bytes of a document that are looked at together, of which those from `keep` on are scored."""

    data: bytes
    keep: int


class Piece(NamedTuple):
    """Scored bytes of a document.

    Attributes:
        document: its number, from 0.
        data: the bytes, (n,) uint8.
        bits: what each takes, (n,) float32.
        place: how many bytes the model saw before the first of them.
    """

    document: int
    data: NDArray[np.uint8]
    bits: NDArray[np.float32]
    place: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A document that cannot be read, at all or to its end; what came before does not count."""

    document: int
    error: Exception


class Scorer(Protocol):
    """Measures windows, which it cuts itself."""

    pool: int
    """Bytes of windows that it likes to have at once."""
    patch: int
    """Bytes of a patch of its model; 1 without."""

    def cut(self, stream: Readable) -> Iterator[Window]:
        """The windows of a document in order; each byte is scored in one of them."""

    def bits(self, windows: list[Window]) -> list[NDArray[np.float32]]:
        """Bits of the scored bytes of each window."""


def score(documents: Iterable[Document], scorer: Scorer) -> Iterator[Piece | Failure]:
    """Scores documents, the small ones together; holds little more than `scorer.pool` bytes.

    Yields:
        The pieces of each document in order, and a failure for each that cannot be read.
    """
    waiting: list[tuple[int, Window]] = []
    size = 0
    for number, document in enumerate(documents):
        try:
            with document.open() as stream:
                for window in scorer.cut(stream):
                    waiting.append((number, window))
                    size += len(window.data)
                    if size >= scorer.pool:
                        yield from _scored(waiting, scorer)
                        waiting, size = [], 0
        except (OSError, MbzError) as error:
            yield Failure(number, error)
            waiting = [pair for pair in waiting if pair[0] != number]
    yield from _scored(waiting, scorer)


def _scored(waiting: list[tuple[int, Window]], scorer: Scorer) -> Iterator[Piece]:
    found = scorer.bits([window for _, window in waiting]) if waiting else []
    for (number, window), bits in zip(waiting, found, strict=True):
        data = np.frombuffer(window.data, np.uint8)[window.keep :]
        yield Piece(number, data, bits, window.keep)
