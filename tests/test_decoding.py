"""Archives that are damaged, made by hand, framed, or restored in part."""

import contextlib
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing import (
    FINGERPRINT,
    TEXT,
    Pipe,
    find_stub,
    framed,
    kinds,
    pack,
    random_bytes,
    skewed,
    unpack,
)
from stub_predictor import StubPredictor

from mbz import codec, container, payload, versions
from mbz.container import Kind, ModelId
from mbz.errors import (
    BadMagic,
    Corrupt,
    DataError,
    LimitExceeded,
    MbzError,
    ModelMismatch,
    Truncated,
)
from mbz.fields import sealed

# Damage


def test_wrong_model_is_corrupt():
    archive = pack(skewed(3000))
    with pytest.raises(Corrupt, match="model"):
        unpack(archive, lambda *_: StubPredictor(weight=33))


def test_missing_model_is_refused_before_output():
    def refuse(fingerprint, name):
        raise ModelMismatch(f"{name} {fingerprint.hex()}")

    archive = pack(skewed(300), block_size=128, model_id=ModelId(fingerprint=FINGERPRINT, name="w"))
    dst = io.BytesIO()
    with pytest.raises(ModelMismatch, match="w 0011223344556677"):
        codec.decompress(io.BytesIO(archive), dst, refuse)
    assert dst.getvalue() == b""


CONTENT = {
    "compact": skewed(300),
    "blocks": skewed(100) + random_bytes(20) * 5 + random_bytes(50),
    "lzma": TEXT * 4,
    "stored": random_bytes(90),
}
ARCHIVES = {name: pack(data, block_size=300) for name, data in CONTENT.items()}
ARCHIVES["blocks"] = pack(CONTENT["blocks"], block_size=100)


def test_the_archives_to_damage_are_of_all_kinds():
    assert [kinds(archive) for archive in ARCHIVES.values()] == [
        ["CODED"],
        ["CODED", "LZMA", "STORED"],
        ["LZMA"],
        ["STORED"],
    ]


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_truncation_is_found(name):
    archive = ARCHIVES[name]
    for size in range(len(archive)):
        with pytest.raises(Truncated):
            unpack(archive[:size])
        with pytest.raises(Truncated):
            codec.describe(io.BytesIO(archive[:size]))


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("seed", range(75))
def test_mutations_raise_or_do_no_harm(name, seed):
    rng = random.Random(seed)
    archive = ARCHIVES[name]
    damaged = bytearray(archive)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        place = rng.randrange(len(damaged))
        match rng.randrange(5):
            case 0 | 1:
                damaged[place] ^= 1 << rng.randrange(8)
            case 2:
                damaged[place] = rng.randrange(256)
            case 3:
                damaged.insert(place, rng.randrange(256))
            case 4:
                del damaged[max(place, 1) :]
    with contextlib.suppress(DataError):
        codec.describe(io.BytesIO(bytes(damaged)))
    with contextlib.suppress(DataError):
        assert unpack(bytes(damaged)) == CONTENT[name]


def block_form(*marks: bytes, flags: int = 0x03, fields: bytes = b"") -> bytes:
    numbers = versions.FORMAT << 4 | versions.ARITHMETIC
    return sealed(container.MAGIC + bytes([numbers, flags]) + fields) + b"".join(marks)


def uncoded(kind: Kind, data: bytes, written: bytes) -> bytes:
    block = container.Block(
        kind=kind,
        raw_length=len(data),
        coded_length=len(written),
        coding=None,
        check=container.content_check(data),
    )
    return container.pack_block(block) + written


def stored(data: bytes) -> bytes:
    return uncoded(Kind.STORED, data, data)


def end(data: bytes, raw_length: int | None = None) -> bytes:
    length = len(data) if raw_length is None else raw_length
    check = container.content_check(data)
    return container.pack_end(container.End(raw_length=length, check=check))


def lzma_block(data: bytes, coded: bytes) -> bytes:
    return uncoded(Kind.LZMA, data, coded)


CODED_BLOCK = container.pack_block(
    container.Block(
        kind=Kind.CODED,
        raw_length=9,
        coded_length=0,
        coding=container.Coding(lanes=1, network=True),
        check=bytes(8),
    )
)
ZEROS = payload.encode_lzma(bytes(99))


def test_block_form_by_hand():
    assert unpack(block_form(stored(b"ab"), stored(b"c"), end(b"abc"))) == b"abc"
    assert unpack(block_form(end(b""))) == b""
    assert unpack(block_form(stored(b"ab"), end(b"ab"), flags=0x13, fields=b"\2")) == b"ab"
    assert unpack(block_form(lzma_block(bytes(99), ZEROS), end(bytes(99)))) == bytes(99)


