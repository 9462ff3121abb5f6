"""Integer matrix products with what follows them, as one Triton kernel: sections 2.4 and 3.3.

An activation comes in as int8 rows, or, where there are few rows and each launch counts, as float32
rows, or integers, that every program quantises for itself.

Shapes: M rows, N outputs, K terms.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from mbz.exact.triton_rows import EXACT, SMALLEST, STEP, rint, root_of
from mbz.exact.triton_tiles import Tile, product_tile

# What becomes of the outputs y of a row: y * factor, x += y * factor, max(y, 0) squared.
TIMES, ADD, SQUARE = range(3)
_TIMES, _ADD, _SQUARE = (tl.constexpr(n) for n in (TIMES, ADD, SQUARE))


@triton.jit
def quantised_sums(
    a_p, w_p, row, output,
    K: tl.constexpr, QUANTISE: tl.constexpr,
    ROWS: tl.constexpr, OUTPUTS: tl.constexpr, TERMS: tl.constexpr,
):  # fmt: skip
    """Exact sums (rows, outputs), and of each row the largest magnitude and the sum of squares.

    The last two are only known where the rows are quantised here.
    """
    term = tl.arange(0, TERMS)
    a_p += row.to(tl.int64)[:, None] * K + term
    w_p += output[None, :] * K + term[:, None]
    sums = tl.zeros((ROWS, OUTPUTS), tl.int32)
    largest = tl.zeros((ROWS,), tl.float32)
    squares = tl.zeros((ROWS,), tl.int32)
    if QUANTISE:
        for k in range(0, K, TERMS):
            x = tl.load(a_p + k, (term < K - k)[None, :], 0)
            largest = tl.maximum(largest, tl.max(tl.abs(x.to(tl.float32)), 1))
        largest = tl.maximum(largest, SMALLEST)
        inverse = tl.div_rn(127.0, largest)
        for k in range(0, K, TERMS):
            if K % TERMS == 0:
                x, w = tl.load(a_p + k), tl.load(w_p + k)
            else:
                x = tl.load(a_p + k, (term < K - k)[None, :], 0)
                w = tl.load(w_p + k, (term < K - k)[:, None], 0)
            q = rint(x.to(tl.float32) * inverse[:, None]).to(tl.int32)
            squares += tl.sum(q * q, 1)
            sums = tl.dot(q.to(tl.int8), w, sums, out_dtype=tl.int32)
    else:
        for k in range(0, K, TERMS):
            if K % TERMS == 0:
                q, w = tl.load(a_p + k), tl.load(w_p + k)
            else:
                q = tl.load(a_p + k, (term < K - k)[None, :], 0)
                w = tl.load(w_p + k, (term < K - k)[:, None], 0)
            sums = tl.dot(q, w, sums, out_dtype=tl.int32)
    return sums, largest, squares


@triton.jit(do_not_specialize=["count"])
def _product_kernel(
    a_p, w_p, scale_p, factor_p, squares_p, roots_p, y_p, count,
    N: tl.constexpr, K: tl.constexpr, AFTER: tl.constexpr, DIVIDE: tl.constexpr,
    QUANTISE: tl.constexpr, ROWS: tl.constexpr, OUTPUTS: tl.constexpr, TERMS: tl.constexpr,
):  # fmt: skip
    across: tl.constexpr = (N + OUTPUTS - 1) // OUTPUTS
    column = tl.program_id(0) % across
    row = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)
    output = column * OUTPUTS + tl.arange(0, OUTPUTS)
    mask = (row < count)[:, None] & (output < N)[None, :]
    # Beyond the ends the last row and output are computed again, and not stored.
    inside = row < count
    row = tl.minimum(row, count - 1)
    near = tl.minimum(output, N - 1)
    sums, largest, squares = quantised_sums(
        a_p, w_p, row, near, K, QUANTISE, ROWS, OUTPUTS, TERMS
    )  # fmt: skip
    y = sums.to(tl.float32) * tl.load(scale_p + near)[None, :]
    y_p += row.to(tl.int64)[:, None] * N + output
    if AFTER == _SQUARE:
        y = tl.maximum(y, 0.0)
        tl.store(y_p, y * y, mask)
        if QUANTISE and column == 0:
            tl.store(squares_p + row, tl.maximum(squares, 1).to(tl.float32), inside)
    else:
        if not QUANTISE:
            factor = tl.load(factor_p + row)
        elif AFTER == _TIMES:
            factor = root_of(squares, roots_p)
        else:
            factor = largest * STEP
            if DIVIDE:
                factor = tl.div_rn(factor, tl.load(squares_p + row))
        y *= factor[:, None]
        if AFTER == _ADD:
            y += tl.load(y_p, mask, 0.0)
        tl.store(y_p, y, mask)


def product(
    a_MK: Tensor,
    weight_NK: Tensor,
    scale_N: Tensor,
    after: int,
    roots: Tensor,
    *,
    y_MN: Tensor | None = None,
    factor_M: Tensor | None = None,
    squares_M: Tensor | None = None,
    tile: Tile | None = None,
) -> Tensor:
    """2.4 and what follows.

    Args:
        a_MK: int8 rows, or float32 rows that are quantised on the way.
        weight_NK: int8.
        scale_N: of each output.
        after: TIMES and ADD multiply by the factor of the row; ADD adds to `y_MN`, in place.
        roots: the table of 2.3.
        y_MN: where the outputs go; None makes a place.
        factor_M: of each int8 row. Of rows quantised here it is, for TIMES, the reciprocal root of
            their sum of squares, and for ADD their step.
        squares_M: of float32 rows only: what ADD divides the step by, and where SQUARE puts the
            sums of squares.
        tile: None takes the one for so many rows.
    """
    (count, terms), outputs = a_MK.shape, len(weight_NK)
    tile = tile or product_tile(count)
    if y_MN is None:
        y_MN = torch.empty((count, outputs), device=a_MK.device)
    grid = triton.cdiv(count, tile.rows) * triton.cdiv(outputs, tile.outputs)
    _product_kernel[(grid,)](
        a_MK, weight_NK, scale_N, scale_N if factor_M is None else factor_M,
        scale_N if squares_M is None else squares_M, roots, y_MN, count,
        N=outputs, K=terms, AFTER=after, DIVIDE=squares_M is not None,
        QUANTISE=a_MK.dtype != torch.int8,
        ROWS=tile.rows, OUTPUTS=tile.outputs, TERMS=tile.terms,
        num_warps=tile.warps, num_stages=tile.stages, **EXACT,
    )  # fmt: skip
    return y_MN
