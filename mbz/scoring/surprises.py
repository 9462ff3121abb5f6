"""The most surprising places of documents."""

import heapq
from typing import NamedTuple

import numpy as np

from mbz.scoring import Piece

LENGTH = 64
"""Bytes of a place."""
WARM = 256
"""Bytes that must be known before a place: what starts a window surprises anyway."""


class Place(NamedTuple):
    """Bytes of a document that surprised: ordered by how much."""

    bpb: float
    document: int
    offset: int
    data: bytes


class Surprises:
    """Keeps the `most` most surprising places, no two of which overlap."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._offsets: dict[int, int] = {}
        self._found: list[Place] = []

    def add(self, piece: Piece) -> None:
        """Takes the next piece of a document."""
        offset = self._offsets.get(piece.document, 0)
        self._offsets[piece.document] = offset + piece.bits.size
        skipped = max(0, WARM - piece.place)
        whole = max(0, piece.bits.size - skipped) // LENGTH
        bits = piece.bits[skipped : skipped + whole * LENGTH].astype(float)
        means = bits.reshape(-1, LENGTH).mean(1)
        for index in np.argsort(-means, kind="stable")[: self.most].tolist():
            start = skipped + index * LENGTH
            data = piece.data[start : start + LENGTH].tobytes()
            place = Place(float(means[index]), piece.document, offset + start, data)
            heapq.heappush(self._found, place)
            if len(self._found) > self.most:
                heapq.heappop(self._found)

    def drop(self, document: int) -> None:
        """Forgets a document that could not be read to its end."""
        self._found = [place for place in self._found if place.document != document]
        heapq.heapify(self._found)

    def places(self) -> list[Place]:
        """The most surprising first."""
        return sorted(self._found, reverse=True)
