"""Archives as files: content that can be read from any place, or written (`mbz.open`)."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from bisect import bisect_right
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO, Final

from mbz.atomic import appearing
from mbz.decoding import FindModel, decode_block, describe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from _typeshed import ReadableBuffer as Buffer

    from mbz.container import Block, ModelId

__all__ = ["ArchiveReader", "ArchiveWriter"]

_IN_MEMORY: Final = 1 << 20  # bytes; more wait in a temporary file


class ArchiveReader(io.RawIOBase):
    """The content of all archives in a file; decodes the blocks that are read, and keeps one.

    Opening reads all headers. A block's check is compared when it is decoded, the check of the
    whole never: `mbz.codec.decompress` does that.
    """

    def __init__(self, file: BinaryIO, find_model: FindModel) -> None:
        """Takes a file that can seek, which is closed with this one.

        Raises:
            DataError: the headers are damaged, or it is no archive.
        """
        self._file = file
        self._find_model = find_model
        self._blocks: list[tuple[Block, int, ModelId | None]] = []
        self._starts: list[int] = []
        self._size = self._at = 0
        for archive in describe(file):
            for one in archive.blocks:
                if one.block.raw_length:
                    self._blocks.append((one.block, one.offset, archive.header.model))
                    self._starts.append(self._size + one.raw_offset)
            self._size += archive.raw_length
        self._kept = -1, b""  # number and content of the block decoded last

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place in the content; costs nothing before the next read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}.get(whence)
        if start is None or start + offset < 0:
            raise ValueError("a place must be at or behind the start of the content")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        """The place of the next byte that is read."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fills `buffer` from one block, 0 bytes at the end.

        Raises:
            DataError: the block is damaged.
            ModelMismatch: its model is not here.
        """
        if self.closed:
            raise ValueError("read of a closed archive")
        if self._at >= self._size:
            return 0
        number = bisect_right(self._starts, self._at) - 1
        content = self._content(number)
        start = self._at - self._starts[number]
        part = content[start : start + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _content(self, number: int) -> bytes:
        if self._kept[0] != number:
            block, offset, model = self._blocks[number]
            predictor = None
            if block.needs_model and model is not None:
                predictor = self._find_model(model.fingerprint, model.name)
            self._file.seek(offset)
            self._kept = number, decode_block(block, self._file.read(block.coded_length), predictor)
        return self._kept[1]

    def close(self) -> None:
        """Closes the file, too."""
        if not self.closed:
            self._file.close()
        super().close()


class ArchiveWriter(io.BufferedIOBase):
    """Takes content, which is compressed on closing; till then it waits in a temporary file.

    Leaving a `with` block by an error writes no archive: what was at the path stays there.
    """

    def __init__(
        self, path: Path, mode: str, compress: Callable[[BinaryIO, BinaryIO], object]
    ) -> None:
        """Prepares the file; `compress` takes the content and where the archive goes."""
        self._opened = ExitStack()
        if mode == "xb" and path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        special = path.exists() and not path.is_file()  # a pipe or a device takes what comes
        target = path.open(mode) if special else appearing(path.resolve())
        self._target = self._opened.enter_context(target)
        self._compress = compress
        content = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with the stack
        self._content = self._opened.enter_context(content)

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Appends to the content."""
        if self.closed:
            raise ValueError("write to a closed archive")
        return self._content.write(data)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            super().close()
            self._opened.__exit__(kind, error, trace)
        self.close()

    def close(self) -> None:
        """Compresses all that was written; leaves no archive if that fails."""
        if self.closed:
            return
        super().close()
        with self._opened:
            self._content.seek(0)
            self._compress(self._content, self._target)  # type: ignore[arg-type]
