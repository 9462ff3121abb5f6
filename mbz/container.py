"""The bytes of an archive around its payloads: headers, lengths, checks (docs/format.md, 1 to 5).

Knows neither models nor the coder. How a header spells numbers and its check is in `fields.py`.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from mbz import versions
from mbz.errors import BadMagic, Truncated, UnknownVersion
from mbz.fields import MAX_SIZE, Fields, require, sealed, varint, xxhash
from mbz.reader import Reader

__all__ = [
    "FINGERPRINT_BYTES",
    "MAGIC",
    "MAX_BLOCK",
    "MAX_FRAME",
    "MAX_LANES",
    "MAX_NAME",
    "MAX_NUMBERS_BLOCK",
    "MAX_SIZE",
    "SKIP_MAGIC",
    "Block",
    "Coding",
    "End",
    "Frame",
    "Header",
    "Kind",
    "ModelId",
    "check_of",
    "content_check",
    "pack_block",
    "pack_end",
    "pack_frame",
    "pack_header",
    "read_block",
    "read_header",
]

MAGIC: Final = b"\xb5mb"
SKIP_MAGIC: Final = b"\xb5ms"
FINGERPRINT_BYTES: Final = 8

MAX_BLOCK: Final = 1 << 25
MAX_NUMBERS_BLOCK: Final = 1 << 23  # of pixels and sound
MAX_LANES: Final = 1 << 12
MAX_NAME: Final = 255
MAX_FRAME: Final = (1 << 32) - 1

# Bits of the header's flags (section 3).
_FORM_BITS, _HAS_MODEL, _HAS_NAME, _HAS_SIZE, _RESERVED = 0x03, 0x04, 0x08, 0x10, 0xA0
# Bits of a block header's kind (section 4).
_KIND_BITS, _KIND_RESERVED = 0x03, 0x7C
# Bits of a coding (section 4).
_EXPERT_BITS, _HAS_NETWORK, _HAS_ROWS, _HAS_LANES, _CODING_RESERVED = 0x07, 0x08, 0x10, 0x20, 0xC0
_BLOCKS_FOLLOW = _END = 3
_PLAIN_ROWS = 4, 1, 0  # stride, unit and phase where a coding says nothing of rows
# Most bytes of a unit and units of a stride, by set of experts: pixels, sound. Memory goes by them.
_MOST_ROWS = {4: (8, MAX_BLOCK), 5: (3, 16)}
_COMPACT_CHECK_BYTES = 4
_CHECK_BYTES = 8


class Kind(IntEnum):
    """How a block's payload holds its content."""

    STORED = 0
    LZMA = 1
    CODED = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelId:
    """Which model an archive needs: the leading 8 bytes of its SHA-256 and, for people, a name."""

    fingerprint: bytes
    name: str | None = None

    def __post_init__(self) -> None:
        if len(self.fingerprint) != FINGERPRINT_BYTES:
            raise ValueError(f"fingerprint must have {FINGERPRINT_BYTES} bytes")
        if self.name is not None and not _is_name(self.name.encode()):
            raise ValueError(f"name must have 1 to {MAX_NAME} bytes and no control characters")


@dataclass(frozen=True, kw_only=True, slots=True)
class Coding:
    """How the bytes of a coded block are predicted (sections 4 and 7).

    Attributes:
        lanes: streams that are coded side by side, 1 to MAX_LANES.
        network: whether the archive's model takes part.
        experts: number of the set of adaptive experts, 0 for the model alone, at most 7.
        stride: bytes of a row or record, 1 to MAX_BLOCK.
        unit: bytes of a sample or pixel, 1 to `stride`.
        phase: bytes before the first whole row or record, below `stride`.
    """

    lanes: int
    network: bool
    experts: int = 0
    stride: int = 4
    unit: int = 1
    phase: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """What the header of one block says; `check` has 8 bytes, or 4 in the compact form."""

    kind: Kind
    raw_length: int
    coded_length: int
    check: bytes
    coding: Coding | None  # of coded blocks

    @property
    def needs_model(self) -> bool:
        """Whether the archive's model takes part in it."""
        return self.coding is not None and self.coding.network


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """The end mark: raw length and check of all blocks together."""

    raw_length: int
    check: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What an archive's header says; `only_block` is set in the compact form alone."""

    model: ModelId | None
    size: int | None
    only_block: Block | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """A skippable frame: `length` bytes follow its header that are no content.

    `kind` is 0 to 127 for later versions of the format, 128 to 255 for anybody's use.
    """

    kind: int
    length: int


