"""Archives back to content: all of it, a range, or only what the headers say (docs/format.md, 9).

Works on streams that need not seek, on as many blocks at a time as `mbz.parallel` says. Models come
as `Predictor`s from a function, so nothing here knows where they are found.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol

import xxhash

from mbz import container, parallel
from mbz.container import Block, End, Frame, Header, Kind
from mbz.errors import BadMagic, Corrupt, LimitExceeded, MbzError
from mbz.exact import Predictor
from mbz.payload import decode, decode_lzma
from mbz.reader import Readable, Reader

__all__ = [
    "ArchiveInfo",
    "BlockInfo",
    "DecompressStats",
    "FindModel",
    "Progress",
    "Writable",
    "check_limit",
    "decode_block",
    "decompress",
    "describe",
    "extract",
    "load_of",
    "progress_from",
]

Progress = Callable[[int], object]
FindModel = Callable[[bytes, str | None], Predictor]


class Writable(Protocol):
    """A binary stream that takes all bytes it is given."""

    def write(self, data: bytes, /) -> object:
        """Writes all of `data`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecompressStats:
    """What `decompress` did; lengths in bytes, over all archives of the stream."""

    raw_length: int
    archive_length: int
    archives: int
    blocks: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockInfo:
    """A block of an archive: its header, its payload's offset in the stream and its content's.

    `raw_offset` counts from the start of the archive's content.
    """

    block: Block
    offset: int
    raw_offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveInfo:
    """One archive of a stream: its header, its blocks and its place, without having decoded it."""

    header: Header
    blocks: tuple[BlockInfo, ...]
    end: End | None  # None in the compact form
    offset: int
    archive_length: int
    raw_length: int


def decompress(
    src: Readable,
    dst: Writable | None,
    find_model: FindModel,
    *,
    progress: Progress | None = None,
    max_output: int | None = None,
    threads: int | None = None,
) -> DecompressStats:
    """Writes the content of all archives in `src` to `dst`, each block once its check has matched.

    What was written stays written when a later block turns out to be damaged.

    Args:
        src: one archive or several, one after the other; need not seek.
        dst: where the content goes, or None to test only.
        find_model: gives the predictor for a fingerprint and a name (or None), or raises
            `ModelMismatch`; called once for each archive that names a model, before any of that
            archive's content is written.
        progress: called with the number of content bytes done so far, by one thread at a time.
        max_output: most content bytes to decode.
        threads: most threads to decode blocks; None means one for each core.

    Raises:
        DataError: one of its subclasses, as docs/format.md, section 9, says.
    """
    reader = Reader(src)
    done = archives = blocks = 0
    for header, _ in _headers(reader):
        archives += 1
        check_limit(done + (header.size or 0), max_output)
        predictor = None
        if header.model is not None:
            predictor = find_model(header.model.fingerprint, header.model.name)
        content, ends = xxhash.xxh64(), list[End]()
        for raw in parallel.each(
            _payloads(reader, header, ends, done, max_output),
            lambda one, predictor, report: decode_block(*one, predictor, progress=report),
            lambda one: load_of(one[0]),
            predictor,
            progress=progress_from(done, progress),
            threads=threads,
        ):
            content.update(raw)
            if dst is not None:
                dst.write(raw)
            done += len(raw)
            blocks += 1
        if ends and container.check_of(content) != ends[0].check:
            raise Corrupt("The archive is damaged: the check of its whole content is wrong.")
    return DecompressStats(
        raw_length=done, archive_length=reader.offset, archives=archives, blocks=blocks
    )


def _payloads(
    reader: Reader, header: Header, ends: list[End], done: int, max_output: int | None
) -> Iterator[tuple[Block, bytes]]:
    """The blocks of an archive with their payloads, and its end mark into `ends`."""
    for mark in _marks(reader, header):
        if isinstance(mark, End):
            ends.append(mark)
            continue
        done += mark.raw_length
        check_limit(done, max_output)
        yield mark, reader.exactly(mark.coded_length)


def load_of(block: Block) -> parallel.Load:
    """What decoding a block asks for."""
    coding = block.coding
    return parallel.Load(
        length=block.raw_length,
        lanes=coding.lanes if coding is not None and coding.network else 0,
        experts=coding.experts if coding is not None else 0,
    )


def extract(
    src: Readable,
    dst: Writable,
    find_model: FindModel,
    start: int,
    end: int | None = None,
    *,
    progress: Progress | None = None,
    threads: int | None = None,
) -> DecompressStats:
    """Writes the bytes `start` to `end` of the content, and decodes only the blocks that hold them.

    Passes over the payloads of other blocks, seeking if `src` can, and reads nothing after the
    last one needed. Checks the blocks that it decodes, not the whole.

    Args:
        src: one archive or several, one after the other.
        dst: where the bytes go.
        find_model: as for `decompress`; called before any content of the archive is written.
        start: of the first byte, from 0 on.
        end: of the byte after the last one; None, or more than there is, for all to the end.
        progress: called with the number of bytes written so far.
        threads: as for `decompress`.

    Raises:
        ValueError: `start` is negative or above `end`.
        MbzError: the content ends before `start`.
        DataError: one of its subclasses, as docs/format.md, section 9, says.
    """
    stop = container.MAX_SIZE if end is None else end
    if not 0 <= start <= stop:
        raise ValueError("a range must have 0 <= start <= end")
    reader = Reader(src)
    at = written = archives = blocks = 0
    for header, _ in _headers(reader):
        archives += 1
        passed = list[int]()
        wanted = _within(reader, header, passed, start - at, stop - at)
        first = list(islice(wanted, 1))
        predictor = None
        if first and header.model is not None:
            predictor = find_model(header.model.fingerprint, header.model.name)
        for piece in parallel.each(
            chain(first, wanted),
            lambda one, predictor, _report: decode_block(*one[:2], predictor)[one[2]],
            lambda one: load_of(one[0]),
            predictor,
            progress=None,
            threads=threads,
        ):
            dst.write(piece)
            written += len(piece)
            blocks += 1
            (progress or _no_report)(written)
        at += sum(passed)
        if at >= stop:
            break
    if at < start:
        raise MbzError(f"The range begins at {start}, but the content has only {at} bytes.")
    return DecompressStats(
        raw_length=written, archive_length=reader.offset, archives=archives, blocks=blocks
    )


