"""Files as the byte sequences of their content: as they are, or decoded and in an order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbz.media import files, scans, sounds
from mbz.media.scans import Scan

Kind = Literal["bytes", "image", "audio", "video", "auto"]
SUFFIXES: Final[dict[str, Kind]] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".webp"), "image"),
    ".wav": "audio",
    ".y4m": "video",
}


class Content(NamedTuple):
    """A sequence: its name, and what gives its bytes, once for each order to try.

    Calling may raise OSError or MbzError.
    """

    name: str
    orders: list[Callable[[], bytes]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How files are read.

    Attributes:
        kind: what they hold; "auto" goes by their names, and takes the rest as bytes.
        scan: order of pixels and samples, as `scans.parse` and `sounds.parse` say; "" for patch
            scan and for raw sound.
        patch: bytes of a patch of the model.
    """

    kind: Kind
    scan: str
    patch: int

    def __post_init__(self) -> None:
        """Raises ValueError if there is no such order."""
        if self.kind == "audio":
            sounds.parse(self.scan or "raw", self.patch)
        elif self.kind != "bytes" and self.scan:
            scans.parse(self.scan, self.patch)
        elif self.scan:
            msg = "scan is an order of images, sound or video; plain bytes have one order"
            raise ValueError(msg)

    def kind_of(self, path: Path) -> Kind:
        """What a file is read as."""
        return SUFFIXES.get(path.suffix.lower(), "bytes") if self.kind == "auto" else self.kind

    def contents(self, path: Path) -> Iterator[Content]:
        """The sequences in a file that is not read as bytes; each image of an array is one.

        Raises:
            OSError: the file cannot be read.
            MbzError: it is not of its kind.
        """
        kind, name = self.kind_of(path), str(path)
        if kind == "audio":
            layout = sounds.parse((self.kind == "audio" and self.scan) or "raw", self.patch)
            yield Content(name, [lambda: layout.apply(files.sound(path))])
        elif kind == "video":
            frames = files.array(path, 4)[None] if path.suffix == ".npy" else files.video(path)
            yield Content(name, self._scanned(lambda: list(frames)))
        elif path.suffix != ".npy":
            yield Content(name, self._scanned(lambda: [files.image(path)[None]]))
        else:
            stack = files.array(path, 4)
            for number in range(len(stack)):
                one = partial(_picture, stack, number)
                yield Content(f"{name}#{number}", self._scanned(one))

    def _scanned(self, pixels: Callable[[], list[NDArray[np.uint8]]]) -> list[Callable[[], bytes]]:
        def scanned(scan: Scan) -> bytes:
            return b"".join(map(scan.apply, pixels()))

        return [partial(scanned, scan) for scan in scans.parse(self.scan or "patch", self.patch)]


def _picture(stack: NDArray[np.uint8], number: int) -> list[NDArray[np.uint8]]:
    return [stack[number][None]]
