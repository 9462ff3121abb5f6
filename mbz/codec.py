"""Compresses and decompresses binary streams: container, predictor and coder put together.

Works on streams that need not seek and holds about two blocks in memory. The model comes as a
`Predictor`, so nothing here knows where models are found. docs/format.md, sections 6 and 7.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import xxhash

from mbz import container
from mbz.container import Block, Coding, End, Frame, Header, Kind, ModelId
from mbz.errors import BadMagic, Corrupt, LimitExceeded, MbzError
from mbz.exact import Predictor
from mbz.payload import decode, decode_lzma, encode, encode_lzma, lzma_may_beat
from mbz.reader import Readable, Reader

__all__ = [
    "DEFAULT_BLOCK",
    "ArchiveInfo",
    "BlockInfo",
    "CompressStats",
    "DecompressStats",
    "coding_of",
    "compress",
    "decode_block",
    "decompress",
    "describe",
]

DEFAULT_BLOCK: Final = 1 << 20
DEFAULT_LANE: Final = 1 << 13
MOST_LANES: Final = 128  # where the caller does not choose
Progress = Callable[[int], object]
FindModel = Callable[[bytes, str | None], Predictor]


class Writable(Protocol):
    """A binary stream that takes all bytes it is given."""

    def write(self, data: bytes, /) -> object:
        """Writes all of `data`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressStats:
    """What `compress` did; lengths in bytes."""

    raw_length: int
    archive_length: int
    blocks: tuple[Block, ...]
    uses_model: bool  # whether the archive names a model


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


def compress(
    src: Readable,
    dst: Writable,
    predictor: Predictor | None = None,
    model_id: ModelId | None = None,
    *,
    experts: str | None = None,
    block_size: int = DEFAULT_BLOCK,
    lanes: int | None = None,
    lane_bytes: int = DEFAULT_LANE,
    size: int | None = None,
    progress: Progress | None = None,
) -> CompressStats:
    """Writes all of `src` to `dst` as one archive.

    Args:
        src: the content; need not seek.
        dst: where the archive goes.
        predictor: the model, or None to use none.
        model_id: how the archive names the model; given exactly if `predictor` is.
        experts: set of adaptive experts to mix with the model, one of `mbz.mixing.SETS`, which
            data of a kind of its own may exchange for another; None for the model alone.
        block_size: content bytes of a block, 1 to `container.MAX_BLOCK`.
        lanes: lanes of each coded block, 1 to `container.MAX_LANES`, cut to the block's length;
            None means one without the model, which is faster over many, and else as many as
            `lane_bytes` says.
        lane_bytes: bytes of a lane, about, at least 1; there are at most 128 lanes.
        size: length of the content if known; recorded when there are several blocks.
        progress: called with the number of content bytes done so far.

    Raises:
        ValueError: an argument is outside its range.
        MbzError: the content does not have `size` bytes.
    """
    if (predictor is None) != (model_id is None):
        raise ValueError("predictor and model_id must be given together")
    for name, number, most in (
        ("block_size", block_size, container.MAX_BLOCK),
        ("lanes", 1 if lanes is None else lanes, container.MAX_LANES),
        ("lane_bytes", lane_bytes, container.MAX_BLOCK),
    ):
        if not 1 <= number <= most:
            raise ValueError(f"{name} must be 1 to {most}")
    if size is not None and not 0 <= size <= container.MAX_SIZE:
        raise ValueError(f"size must be 0 to {container.MAX_SIZE}")

    reader = Reader(src)
    pick = _Picker(predictor, experts, lanes, lane_bytes, progress)
    written = 0

    def write(*pieces: bytes) -> None:
        nonlocal written
        for piece in pieces:
            dst.write(piece)
            written += len(piece)

    def pack_compact(block: Block) -> bytes:
        model = model_id if _needs_model(block) else None
        return container.pack_header(Header(model=model, size=block.raw_length, only_block=block))

    raw = reader.up_to(block_size)
    if reader.at_end():
        _check_size(size, reader.offset)
        block, payload = pick.smallest(raw, 0, pack_compact)
        write(pack_compact(block), payload)
        return CompressStats(
            raw_length=reader.offset,
            archive_length=written,
            blocks=(block,),
            uses_model=_needs_model(block),
        )

    write(container.pack_header(Header(model=model_id, size=size, only_block=None)))
    blocks: list[Block] = []
    content = xxhash.xxh64()
    while raw:
        content.update(raw)
        block, payload = pick.smallest(raw, reader.offset - len(raw), container.pack_block)
        write(container.pack_block(block), payload)
        blocks.append(block)
        raw = reader.up_to(block_size)
    _check_size(size, reader.offset)
    write(container.pack_end(End(raw_length=reader.offset, check=container.check_of(content))))
    return CompressStats(
        raw_length=reader.offset,
        archive_length=written,
        blocks=tuple(blocks),
        uses_model=model_id is not None,
    )


