"""Reads back what `mbz compress` wrote, before anything relies on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from mbz import codec
from mbz.errors import Corrupt, DataError

if TYPE_CHECKING:
    from mbz.decoding import Progress

    from .predictors import Models


def verify(
    archive: BinaryIO,
    source: BinaryIO,
    start: int | None,
    *,
    models: Models,
    progress: Progress | None,
) -> None:
    """Decodes an archive and compares it with its source, or with its own checks for a pipe.

    Args:
        archive: What was written, at its end.
        source: What was compressed.
        start: The place from which on it was; None for a pipe.
        models: Where its model comes from.
        progress: Called with the number of bytes decoded so far.

    Raises:
        Corrupt: If it would not restore the input.
    """
    size = archive.tell()
    archive.flush()
    archive.seek(0)
    same = None
    if start is not None:
        source.seek(start)
        same = _Same(source)
    try:
        stats = codec.decompress(
            archive, same, models.find, progress=progress, threads=models.threads or None
        )
    except DataError as error:
        raise Corrupt(f"the archive that was written does not restore it ({error})") from error
    if stats.archive_length != size or (same is not None and source.read(1)):
        raise _changed()


class _Same:
    """Takes the bytes that a file holds, in their order, and no others."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        """Compares the next bytes."""
        if self._file.read(len(data)) != data:
            raise _changed()


def _changed() -> Corrupt:
    return Corrupt("the archive that was written does not hold what the input holds now")