def content_check(content: bytes) -> bytes:
    """The 8 check bytes of a block's content; the compact form keeps the first 4."""
    return check_of(xxhash.xxh64(content))


def check_of(hasher: xxhash.xxh64) -> bytes:
    """The 8 check bytes of what a seedless XXH64 hasher has seen."""
    return hasher.intdigest().to_bytes(_CHECK_BYTES, "little")


def pack_header(header: Header) -> bytes:
    """The bytes of an archive's header, which the payload of `only_block` follows if it is set."""
    model, block = header.model, header.only_block
    flags = _BLOCKS_FOLLOW if block is None else int(block.kind)
    fields = b""
    if model is not None:
        flags |= _HAS_MODEL
        fields += model.fingerprint
        if model.name is not None:
            flags |= _HAS_NAME
            name = model.name.encode()
            fields += bytes([len(name)]) + name
    if header.size is not None:
        flags |= _HAS_SIZE
        fields += varint(header.size)
    if block is not None:
        assert block.raw_length == header.size
        assert block.needs_model == (model is not None)
        if block.coding is not None:
            fields += _pack_coding(block.coding)
        if block.kind is not Kind.STORED:
            fields += varint(block.coded_length)
        fields += block.check[:_COMPACT_CHECK_BYTES]
    plain = block is not None and block.coding is None
    numbers = versions.FORMAT << 4 | (0 if plain else versions.ARITHMETIC)
    return sealed(MAGIC + bytes([numbers, flags]) + fields)


def pack_frame(frame: Frame) -> bytes:
    """The bytes of a skippable frame's header; what it holds follows it."""
    return sealed(SKIP_MAGIC + bytes([frame.kind]) + varint(frame.length))


def pack_block(block: Block) -> bytes:
    """The bytes of a block header in the block form; the payload follows it."""
    fields = bytes([block.kind]) + varint(block.raw_length)
    if block.coding is not None:
        fields += _pack_coding(block.coding)
    if block.kind is not Kind.STORED:
        fields += varint(block.coded_length)
    return sealed(fields + block.check)


def _pack_coding(coding: Coding) -> bytes:
    flags, fields = coding.experts, b""
    if coding.network:
        flags |= _HAS_NETWORK
    rows = coding.stride, coding.unit, coding.phase
    if rows != _PLAIN_ROWS:
        flags |= _HAS_ROWS
        fields += b"".join(map(varint, rows))
    if coding.lanes > 1:
        flags |= _HAS_LANES
        fields += varint(coding.lanes)
    return bytes([flags]) + fields


def pack_end(end: End) -> bytes:
    """The bytes of the end mark."""
    return sealed(bytes([_END]) + varint(end.raw_length) + end.check)


def read_header(reader: Reader) -> Header | Frame:
    """Reads and checks an archive's header or a skippable frame's (sections 2 and 3).

    Raises:
        BadMagic, UnknownVersion, Truncated, Corrupt: as section 9 says.
    """
    magic = reader.up_to(len(MAGIC))
    if not (MAGIC.startswith(magic) or SKIP_MAGIC.startswith(magic)):
        raise BadMagic("This is not an mbz archive: it does not start with the magic bytes.")
    if len(magic) < len(MAGIC):
        raise Truncated("The archive is cut off inside its first bytes.")
    fields = Fields(reader, magic)
    return _read_frame(fields) if magic == SKIP_MAGIC else _read_archive(fields)


def _read_frame(fields: Fields) -> Frame:
    frame = Frame(kind=fields.byte(), length=fields.varint())
    require(frame.length <= MAX_FRAME, "a skippable frame is longer than the format allows")
    fields.verify()
    return frame


