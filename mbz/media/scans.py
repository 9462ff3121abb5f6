"""Orders in which the bytes of pictures become a sequence, and back (paper, appendix D.1).

A scan runs over blocks of `frames` x `side` x `side` pixels, row after row of blocks. Within a
block it runs over frames, rows, columns and the channels of each pixel. Blocks of one pixel make
the raster scan. A patch of P = 3 * side**2 bytes is then a block of an image in three channels.

Where sizes do not divide, nothing is padded: the pixels left over at the end, below and to the
right of all whole blocks follow them in raster order.
"""

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbz.config import require

HYBRID = "hybrid"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """One order.

    Attributes:
        side: pixels of the side of a block.
        frames: frames of a block.
        winding: every other row of blocks runs from right to left, so that each block touches the
            one before.
    """

    side: int = 1
    frames: int = 1
    winding: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError if a block has no pixels."""
        require(1 <= self.side <= 1 << 10, "side", "must be 1 to 1024")
        require(1 <= self.frames <= 1 << 10, "frames", "must be 1 to 1024")

    def order(self, frames: int, height: int, width: int) -> NDArray[np.int64]:
        """The place in raster order of each pixel of the scan, (frames * height * width,)."""
        index = np.arange(frames * height * width).reshape(frames, height, width)
        block = (self.frames, self.side, self.side)
        counts = [size // step for size, step in zip(index.shape, block, strict=True)]
        t, y, x = (count * step for count, step in zip(counts, block, strict=True))
        parts = (counts[0], block[0], counts[1], block[1], counts[2], block[2])
        blocks = index[:t, :y, :x].reshape(parts).transpose(0, 2, 4, 1, 3, 5).copy()
        if self.winding:
            blocks[:, 1::2] = blocks[:, 1::2, ::-1].copy()
        rest = np.ones(index.shape, bool)
        rest[:t, :y, :x] = False
        return np.concatenate([blocks.ravel(), index[rest]])

    def apply(self, pixels: NDArray[np.uint8]) -> bytes:
        """The bytes of pixels (T, H, W, C)."""
        return pixels.reshape(-1, pixels.shape[3])[self.order(*pixels.shape[:3])].tobytes()

    def undo(self, data: bytes, shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
        """The pixels (T, H, W, C) of the bytes."""
        pixels = np.empty((math.prod(shape[:3]), shape[3]), np.uint8)
        pixels[self.order(*shape[:3])] = np.frombuffer(data, np.uint8).reshape(pixels.shape)
        return pixels.reshape(shape)

    def __str__(self) -> str:
        if self.side == self.frames == 1:
            return "raster"
        frames = "" if self.frames == 1 else f"x{self.frames}"
        return f"{'winding' if self.winding else 'patch'}:{self.side}{frames}"


def side_of(patch: int) -> int:
    """The side of the blocks whose pixels, in three channels, are nearest to a patch of bytes."""
    return max(1, round(math.sqrt(patch / 3)))


def parse(text: str, patch: int) -> list[Scan]:
    """The scans that a word stands for; of several, the best is chosen for each picture.

    Args:
        text: "raster"; "patch", "winding" or "hybrid" (the best of these three), each with an
            optional side, and frames of video: "patch:8", "patch:4x2".
        patch: bytes of a patch of the model, which gives the side where `text` does not.

    Raises:
        ValueError: `text` is no scan.
    """
    match = re.fullmatch(r"(raster|patch|winding|hybrid)(?::(\d{1,4})(?:x(\d{1,4}))?)?", text)
    if match is None or (match[1] == "raster" and match[2]):
        msg = f"{text!r} is no scan; take raster, patch, winding or hybrid, as in patch:8 (pixels)"
        raise ValueError(msg)
    side, frames = int(match[2] or side_of(patch)), int(match[3] or 1)
    plain = Scan(side=side, frames=frames)
    winding = Scan(side=side, frames=frames, winding=True)
    scans = {"raster": [Scan()], "patch": [plain], "winding": [winding]}
    return scans.get(match[1], [plain, winding, Scan()])
