"""Archives as a whole: round trips, sizes, mixing, memory (docs/format.md)."""

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing import MODEL_ID, TEXT, Pipe, find_stub, kinds, pack, random_bytes, skewed, unpack
from stub_predictor import StubPredictor

from mbz import codec, container, payload
from mbz.config import PRESETS
from mbz.container import Kind
from mbz.errors import (
    Corrupt,
    LimitExceeded,
    MbzError,
)
from mbz.exact import COUNT_SUM, memory
from mbz.mixing import SETS, Mixer

# Round trips


@pytest.mark.parametrize("n", range(65))
def test_tiny_inputs(n):
    for data in (random_bytes(n), bytes(n), b"\xff" * n, skewed(n), bytes(range(n))):
        for model in (True, False):
            archive = pack(data, model=model)
            assert unpack(archive) == data
            assert len(archive) <= n + 12 + (n > 127)


def edges(*sizes: int) -> list[int]:
    return sorted({size + delta for size in sizes for delta in (-1, 0, 1)})


@pytest.mark.parametrize("n", edges(64, 128, 192, 256, 500))
@pytest.mark.parametrize("lanes", [None, 1, 2, 7, 63, 64, 65, 4096])
def test_block_and_lane_boundaries(n, lanes):
    data = skewed(n)
    archive = pack(data, block_size=64, lanes=lanes)
    assert unpack(archive) == data
    assert len(kinds(archive)) == -(-n // 64)


@pytest.mark.parametrize("n", edges(8192, 16384, 32768, 36864))
def test_lane_length_boundaries(n):
    archive = pack(skewed(n), lane_bytes=8192)
    assert kinds(archive) == ["CODED"]
    (info,) = codec.describe(io.BytesIO(archive))
    lane = 8192 if n <= 32768 else 4096
    assert info.header.only_block.coding.lanes == -(-n // lane)
    assert unpack(archive) == skewed(n)


@pytest.mark.parametrize("n", edges(100 * 163, 100 * 326))
def test_scoring_chunk_boundaries(n):
    """At 100 lanes, 163 steps are scored at once."""
    assert unpack(pack(skewed(n), lanes=100)) == skewed(n)


@given(
    data=st.one_of(st.binary(max_size=400), st.text("ab\0", max_size=400).map(str.encode)),
    block_size=st.integers(1, 500),
    lanes=st.one_of(st.none(), st.integers(1, 40)),
    model=st.booleans(),
)
def test_round_trip(data, block_size, lanes, model):
    archive = pack(data, block_size=block_size, lanes=lanes, model=model)
    assert unpack(archive) == data
    (info,) = codec.describe(Pipe(archive))
    assert (info.raw_length, info.archive_length) == (len(data), len(archive))


def test_pipes():
    data = skewed(1000) + random_bytes(500)
    for size in (None, len(data)):
        dst = io.BytesIO()
        codec.compress(Pipe(data), dst, StubPredictor(), MODEL_ID, block_size=512, size=size)
        assert dst.getvalue() == pack(data, block_size=512, size=size)
        out = io.BytesIO()
        codec.decompress(Pipe(dst.getvalue()), out, find_stub)
        assert out.getvalue() == data


@pytest.mark.parametrize("n", range(1, 40))
def test_lanes_are_consecutive_and_even(n):
    data = bytes(range(n))
    for lanes in range(1, n + 1):
        grid = payload._split_lanes(data, lanes)
        sizes = [n // lanes + (lane < n % lanes) for lane in range(lanes)]
        assert b"".join(grid[i, :size].tobytes() for i, size in enumerate(sizes)) == data
        assert grid.shape == (lanes, max(sizes))
        assert payload._join_lanes(grid, n).tobytes() == data


# Sizes and choices


def test_exact_sizes():
    assert len(pack(b"")) == 12
    assert len(pack(b"x")) == 13
    assert len(pack(random_bytes(65536))) == 65536 + 14
    assert len(pack(bytes(1 << 17), model=False)) < 120
    assert len(pack(bytes(1 << 17))) < 200
    n = (1 << 17) + 5
    assert len(pack(random_bytes(n), model=False, size=n, block_size=1 << 17)) <= n + 64


@pytest.mark.parametrize("n", [60, 100, 127, 128, 500, 1000, 4096, 8192])
def test_overhead_over_the_ideal_is_at_most_24_bytes(n):
    data = skewed(n)
    symbols_1S = np.frombuffer(data, np.uint8)[None]
    coding = container.Coding(lanes=1, network=True)
    predictor = StubPredictor()
    predictor.reset(1)
    counts = predictor.score(symbols_1S)[0, np.arange(n), symbols_1S[0]]
    ideal = -np.log2((counts.astype(np.float64) + 1) / 2**24).sum() / 8
    coded = payload.encode(data, coding, StubPredictor(), lambda _: None)
    assert len(coded) <= math.ceil(ideal) + 1
    block = container.Block(
        kind=Kind.CODED,
        raw_length=n,
        coded_length=len(coded),
        coding=coding,
        check=container.content_check(data),
    )
    head = container.pack_header(container.Header(model=MODEL_ID, size=n, only_block=block))
    assert len(head) + len(coded) <= math.ceil(ideal) + (24 if n < 8192 else 25)
    if n >= 1000:
        assert pack(data) == head + coded


def test_each_block_takes_the_smallest_kind():
    data = skewed(4096) + random_bytes(4096) + random_bytes(64) * 64
    archive = pack(data, block_size=4096)
    assert kinds(archive) == ["CODED", "STORED", "LZMA"]
    assert unpack(archive) == data


def test_a_model_that_no_block_needs_is_left_out():
    (info,) = codec.describe(io.BytesIO(pack(random_bytes(100))))
    assert info.header.model is None
    unpack(pack(random_bytes(100)), find_model=None)
    (info,) = codec.describe(io.BytesIO(pack(random_bytes(100), block_size=64)))
    assert info.header.model == MODEL_ID


def test_same_input_same_bytes():
    assert pack(skewed(5000), lanes=3) == pack(skewed(5000), lanes=3)


def test_size_is_recorded_in_the_block_form_when_known():
    for size in (None, 200):
        (info,) = codec.describe(io.BytesIO(pack(skewed(200), block_size=64, size=size)))
        assert info.header.size == size


# Mixing


@pytest.mark.parametrize("experts", ["lean", "middle", "rich"])
@pytest.mark.parametrize("model", [True, False])
@pytest.mark.parametrize(("n", "lanes"), [(1, 1), (63, 7), (64, 64), (5000, 3), (17000, 128)])
def test_mixed_blocks_round_trip(experts, model, n, lanes):
    data = (TEXT * (n // len(TEXT) + 1))[:n]
    archive = pack(data, model=model, experts=experts, lanes=lanes, block_size=10_000)
    assert unpack(archive) == data


@pytest.mark.parametrize("model", [True, False])
def test_mixing_is_used_and_said(model):
    data = skewed(3000) + TEXT * 10
    archive = pack(data, model=model, experts="middle", lanes=2)
    [info] = codec.describe(io.BytesIO(archive))
    assert info.header.only_block.coding == container.Coding(lanes=2, network=model, experts=2)
    assert (info.header.model is None) == (not model)
    assert len(archive) < len(pack(data, model=model))


def test_an_unknown_set_of_experts_is_corrupt():
    coding = container.Coding(lanes=1, network=False, experts=7)
    with pytest.raises(Corrupt, match="set of experts"):
        payload.decode(b"", 9, coding, None, lambda _: None)


# Memory


def test_a_writer_takes_no_more_lanes_than_a_reader_allows():
    few = StubPredictor()
    few.most_lanes = 3
    for lanes in (None, 3, 100):
        dst = io.BytesIO()
        stats = codec.compress(
            io.BytesIO(skewed(5000)), dst, few, MODEL_ID, lanes=lanes, lane_bytes=10
        )
        assert stats.blocks[0].coding.lanes == 3
        assert unpack(dst.getvalue()) == skewed(5000)


def test_more_lanes_than_memory_allows_are_refused_before_it_is_taken():
    few = StubPredictor()
    few.most_lanes = 3
    with pytest.raises(LimitExceeded, match="4 lanes"):
        codec.decompress(io.BytesIO(pack(skewed(5000), lanes=4)), None, lambda *_: few)
    assert len(few._seen_BV) == 0


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
def test_the_lanes_that_a_network_may_have(config):
    """With the wider of the arrays that the compiled backend keeps for each."""
    lanes = config.most_lanes
    part = memory.part_of(config, min(lanes, 8), 8)
    assert lanes >= 30
    assert arrays(part) / min(lanes, 8) * lanes < 280 << 20


@pytest.mark.parametrize("use", SETS)
@pytest.mark.parametrize("lanes", [1, container.MAX_LANES])
def test_memory_of_the_longest_block(use, lanes):
    longest, rows = container.MAX_BLOCK, {}
    if use in {"pixels", "sound"}:
        longest = container.MAX_NUMBERS_BLOCK
        rows = {"stride": 48, "unit": 3} if use == "sound" else {"stride": longest, "unit": 8}
    mixer = Mixer(longest, lanes, use=use, network=True, **rows)
    own = sum(value.nbytes for value in vars(mixer).values() if isinstance(value, np.ndarray))
    copies = 5 * longest  # payload, lanes, content, and copies of it
    assert arrays(mixer.memory) + own + copies < 560 << 20


def arrays(memory) -> int:
    """Bytes of all arrays in tuples in tuples."""
    parts = (arrays(part) if isinstance(part, tuple) else part.nbytes for part in memory)
    return sum(parts)


def test_blocks_too_long_for_pixels_are_coded_as_others_are(monkeypatch):
    monkeypatch.setattr(container, "MAX_NUMBERS_BLOCK", 19_999)
    picture = b"P5 200 100 255\n" + bytes(20_000)
    for raw, use in ((picture[:-100], "pixels"), (picture, "rich")):
        coding = codec.coding_of(raw, predictor=None, experts="rich", lanes=None, lane_bytes=9)
        assert SETS[coding.experts - 1] == use


# The rest of the interface


def test_concatenated_archives_decode_as_one():
    parts = [b"", skewed(500), random_bytes(100), bytes(300)]
    archives = [pack(parts[0]), pack(parts[1]), pack(parts[2], block_size=64), pack(parts[3])]
    joined = b"".join(archives)
    dst = io.BytesIO()
    stats = codec.decompress(Pipe(joined), dst, find_stub)
    assert dst.getvalue() == b"".join(parts)
    assert (stats.archives, stats.blocks) == (4, 5)
    for infos in (codec.describe(Pipe(joined)), codec.describe(io.BytesIO(joined))):
        assert [info.archive_length for info in infos] == [len(archive) for archive in archives]
        assert infos[2].offset == len(archives[0]) + len(archives[1])


def test_a_described_block_decodes_on_its_own():
    data = skewed(300)
    archive = pack(data, block_size=128)
    (info,) = codec.describe(io.BytesIO(archive))
    for one in info.blocks:
        coded = archive[one.offset : one.offset + one.block.coded_length]
        raw = codec.decode_block(one.block, coded, StubPredictor())
        assert raw == data[one.raw_offset : one.raw_offset + one.block.raw_length]


def test_testing_writes_nothing():
    stats = codec.decompress(io.BytesIO(pack(skewed(5000))), None, find_stub)
    assert stats.raw_length == 5000


@pytest.mark.parametrize("block_size", [1 << 20, 4000])
def test_progress_rises_to_the_end(block_size):
    seen: list[int] = []
    data = skewed(20000)
    archive = pack(data, block_size=block_size, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 20000
    assert len(set(seen)) >= 2
    seen.clear()
    unpack(archive, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 20000
    assert len(set(seen)) >= 15


def test_wrong_arguments():
    for options in (
        {"block_size": 0},
        {"block_size": container.MAX_BLOCK + 1},
        {"lanes": 0},
        {"lanes": container.MAX_LANES + 1},
        {"size": -1},
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            pack(b"abc", **options)
    with pytest.raises(ValueError, match="together"):
        codec.compress(io.BytesIO(), io.BytesIO(), StubPredictor())


@pytest.mark.parametrize("size", [0, 299, 301])
def test_a_size_that_is_not_the_input_s_is_refused(size):
    for block_size in (64, 1000):
        with pytest.raises(MbzError, match="changed"):
            pack(bytes(300), size=size, block_size=block_size)


def test_the_stub_is_a_predictor():
    symbols_BS = np.frombuffer(skewed(60), np.uint8).reshape(3, 20)
    one, other = StubPredictor(), StubPredictor()
    one.reset(3)
    other.reset(3)
    whole = one.score(symbols_BS)
    split = np.concatenate([other.score(symbols_BS[:, :7]), other.score(symbols_BS[:, 7:])], axis=1)
    assert np.array_equal(whole, split)
    assert (whole.sum(axis=2, dtype=np.int64) == COUNT_SUM).all()
    assert whole.min() >= 0


def test_pixels_are_found_and_predicted():
    y, x, c = np.indices((40, 50, 3))
    noise = np.random.default_rng(5).integers(0, 3, x.shape)
    picture = (x * (c + 1) + 2 * y + noise).astype(np.uint8).tobytes()
    data = b"P6 50 40 255\n" + picture
    archive = pack(data, model=False, experts="middle")
    [info] = codec.describe(io.BytesIO(archive))
    assert info.header.only_block.coding == container.Coding(
        lanes=1, network=False, experts=4, stride=150, unit=3, phase=13
    )
    assert unpack(archive) == data
