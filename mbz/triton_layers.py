"""The operations of `layers.py` as fused Triton kernels, with their gradients, for CUDA.

Between two matrix products a layer only moves memory, so each kernel here reads and writes every
element once. Same functions as in `layers.py`, up to the rounding of bfloat16; attention is in
`triton_attention.py`.

Shapes: M rows (positions of all sequences), D width, A = (H + 2G) * E, F hidden width, B batch,
T positions, H query heads, G key heads, E head width, W window.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mbz.exact.fixed import NGRAM_STEPS, VALUE_STEPS

TINY = tl.constexpr(1e-8)
ROUND = tl.constexpr(12582912.0)  # 1.5 * 2**23: adding and taking it away rounds half to even
STEPS = tl.constexpr(float(VALUE_STEPS))
RESIDUAL = torch.bfloat16
NGRAMS = tl.constexpr(float(NGRAM_STEPS))
LOG2_E = tl.constexpr(1.4426950408889634)


def _rows(width: int) -> tuple[int, int, int]:
    """Tile of a row kernel: rows, columns (a power of two), warps."""
    columns = triton.next_power_of_2(width)
    rows = max(1, 2048 // columns)
    return rows, columns, 4 if rows * columns <= 2048 else 8


@triton.jit
def _quantise(x):
    """Integer-valued rows in [-127, 127] of a tile (rows, columns), and their step."""
    step = tl.maximum(tl.max(tl.abs(x), 1), TINY) / 127
    return (x / step[:, None] + ROUND) - ROUND, step


@triton.jit
def _tile(width, ROWS: tl.constexpr, COLUMNS: tl.constexpr, count):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    mask = (row < count)[:, None] & (column < width)
    return row, row[:, None] * width + column, mask


@triton.jit
def _quantise_kernel(x_p, y_p, count, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    _, at, mask = _tile(width, ROWS, COLUMNS, count)
    q, step = _quantise(tl.load(x_p + at, mask, 0.0).to(tl.float32))
    tl.store(y_p + at, q * step[:, None], mask)


@triton.jit
def _relu_squared_kernel(u_p, y_p, count, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    _, at, mask = _tile(width, ROWS, COLUMNS, count)
    u = tl.maximum(tl.load(u_p + at, mask, 0.0).to(tl.float32), 0.0)
    q, step = _quantise(u * u)
    tl.store(y_p + at, q * step[:, None], mask)


@triton.jit
def _relu_squared_gradient(u_p, g_p, out_p, size, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < size
    u = tl.maximum(tl.load(u_p + at, mask, 0.0).to(tl.float32), 0.0)
    g = tl.load(g_p + at, mask, 0.0).to(tl.float32)
    tl.store(out_p + at, 2 * u * g, mask)


@triton.jit
def _add_normalise_kernel(
    x_p, y_p, sum_p, out_p, count, width,
    ADD: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    _, at, mask = _tile(width, ROWS, COLUMNS, count)
    x = tl.load(x_p + at, mask, 0.0).to(tl.float32)
    if ADD:
        x += tl.load(y_p + at, mask, 0.0).to(tl.float32)
        tl.store(sum_p + at, x, mask)
        x = x.to(sum_p.dtype.element_ty).to(tl.float32)
    q, _ = _quantise(x)
    r = tl.rsqrt(tl.sum(q * q, 1) / width + TINY)
    tl.store(out_p + at, q * r[:, None], mask)


@triton.jit
def _normalise_gradient(g, q, r, step, width):
    """Gradient of q * r with respect to what was quantised."""
    dot = tl.sum(g * q, 1) * r * r / width
    return (g - q * dot[:, None]) * (r / step)[:, None]


@triton.jit
def _add_normalise_gradient(
    x_p, g_sum_p, g_out_p, gx_p, gy_p, count, width,
    HAS_SUM: tl.constexpr, TWICE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    _, at, mask = _tile(width, ROWS, COLUMNS, count)
    q, step = _quantise(tl.load(x_p + at, mask, 0.0).to(tl.float32))
    r = tl.rsqrt(tl.sum(q * q, 1) / width + TINY)
    g = tl.load(g_out_p + at, mask, 0.0).to(tl.float32)
    gx = _normalise_gradient(g, q, r, step, width)
    if HAS_SUM:
        gx += tl.load(g_sum_p + at, mask, 0.0).to(tl.float32)
    tl.store(gx_p + at, gx, mask)
    if TWICE:
        tl.store(gy_p + at, gx, mask)


@triton.jit
def _head(
    z_p, rotary_p, m, mask, length, ring, head, heads, groups,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """Both halves of one head of some rows, rotated unless a value; cosines and sines."""
    e = tl.arange(0, HALF)
    at = (m[:, None] * (heads + 2 * groups) + head) * (2 * HALF) + e
    a = tl.load(z_p + at, mask, 0.0).to(tl.float32)
    b = tl.load(z_p + at + HALF, mask, 0.0).to(tl.float32)
    cos = tl.full((ROWS, HALF), 1.0, tl.float32)
    sin = tl.full((ROWS, HALF), 0.0, tl.float32)
    if head < heads + groups:
        slot = ((m % length) % ring)[:, None] * HALF + e
        cos = tl.load(rotary_p + slot)
        sin = tl.load(rotary_p + ring * HALF + slot)
    return at, a * cos - b * sin, b * cos + a * sin, cos, sin


@triton.jit
def _quantise_pair(a, b):
    step = tl.maximum(tl.maximum(tl.max(tl.abs(a), 1), tl.max(tl.abs(b), 1)), TINY) / 127
    a = (a / step[:, None] + ROUND) - ROUND
    b = (b / step[:, None] + ROUND) - ROUND
    return a, b, step, tl.rsqrt((tl.sum(a * a, 1) + tl.sum(b * b, 1)) / (2 * a.shape[1]) + TINY)


@triton.jit
def _on_value_grid(v):
    steps = (v * STEPS + ROUND) - ROUND
    return tl.minimum(tl.maximum(steps, -127.0), 127.0) / STEPS


@triton.jit
def _heads_kernel(
    z_p, rotary_p, sharpness_p, out_p, count, length, ring, heads, groups,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    head, mask = tl.program_id(1), (m < count)[:, None]
    at, a, b, _, _ = _head(z_p, rotary_p, m, mask, length, ring, head, heads, groups, ROWS, HALF)
    a, b, _, r = _quantise_pair(a, b)
    if head < heads:
        r *= tl.load(sharpness_p + head) * tl.rsqrt(2.0 * HALF)
    a *= r[:, None]
    b *= r[:, None]
    if head >= heads + groups:
        a = _on_value_grid(a)
        b = _on_value_grid(b)
    tl.store(out_p + at, a, mask)
    tl.store(out_p + at + HALF, b, mask)


@triton.jit
def _heads_gradient(
    z_p, rotary_p, sharpness_p, g_p, gz_p, dot_p, count, length, ring, heads, groups,
    ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    head, mask = tl.program_id(1), (m < count)[:, None]
    at, a, b, cos, sin = _head(
        z_p, rotary_p, m, mask, length, ring, head, heads, groups, ROWS, HALF
    )
    a, b, step, r = _quantise_pair(a, b)
    ga = tl.load(g_p + at, mask, 0.0).to(tl.float32)
    gb = tl.load(g_p + at + HALF, mask, 0.0).to(tl.float32)
    dot = tl.sum(ga * a, 1) + tl.sum(gb * b, 1)
    scale = r / step
    if head < heads:
        tl.store(dot_p + m * heads + head, dot * r * tl.rsqrt(2.0 * HALF), m < count)
        scale *= tl.load(sharpness_p + head) * tl.rsqrt(2.0 * HALF)
    dot *= r * r / (2 * HALF)
    ga = (ga - a * dot[:, None]) * scale[:, None]
    gb = (gb - b * dot[:, None]) * scale[:, None]
    tl.store(gz_p + at, ga * cos + gb * sin, mask)
    tl.store(gz_p + at + HALF, gb * cos - ga * sin, mask)


class Quantise(torch.autograd.Function):
    """`layers.fake_quantise`: rows of any float type to bfloat16, gradient straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        ctx.dtype = x.dtype
        width = x.shape[-1]
        y, count = torch.empty_like(x, dtype=torch.bfloat16), x.numel() // width
        rows, columns, warps = _rows(width)
        _quantise_kernel[(triton.cdiv(count, rows),)](
            x, y, count, width, rows, columns, num_warps=warps
        )
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        """The gradient as it comes."""
        return g.to(ctx.dtype)


