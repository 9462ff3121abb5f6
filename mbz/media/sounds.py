"""Orders of the bytes of sound, and back.

Raw is as in a WAV file and in the paper: samples in the order of time, the channels of each side by
side, the low byte first. The high byte says nearly all, so two orders have it first. They also
count from the lowest sample value on instead of having a sign, or the high byte would jump from 0
to 255 at silence.
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mbz.config import require


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One order.

    Attributes:
        kind: "raw"; "high": of each sample the high byte first; "split": of each `patch` bytes all
            high bytes first, then the low ones in the same order.
        patch: bytes, at least 2; what is left over at the end is a shorter one.
        apart: one channel after the other.
    """

    kind: Literal["raw", "high", "split"] = "raw"
    patch: int = 2
    apart: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError if no sample fits a patch."""
        require(2 <= self.patch <= 1 << 12, "patch", "must be 2 to 4096")

    def apply(self, samples: NDArray[np.generic]) -> bytes:
        """The bytes of samples (time, channels): uint8, or little-endian int16."""
        ordered = (samples.T if self.apart else samples).ravel()
        if self.kind == "raw" or ordered.dtype == np.uint8:
            return ordered.tobytes()
        pairs = (ordered.view("<u2") ^ np.uint16(0x8000)).astype(">u2").view(np.uint8)
        return pairs[self._order(pairs.size)].tobytes()

    def undo(self, data: bytes, channels: int, width: int) -> NDArray[np.generic]:
        """The samples (time, channels) of the bytes; `width` bytes each, 1 or 2."""
        ordered: NDArray[np.generic]
        if self.kind == "raw" or width == 1:
            ordered = np.frombuffer(data, np.uint8 if width == 1 else "<i2")
        else:
            pairs = np.empty(len(data), np.uint8)
            pairs[self._order(len(data))] = np.frombuffer(data, np.uint8)
            ordered = (pairs.view(">u2").astype("<u2") ^ np.uint16(0x8000)).view("<i2")
        return ordered.reshape(channels, -1).T if self.apart else ordered.reshape(-1, channels)

    def _order(self, size: int) -> NDArray[np.int64]:
        """Of each byte, its place in pairs with the high byte first."""
        index = np.arange(size)
        if self.kind == "high":
            return index
        patch = self.patch // 2 * 2
        whole = size // patch * patch
        blocks = index[:whole].reshape(-1, patch // 2, 2).transpose(0, 2, 1)
        return np.concatenate([blocks.ravel(), index[whole:].reshape(-1, 2).T.ravel()])


def parse(text: str, patch: int) -> Layout:
    """The layout that a word stands for.

    Args:
        text: "raw", "high" or "split", the last with optional bytes as in "split:32"; "+apart"
            behind it keeps channels apart.
        patch: bytes of a patch of the model, which "split" takes where `text` has none.

    Raises:
        ValueError: `text` is no layout.
    """
    match = re.fullmatch(r"(raw|high|split)(?::(\d{1,4}))?(\+apart)?", text)
    if match is None or (match[2] and match[1] != "split"):
        msg = f"{text!r} is no order of sound; take raw, high or split, as in split:32+apart"
        raise ValueError(msg)
    kind: Literal["raw", "high", "split"] = match[1]  # type: ignore[assignment]
    return Layout(kind=kind, patch=int(match[2] or max(2, patch)), apart=match[3] is not None)