def _within(
    reader: Reader, header: Header, passed: list[int], start: int, stop: int
) -> Iterator[tuple[Block, bytes, slice]]:
    """The blocks that hold bytes of a range, their payloads, and which of their bytes those are.

    Adds the length of each block of the archive, up to the last one needed, to `passed`.
    """
    at = 0
    for mark in _marks(reader, header):
        if isinstance(mark, End):
            continue
        low, high = max(start - at, 0), min(stop - at, mark.raw_length)
        at += mark.raw_length
        passed.append(mark.raw_length)
        if low < high:
            yield mark, reader.exactly(mark.coded_length), slice(low, high)
        else:
            reader.skip(mark.coded_length)
        if at >= stop:
            return


def describe(src: Readable) -> tuple[ArchiveInfo, ...]:
    """Reads the headers of all archives in `src` and passes over their payloads.

    Checks all that can be checked without decoding. Seeks if the stream can.

    Raises:
        DataError: one of its subclasses, as docs/format.md, section 9, says.
    """
    reader = Reader(src)
    archives: list[ArchiveInfo] = []
    for header, start in _headers(reader):
        blocks: list[BlockInfo] = []
        end, raw_length = None, 0
        for mark in _marks(reader, header):
            if isinstance(mark, End):
                end = mark
                continue
            blocks.append(BlockInfo(block=mark, offset=reader.offset, raw_offset=raw_length))
            raw_length += mark.raw_length
            reader.skip(mark.coded_length)
        archives.append(
            ArchiveInfo(
                header=header,
                blocks=tuple(blocks),
                end=end,
                offset=start,
                archive_length=reader.offset - start,
                raw_length=raw_length,
            )
        )
    return tuple(archives)


def decode_block(
    block: Block,
    payload: bytes,
    predictor: Predictor | None = None,
    *,
    progress: Progress | None = None,
) -> bytes:
    """The content of one block, checked; if its coding has a network `predictor` must be given.

    Raises:
        Corrupt: the payload does not decode to content with the block's check.
    """
    report = progress or _no_report
    if block.kind is Kind.STORED:
        raw = payload
    elif block.kind is Kind.LZMA:
        raw = decode_lzma(payload, block.raw_length)
    else:
        assert block.coding is not None
        used = predictor if block.coding.network else None
        raw = decode(payload, block.raw_length, block.coding, used, report)
    if container.content_check(raw)[: len(block.check)] != block.check:
        cause = ", or the model is not the one that made it" if block.needs_model else ""
        raise Corrupt(f"A block's content has the wrong check: the archive is damaged{cause}.")
    report(len(raw))
    return raw


def _headers(reader: Reader) -> Iterator[tuple[Header, int]]:
    """The header of each archive and where it begins; passes over skippable frames.

    The caller takes all of an archive from the reader before it asks for the next.
    """
    found = False
    while not (found and reader.at_end()):
        start = reader.offset
        try:
            header = container.read_header(reader)
        except BadMagic as error:
            if start == 0:
                raise
            raise Corrupt(
                f"Bytes that are no archive follow the archive, at offset {start}."
            ) from error
        if isinstance(header, Frame):
            reader.skip(header.length)
        else:
            found = True
            yield header, start


def _marks(reader: Reader, header: Header) -> Iterator[Block | End]:
    """The blocks of an archive and, in the block form, its end mark; checks the lengths.

    The caller takes each block's payload from the reader before it asks for the next mark.
    """
    if header.only_block is not None:
        yield header.only_block
        return
    total = 0
    while isinstance(mark := container.read_block(reader), Block):
        if mark.needs_model and header.model is None:
            raise Corrupt("The archive is damaged: a block needs a model, but none is named.")
        total += mark.raw_length
        if total > (container.MAX_SIZE if header.size is None else header.size):
            raise Corrupt("The archive is damaged: its blocks are longer than its size.")
        yield mark
    if mark.raw_length != total or header.size not in (None, total):
        raise Corrupt("The archive is damaged: its blocks do not add up to its size.")
    yield mark


def progress_from(offset: int, progress: Progress | None) -> Progress:
    """Turns progress within a block that starts at `offset` into progress over all."""
    if progress is None:
        return _no_report
    return lambda done: progress(offset + done)


def _no_report(_done: int) -> None:
    pass


def check_limit(length: int, max_output: int | None) -> None:
    """Raises LimitExceeded if content of this length is more than the caller allows."""
    if max_output is not None and length > max_output:
        raise LimitExceeded(f"The content is longer than the limit of {max_output} bytes.")