class ReluSquared(torch.autograd.Function):
    """`layers.relu_squared`: (..., F) bfloat16 to bfloat16."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        """Quantised squares of the positive part."""
        ctx.save_for_backward(u)
        width = u.shape[-1]
        y, count = torch.empty_like(u), u.numel() // width
        rows, columns, warps = _rows(width)
        _relu_squared_kernel[(triton.cdiv(count, rows),)](
            u, y, count, width, rows, columns, num_warps=warps
        )
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        """2 relu(u) g."""
        (u,) = ctx.saved_tensors
        g, out, size = g.contiguous(), torch.empty_like(u), u.numel()
        _relu_squared_gradient[(triton.cdiv(size, 4096),)](u, g, out, size, 4096, num_warps=8)
        return out


class AddNormalise(torch.autograd.Function):
    """`layers.add_normalise`: x (..., D) of any float type, y bfloat16 or None."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """The sum in the type of x and its normalised rows in bfloat16."""
        width = x.shape[-1]
        total = x.view_as(x) if y is None else torch.empty_like(x)
        out, count = torch.empty_like(x, dtype=torch.bfloat16), x.numel() // width
        rows, columns, warps = _rows(width)
        _add_normalise_kernel[(triton.cdiv(count, rows),)](
            x, x if y is None else y.contiguous(), total, out, count, width,
            y is not None, rows, columns, num_warps=warps,
        )  # fmt: skip
        ctx.adds = y is not None
        ctx.save_for_backward(total)
        ctx.set_materialize_grads(False)
        return total, out

    @staticmethod
    def backward(
        ctx: Any, g_total: Tensor | None, g_out: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of x and y, the same numbers in their two types."""
        (x,) = ctx.saved_tensors
        if g_out is None:
            return g_total, g_total.bfloat16() if ctx.adds and g_total is not None else None
        twice = ctx.adds and x.dtype != torch.bfloat16
        width = x.shape[-1]
        gx, count = torch.empty_like(x), x.numel() // width
        gy = torch.empty_like(x, dtype=torch.bfloat16) if twice else gx
        g_out = g_out.contiguous()
        rows, columns, warps = _rows(width)
        _add_normalise_gradient[(triton.cdiv(count, rows),)](
            x, g_out if g_total is None else g_total.contiguous(), g_out, gx,
            gy, count, width,
            g_total is not None, twice, rows, columns, num_warps=warps,
        )  # fmt: skip
        return gx, gy if ctx.adds else None


