"""Integer matrix products with what follows them, as one Triton kernel: sections 2.4 and 3.3.

Shapes: M rows, N outputs, K terms.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from mbz.exact.triton_rows import EXACT
from mbz.exact.triton_tiles import Tile, product_tile

# What becomes of the outputs y of a row: y * factor, x += y * factor, max(y, 0) squared.
TIMES, ADD, SQUARE = range(3)
_TIMES, _ADD, _SQUARE = (tl.constexpr(n) for n in (TIMES, ADD, SQUARE))


@triton.jit
def sums_of(
    a_p, w_p, row, output,
    K: tl.constexpr, ROWS: tl.constexpr, OUTPUTS: tl.constexpr, TERMS: tl.constexpr,
):  # fmt: skip
    """Exact sums (rows, outputs) of products of int8."""
    term = tl.arange(0, TERMS)
    a_p += row.to(tl.int64)[:, None] * K + term
    w_p += output[None, :] * K + term[:, None]
    sums = tl.zeros((ROWS, OUTPUTS), tl.int32)
    for k in range(0, K, TERMS):
        if K % TERMS == 0:
            a, w = tl.load(a_p + k), tl.load(w_p + k)
        else:
            a = tl.load(a_p + k, (term < K - k)[None, :], 0)
            w = tl.load(w_p + k, (term < K - k)[:, None], 0)
        sums = tl.dot(a, w, sums, out_dtype=tl.int32)
    return sums


@triton.jit(do_not_specialize=["count"])
def _product_kernel(
    a_p, w_p, scale_p, factor_p, y_p, count,
    N: tl.constexpr, K: tl.constexpr, AFTER: tl.constexpr,
    ROWS: tl.constexpr, OUTPUTS: tl.constexpr, TERMS: tl.constexpr,
):  # fmt: skip
    across: tl.constexpr = (N + OUTPUTS - 1) // OUTPUTS
    column = tl.program_id(0) % across
    row = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)
    output = column * OUTPUTS + tl.arange(0, OUTPUTS)
    mask = (row < count)[:, None] & (output < N)[None, :]
    # Beyond the ends the last row and output are computed again, and not stored.
    row = tl.minimum(row, count - 1)
    near = tl.minimum(output, N - 1)
    sums = sums_of(a_p, w_p, row, near, K, ROWS, OUTPUTS, TERMS)
    y = sums.to(tl.float32) * tl.load(scale_p + near)[None, :]
    y_p += row.to(tl.int64)[:, None] * N + output
    if AFTER == _SQUARE:
        y = tl.maximum(y, 0.0)
        tl.store(y_p, y * y, mask)
    else:
        y *= tl.load(factor_p + row)[:, None]
        if AFTER == _ADD:
            y += tl.load(y_p, mask, 0.0)
        tl.store(y_p, y, mask)


def product(
    a_MK: Tensor,
    weight_NK: Tensor,
    scale_N: Tensor,
    after: int,
    factor_M: Tensor | None = None,
    *,
    y_MN: Tensor | None = None,
    tile: Tile | None = None,
) -> Tensor:
    """2.4 and what follows.

    Args:
        a_MK: int8 rows.
        weight_NK: int8.
        scale_N: of each output.
        after: TIMES and ADD multiply by the factor of the row; ADD adds to `y_MN`, in place.
        factor_M: of each row; SQUARE needs none.
        y_MN: where the outputs go; None makes a place.
        tile: None takes the one for this shape.
    """
    (count, terms), outputs = a_MK.shape, len(weight_NK)
    tile = tile or product_tile(count, outputs, terms)
    if y_MN is None:
        y_MN = torch.empty((count, outputs), device=a_MK.device)
    grid = triton.cdiv(count, tile.rows) * triton.cdiv(outputs, tile.outputs)
    _product_kernel[(grid,)](
        a_MK, weight_NK, scale_N, scale_N if factor_M is None else factor_M, y_MN, count,
        N=outputs, K=terms, AFTER=after,
        ROWS=tile.rows, OUTPUTS=tile.outputs, TERMS=tile.terms,
        num_warps=tile.warps, num_stages=tile.stages, **EXACT,
    )  # fmt: skip
    return y_MN