def decompress(
    src: Readable,
    dst: Writable | None,
    find_model: FindModel,
    *,
    progress: Progress | None = None,
    max_output: int | None = None,
) -> DecompressStats:
    """Writes the content of all archives in `src` to `dst`, each block once its check has matched.

    What was written stays written when a later block turns out to be damaged.

    Args:
        src: one archive or several, one after the other; need not seek.
        dst: where the content goes, or None to test only.
        find_model: gives the predictor for a fingerprint and a name (or None), or raises
            `ModelMismatch`; called once for each archive that names a model, before any of that
            archive's content is written.
        progress: called with the number of content bytes done so far.
        max_output: most content bytes to decode.

    Raises:
        DataError: one of its subclasses, as docs/format.md, section 9, says.
    """
    reader = Reader(src)
    done = archives = blocks = 0
    for header, _ in _headers(reader):
        archives += 1
        _check_limit(done + (header.size or 0), max_output)
        predictor = None
        if header.model is not None:
            predictor = find_model(header.model.fingerprint, header.model.name)
        content = xxhash.xxh64()
        for mark in _marks(reader, header):
            if isinstance(mark, End):
                if container.check_of(content) != mark.check:
                    raise Corrupt(
                        "The archive is damaged: the check of its whole content is wrong."
                    )
                continue
            _check_limit(done + mark.raw_length, max_output)
            payload = reader.exactly(mark.coded_length)
            raw = decode_block(mark, payload, predictor, progress=_from(done, progress))
            content.update(raw)
            if dst is not None:
                dst.write(raw)
            done += len(raw)
            blocks += 1
    return DecompressStats(
        raw_length=done, archive_length=reader.offset, archives=archives, blocks=blocks
    )


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
        cause = ", or the model is not the one that made it" if _needs_model(block) else ""
        raise Corrupt(f"A block's content has the wrong check: the archive is damaged{cause}.")
    report(len(raw))
    return raw


def coding_of(
    raw: bytes, *, has_model: bool, experts: str | None, lanes: int | None, lane_bytes: int
) -> Coding | None:
    """How `compress` codes a block of `raw`, if it does; arguments as there."""
    if not raw or not (has_model or experts):
        return None

    def lanes_of(*, network: bool) -> int:
        wanted = min(-(-len(raw) // lane_bytes), MOST_LANES) if network else 1
        return min(lanes or wanted, len(raw))

    if not experts:
        return Coding(lanes=lanes_of(network=True), network=True)
    from mbz.mixing import SETS  # noqa: PLC0415 - numba is heavy
    from mbz.mixing.detect import settings_of  # noqa: PLC0415

    found = settings_of(raw, experts)
    network = has_model and found.use == experts  # it knows nothing of pixels and sound
    return Coding(
        lanes=lanes_of(network=network),
        network=network,
        experts=SETS.index(found.use) + 1,
        stride=found.stride,
        unit=found.unit,
        phase=found.phase,
    )


class _Picker:
    """Codes a block in every way there is and picks the smallest."""

    def __init__(
        self,
        predictor: Predictor | None,
        experts: str | None,
        lanes: int | None,
        lane_bytes: int,
        progress: Progress | None,
    ) -> None:
        self._predictor = predictor
        self._experts = experts
        self._lanes = lanes
        self._lane_bytes = lane_bytes
        self._progress = progress

    def smallest(
        self, raw: bytes, offset: int, pack: Callable[[Block], bytes]
    ) -> tuple[Block, bytes]:
        """The block and payload that are shortest together with the header that `pack` gives.

        The first wins a tie: stored is the fastest to decode, then LZMA.
        """
        report = _from(offset, self._progress)
        plain: list[tuple[Kind, Coding | None, bytes]] = [(Kind.STORED, None, raw)]
        mixed: list[tuple[Kind, Coding | None, bytes]] = []
        coding = coding_of(
            raw,
            has_model=self._predictor is not None,
            experts=self._experts,
            lanes=self._lanes,
            lane_bytes=self._lane_bytes,
        )
        if coding is not None:
            predictor = self._predictor if coding.network else None
            mixed = [(Kind.CODED, coding, encode(raw, coding, predictor, report))]
        shortest = min((len(payload) for _, _, payload in plain + mixed))
        if raw and lzma_may_beat(raw, shortest):
            plain.append((Kind.LZMA, None, encode_lzma(raw)))
        report(len(raw))
        check = container.content_check(raw)
        candidates = [
            (
                Block(
                    kind=kind,
                    raw_length=len(raw),
                    coded_length=len(payload),
                    check=check,
                    coding=coding,
                ),
                payload,
            )
            for kind, coding, payload in plain + mixed
        ]
        return min(candidates, key=lambda pair: len(pack(pair[0])) + len(pair[1]))


def _needs_model(block: Block) -> bool:
    return block.coding is not None and block.coding.network


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
        if _needs_model(mark) and header.model is None:
            raise Corrupt("The archive is damaged: a block needs a model, but none is named.")
        total += mark.raw_length
        if total > (container.MAX_SIZE if header.size is None else header.size):
            raise Corrupt("The archive is damaged: its blocks are longer than its size.")
        yield mark
    if mark.raw_length != total or header.size not in (None, total):
        raise Corrupt("The archive is damaged: its blocks do not add up to its size.")
    yield mark


def _from(offset: int, progress: Progress | None) -> Progress:
    """Turns progress within a block that starts at `offset` into progress over all."""
    if progress is None:
        return _no_report
    return lambda done: progress(offset + done)


def _no_report(_done: int) -> None:
    pass


def _check_size(announced: int | None, actual: int) -> None:
    if announced not in (None, actual):
        raise MbzError(
            f"The input has {actual} bytes, not {announced}: it changed while being read."
        )


def _check_limit(length: int, max_output: int | None) -> None:
    if max_output is not None and length > max_output:
        raise LimitExceeded(f"The content is longer than the limit of {max_output} bytes.")