def _read_archive(fields: Fields) -> Header:
    numbers = fields.byte()
    _require_version("format", numbers >> 4, versions.FORMAT)
    flags = fields.byte()
    form = flags & _FORM_BITS
    plain = form in (Kind.STORED, Kind.LZMA)
    _require_version("arithmetic", numbers & 15, 0 if plain else versions.ARITHMETIC)
    compact = form != _BLOCKS_FOLLOW
    coded = form == Kind.CODED
    require(not flags & _RESERVED, "a reserved flag is set")
    has_model = bool(flags & _HAS_MODEL)
    if compact:
        fits = flags & _HAS_SIZE and (coded or not has_model)
        require(bool(fits), "its flags do not fit together")
    require(has_model or not flags & _HAS_NAME, "it names no model but has a name")

    model = None
    if has_model:
        fingerprint = fields.take(FINGERPRINT_BYTES)
        name = None
        if flags & _HAS_NAME:
            encoded = fields.take(fields.byte())
            require(_is_name(encoded), "the model's name is not a name")
            name = encoded.decode()
        model = ModelId(fingerprint=fingerprint, name=name)
    size = fields.varint() if flags & _HAS_SIZE else None
    block = None
    if compact:
        assert size is not None
        block = _read_rest(fields, Kind(form), size, _COMPACT_CHECK_BYTES)
        require(block.needs_model == has_model, "its block and its header disagree about a model")
    fields.verify()
    return Header(model=model, size=size, only_block=block)


def read_block(reader: Reader) -> Block | End:
    """Reads and checks the next block header or the end mark (sections 4 and 5).

    Raises:
        Truncated, Corrupt: as section 9 says.
    """
    fields = Fields(reader)
    bits = fields.byte()
    require(not bits & _KIND_RESERVED, "a reserved bit is set in a block header")
    raw_length = fields.varint()
    mark: Block | End
    if bits & _KIND_BITS == _END:
        mark = End(raw_length=raw_length, check=fields.take(_CHECK_BYTES))
    else:
        require(raw_length > 0, "a block is empty")
        kind = Kind(bits & _KIND_BITS)
        mark = _read_rest(fields, kind, raw_length, _CHECK_BYTES)
    fields.verify()
    return mark


def _read_rest(fields: Fields, kind: Kind, raw_length: int, check_bytes: int) -> Block:
    """The part that block headers and compact headers share: coding, coded length and check."""
    require(raw_length <= MAX_BLOCK, "a block is longer than the format allows")
    coding = _read_coding(fields, raw_length) if kind is Kind.CODED else None
    coded_length = raw_length
    if kind is not Kind.STORED:
        coded_length = fields.varint()
        require(coded_length < raw_length, "a block's coded length is not below its raw length")
    return Block(
        kind=kind,
        raw_length=raw_length,
        coded_length=coded_length,
        check=fields.take(check_bytes),
        coding=coding,
    )


def _read_coding(fields: Fields, raw_length: int) -> Coding:
    flags = fields.byte()
    require(not flags & _CODING_RESERVED, "a reserved bit is set in a block's coding")
    experts, network = flags & _EXPERT_BITS, bool(flags & _HAS_NETWORK)
    require(experts > 0 or network, "a block is predicted by nothing")
    stride, unit, phase = _PLAIN_ROWS
    if flags & _HAS_ROWS:
        stride, unit, phase = fields.varint(), fields.varint(), fields.varint()
        possible = 1 <= unit <= stride <= MAX_BLOCK and phase < stride
        require(possible, "a block has rows of no possible size")
        most_unit, most_units = _MOST_ROWS.get(experts, (MAX_BLOCK, MAX_BLOCK))
        few = unit <= most_unit and stride // unit <= most_units
        require(few, "a block has more channels than the format allows")
    short = experts not in _MOST_ROWS or raw_length <= MAX_NUMBERS_BLOCK
    require(short, "a block of pixels or sound is longer than the format allows")
    lanes = fields.varint() if flags & _HAS_LANES else 1
    require(1 <= lanes <= min(MAX_LANES, raw_length), "a block has too few or too many lanes")
    return Coding(
        lanes=lanes, network=network, experts=experts, stride=stride, unit=unit, phase=phase
    )


def _require_version(what: str, version: int, known: int) -> None:
    if version != known:
        raise UnknownVersion(
            f"The archive has {what} version {version}, but this release reads only {known}; "
            "another release of mbz is needed."
        )


def _is_name(encoded: bytes) -> bool:
    try:
        name = encoded.decode()
    except UnicodeDecodeError:
        return False
    control = any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in name)
    return 0 < len(encoded) <= MAX_NAME and not control
