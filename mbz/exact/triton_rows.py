"""Row operations of the exact network as Triton kernels: sections 2.1 to 2.3, 2.7, 3.6.

Each rounds as `reference.py` does, because three things are seen to here: every launch forbids
fused multiply-adds (`EXACT`), divisions are `div_rn`, and what is summed is integers. Triton
flushes no denormals.

Shapes: M rows (positions of all lanes), K width, B lanes, S positions, H bytes before a position,
O orders of n-grams.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from mbz.exact import fixed

EXACT = {"enable_fp_fusion": False}
"""Options of every launch."""

ROUND = tl.constexpr(12582912.0)  # 1.5 * 2**23: adding and taking it away rounds half to even
SMALLEST = tl.constexpr(float(fixed.SMALLEST))
STEP = tl.constexpr(float(fixed.STEP))
ROOT_SHIFT = tl.constexpr(23 - fixed.ROOT_BITS)
ROOT_FIRST = tl.constexpr(127 << fixed.ROOT_BITS)
COUNT_SUM = tl.constexpr(fixed.COUNT_SUM)
OUTPUT_LAST = tl.constexpr(fixed.OUTPUT_OCTAVES * fixed.OCTAVE)
NGRAM_STEP = tl.constexpr(1 / fixed.NGRAM_STEPS)
HASH_MIX = tl.constexpr(fixed.HASH_MIX)
LOW = tl.constexpr((1 << 32) - 1)

# What `quantise_rows` keeps of each row beside its integers.
NOTHING, STEPS, RATIO, SQUARES, ROOTS = range(5)
_STEPS, _RATIO, _SQUARES, _ROOTS = (tl.constexpr(n) for n in (STEPS, RATIO, SQUARES, ROOTS))


@triton.jit
def rint(x):
    """Half to even below 2**22; what is larger stays about as large."""
    return (x + ROUND) - ROUND


@triton.jit
def root_of(squares, roots_p):
    """2.3 of integer sums of squares."""
    n = tl.maximum(squares, 1).to(tl.float32)
    return tl.load(roots_p + ((n.to(tl.int32, bitcast=True) >> ROOT_SHIFT) - ROOT_FIRST))


@triton.jit
def _quantise_kernel(
    x_p, q_p, factor_p, squares_p, roots_p, count,
    K: tl.constexpr, KEEP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    at = row.to(tl.int64)[:, None] * K + column
    mask = (row < count)[:, None] & (column < K)
    x = tl.load(x_p + at, mask, 0).to(tl.float32)
    largest = tl.maximum(tl.max(tl.abs(x), 1), SMALLEST)
    q = rint(x * tl.div_rn(127.0, largest)[:, None]).to(tl.int32)
    tl.store(q_p + at, q.to(tl.int8), mask)
    if KEEP == _STEPS:
        tl.store(factor_p + row, largest * STEP, row < count)
    if KEEP == _RATIO:
        squares = tl.load(squares_p + row, row < count, 1.0)
        tl.store(factor_p + row, tl.div_rn(largest * STEP, squares), row < count)
    if KEEP == _SQUARES:
        tl.store(factor_p + row, tl.maximum(tl.sum(q * q, 1), 1).to(tl.float32), row < count)
    if KEEP == _ROOTS:
        tl.store(factor_p + row, root_of(tl.sum(q * q, 1), roots_p), row < count)


def quantise_rows(
    x_MK: Tensor, keep: int, roots: Tensor, squares_M: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """2.1: int8 rows and one float32 of each.

    Args:
        x_MK: contiguous rows, float32 or int32 below 2**24.
        keep: STEPS for `largest * STEP`, RATIO for that divided by `squares_M`, SQUARES for the sum
            of squares, ROOTS for its reciprocal root, NOTHING.
        roots: the table of 2.3.
        squares_M: sums of squares, for RATIO.
    """
    count, width = x_MK.shape
    q_MK = torch.empty((count, width), dtype=torch.int8, device=x_MK.device)
    factor_M = torch.empty(count, device=x_MK.device)
    columns = triton.next_power_of_2(width)
    rows = max(1, 2048 // columns)
    _quantise_kernel[(triton.cdiv(count, rows),)](
        x_MK, q_MK, factor_M, factor_M if squares_M is None else squares_M, roots, count,
        K=width, KEEP=keep, ROWS=rows, COLUMNS=columns,
        num_warps=4 if columns <= 2048 else 8, **EXACT,
    )  # fmt: skip
    return q_MK, factor_M


@triton.jit
def _counts_kernel(
    logits_p, found_p, table_p, symbols_p, count, INTERVALS: tl.constexpr, ROWS: tl.constexpr
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    byte = tl.arange(0, 256)
    at = row.to(tl.int64)[:, None] * 256 + byte
    mask = (row < count)[:, None] & (byte < 256)
    logits = tl.load(logits_p + at, mask, 0.0)
    n = tl.minimum(rint(tl.max(logits, 1)[:, None] - logits), OUTPUT_LAST)
    w = tl.load(table_p + n.to(tl.int32))
    ratio = tl.full((ROWS,), COUNT_SUM, tl.float64) / tl.sum(w, 1).to(tl.float64)
    k = (w.to(tl.float64) * ratio[:, None]).to(tl.int32)  # floor: nothing is below 0
    rest = COUNT_SUM - tl.sum(k, 1)
    top = tl.argmax(w, 1)  # the first, where several are largest
    k += tl.where(byte[None, :] == top[:, None], rest[:, None], 0)
    if INTERVALS:
        symbol = tl.load(symbols_p + row, row < count, 0).to(tl.int32)
        start = symbol + tl.sum(tl.where(byte[None, :] < symbol[:, None], k, 0), 1)
        size = 1 + tl.sum(tl.where(byte[None, :] == symbol[:, None], k, 0), 1)
        tl.store(found_p + row * 2, start, row < count)
        tl.store(found_p + row * 2 + 1, size, row < count)
    else:
        tl.store(found_p + at, k.to(tl.float32), mask)


def counts_of(logits_MV: Tensor, table: Tensor, symbols_M: Tensor | None = None) -> Tensor:
    """2.7: counts (M, 256) in float32, from the table of output weights in int32.

    Or, of the bytes in `symbols_M`, where their shares start and their sizes, (M, 2) in int32.
    """
    count, rows = len(logits_MV), 4
    found = torch.empty_like(logits_MV)
    if symbols_M is not None:
        found = torch.empty((count, 2), dtype=torch.int32, device=logits_MV.device)
    _counts_kernel[(triton.cdiv(count, rows),)](
        logits_MV, found, table, table if symbols_M is None else symbols_M, count,
        INTERVALS=symbols_M is not None, ROWS=rows, num_warps=4, **EXACT,
    )  # fmt: skip
    return found


@triton.jit(do_not_specialize=["count", "stride"])
def _input_kernel(
    bytes_p, stride, table_p, place_p, start_p, ngrams_p, factors_p, position_p, x_p, count,
    K: tl.constexpr, PATCH: tl.constexpr, REACH: tl.constexpr, ORDERS: tl.constexpr,
    TABLE_ROWS: tl.constexpr, WIDTH: tl.constexpr, SHIFT: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    s, lane = tl.program_id(0), tl.program_id(1)
    t = tl.load(position_p) + s
    column = tl.arange(0, COLUMNS)
    mask = column < K
    before_p = bytes_p + lane.to(tl.int64) * stride + s
    last = tl.load(before_p + REACH - 1)
    own_p = tl.where(t == 0, start_p, table_p + last * K)
    x = tl.load(own_p + column, mask, 0.0) + tl.load(place_p + (t % PATCH) * K + column, mask, 0.0)
    if ORDERS > 0:
        age = tl.arange(0, 8)
        some = tl.load(before_p + age, age < REACH, 0) + 1
        at = column.to(tl.int64)
        for i in tl.static_range(ORDERS):
            factors = tl.load(factors_p + i * REACH + age, age < REACH, 0)
            h = tl.sum(some * factors) & LOW
            row = ((h * HASH_MIX) & LOW) >> SHIFT
            at = tl.where(column // WIDTH == i, (i * TABLE_ROWS + row) * WIDTH + column % WIDTH, at)
        values = tl.load(ngrams_p + at, column < ORDERS * WIDTH, 0)
        x += values.to(tl.float32) * NGRAM_STEP
    tl.store(x_p + (lane.to(tl.int64) * count + s) * K + column, x, mask)


class Input:
    """3.6: the rows that the byte stacks begin with."""

    def __init__(
        self,
        tables: tuple[Tensor, Tensor, Tensor],
        ngrams: tuple[Tensor, Tensor] | None,
        orders: int,
    ) -> None:
        """Takes `local.bytes`, `.position`, `.start`; n-grams (rows, width) and their factors."""
        self.tables, self.orders = tables, orders
        self.ngrams = (tables[0], tables[0]) if ngrams is None else ngrams

    def __call__(self, bytes_BN: Tensor, reach: int, position: Tensor) -> Tensor:
        """Rows (B, S, K) of the next S positions from S - 1 + `reach` bytes before them, int64.

        `position` holds the first of the positions, one int64 on the device.
        """
        lanes, count = len(bytes_BN), bytes_BN.shape[1] - reach + 1
        table, factors = self.ngrams
        width = self.tables[0].shape[1]
        rows = len(table) // max(1, self.orders)
        x_BSK = torch.empty((lanes, count, width), device=bytes_BN.device)
        _input_kernel[(count, lanes)](
            bytes_BN, bytes_BN.stride(0), *self.tables, table, factors, position, x_BSK, count,
            K=width, PATCH=len(self.tables[1]), REACH=reach, ORDERS=self.orders,
            TABLE_ROWS=rows, WIDTH=table.shape[1], SHIFT=33 - rows.bit_length(),
            COLUMNS=triton.next_power_of_2(width), num_warps=4, **EXACT,
        )  # fmt: skip
        return x_BSK