HEAD_ROWS = 64


class Heads(torch.autograd.Function):
    """`layers.normalise_heads`: (B, T, A) bfloat16 to the same shape."""

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, rotary: Tensor, sharpness: Tensor, heads: int, groups: int
    ) -> Tensor:
        """Rotated, normalised queries and keys, and values on their grid."""
        ctx.save_for_backward(z, rotary, sharpness)
        count = z.shape[0] * z.shape[1]
        ctx.sizes = count, z.shape[1], rotary.shape[1], heads, groups
        out, half = torch.empty_like(z), rotary.shape[2]
        grid = (triton.cdiv(count, HEAD_ROWS), heads + 2 * groups)
        _heads_kernel[grid](z, rotary, sharpness, out, *ctx.sizes, HEAD_ROWS, half, num_warps=4)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, Tensor, None, None]:
        """Gradients of z and of the sharpness."""
        z, rotary, sharpness = ctx.saved_tensors
        count, _, _, heads, groups = ctx.sizes
        gz, half = torch.empty_like(z), rotary.shape[2]
        dots = torch.empty((count, heads), dtype=torch.float32, device=z.device)
        _heads_gradient[(triton.cdiv(count, HEAD_ROWS), heads + 2 * groups)](
            z, rotary, sharpness, g.contiguous(), gz, dots, *ctx.sizes, HEAD_ROWS, half,
            num_warps=4,
        )  # fmt: skip
        return gz, None, dots.sum(0), None, None


