"""Headers byte by byte, and one fault a header (docs/format.md, sections 2 to 5 and 9)."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbz import container, versions
from mbz.container import Block, Coding, End, Frame, Header, Kind, ModelId
from mbz.errors import BadMagic, Corrupt, Truncated, UnknownVersion
from mbz.fields import check16
from mbz.reader import Reader

FINGERPRINT = bytes.fromhex("0011223344556677")
CHECK = container.content_check(b"abc")
PLAIN = versions.FORMAT << 4  # the byte of versions where nothing is predicted
CODED = PLAIN | versions.ARITHMETIC


def seal(fields: bytes) -> bytes:
    return fields + check16(fields)


def header(*, numbers=None, flags, fields="") -> bytes:
    if numbers is None:
        numbers = CODED if flags & 2 else PLAIN
    return seal(container.MAGIC + bytes([numbers, flags]) + bytes.fromhex(fields))


def read(data: bytes) -> Header:
    reader = Reader(io.BytesIO(data))
    parsed = container.read_header(reader)
    assert reader.at_end()
    return parsed


def read_block(data: bytes) -> Block | End:
    reader = Reader(io.BytesIO(data))
    mark = container.read_block(reader)
    assert reader.at_end()
    return mark


def block(kind, raw, coded, **coding) -> Block:
    how = Coding(**{"lanes": 1, "network": True, **coding}) if kind is Kind.CODED else None
    return Block(kind=kind, raw_length=raw, coded_length=coded, coding=how, check=CHECK)


def test_content_check_is_xxh64_little_endian():
    assert CHECK.hex() == "990977adf52cbc44"  # XXH64("abc") = 44bc2cf5ad770999


GOLDEN = [
    (
        Header(model=None, size=0, only_block=block(Kind.STORED, 0, 0)),
        f"b56d62 {PLAIN:02x} 10 00 990977ad",
    ),
    (
        Header(model=None, size=300, only_block=block(Kind.LZMA, 300, 7)),
        f"b56d62 {PLAIN:02x} 11 ac02 07 990977ad",
    ),
    (
        Header(
            model=ModelId(fingerprint=FINGERPRINT),
            size=200,
            only_block=block(Kind.CODED, 200, 128),
        ),
        f"b56d62 {CODED:02x} 16 0011223344556677 c801 08 8001 990977ad",
    ),
    (
        Header(
            model=ModelId(fingerprint=FINGERPRINT, name="wee"),
            size=200,
            only_block=block(Kind.CODED, 200, 0, lanes=128, experts=5),
        ),
        f"b56d62 {CODED:02x} 1e 0011223344556677 03 776565 c801 2d 8001 00 990977ad",
    ),
    (
        Header(
            model=None,
            size=200,
            only_block=block(Kind.CODED, 200, 9, network=False, experts=4, stride=300, unit=3),
        ),
        f"b56d62 {CODED:02x} 12 c801 14 ac02 03 00 09 990977ad",
    ),
    (
        Header(
            model=None,
            size=200,
            only_block=block(Kind.CODED, 200, 9, network=False, experts=5, stride=48, unit=3),
        ),
        f"b56d62 {CODED:02x} 12 c801 15 30 03 00 09 990977ad",
    ),
    (Header(model=None, size=None, only_block=None), f"b56d62 {CODED:02x} 03"),
    (
        Header(model=ModelId(fingerprint=FINGERPRINT), size=2**40, only_block=None),
        f"b56d62 {CODED:02x} 17 0011223344556677 808080808020",
    ),
]


@pytest.mark.parametrize(("parsed", "fields"), GOLDEN)
def test_golden_headers(parsed, fields):
    data = container.pack_header(parsed)
    assert data == seal(bytes.fromhex(fields))
    again = read(data)
    assert (again.model, again.size) == (parsed.model, parsed.size)
    if parsed.only_block is not None:
        assert again.only_block.check == CHECK[:4]
        assert again.only_block.coding == parsed.only_block.coding
        assert again.only_block.coded_length == parsed.only_block.coded_length


@pytest.mark.parametrize(
    ("mark", "fields"),
    [
        (block(Kind.STORED, 5, 5), "00 05 990977adf52cbc44"),
        (block(Kind.LZMA, 1 << 20, 100), "01 808040 64 990977adf52cbc44"),
        (block(Kind.CODED, 1 << 25, 0, lanes=4096), "02 80808010 28 8020 00 990977adf52cbc44"),
        (
            block(Kind.CODED, 99, 0, network=False, experts=7, stride=2, phase=1, lanes=2),
            "02 63 37 02 01 01 02 00 990977adf52cbc44",
        ),
        (End(raw_length=0, check=CHECK), "03 00 990977adf52cbc44"),
    ],
)
def test_golden_block_headers(mark, fields):
    data = container.pack_block(mark) if isinstance(mark, Block) else container.pack_end(mark)
    assert data == seal(bytes.fromhex(fields))
    assert read_block(data) == mark


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xb5",
        b"\xb5m",
        b"\xb5mb",
        b"\xb5mb" + bytes([PLAIN]),
        b"\xb5mb" + bytes([PLAIN, 0x10, 0]),
    ],
)
def test_a_short_header_is_truncated(data):
    with pytest.raises(Truncated):
        read(data)


@pytest.mark.parametrize("data", [b"\x1f\x8b\x08", b"m", b"\xb5mB\0\x10", b"hello, world"])
def test_other_magic(data):
    with pytest.raises(BadMagic):
        read(data)


@pytest.mark.parametrize("flags", [0x03, 0x10, 0x11, 0x12])
@pytest.mark.parametrize("change", [0x01, 0x02, 0x0F, 0x10, 0xF0])
def test_unknown_versions(flags, change):
    known = CODED if flags & 2 else PLAIN
    with pytest.raises(UnknownVersion):
        read(header(numbers=(known + change) % 256, flags=flags))


STORED, MODEL = "00 990977ad", "0011223344556677"
FAULTY_HEADERS = {
    "reserved flag": (0x83, ""),
    "other reserved flag": (0x23, ""),
    "compact without size": (0x00, "990977ad"),
    "stored with model": (0x14, MODEL + STORED),
    "network without model": (0x12, "c8 01 08 05 990977ad"),
    "model without network": (0x16, MODEL + "c8 01 01 05 990977ad"),
    "no prediction": (0x12, "c8 01 00 05 990977ad"),
    "reserved bit of a coding": (0x12, "c8 01 41 05 990977ad"),
    "name without model": (0x0B, "01 61"),
    "empty name": (0x0F, MODEL + "00"),
    "name with escape": (0x0F, MODEL + "02 1b 63"),
    "name with C1 control": (0x0F, MODEL + "02 c2 9b"),
    "name not UTF-8": (0x0F, MODEL + "01 ff"),
    "size padded": (0x13, "80 00"),
    "size too long": (0x13, "ff ff ff ff ff ff ff ff ff 01"),
    "block too long": (0x10, "81 80 80 20 990977ad"),
    "coded not below raw": (0x11, "05 05 990977ad"),
    "empty LZMA": (0x11, "00 00 990977ad"),
    "empty coded block": (0x16, MODEL + "00 08 00 990977ad"),
    "no lanes": (0x16, MODEL + "05 28 00 01 990977ad"),
    "more lanes than bytes": (0x16, MODEL + "05 28 06 01 990977ad"),
    "too many lanes": (0x16, MODEL + "80 80 40 28 81 20 01 990977ad"),
    "no stride": (0x12, "05 11 00 00 00 01 990977ad"),
    "no unit": (0x12, "05 11 04 00 00 01 990977ad"),
    "units above the stride": (0x12, "05 11 04 05 00 01 990977ad"),
    "phase of a whole row": (0x12, "05 11 04 01 04 01 990977ad"),
    "pixels too wide": (0x12, "ff01 14 09 09 00 01 990977ad"),
    "samples too wide": (0x12, "ff01 15 08 04 00 01 990977ad"),
    "too many channels": (0x12, "ff01 15 22 02 00 01 990977ad"),
    "rows too long": (0x12, "05 11 81 80 80 20 01 00 01 990977ad"),
}


@pytest.mark.parametrize("fault", FAULTY_HEADERS)
def test_one_fault_in_a_header_is_corrupt(fault):
    flags, fields = FAULTY_HEADERS[fault]
    with pytest.raises(Corrupt):
        read(header(flags=flags, fields=fields))


@pytest.mark.parametrize(
    "fields",
    [
        "04 05 990977adf52cbc44",
        "40 05 990977adf52cbc44",
        "00 00 990977adf52cbc44",
        "00 81808020 990977adf52cbc44",
        "01 05 05 990977adf52cbc44",
        "02 05 28 00 01 990977adf52cbc44",
        "02 05 28 06 01 990977adf52cbc44",
        "02 05 00 01 990977adf52cbc44",
        "03 8000 990977adf52cbc44",
    ],
)
def test_one_fault_in_a_block_header_is_corrupt(fields):
    with pytest.raises(Corrupt):
        read_block(seal(bytes.fromhex(fields)))


def test_unused_bits_are_ignored():
    plain = read(header(flags=0x10, fields=STORED))
    assert read(header(flags=0x50, fields=STORED)) == plain
    assert read_block(seal(bytes.fromhex("83 00 990977adf52cbc44"))) == End(
        raw_length=0, check=CHECK
    )


@pytest.mark.parametrize(
    ("frame", "fields"),
    [
        (Frame(kind=0, length=0), "b56d73 00 00"),
        (Frame(kind=255, length=300), "b56d73 ff ac02"),
        (Frame(kind=128, length=container.MAX_FRAME), "b56d73 80 ffffffff0f"),
    ],
)
def test_golden_frames(frame, fields):
    data = container.pack_frame(frame)
    assert data == seal(bytes.fromhex(fields))
    assert read(data) == frame
    for size in range(len(data)):
        with pytest.raises(Truncated):
            read(data[:size])
    with pytest.raises(Corrupt):
        read(data[:-1] + b"?")


def test_a_frame_too_long_is_corrupt():
    with pytest.raises(Corrupt, match="frame"):
        read(seal(bytes.fromhex("b56d73 00 8080808010")))


def test_a_model_is_known_by_eight_bytes():
    with pytest.raises(ValueError, match="fingerprint"):
        ModelId(fingerprint=bytes(32))
    for name in ("", "a" * 256, "a\nb", "\x9b31m"):
        with pytest.raises(ValueError, match="name"):
            ModelId(fingerprint=FINGERPRINT, name=name)


def test_every_flipped_bit_of_a_header_is_found():
    data = container.pack_header(GOLDEN[3][0])
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((BadMagic, UnknownVersion, Corrupt, Truncated)):
            read(bytes(damaged))


@given(value=st.integers(0, container.MAX_SIZE))
def test_sizes_round_trip(value):
    data = container.pack_header(Header(model=None, size=value, only_block=None))
    assert read(data).size == value


class Dribble:
    """A stream that gives one byte a call and cannot seek."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self.largest = 0

    def read(self, size: int) -> bytes:
        self.largest = max(self.largest, size)
        return self._stream.read(min(size, 1))


@pytest.mark.parametrize("stream", [io.BytesIO, Dribble])
def test_reader(stream):
    reader = Reader(stream(b"abcdefgh"))
    assert not reader.at_end()
    assert reader.exactly(0) == b""
    assert reader.exactly(2) == b"ab"
    reader.skip(0)
    reader.skip(1)
    assert not reader.at_end()
    reader.skip(3)
    assert reader.offset == 6
    assert reader.up_to(1) == b"g"
    with pytest.raises(Truncated):
        Reader(stream(b"abc")).skip(4)
    with pytest.raises(Truncated, match="3 bytes"):
        Reader(stream(b"abc")).exactly(4)
    assert reader.up_to(9) == b"h"
    assert reader.at_end()


def test_a_long_length_reserves_nothing():
    stream = Dribble(b"abc")
    assert Reader(stream).up_to(container.MAX_BLOCK) == b"abc"
    assert stream.largest <= 1 << 20
