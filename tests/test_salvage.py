"""Damaged archives: what is right comes out, what is missing is said (docs/format.md, 9)."""

import io
import random

import pytest
from packing import find_stub, framed, pack, random_bytes, skewed

from mbz import codec
from mbz.errors import LimitExceeded
from mbz.salvage import Missing, salvage

DATA = skewed(300) + random_bytes(100) + b"q" * 100 + skewed(450, seed=1)
SIZE = 100


def blocks_of(archive: bytes) -> list[codec.BlockInfo]:
    return [one for info in codec.describe(io.BytesIO(archive)) for one in info.blocks]


def save(archive: bytes, **options) -> tuple[bytes, list[tuple[int, int | None]]]:
    dst = io.BytesIO()
    stats = salvage(io.BytesIO(archive), dst, find_stub, **options)
    assert stats.raw_length == len(dst.getvalue())
    assert stats.archive_length == len(archive)
    assert all(one.reason.endswith(".") for one in stats.missing)
    return dst.getvalue(), [(one.start, one.length) for one in stats.missing]


def flipped(archive: bytes, *places: int) -> bytes:
    data = bytearray(archive)
    for place in places:
        data[place] ^= 0x10
    return bytes(data)


def without(*lost: int) -> bytes:
    data = bytearray(DATA)
    for block in lost:
        data[block * SIZE : (block + 1) * SIZE] = bytes(
            len(data[block * SIZE : (block + 1) * SIZE])
        )
    return bytes(data)


@pytest.mark.parametrize("size", [None, len(DATA)])
def test_nothing_is_missing_of_what_is_whole(size):
    archive = pack(DATA, block_size=SIZE, size=size)
    assert save(archive) == (DATA, [])
    assert save(framed(b"abc") + archive + framed(b"") + pack(b"x")) == (DATA + b"x", [])
    assert save(pack(DATA)) == (DATA, [])


@pytest.mark.parametrize("block", range(9))
@pytest.mark.parametrize("part", ["header", "payload"])
def test_one_bad_block_loses_one_block(block, part):
    archive = pack(DATA, block_size=SIZE)
    offset = blocks_of(archive)[block].offset
    place = offset - 5 if part == "header" else offset
    assert save(flipped(archive, place)) == (without(block), [(block * SIZE, SIZE)])


def test_the_last_block_leaves_no_zeros():
    archive = pack(DATA, block_size=SIZE)
    offset = blocks_of(archive)[-1].offset
    for place in (offset + 2, offset - 3):
        assert save(flipped(archive, place)) == (DATA[:-50], [(900, 50)])


def test_two_lost_headers_leave_lengths_unknown():
    archive = pack(DATA, block_size=SIZE)
    found = blocks_of(archive)
    damaged = flipped(archive, found[2].offset - 3, found[6].offset - 3)
    kept = DATA[:200] + DATA[300:600] + DATA[700:]
    assert save(damaged) == (kept, [(200, None), (500, None)])


@pytest.mark.parametrize("size", [None, len(DATA)])
def test_a_cut_archive_gives_its_first_blocks(size):
    archive = pack(DATA, block_size=SIZE, size=size)
    cut = archive[: blocks_of(archive)[3].offset + 3]
    rest = len(DATA) - 400 if size else None
    assert save(cut) == (DATA[:300], [(300, 100), (400, rest)])


def test_without_the_header_only_what_needs_no_model_is_left():
    archive = flipped(pack(DATA, block_size=SIZE), 2)
    found, missing = save(archive)
    assert found == bytes(300) + DATA[300:400]
    assert missing == [
        (at, min(SIZE, len(DATA) - at)) for at in range(0, len(DATA), SIZE) if at != 300
    ]


def test_other_archives_stay():
    one, two, three = pack(DATA[:250]), pack(b"abc"), pack(DATA, block_size=SIZE)
    damaged = flipped(one, len(one) - 3) + two + three
    assert save(damaged) == (bytes(250) + b"abc" + DATA, [(0, 250)])
    damaged = one + flipped(two, 1) + three  # a header: nobody knows what it held
    assert save(damaged) == (DATA[:250] + DATA, [(250, None)])
    assert save(two + b"garbage") == (b"abc", [(3, None)])
    assert save(b"garbage") == (b"", [(0, None)])
    assert save(b"") == (b"", [(0, None)])


def test_a_lost_end_mark_loses_nothing():
    archive = pack(DATA, block_size=SIZE, size=len(DATA))
    assert save(archive[:-13]) == (DATA, [])
    assert save(flipped(archive, len(archive) - 1)) == (DATA, [])


def test_blocks_out_of_order_are_noticed():
    archive = pack(DATA, block_size=SIZE)
    found = blocks_of(archive)
    ends = [one.offset + one.block.coded_length for one in found]
    swapped = archive[: ends[0]] + archive[ends[1] : ends[2]] + archive[ends[0] : ends[1]]
    swapped += archive[ends[2] :]
    data = DATA[:100] + DATA[200:300] + DATA[100:200] + DATA[300:]
    assert save(swapped) == (data, [(0, None)])


def test_the_limit_holds():
    archive = flipped(pack(DATA, block_size=SIZE), 60)
    with pytest.raises(LimitExceeded):
        save(archive, max_output=len(DATA) - 1)


@pytest.mark.parametrize("block", range(9))
def test_what_is_lost_counts_once_towards_the_limit(block):
    archive = pack(DATA, block_size=SIZE)
    damaged = flipped(archive, blocks_of(archive)[block].offset - 5)
    assert save(damaged, max_output=len(DATA))[0] == without(block)
    with pytest.raises(LimitExceeded):
        save(damaged, max_output=len(DATA) - 1)


def test_hostile_totals_write_no_zeros():
    archive = pack(DATA, block_size=SIZE)
    end = codec.describe(io.BytesIO(archive))[0].end
    from mbz.container import End, pack_end

    start = len(archive) - len(pack_end(end))
    bad = flipped(archive[:start], blocks_of(archive)[1].offset - 3)
    bad += pack_end(End(raw_length=1 << 60, check=end.check)) + pack(b"x")
    assert save(bad) == (DATA[:100] + DATA[200:] + b"x", [(100, None)])


@pytest.mark.parametrize("seed", range(100))
def test_whatever_comes_out_is_content_or_zeros(seed):
    rng = random.Random(seed)
    archive = bytearray(pack(DATA, block_size=SIZE))
    for _ in range(rng.choice([1, 3, 10])):
        place = rng.randrange(len(archive))
        match rng.randrange(3):
            case 0:
                archive[place] = rng.randrange(256)
            case 1:
                archive[place:place] = rng.randbytes(rng.randint(1, 40))
            case 2:
                del archive[place : place + rng.randint(1, 40)]
    found, missing = save(bytes(archive))
    blocks = {DATA[at : at + SIZE] for at in range(0, len(DATA), SIZE)}
    left = found
    while left:  # nothing but blocks of the content, whole, and zeros
        size = next((n for n in (50, SIZE) if left[:n] in blocks), 1)
        assert size > 1 or left[0] == 0
        left = left[size:]
    assert missing or found == DATA


def test_missing_ranges_say_why():
    archive = pack(DATA, block_size=SIZE)
    damaged = flipped(archive, blocks_of(archive)[3].offset)
    [one] = salvage(io.BytesIO(damaged), None, find_stub).missing
    assert one == Missing(start=300, length=100, reason=one.reason)
    assert "check" in one.reason
