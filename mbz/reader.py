"""Exact reading from streams that may give less than they are asked for."""

from typing import Protocol

from mbz.errors import Truncated

_PIECE = 1 << 20  # bytes asked of a stream at once


class Readable(Protocol):
    """A binary stream; it may give fewer bytes than asked for, and none only at its end."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""


class Reader:
    """Reads a stream exactly: as many bytes as asked for, or `Truncated`.

    `offset` counts the bytes taken since the reader was made.
    """

    def __init__(self, src: Readable) -> None:
        self.offset = 0
        self._src = src
        self._ahead = b""  # at most one byte

    def at_end(self) -> bool:
        """Whether no byte is left; may wait for one."""
        if not self._ahead:
            self._ahead = self._src.read(1)
        return not self._ahead

    def up_to(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end; takes memory only for bytes that exist."""
        pieces, missing = [self._ahead[:size]], size - len(self._ahead[:size])
        self._ahead = self._ahead[size:]
        while missing:
            piece = self._src.read(min(missing, _PIECE))
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        self.offset += size - missing
        return b"".join(pieces)

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
            Truncated: the stream ends before them.
        """
        data = self.up_to(size)
        if len(data) < size:
            raise Truncated(f"The archive is cut off after {self.offset} bytes.")
        return data

    def skip(self, size: int) -> None:
        """Passes over `size` bytes, seeking if the stream can.

        Raises:
            Truncated: the stream ends before them.
        """
        seekable = getattr(self._src, "seekable", None)
        if size > 1 and not self._ahead and seekable is not None and seekable():
            self._src.seek(size - 1, 1)  # type: ignore[attr-defined]
            self.offset += size - 1
            size = 1  # reading the last byte proves that the others were there
        while size:
            size -= len(self.exactly(min(size, _PIECE)))
