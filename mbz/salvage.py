"""What can be had of damaged archives: one bad block loses one block (docs/format.md, 9).

First the headers are read, and looked for anew where they are damaged; then every block found is
decoded, and given out if its check matches.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import xxhash

from mbz import container, parallel
from mbz.container import Block, End, Frame, Header
from mbz.decoding import (
    FindModel,
    Progress,
    Writable,
    check_limit,
    decode_block,
    load_of,
    progress_from,
)
from mbz.errors import Corrupt, DataError, Truncated
from mbz.exact import Predictor
from mbz.reader import Reader

__all__ = ["Missing", "Salvaged", "salvage"]

_LEAST_HEADER: Final = 12  # bytes of a block header
_CANDIDATE: Final = re.compile(rb"[\x00-\x03\x80-\x83\xb5]", re.DOTALL)
_PIECE: Final = 1 << 20
_ZEROS: Final = bytes(1 << 16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """A range of the content that is lost: where it begins, and its bytes if that is known."""

    start: int
    length: int | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Salvaged:
    """What `salvage` did; `raw_length` counts zeros that stand for lost bytes, too."""

    raw_length: int
    archive_length: int
    blocks: int
    missing: tuple[Missing, ...]


@dataclass(kw_only=True, slots=True)
class _Gap:
    """Bytes of the file in which no header was found."""

    size: int
    reason: str
    length: int | None = None  # bytes of content, where known


@dataclass(kw_only=True, slots=True)
class _Found:
    """An archive, or what follows one whose header is lost."""

    header: Header | None
    parts: list["_Gap | tuple[Block, int]"] = field(default_factory=list)
    total: int | None = None
    check: bytes | None = None  # of its whole content

    def measure(self) -> None:
        """Gives the only gap the length that is left for it."""
        gaps = [part for part in self.parts if isinstance(part, _Gap)]
        if len(gaps) == 1 and self.total is not None:
            known = sum(part[0].raw_length for part in self.parts if not isinstance(part, _Gap))
            left = self.total - known
            if 0 <= left <= (gaps[0].size // _LEAST_HEADER + 1) * container.MAX_BLOCK:
                gaps[0].length = left


def salvage(
    src: BinaryIO,
    dst: Writable | None,
    find_model: FindModel,
    *,
    progress: Progress | None = None,
    max_output: int | None = None,
    threads: int | None = None,
) -> Salvaged:
    """Writes all blocks of `src` that decode rightly to `dst`, and says what is missing.

    Zeros stand for lost bytes in front of others that could be had, where their number is known, so
    that these are where they were.

    Args:
        src: archives, as a file that can seek.
        dst: where the content goes, or None to look only.
        find_model: as for `mbz.codec.decompress`.
        progress: called with the number of content bytes done so far, by one thread at a time.
        max_output: most content bytes to write.
        threads: as for `mbz.codec.decompress`.

    Raises:
        ModelMismatch: a model is not here.
        LimitExceeded: there is more content than `max_output`.
    """
    work = _Salvage(
        src=src,
        dst=dst,
        find_model=find_model,
        progress=progress,
        max_output=max_output,
        threads=threads,
    )
    for found in _archives(src):
        found.measure()
        work.restore(found)
    return Salvaged(
        raw_length=work.written,
        archive_length=src.seek(0, io.SEEK_END),
        blocks=work.blocks,
        missing=tuple(work.missing),
    )


@dataclass(kw_only=True)
class _Salvage:
    """Decodes what was found, and counts."""

    src: BinaryIO
    dst: Writable | None
    find_model: FindModel
    progress: Progress | None
    max_output: int | None
    threads: int | None
    missing: list[Missing] = field(default_factory=list)
    written: int = 0
    blocks: int = 0
    at: int = 0  # in the content

    def restore(self, found: _Found) -> None:
        """Writes the blocks of an archive that are right."""
        losses, start = len(self.missing), self.at
        content = xxhash.xxh64()
        decoded = parallel.each(
            self._payloads(found, start),
            _decoded,
            lambda one: load_of(one[0]),
            self._predictor(found),
            progress=progress_from(self.at, self.progress),
            threads=self.threads,
        )
        for part in found.parts:
            if isinstance(part, _Gap):
                self._miss(part.length, part.reason)
            elif isinstance(raw := next(decoded), bytes):
                content.update(raw)
                self._write(raw)
            else:
                self._miss(part[0].raw_length, str(raw))
        if (
            found.check
            and len(self.missing) == losses
            and container.check_of(content) != found.check
        ):
            reason = "Blocks are missing, doubled or out of order: the check of the whole is wrong."
            self.missing.append(Missing(start=start, length=None, reason=reason))

    def _payloads(self, found: _Found, at: int) -> Iterator[tuple[Block, bytes | DataError]]:
        """The blocks of content that begins at `at` with their payloads, or why there are none."""
        for part in found.parts:
            if isinstance(part, _Gap):
                at += part.length or 0
                continue
            block, offset = part
            at += block.raw_length
            check_limit(at, self.max_output)
            self.src.seek(offset)
            try:
                yield block, Reader(self.src).exactly(block.coded_length)
            except Truncated as error:
                yield block, error

    def _predictor(self, found: _Found) -> Predictor | None:
        """The model, if its name is known and a block needs it."""
        needed = any(not isinstance(part, _Gap) and part[0].needs_model for part in found.parts)
        model = None if found.header is None else found.header.model
        if model is None or not needed:
            return None
        return self.find_model(model.fingerprint, model.name)

    def _miss(self, length: int | None, reason: str) -> None:
        if length != 0:
            self.missing.append(Missing(start=self.at, length=length, reason=reason))
        self.at += length or 0

    def _write(self, raw: bytes) -> None:
        if self.dst is not None:
            for left in range(self.at - self.written, 0, -len(_ZEROS)):
                self.dst.write(_ZEROS[:left])
            self.dst.write(raw)
        self.at += len(raw)
        self.written = self.at
        self.blocks += 1


def _decoded(
    one: tuple[Block, bytes | DataError], predictor: Predictor | None, report: Progress
) -> bytes | DataError:
    """The content of a block, or why it cannot be had."""
    block, payload = one
    if not isinstance(payload, bytes):
        return payload
    if block.needs_model and predictor is None:
        return Corrupt("The header that names the model is lost.")
    try:
        return decode_block(block, payload, predictor, progress=report)
    except Corrupt as error:
        return error


def _archives(src: BinaryIO) -> Iterator[_Found]:
    """What is found of the archives in a file."""
    size = src.seek(0, io.SEEK_END)
    found = _Found(header=None)
    inside = False  # an archive in the block form, before its end mark
    at = 0
    while at < size:
        try:
            mark, after = _read(src, at, inside=inside)
        except DataError as error:
            if not inside:
                yield found
                found = _Found(header=None)
            start, (at, inside) = at, _next_mark(src, at, size)
            found.parts.append(_Gap(size=at - start, reason=str(error)))
            continue
        match mark:
            case Frame(length=length):
                at = after + length
            case Header(only_block=block):
                yield found
                found, inside = _Found(header=mark, total=mark.size), block is None
                at = after
                if block is not None:
                    found.parts.append((block, after))
                    at += block.coded_length
            case Block():
                found.parts.append((mark, after))
                at = after + mark.coded_length
            case End():
                found.total, found.check = mark.raw_length, mark.check
                inside, at = False, after
    if inside or size == 0:
        found.parts.append(_Gap(size=container.MAX_SIZE, reason="The archive is cut off."))
    yield found


def _read(src: BinaryIO, at: int, *, inside: bool) -> tuple[Header | Frame | Block | End, int]:
    """The header at a place, and where it ends."""
    src.seek(at)
    reader = Reader(src)
    mark = container.read_block(reader) if inside else container.read_header(reader)
    return mark, at + reader.offset


def _next_mark(src: BinaryIO, start: int, size: int) -> tuple[int, bool]:
    """The next place where a header is, and whether it is one of the block form; else the end."""
    for piece_at in range(start, size, _PIECE):
        src.seek(piece_at)
        for match in _CANDIDATE.finditer(src.read(_PIECE)):
            at = piece_at + match.start()
            inside = match.group() != container.MAGIC[:1]
            if _is_mark(src, at, size, inside=inside):
                return at, inside
    return size, False


def _is_mark(src: BinaryIO, at: int, size: int, *, inside: bool) -> bool:
    """Whether a header is there that the file goes on after."""
    try:
        mark, after = _read(src, at, inside=inside)
        if isinstance(mark, Header | Frame):
            return True  # 24 bits of magic
        after += mark.coded_length if isinstance(mark, Block) else 0
        if after < size:
            _read(src, after, inside=isinstance(mark, Block))
    except DataError:
        return False
    return after <= size
