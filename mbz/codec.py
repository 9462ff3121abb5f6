"""Compresses binary streams, and decompresses them (`decoding.py`).

Container, predictor and coder put together. Works on streams that need not seek, on as many blocks
at a time as `mbz.parallel` says. docs/format.md, sections 6 and 7.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import xxhash

from mbz import container, parallel
from mbz.container import Block, Coding, End, Header, Kind, ModelId
from mbz.decoding import (
    ArchiveInfo,
    BlockInfo,
    DecompressStats,
    FindModel,
    Progress,
    Writable,
    decode_block,
    decompress,
    describe,
    extract,
    progress_from,
)
from mbz.errors import MbzError
from mbz.exact import Predictor
from mbz.payload import encode, encode_lzma, lzma_may_beat, quick_lzma
from mbz.reader import Readable, Reader
from mbz.together import Seat

__all__ = [
    "DEFAULT_BLOCK",
    "ArchiveInfo",
    "BlockInfo",
    "CompressStats",
    "DecompressStats",
    "FindModel",
    "coding_of",
    "compress",
    "decode_block",
    "decompress",
    "describe",
    "extract",
]

DEFAULT_BLOCK: Final = 1 << 20
DEFAULT_LANE: Final = 1 << 17
MOST_LANES: Final = 128  # where the caller does not choose


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressStats:
    """What `compress` did; lengths in bytes."""

    raw_length: int
    archive_length: int
    blocks: tuple[Block, ...]
    uses_model: bool  # whether the archive names a model


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
    threads: int | None = None,
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
        lanes: lanes of each coded block, 1 to `container.MAX_LANES`, cut to the block's length and
            to those that the model may have;
            None means one without the model, which is faster over many, and else as many as
            `lane_bytes` says.
        lane_bytes: bytes of a lane, about, at least 1, and half of it in a block of more than
            four such lanes; there are at most 128 lanes.
        size: length of the content if known; recorded when there are several blocks.
        progress: called with the number of content bytes done so far, by one thread at a time.
        threads: most threads to code blocks; None means one for each core.

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
    pick = _Picker(experts, lanes, lane_bytes)
    written = 0

    def write(*pieces: bytes) -> None:
        nonlocal written
        for piece in pieces:
            dst.write(piece)
            written += len(piece)

    def pack_compact(block: Block) -> bytes:
        model = model_id if block.needs_model else None
        return container.pack_header(Header(model=model, size=block.raw_length, only_block=block))

    raw = reader.up_to(block_size)
    if reader.at_end():
        _check_size(size, reader.offset)
        block, payload = pick.smallest(raw, predictor, progress_from(0, progress), pack_compact)
        write(pack_compact(block), payload)
        return CompressStats(
            raw_length=reader.offset,
            archive_length=written,
            blocks=(block,),
            uses_model=block.needs_model,
        )

    write(container.pack_header(Header(model=model_id, size=size, only_block=None)))
    blocks: list[Block] = []
    content = xxhash.xxh64()
    for block, payload in parallel.each(
        _raws(raw, reader, block_size, content),
        lambda raw, predictor, report: pick.smallest(raw, predictor, report, container.pack_block),
        lambda raw: pick.load_of(raw, predictor),
        predictor,
        progress=progress,
        threads=threads,
    ):
        write(container.pack_block(block), payload)
        blocks.append(block)
    _check_size(size, reader.offset)
    write(container.pack_end(End(raw_length=reader.offset, check=container.check_of(content))))
    return CompressStats(
        raw_length=reader.offset,
        archive_length=written,
        blocks=tuple(blocks),
        uses_model=model_id is not None,
    )


def coding_of(
    raw: bytes,
    *,
    predictor: Predictor | None,
    experts: str | None,
    lanes: int | None,
    lane_bytes: int,
) -> Coding | None:
    """How `compress` codes a block of `raw`, if it does; arguments as there."""
    if not raw or not (predictor or experts):
        return None

    if not experts:
        return Coding(lanes=lanes_of(raw, predictor, lanes, lane_bytes), network=True)
    from mbz.mixing import SETS  # noqa: PLC0415 - numba is heavy
    from mbz.mixing.detect import Settings, settings_of  # noqa: PLC0415

    found = settings_of(raw, experts)
    if len(raw) > container.MAX_NUMBERS_BLOCK and found.use != experts:
        found = Settings(experts)
    # The network knows nothing of pixels and sound.
    network = predictor is not None and found.use == experts
    return Coding(
        lanes=lanes_of(raw, predictor if network else None, lanes, lane_bytes),
        network=network,
        experts=SETS.index(found.use) + 1,
        stride=found.stride,
        unit=found.unit,
        phase=found.phase,
    )


def lanes_of(raw: bytes, predictor: Predictor | None, lanes: int | None, lane_bytes: int) -> int:
    """Lanes of a block of `raw`; the other arguments as for `compress`."""
    if predictor is None:
        return min(lanes or 1, len(raw))
    # A large block has enough to learn from: twice as many lanes cost it 0.4 %, and it is restored
    # a sixth faster (docs/log.md).
    lane = lane_bytes if len(raw) <= 4 * lane_bytes else -(-lane_bytes // 2)
    wanted = lanes or min(-(-len(raw) // lane), MOST_LANES)
    return min(wanted, len(raw), predictor.most_lanes)


class _Picker:
    """Codes a block in every way there is and picks the smallest."""

    def __init__(self, experts: str | None, lanes: int | None, lane_bytes: int) -> None:
        self._experts = experts
        self._set = 0
        if experts is not None:
            from mbz.mixing import SETS  # noqa: PLC0415 - numba is heavy

            self._set = SETS.index(experts) + 1
        self._lanes = lanes
        self._lane_bytes = lane_bytes

    def load_of(self, raw: bytes, predictor: Predictor | None) -> parallel.Load:
        """What a block asks for, if the network takes part."""
        lanes = 0
        if predictor is not None:
            lanes = lanes_of(raw, predictor, self._lanes, self._lane_bytes)
        return parallel.Load(length=len(raw), lanes=lanes, experts=self._set)

    def smallest(
        self,
        raw: bytes,
        predictor: Predictor | None,
        report: Progress,
        pack: Callable[[Block], bytes],
    ) -> tuple[Block, bytes]:
        """The block and payload that are shortest together with the header that `pack` gives.

        The first wins a tie: stored is the fastest to decode, then LZMA.
        """
        plain: list[tuple[Kind, Coding | None, bytes]] = [(Kind.STORED, None, raw)]
        mixed: list[tuple[Kind, Coding | None, bytes]] = []
        with ThreadPoolExecutor(1) as aside:
            # Meanwhile, as cores have little to do where a device codes.
            quick = aside.submit(quick_lzma, raw)
            coding = coding_of(
                raw,
                predictor=predictor,
                experts=self._experts,
                lanes=self._lanes,
                lane_bytes=self._lane_bytes,
            )
            if coding is not None:
                network = predictor if coding.network else None
                mixed = [(Kind.CODED, coding, encode(raw, coding, network, report))]
        if isinstance(predictor, Seat):
            predictor.leave()  # the rest needs no network
        shortest = min((len(payload) for _, _, payload in plain + mixed))
        if raw and lzma_may_beat(raw, quick.result(), shortest):
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


def _raws(first: bytes, reader: Reader, block_size: int, content: xxhash.xxh64) -> Iterator[bytes]:
    """The contents of all blocks, which go into `content` too."""
    raw = first
    while raw:
        content.update(raw)
        yield raw
        raw = reader.up_to(block_size)


def _check_size(announced: int | None, actual: int) -> None:
    if announced not in (None, actual):
        raise MbzError(
            f"The input has {actual} bytes, not {announced}: it changed while being read."
        )
