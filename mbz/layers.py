"""What a layer does between its matrix products, with the exact network's rounding simulated.

Here in plain torch, the definition; on CUDA the fused kernels of `triton_layers.py` do the same in
bfloat16. Rounding has a straight-through gradient and scales are constants (docs/exact.md).

Shapes: B batch, T positions, D width, A = (H + 2G) * E, F hidden width, H query heads, G key heads,
E head width, W window, L blocks of W positions.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mbz.exact.fixed import NGRAM_STEPS, VALUE_STEPS

TINY = 1e-8
LOG2_E = math.log2(math.e)


def straight_through(x: Tensor, rounded: Tensor) -> Tensor:
    """The value of `rounded` with the gradient of `x`."""
    return x + (rounded - x).detach()


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Scales each row by its largest magnitude to integers in [-127, 127]; also the step size."""
    step = x.detach().abs().amax(-1, keepdim=True).clamp_min(TINY) / 127
    scaled = x / step
    return straight_through(scaled, torch.round(scaled)), step


def inverse_rms(q: Tensor) -> Tensor:
    """1 / root mean square of each row."""
    return torch.rsqrt(q.square().mean(-1, keepdim=True) + TINY)


def fake_quantise(x: Tensor) -> Tensor:
    """Rows rounded to 255 levels; bfloat16 on CUDA."""
    if x.is_cuda:
        from mbz import triton_layers  # noqa: PLC0415

        return triton_layers.Quantise.apply(x.contiguous())
    q, step = quantise(x)
    return q * step


def add_normalise(x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """The residual rows x + y, float32, and the RMS norm of their integers, for a product.

    The norm comes after the rounding, because it is then a sum of integers.
    """
    if x.is_cuda:
        from mbz import triton_layers  # noqa: PLC0415

        return triton_layers.AddNormalise.apply(x.contiguous(), y)
    if y is not None:
        x = x + y
    return x, normalise(x)


def normalise(x: Tensor) -> Tensor:
    """RMS norm of the integers of each row."""
    q, _ = quantise(x)
    return q * inverse_rms(q)


def relu_squared(u: Tensor) -> Tensor:
    """Squares of the positive part, rounded."""
    if u.is_cuda:
        from mbz import triton_layers  # noqa: PLC0415

        return triton_layers.ReluSquared.apply(u)
    return fake_quantise(F.relu(u).square())


def normalise_heads(z_BTA: Tensor, rotary: Tensor, sharpness: Tensor, groups: int) -> Tensor:
    """Queries, keys and values as attention takes them, side by side as they come.

    Args:
        z_BTA: products of `qkv`.
        rotary: cosines and sines (2, 2W, E / 2); positions repeat after 2W.
        sharpness: (H,), of each query head.
        groups: G.
    """
    heads = len(sharpness)
    if z_BTA.is_cuda:
        from mbz import triton_layers  # noqa: PLC0415

        return triton_layers.Heads.apply(z_BTA, rotary, sharpness, heads, groups)
    length, ring = z_BTA.shape[1], rotary.shape[1]
    rotary = rotary.repeat(1, -(-length // ring), 1)[:, :length]
    z = z_BTA.unflatten(-1, (heads + 2 * groups, -1))
    width = z.shape[-1]
    q, k, v = z.split([heads, groups, groups], 2)
    q = normalise(rotate(q, rotary)) * (sharpness * width**-0.5).unsqueeze(-1)
    k, v = normalise(rotate(k, rotary)), normalise(v)
    v = straight_through(v, torch.round(v * VALUE_STEPS).clamp(-127, 127) / VALUE_STEPS)
    return torch.cat([q, k, v], 2).flatten(2)


def rotate(x_BTHE: Tensor, rotary: Tensor) -> Tensor:
    """Rotary position embedding: turns the pairs (i, i + E / 2) by the angle of the position."""
    cos, sin = rotary[:, :, None]
    a, b = x_BTHE.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def window_attention(qkv_BTA: Tensor, window: int, heads: int, groups: int) -> Tensor:
    """Softmax attention over the own block up to the position and the whole block before.

    Returns all heads side by side, (B, T, H * E).
    """
    if qkv_BTA.is_cuda:
        from mbz import triton_attention  # noqa: PLC0415

        return triton_attention.WindowAttention.apply(qkv_BTA, window, heads, groups)
    qkv = qkv_BTA.unflatten(-1, (heads + 2 * groups, -1)).transpose(1, 2)
    q_BHTE, k_BGTE, v_BGTE = qkv.split([heads, groups, groups], 1)
    length = qkv.shape[2]
    window = min(window, length)  # no padding beyond what there is
    blocks = -(-length // window)

    def cut(x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, blocks * window - length))
        return x.unflatten(2, (blocks, window))

    def with_previous(x: Tensor) -> Tensor:
        x = cut(x).repeat_interleave(heads // groups, 1)
        return torch.cat([F.pad(x, (0, 0, 0, 0, 1, 0))[:, :, :-1], x], 3)

    index = torch.arange(window, device=qkv.device)
    own = index[:, None] >= index
    before = torch.ones_like(own).expand(blocks, -1, -1).clone()
    before[0] = False
    mask_LWW = torch.cat([before, own.expand(blocks, -1, -1)], -1)
    out = F.scaled_dot_product_attention(
        cut(q_BHTE), with_previous(k_BGTE), with_previous(v_BGTE), attn_mask=mask_LWW, scale=1.0
    )
    return out.flatten(2, 3)[:, :, :length].transpose(1, 2).flatten(2)


def embed(
    index_BT: Tensor, table: Tensor, position: Tensor, rows: Tensor | None, values: Tensor | None
) -> Tensor:
    """The local input (B, T, D): the row of each byte, of its place in the patch, of its n-grams.

    Args:
        index_BT: rows of `table`.
        table: (V, D).
        position: (P, D).
        rows: of `values`, (B, T, orders), or None.
        values: (rows, width); rows of all orders lie side by side, then zeros up to D.
    """
    if table.is_cuda:
        from mbz import triton_layers  # noqa: PLC0415

        return triton_layers.Embed.apply(index_BT, table, position, rows, values)
    x = F.embedding(index_BT, table).unflatten(1, (-1, len(position))) + position
    if rows is None or values is None:
        return x.flatten(1, 2)
    found = F.embedding(rows, values).flatten(2)
    steps = torch.round(found * NGRAM_STEPS).clamp(-127, 127)
    found = straight_through(found, steps / NGRAM_STEPS)
    return x.flatten(1, 2) + F.pad(found, (0, table.shape[1] - found.shape[2]))


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean bits per byte of logits (M, 256) in nats."""
    if logits.is_cuda:
        from mbz import triton_layers  # noqa: PLC0415

        return triton_layers.Entropy.apply(logits, target)
    return F.cross_entropy(logits, target.long()) * LOG2_E
