"""Scores documents as an archive would code them: its blocks, its lanes, its arithmetic."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mbz.codec import DEFAULT_BLOCK, coding_of
from mbz.exact import Predictor
from mbz.payload import costs
from mbz.reader import Readable, Reader
from mbz.scoring import Window

NOTHING = np.zeros(0, np.float32)


class ArchiveScorer:
    """The `Scorer` of a level of compression.

    Headers and checks are not counted, nor that a block may be stored or coded by LZMA instead.
    """

    pool = 1  # one block at a time

    def __init__(
        self, predictor: Predictor | None, experts: str | None, lane_bytes: int, patch: int = 1
    ) -> None:
        """Takes what `mbz.codec.compress` takes, and the bytes of a patch."""
        assert predictor is not None or experts is not None
        self.patch = patch
        self.predictor, self.experts, self.lane_bytes = predictor, experts, lane_bytes

    def cut(self, stream: Readable) -> Iterator[Window]:
        """The blocks."""
        reader = Reader(stream)
        while raw := reader.up_to(DEFAULT_BLOCK):
            yield Window(raw, 0)

    def bits(self, windows: list[Window]) -> list[NDArray[np.float32]]:
        """Bits of the bytes of each block."""
        return [self._block(raw) for raw, _ in windows]

    def _block(self, raw: bytes) -> NDArray[np.float32]:
        coding = coding_of(
            raw,
            predictor=self.predictor,
            experts=self.experts,
            lanes=None,
            lane_bytes=self.lane_bytes,
        )
        assert coding is not None
        return costs(raw, coding, self.predictor if coding.network else None)
