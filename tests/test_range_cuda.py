"""The range code decoded by the CUDA source, which runs without a GPU here (`fibers.py`)."""

import ctypes
from functools import cache

import fibers
import numpy as np
import pytest

from mbz import range_code, range_cuda
from mbz.payload import _join_lanes, _split_lanes
from mbz.range_code import Encoder, _reduce

pytestmark = pytest.mark.skipif(fibers.COMPILER is None, reason="there is no g++")

_ENTRY = """
extern "C" int run(int blocks, unsigned seed, const void* jobs, const i64* step,
    const float* counts, i64 stride, i64* symbols) {
  return launch(blocks, THREADS, seed, [=] {
    decode_bytes((const Job*)jobs, step, counts, stride, symbols);
  });
}
"""


@cache
def loaded():
    return fibers.compiled(range_cuda._SOURCE.read_text() + _ENTRY, range_cuda._THREADS)


def counts_of(rng, symbols_TL):
    """Counts that sum to 2**24 - 256: flat, or nearly all for one byte, which mostly comes."""
    steps, lanes = symbols_TL.shape
    counts = np.zeros((steps, lanes, 256), np.int64)
    for row, symbol in zip(counts.reshape(-1, 256), symbols_TL.reshape(-1), strict=True):
        row[:] = rng.integers(0, rng.choice([1, 3, 5000]), 256)
        likely = symbol if rng.random() < 0.8 else rng.integers(256)
        row[likely] += (1 << 24) - 256 - row.sum()
    return counts


class Coded:
    """A block and its code."""

    def __init__(self, rng, length, lanes):
        self.data, self.lanes = rng.integers(0, 256, length, np.uint8), lanes
        self.symbols_TL = _split_lanes(self.data.tobytes(), lanes).T
        self.counts = counts_of(rng, self.symbols_TL)
        intervals = np.zeros((*self.symbols_TL.shape, 2), np.uint32)
        _reduce(self.counts.astype(np.float32), np.ascontiguousarray(self.symbols_TL), intervals)
        encoder = Encoder()
        encoder.encode(intervals.reshape(-1, 2)[:length])
        self.code = encoder.finish()


def decoded(blocks, codes, seed):
    places, first = [], 0
    for block in blocks:
        places.append((block.data.size, slice(first, first + block.lanes)))
        first += block.lanes
    jobs, held, contents = range_cuda.jobs_of(places, codes, lambda array: array)
    symbols = np.zeros(first, np.int64)
    counts = np.zeros((first, 256), np.float32)
    for t in range(max(len(block.counts) for block in blocks)):
        for block, (_, own) in zip(blocks, places, strict=True):
            if t < len(block.counts):
                counts[own] = block.counts[t]
        step = np.array([t])
        at, those, to = (a.ctypes.data_as(ctypes.c_void_p) for a in (step, counts, symbols))
        ended = loaded().run(len(blocks), seed, jobs, at, those, ctypes.c_longlong(256), to)
        assert ended == 128 * len(blocks)
    assert held
    return [content.tobytes() for content in contents]


@pytest.mark.parametrize(
    "sizes", [[(1, 1)], [(5, 1)], [(40, 3)], [(100, 17)], [(90, 4), (7, 7), (200, 33)]]
)
def test_decodes_what_the_encoder_wrote(sizes):
    rng = np.random.default_rng(len(sizes))
    blocks = [Coded(rng, *size) for size in sizes]
    for seed in (1, 2, 3):
        found = decoded(blocks, [block.code for block in blocks], seed)
        assert found == [block.data.tobytes() for block in blocks]


def decoded_on_the_cpu(block, code):
    symbols, counts = np.zeros(block.lanes, np.uint8), np.zeros((block.lanes, 256), np.uint32)
    decoding = range_code.Decoding(code, block.data.size, symbols, counts)
    step = ctypes.CFUNCTYPE(None, ctypes.c_int64)(range_code.step_address())
    for of_step in block.counts:
        counts[:] = of_step
        step(decoding.address)
    return _join_lanes(decoding.symbols_TL.T, block.data.size).tobytes()


def test_damaged_codes_decode_to_the_same():
    rng = np.random.default_rng(5)
    block = Coded(rng, 120, 5)
    for bad in (b"", b"\xff" * len(block.code), rng.bytes(len(block.code)), block.code[:-9]):
        assert decoded([block], [bad], 1) == [decoded_on_the_cpu(block, bad)]
