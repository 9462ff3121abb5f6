"""Scores windows of a model's context, each by itself, many at a time.

Three ways to cut a document, all causal: a byte's bits depend on nothing after it.

- Windows end to end: each starts with nothing known, like a lane of an archive.
- Sliding: each window overlaps half of the one before and only its second half is scored, so that
  what is scored has at least half a window before it; twice the work.
- Strided (the paper's section 2.3.3): a patch is predicted worse towards its end, since the global
  model knows nothing of it. A second pass, whose patches lie half a patch further on, scores the
  second halves of the patches, which are first halves there; twice the work again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mbz.config import require
from mbz.reader import Readable, Reader
from mbz.scoring import Window

DEFAULT_CONTEXT = 1 << 13  # bytes, as in training and in the lanes of an archive


class Engine(Protocol):
    """A model that predicts all bytes of some windows at once."""

    patch: int
    """Bytes of a patch; windows have whole ones."""
    most: int
    """Bytes of windows that it takes at once, about."""

    def bits(self, bytes_BT: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Bits (B, T) of each byte, given those before it in its row; T is whole patches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """How documents are cut.

    Attributes:
        context: bytes of a window.
        slide: windows overlap by half.
        stride: second halves of patches are scored by a second pass.
    """

    context: int = DEFAULT_CONTEXT
    slide: bool = False
    stride: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError if the context is too short."""
        require(self.context >= 2, "context", "must be at least 2")


class WindowScorer:
    """The `Scorer` of an engine."""

    def __init__(self, engine: Engine, method: Method) -> None:
        """Takes a context of whole patches, the next larger one."""
        self.engine, self.method = engine, method
        self.patch = engine.patch
        self.context = _whole(method.context, engine.patch * (2 if method.slide else 1))
        self.pool = max(self.context, 4 * engine.most)

    def cut(self, stream: Readable) -> Iterator[Window]:
        """The windows of a document, in order."""
        reader, step = Reader(stream), self.context // 2 if self.method.slide else self.context
        before = b""
        while new := reader.up_to(self.context - len(before)):
            data = before + new
            yield Window(data, len(before))
            before = data[step:] if self.method.slide else b""

    def bits(self, windows: list[Window]) -> list[NDArray[np.float32]]:
        """Bits of the scored bytes of each window."""
        found: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(windows)
        order = sorted(range(len(windows)), key=lambda i: len(windows[i].data), reverse=True)
        while order:
            longest = _whole(len(windows[order[0]].data), self.engine.patch)
            count = max(1, self.engine.most // longest)
            batch, order = order[:count], order[count:]
            bytes_BT = np.zeros((len(batch), longest), np.uint8)
            for row, i in zip(bytes_BT, batch, strict=True):
                row[: len(windows[i].data)] = np.frombuffer(windows[i].data, np.uint8)
            bits_BT = self.strided(bytes_BT) if self.method.stride else self.engine.bits(bytes_BT)
            for row, i in zip(bits_BT, batch, strict=True):
                found[i] = row[windows[i].keep : len(windows[i].data)].copy()
        return found

    def strided(self, bytes_BT: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Bits (B, T) by two passes. The second knows nothing of the first half patch."""
        patch, length = self.engine.patch, bytes_BT.shape[1]
        half = (patch + 1) // 2
        bits_BT = self.engine.bits(bytes_BT)
        if half == patch or length <= patch:
            return bits_BT
        shifted_BT = np.zeros_like(bytes_BT)
        shifted_BT[:, :-half] = bytes_BT[:, half:]
        moved_BT = self.engine.bits(shifted_BT)
        places = np.arange(patch, length)
        seconds = places[places % patch >= half]
        bits_BT[:, seconds] = moved_BT[:, seconds - half]
        return bits_BT


def _whole(count: int, of: int) -> int:
    return -(-count // of) * of