@pytest.mark.parametrize(
    "archive",
    [
        block_form(stored(b"c"), stored(b"ab"), end(b"abc")),
        block_form(stored(b"ab"), end(b"abc")),
        block_form(stored(b"ab"), end(b"ab", 3)),
        block_form(stored(b"ab"), end(b"ab"), flags=0x13, fields=b"\3"),
        block_form(stored(b"ab"), end(b"ab"), flags=0x13, fields=b"\1"),
        block_form(stored(b"ab")[:-1] + b"c", end(b"ab")),
        block_form(CODED_BLOCK, end(b"")),
        block_form(lzma_block(bytes(98), ZEROS), end(bytes(98))),
        block_form(lzma_block(bytes(100), ZEROS), end(bytes(100))),
        block_form(lzma_block(bytes(99), ZEROS + b"\0"), end(bytes(99))),
        block_form(lzma_block(bytes(99), ZEROS[:-1]), end(bytes(99))),
        block_form(lzma_block(bytes(99), b"\x55" + ZEROS[1:]), end(bytes(99))),
    ],
)
def test_one_fault_in_the_block_form_is_corrupt(archive):
    with pytest.raises(Corrupt):
        unpack(archive)


@pytest.mark.parametrize("tail", [b"\0", b"garbage", bytes(512), b"\xb5mB" + bytes(50)])
def test_bytes_after_an_archive_are_corrupt(tail):
    with pytest.raises(Corrupt, match="follow"):
        unpack(pack(b"abc") + tail)


def test_not_an_archive():
    with pytest.raises(BadMagic):
        unpack(TEXT)
    with pytest.raises(Truncated):
        unpack(b"")


def test_output_limit():
    for archive in (pack(bytes(300)), pack(bytes(300), block_size=64, size=300)):
        assert unpack(archive, max_output=300) == bytes(300)
        with pytest.raises(LimitExceeded):
            unpack(archive, find_model=None, max_output=299)
    with pytest.raises(LimitExceeded):
        unpack(pack(bytes(300), block_size=64), max_output=299)
    with pytest.raises(LimitExceeded):
        unpack(pack(bytes(200)) * 2, max_output=399)


# Frames


def test_skippable_frames_are_passed_over():
    one, two = pack(b"abc"), pack(skewed(300), block_size=128)
    joined = framed(b"?" * 3000) + one + framed(b"") + framed(b"x") + two + framed(one)
    for stream in (Pipe(joined), io.BytesIO(joined)):
        dst = io.BytesIO()
        codec.decompress(stream, dst, find_stub)
        assert dst.getvalue() == b"abc" + skewed(300)
    infos = codec.describe(io.BytesIO(joined))
    assert [joined[info.offset :][: info.archive_length] for info in infos] == [one, two]


@pytest.mark.parametrize(
    "archive", [framed(b"abc"), framed(pack(b"abc")), pack(b"") + framed(b"abc")]
)
def test_a_file_of_frames_alone_and_a_cut_frame_are_truncated(archive):
    with pytest.raises(Truncated):
        unpack(archive[:-1])
    if archive.startswith(container.SKIP_MAGIC):
        with pytest.raises(Truncated):
            unpack(archive)


# Ranges


class Counting(io.BytesIO):
    """Counts the bytes read."""

    taken = 0

    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def cut_out(stream, start, end=None) -> bytes:
    dst = io.BytesIO()
    stats = codec.extract(stream, dst, find_stub, start, end)
    assert stats.raw_length == len(dst.getvalue())
    return dst.getvalue()


@given(start=st.integers(0, 700), end=st.one_of(st.none(), st.integers(0, 900)))
def test_ranges(start, end):
    parts = [skewed(300), b"", random_bytes(150), bytes(250)]
    data = b"".join(parts)
    joined = pack(parts[0], block_size=64) + framed(b"?") + pack(parts[1])
    joined += pack(parts[2]) + pack(parts[3], block_size=100)
    if end is not None and end < start:
        with pytest.raises(ValueError, match="range"):
            cut_out(io.BytesIO(joined), start, end)
        return
    for stream in (io.BytesIO, Pipe):
        assert cut_out(stream(joined), start, end) == data[start:end]


def test_a_range_reads_and_decodes_what_it_needs():
    data = random_bytes(100_000)
    stream = Counting(pack(data, block_size=1000))
    assert cut_out(stream, 50_500, 52_000) == data[50_500:52_000]
    assert stream.taken < 2 * 1000 + 53 * 20
    damaged = bytearray(pack(data, block_size=1000))
    damaged[500] ^= 1
    assert cut_out(io.BytesIO(damaged), 1000, 2000) == data[1000:2000]
    with pytest.raises(Corrupt):
        cut_out(io.BytesIO(damaged), 999, 2000)


def test_ranges_behind_the_end_are_refused():
    archive = pack(skewed(300), block_size=64)
    assert cut_out(io.BytesIO(archive), 300) == b""
    assert cut_out(io.BytesIO(archive), 0, 0) == b""
    with pytest.raises(MbzError, match="only 300 bytes"):
        cut_out(io.BytesIO(archive), 301)


def test_a_range_without_the_model():
    def refuse(*_):
        raise ModelMismatch("no")

    archive = pack(random_bytes(100)) + pack(skewed(300), block_size=64)
    dst = io.BytesIO()
    codec.extract(io.BytesIO(archive), dst, refuse, 20, 100)
    assert dst.getvalue() == random_bytes(100)[20:]
    with pytest.raises(ModelMismatch):
        codec.extract(io.BytesIO(archive), dst, refuse, 20, 101)
