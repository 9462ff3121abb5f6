"""Blockwise attention of `layers.py` as fused Triton kernels, for CUDA.

Flash attention over the own window and the one before: scores never reach memory, and gradients
are summed without atomics. A tile of queries lies in one window.

Shapes: B batch, T positions, A = (H + 2G) * E, H query heads, G key heads, E head width, N rows of
a tile.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _rows_of(x_p, n, length, stride, E: tl.constexpr):
    """Rows n of one head, (N, E); zeros past the end."""
    return tl.load(x_p + n[:, None] * stride + tl.arange(0, E), (n < length)[:, None], 0.0)


@triton.jit
def _attention_kernel(
    qkv_p, o_p, sums_p, length, window, heads, groups,
    E: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    batch, head = tl.program_id(1).to(tl.int64), tl.program_id(2)
    stride = (heads + 2 * groups) * E
    first = tl.program_id(0) * QUERIES
    qkv_p += batch * length * stride
    k_p = qkv_p + (heads + head // (heads // groups)) * E
    n_q = first + tl.arange(0, QUERIES)
    q = _rows_of(qkv_p + head * E, n_q, length, stride, E)
    largest = tl.full((QUERIES,), -1e30, tl.float32)
    total = tl.full((QUERIES,), 0.0, tl.float32)
    o = tl.full((QUERIES, E), 0.0, tl.float32)
    start = tl.maximum(first // window - 1, 0) * window
    for n in range(start, tl.minimum(first + QUERIES, length), KEYS):
        n_k = n + tl.arange(0, KEYS)
        k = _rows_of(k_p, n_k, length, stride, E)
        s = tl.dot(q, tl.trans(k)) * LOG2_E
        s = tl.where(n_q[:, None] >= n_k, s, -1e30)
        top = tl.maximum(largest, tl.max(s, 1))
        p = tl.exp2(s - top[:, None])
        shrink = tl.exp2(largest - top)
        total = total * shrink + tl.sum(p, 1)
        v = _rows_of(k_p + groups * E, n_k, length, stride, E)
        o = tl.dot(p.to(v.dtype), v, o * shrink[:, None])
        largest = top
    at = ((batch * length + n_q[:, None]) * heads + head) * E + tl.arange(0, E)
    tl.store(o_p + at, o / total[:, None], (n_q < length)[:, None])
    at = (batch * heads + head) * length + n_q
    tl.store(sums_p + at, largest + tl.log2(total), n_q < length)


@triton.jit
def _query_gradient(
    qkv_p, o_p, go_p, sums_p, delta_p, gqkv_p, length, window, heads, groups,
    E: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    batch, head = tl.program_id(1).to(tl.int64), tl.program_id(2)
    stride = (heads + 2 * groups) * E
    first = tl.program_id(0) * QUERIES
    qkv_p += batch * length * stride
    k_p = qkv_p + (heads + head // (heads // groups)) * E
    n_q = first + tl.arange(0, QUERIES)
    q = _rows_of(qkv_p + head * E, n_q, length, stride, E)
    offset = (batch * length * heads + head) * E
    o = _rows_of(o_p + offset, n_q, length, heads * E, E).to(tl.float32)
    go = _rows_of(go_p + offset, n_q, length, heads * E, E)
    delta = tl.sum(o * go.to(tl.float32), 1)
    at = (batch * heads + head) * length + n_q
    tl.store(delta_p + at, delta, n_q < length)
    sums = tl.load(sums_p + at, n_q < length, 0.0)
    gq = tl.full((QUERIES, E), 0.0, tl.float32)
    start = tl.maximum(first // window - 1, 0) * window
    for n in range(start, tl.minimum(first + QUERIES, length), KEYS):
        n_k = n + tl.arange(0, KEYS)
        k = _rows_of(k_p, n_k, length, stride, E)
        v = _rows_of(k_p + groups * E, n_k, length, stride, E)
        s = tl.dot(q, tl.trans(k)) * LOG2_E - sums[:, None]
        p = tl.where(n_q[:, None] >= n_k, tl.exp2(s), 0.0)
        gs = p * (tl.dot(go, tl.trans(v)) - delta[:, None])
        gq = tl.dot(gs.to(k.dtype), k, gq)
    at = batch * length * stride + n_q[:, None] * stride + head * E + tl.arange(0, E)
    tl.store(gqkv_p + at, gq, (n_q < length)[:, None])


@triton.jit
def _key_gradient(
    qkv_p, go_p, sums_p, delta_p, gqkv_p, length, window, heads, groups,
    E: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    batch, group = tl.program_id(1).to(tl.int64), tl.program_id(2)
    stride = (heads + 2 * groups) * E
    first = tl.program_id(0) * KEYS
    qkv_p += batch * length * stride
    k_p = qkv_p + (heads + group) * E
    n_k = first + tl.arange(0, KEYS)
    k = _rows_of(k_p, n_k, length, stride, E)
    v = _rows_of(k_p + groups * E, n_k, length, stride, E)
    gk = tl.full((KEYS, E), 0.0, tl.float32)
    gv = tl.full((KEYS, E), 0.0, tl.float32)
    end = tl.minimum((first // window + 2) * window, length)
    shared = heads // groups
    for head in range(group * shared, group * shared + shared):
        rows_p = (batch * heads + head) * length
        go_head_p = go_p + (batch * length * heads + head) * E
        for n in range(first // QUERIES * QUERIES, end, QUERIES):
            n_q = n + tl.arange(0, QUERIES)
            inside = n_q < end
            q = _rows_of(qkv_p + head * E, n_q, end, stride, E)
            go = _rows_of(go_head_p, n_q, end, heads * E, E)
            sums = tl.load(sums_p + rows_p + n_q, inside, 0.0)
            delta = tl.load(delta_p + rows_p + n_q, inside, 0.0)
            s = tl.dot(k, tl.trans(q)) * LOG2_E - sums
            seen = (n_q >= n_k[:, None]) & inside
            p = tl.where(seen, tl.exp2(s), 0.0)
            gv = tl.dot(p.to(go.dtype), go, gv)
            gs = p * (tl.dot(v, tl.trans(go)) - delta)
            gk = tl.dot(gs.to(q.dtype), q, gk)
    at = batch * length * stride + n_k[:, None] * stride + (heads + group) * E + tl.arange(0, E)
    tl.store(gqkv_p + at, gk, (n_k < length)[:, None])
    tl.store(gqkv_p + at + groups * E, gv, (n_k < length)[:, None])


class WindowAttention(torch.autograd.Function):
    """`layers.window_attention` of (B, T, A) bfloat16; the window is a multiple of 16."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, window: int, heads: int, groups: int) -> Tensor:
        """Outputs of all heads side by side, (B, T, H * E)."""
        batch, length, _ = qkv.shape
        width = qkv.shape[2] // (heads + 2 * groups)
        o = torch.empty((batch, length, heads * width), dtype=qkv.dtype, device=qkv.device)
        sums = torch.empty((batch, heads, length), dtype=torch.float32, device=qkv.device)
        tile, settings = _tile_of(window)
        _attention_kernel[(triton.cdiv(length, tile), batch, heads)](
            qkv, o, sums, length, window, heads, groups, width, tile, 64, **settings
        )
        ctx.sizes = length, window, heads, groups, width
        ctx.save_for_backward(qkv, o, sums)
        return o

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient of queries, keys and values, without atomic sums."""
        qkv, o, sums = ctx.saved_tensors
        length, window, heads, groups, _ = ctx.sizes
        g, gqkv, delta = g.contiguous(), torch.empty_like(qkv), torch.empty_like(sums)
        tile, settings = _tile_of(window)
        grid, tiles = (triton.cdiv(length, tile), qkv.shape[0]), (tile, tile)
        _query_gradient[(*grid, heads)](
            qkv, o, g, sums, delta, gqkv, *ctx.sizes, *tiles, **settings
        )
        _key_gradient[(*grid, groups)](qkv, g, sums, delta, gqkv, *ctx.sizes, *tiles, **settings)
        return gqkv, None, None, None


def _tile_of(window: int) -> tuple[int, dict[str, int]]:
    """Positions of a program, and its best settings of those measured on an H100.

    The largest power of two that divides the window, at most 64.
    """
    tile = min(64, window & -window)
    small = tile < 64
    return tile, {"num_warps": 1 if small else 4, "num_stages": 2 if small else 3}
