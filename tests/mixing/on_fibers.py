"""The CUDA source of mixing, run without a GPU."""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from fibers import compiled
from numpy.typing import NDArray

from mbz.mixing import BitDecoder, Mixer
from mbz.mixing.cuda import source

THREADS = 256

_ENTRY = """
extern "C" int run(int blocks, int threads, unsigned seed, const void* memories, i64* first,
    int steps, const float* counts, i64 lane_stride, i64 step_stride, i64* symbols,
    unsigned short* chances, int all_lanes) {
  return launch(blocks, threads, seed, [=] {
    code((const Memory*)memories, first, steps, counts, lane_stride, step_stride, symbols, chances,
         all_lanes);
  });
}
"""


@cache
def loaded() -> Any:
    """The compiled source."""
    return compiled(source.source() + _ENTRY, THREADS)


class Blocks:
    """Blocks of some mixers, whose memory the CUDA source works on."""

    def __init__(self, mixers: list[Mixer], codes: list[bytes] | None = None) -> None:
        self.arrays: list[dict[str, NDArray[Any]]] = []
        self.lanes, packed = 0, []
        for n, mixer in enumerate(mixers):
            memory = mixer.memory
            decoder = BitDecoder(codes[n] if codes else b"")
            lanes = memory.starts.size - 1
            arrays = source.tables_of(memory) | {name: getattr(memory, name) for name in source.OWN}
            arrays |= source.more_of(memory, decoder)
            self.arrays.append(arrays)
            numbers = source.numbers_of(memory, self.lanes, decoder.source.size)
            packed.append(source.pack({k: v.ctypes.data for k, v in arrays.items()}, numbers))
            self.lanes += lanes
        self.memories = b"".join(packed)
        self.num = len(mixers)

    def run(
        self,
        first: int,
        counts_LSV: NDArray[np.float32],
        symbols_LS: NDArray[np.int64],
        *,
        decode: bool = False,
        seed: int = 1,
    ) -> NDArray[np.uint16]:
        """Codes the next steps of all blocks; chances (S, 8, L)."""
        steps = symbols_LS.shape[1]
        chances = np.zeros((steps, 8, self.lanes), np.uint16)
        at, lane_stride, step_stride = np.array([first], np.int64), *counts_LSV.strides[:2]
        ended = loaded().run(
            self.num, THREADS, seed, self.memories, at.ctypes.data_as(ctypes.c_void_p), steps,
            counts_LSV.ctypes.data_as(ctypes.c_void_p), ctypes.c_longlong(lane_stride // 4),
            ctypes.c_longlong(step_stride // 4), symbols_LS.ctypes.data_as(ctypes.c_void_p),
            None if decode else chances.ctypes.data_as(ctypes.c_void_p), self.lanes,
        )  # fmt: skip
        assert ended == self.num * THREADS  # or some wait for those who never come
        return chances