@triton.jit
def _embed_kernel(
    bytes_p, table_p, position_p, rows_p, values_p, out_p, count, width, patch,
    ORDERS: tl.constexpr, VALUES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    m, at, mask = _tile(width, ROWS, COLUMNS, count)
    column = tl.arange(0, COLUMNS)
    index = tl.load(bytes_p + m, m < count, 0)
    x = tl.load(table_p + index[:, None] * width + column, mask, 0.0)
    x += tl.load(position_p + (m % patch)[:, None] * width + column, mask, 0.0)
    if ORDERS > 0:
        order = column // VALUES
        inside = mask & (order < ORDERS)
        row = tl.load(rows_p + m[:, None] * ORDERS + order, inside, 0).to(tl.int64)
        value = tl.load(values_p + row * VALUES + column % VALUES, inside, 0.0)
        steps = (value * NGRAMS + ROUND) - ROUND
        x += tl.minimum(tl.maximum(steps, -127.0), 127.0) / NGRAMS
    tl.store(out_p + at, x, mask)


class Embed(torch.autograd.Function):
    """`layers.embed`: bytes, positions and n-grams in one pass.

    The gradient of the small table is a product with one-hot rows: on CUDA a scatter of all bytes
    into 257 rows would wait for itself.
    """

    @staticmethod
    def forward(
        ctx: Any, index: Tensor, table: Tensor, position: Tensor,
        rows: Tensor | None, values: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """(B, T) to (B, T, D), float32."""
        ctx.save_for_backward(index, rows)
        ctx.shapes = table.shape, position.shape, None if values is None else values.shape
        patch, width = position.shape
        out = torch.empty((*index.shape, width), dtype=RESIDUAL, device=table.device)
        orders = 0 if rows is None else rows.shape[-1]
        tile, columns, warps = _rows(width)
        _embed_kernel[(triton.cdiv(index.numel(), tile),)](
            index.contiguous(), table, position, table if rows is None else rows.contiguous(),
            table if values is None else values, out, index.numel(), width, patch,
            orders, 1 if values is None else values.shape[1], tile, columns, num_warps=warps,
        )  # fmt: skip
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, Tensor, Tensor, None, Tensor | None]:
        """Sums of the gradients of all positions by table row."""
        index, rows = ctx.saved_tensors
        table, position, values = ctx.shapes
        g = g.flatten(0, 1)
        aligned = -(-table[0] // 8) * 8  # else the product takes a slow path
        one_hot = (index.reshape(-1, 1) == torch.arange(aligned, device=g.device)).bfloat16()
        g_table = (one_hot.T @ g.bfloat16())[: table[0]].float()
        g_position = g.view(-1, *position).sum(0, dtype=torch.float32)
        if rows is None:
            return None, g_table, g_position, None, None
        orders, width = rows.shape[-1], values[1]
        g_values = torch.zeros(values, device=g.device)
        g_rows = g[:, : orders * width].reshape(-1, width).float()
        g_values.index_add_(0, rows.reshape(-1), g_rows)
        return None, g_table, g_position, None, g_values


@triton.jit
def _entropy_kernel(
    logits_p, target_p, loss_p, sums_p, g_p, g_logits_p, count,
    GRADIENT: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    m, at, mask = _tile(256, ROWS, 256, count)
    logits = tl.load(logits_p + at, mask, 0.0).to(tl.float32)
    target = tl.load(target_p + m, m < count, 0)
    hit = tl.arange(0, 256) == target[:, None]
    if GRADIENT:
        p = tl.exp(logits - tl.load(sums_p + m, m < count, 0.0)[:, None])
        g = tl.load(g_p) * (LOG2_E / count)
        tl.store(g_logits_p + at, (p - tl.where(hit, 1.0, 0.0)) * g, mask)
    else:
        top = tl.max(logits, 1)
        sums = top + tl.log(tl.sum(tl.exp(logits - top[:, None]), 1))
        tl.store(sums_p + m, sums, m < count)
        loss = sums - tl.sum(tl.where(hit, logits, 0.0), 1)
        tl.store(loss_p + m, loss * LOG2_E, m < count)


class Entropy(torch.autograd.Function):
    """`layers.cross_entropy`: mean bits per byte of (M, 256) bfloat16 logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar."""
        count = len(logits)
        loss, sums = torch.empty((2, count), device=logits.device)
        ctx.save_for_backward(logits, target, sums)
        _entropy_kernel[(triton.cdiv(count, 8),)](
            logits, target, loss, sums, sums, logits, count, False, 8, num_warps=4
        )
        return loss.mean()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        """(softmax - one-hot) / M."""
        logits, target, sums = ctx.saved_tensors
        count, g_logits = len(logits), torch.empty_like(logits)
        _entropy_kernel[(triton.cdiv(count, 8),)](
            logits, target, sums, sums, g, g_logits, count, True, 8, num_warps=4
        )
        return g_logits, None
