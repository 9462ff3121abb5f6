"""MEGABYTE (arXiv 2305.07185) for training, with the exact network's arithmetic simulated.

By the paper's equations (section 2), with what exact integer inference asks for (docs/exact.md):

- per-byte embedding plus learned position, patches by concatenation, shift by one patch with a
  trainable pad, causal global model, projection to the local width, local input shifted by one
  byte, causal local model, logits for all 256 byte values; no byte is reserved;
- blockwise attention in both models: a position sees its block and the one before, so the local
  model looks across patches (the paper's cross-patch attention), and a stream may go on for ever;
- where the configuration asks for them, two parts that the paper has not: hashed n-grams of the
  bytes before, added to the local input, and an encoder, layers of the local kind over that input.
  Patches are then made of its rows, and the local model goes on from them;
- int8 weights and activations are simulated from the first step: rounding has a straight-through
  gradient, scales are constants. Norms have no gain, matrices no bias.

Shapes: B batch, T bytes, K = T / P patches, P patch, N positions, D width, H heads, E head width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from mbz.config import ModelConfig, StackConfig
from mbz.exact.fixed import NGRAM_STEPS, VALUE_STEPS, ngram_rows, rotary_table

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


def normalise(x: Tensor) -> Tensor:
    """RMS norm of the quantised row, which is the only norm of the exact network."""
    q, _ = quantise(x)
    return q * inverse_rms(q)


def inverse_rms(q: Tensor) -> Tensor:
    """1 / root mean square of each row."""
    return torch.rsqrt(q.square().mean(-1, keepdim=True) + TINY)


class Linear(nn.Module):
    """A matrix whose weights act as int8 with one scale per output channel."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))

    def quantised(self) -> tuple[Tensor, Tensor]:
        """Integer-valued weights (outputs, inputs) and their scales (outputs,)."""
        q, step = quantise(self.weight)
        return q, step[:, 0]

    def forward(self, q: Tensor) -> Tensor:
        """Product with integer-valued rows; bfloat16 holds int8 without error."""
        weight, scale = self.quantised()
        if q.is_cuda:
            return F.linear(q.bfloat16(), weight.bfloat16()).float() * scale
        return F.linear(q, weight) * scale


class Block(nn.Module):
    """Attention and MLP of one layer, each added to the residual stream."""

    def __init__(self, stack: StackConfig) -> None:
        super().__init__()
        self.stack = stack
        self.heads = [stack.heads, stack.kv_heads, stack.kv_heads]
        self.qkv = Linear(stack.width, sum(self.heads) * stack.head_dim)
        self.out = Linear(stack.width, stack.width)
        self.up = Linear(stack.width, stack.hidden)
        self.down = Linear(stack.hidden, stack.width)
        self.sharpness = nn.Parameter(torch.empty(stack.heads))

    def forward(self, x_BND: Tensor, rotary: Tensor, mask: BlockMask | None) -> Tensor:
        """One layer; `rotary` (2, N, E / 2) has cosines and sines of the positions."""
        x_BND = x_BND + self.attention(x_BND, rotary, mask)
        q, _ = quantise(x_BND)
        # The norm's factor r passes through ReLU squared as r**2, so it may act after `down`.
        hidden, step = quantise(F.relu(self.up(q)).square())
        return x_BND + self.down(hidden) * (step * inverse_rms(q).square())

    def attention(self, x_BND: Tensor, rotary: Tensor, mask: BlockMask | None) -> Tensor:
        """Blockwise attention with normalised queries, keys and values."""
        # All heads go through one path, so that the gradient needs no concatenation. No norm's
        # factor on the input: queries, keys and values are normalised here again.
        qkv = self.qkv(quantise(x_BND)[0]).unflatten(-1, (-1, self.stack.head_dim))
        is_value = torch.arange(qkv.shape[2], device=qkv.device) >= sum(self.heads[:2])
        qkv = normalise(torch.where(is_value[:, None], qkv, rotate(qkv, rotary)))
        q, k, v = qkv.split(self.heads, 2)
        q = q * (self.sharpness * self.stack.head_dim**-0.5).unsqueeze(-1)
        steps = torch.round(v * VALUE_STEPS).clamp(-127, 127)
        v = straight_through(v, steps / VALUE_STEPS)
        if x_BND.is_cuda:
            q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
        q, k, v = (p.transpose(1, 2) for p in (q, k, v))  # (B, H, N, E)
        o = window_attention(q, k, v, self.stack.window, mask)
        o, step = quantise(o.transpose(1, 2).flatten(2).float())
        return self.out(o) * step


def rotate(x_BNHE: Tensor, rotary: Tensor) -> Tensor:
    """Rotary position embedding: turns the pairs (i, i + E / 2) by the angle of the position."""
    cos, sin = rotary[:, :, None, None]
    pairs = x_BNHE.unflatten(-1, (2, -1))
    signed = torch.cat([-sin, sin], -2)
    return (pairs * cos + pairs.flip(-2) * signed).flatten(-2)


def window_mask(length: int, window: int, device: torch.device) -> BlockMask:
    """Which blocks of scores `flex_attention` may skip, for `length` positions."""

    def visible(_b: Tensor, _h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (query // window - key // window <= 1)

    return create_block_mask(visible, None, None, length, length, device=device)


def window_attention(
    q_BHNE: Tensor, k_BHNE: Tensor, v_BHNE: Tensor, window: int, mask: BlockMask | None
) -> Tensor:
    """Softmax attention over the own block up to the position and the whole block before.

    With a block mask, the fused kernel; without one (CPU), scores of W queries against 2W keys.
    """
    if mask is not None:
        out = flex_attention(q_BHNE, k_BHNE, v_BHNE, block_mask=mask, scale=1.0, enable_gqa=True)
        assert isinstance(out, Tensor)
        return out
    length = q_BHNE.shape[2]
    window = min(window, length)  # no padding beyond what there is
    blocks = -(-length // window)

    def cut(x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, blocks * window - length))
        return x.unflatten(2, (blocks, window))

    def with_previous(x: Tensor) -> Tensor:
        x = cut(x).repeat_interleave(q_BHNE.shape[1] // x.shape[1], 1)
        return torch.cat([F.pad(x, (0, 0, 0, 0, 1, 0))[:, :, :-1], x], 3)

    index = torch.arange(window, device=q_BHNE.device)
    own = index[:, None] >= index
    before = torch.ones_like(own).expand(blocks, -1, -1).clone()
    before[0] = False
    mask_NWW = torch.cat([before, own.expand(blocks, -1, -1)], -1)
    out = F.scaled_dot_product_attention(
        cut(q_BHNE), with_previous(k_BHNE), with_previous(v_BHNE), attn_mask=mask_NWW, scale=1.0
    )
    return out.flatten(2, 3)[:, :, :length]


class Stack(nn.Module):
    """A causal transformer with blockwise attention."""

    rotary: Tensor

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        table = torch.from_numpy(rotary_table(config.window, config.head_dim))
        self.register_buffer("rotary", table, persistent=False)
        self._masks: dict[tuple[int, torch.device], BlockMask] = {}

    def mask(self, length: int, device: torch.device) -> BlockMask | None:
        """The block mask for sequences of `length` on CUDA, made once; None elsewhere."""
        if device.type != "cuda":
            return None
        key = (length, device)
        if key not in self._masks:
            self._masks[key] = window_mask(length, self.config.window, device)
        return self._masks[key]

    def forward(self, x_BND: Tensor, mask: BlockMask | None) -> Tensor:
        """The residual stream after all layers, without a final norm."""
        length = x_BND.shape[1]
        repeats = -(-length // (2 * self.config.window))
        rotary = self.rotary.repeat(1, repeats, 1)[:, :length]
        for block in self.blocks:
            x_BND = block(x_BND, rotary, mask)
        return x_BND


class Ngrams(nn.Module):
    """For each order N a row of its table, chosen by the N bytes before a position."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.orders, self.rows = config.ngram_orders, config.ngram_rows
        self.padding = config.local_stack.width - len(self.orders) * config.ngram_width
        self.table = nn.Embedding(len(self.orders) * self.rows, config.ngram_width)

    def forward(self, bytes_BT: Tensor) -> Tensor:
        """Values (B, T, D) on the grid of int8 tables; before the stream there are zeros."""
        length, longest = bytes_BT.shape[1], max(self.orders)
        before = F.pad(bytes_BT.long(), (longest, -1))
        rows = [
            ngram_rows(before, order, self.rows)[:, -length:] + i * self.rows
            for i, order in enumerate(self.orders)
        ]
        values = self.table(torch.stack(rows, -1)).flatten(2)
        steps = torch.round(values * NGRAM_STEPS).clamp(-127, 127)
        return F.pad(straight_through(values, steps / NGRAM_STEPS), (0, self.padding))


class Megabyte(nn.Module):
    """Next-byte logits from bytes; see the module's head and `ModelConfig`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        wide, narrow = config.global_stack.width, config.local_stack.width
        dense = config.projection == "dense"
        encoder = config.encoder
        if encoder is None:
            self.global_bytes = nn.Embedding(256, config.byte_width)
            self.global_position = nn.Parameter(torch.empty(config.patch_width))
        self.global_pad = nn.Parameter(torch.empty(config.patch_width))
        self.embed = Linear(config.patch_width, wide) if config.embeds_patch else None
        self.global_stack = Stack(config.global_stack)
        self.project = (
            Linear(wide, config.patch * narrow) if dense else Linear(wide // config.patch, narrow)
        )
        self.local_bytes = nn.Embedding(256, narrow)
        self.local_position = nn.Parameter(torch.empty(config.patch, narrow))
        self.local_pad = nn.Parameter(torch.empty(narrow))
        self.ngrams = Ngrams(config) if config.ngram_orders else None
        self.encoder = Stack(encoder) if encoder else None
        self.local_stack = Stack(config.local_stack)
        self.head = Linear(narrow, 256)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Sets every parameter.

        Matrices: normal, fan_in**-0.5. Matrices that write to the residual stream and the head:
        zero, so that training starts from the uniform distribution. Embeddings and pads: normal,
        0.5. Tables of n-grams: normal, 0.1. Positions: zero. Sharpness of attention: one.
        """
        for module in self.modules():
            if isinstance(module, Linear):
                nn.init.normal_(module.weight, std=module.weight.shape[1] ** -0.5)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.5)
        for block in (module for module in self.modules() if isinstance(module, Block)):
            nn.init.zeros_(block.out.weight)
            nn.init.zeros_(block.down.weight)
            nn.init.ones_(block.sharpness)
        nn.init.zeros_(self.head.weight)
        if self.ngrams is not None:
            nn.init.normal_(self.ngrams.table.weight, std=0.1)
        for pad in (self.global_pad, self.local_pad):
            nn.init.normal_(pad, std=0.5)
        nn.init.zeros_(self.local_position)
        if self.encoder is None:
            nn.init.zeros_(self.global_position)

    def masks(self, length: int, device: torch.device) -> tuple[BlockMask | None, ...]:
        """Block masks, global and local, for `length` bytes, to be made outside compiled code."""
        patches = length // self.config.patch
        return self.global_stack.mask(patches, device), self.local_stack.mask(length, device)

    def forward(
        self, bytes_BT: Tensor, masks: tuple[BlockMask | None, ...] = (None, None)
    ) -> Tensor:
        """Logits (B, T, 256) in nats of each byte given those before it.

        `bytes_BT` is integer, T a multiple of P. Byte t = kP + p sees the patches before k through
        the global model and the bytes before t within the local window.
        """
        patch, (lanes, length) = self.config.patch, bytes_BT.shape
        # Local input (paper, equation for h_local_in): shifted by one byte.
        pad = self.local_pad.expand(lanes, 1, -1)
        shifted = torch.cat([pad, self.local_bytes(bytes_BT[:, :-1])], 1)
        x_BTD = (shifted.unflatten(1, (-1, patch)) + self.local_position).flatten(1, 2)
        if self.ngrams is not None:
            x_BTD = x_BTD + self.ngrams(bytes_BT)
        # Global model (h_embed, h_global_in, h_global_out): shifted by one patch. The encoder's
        # row of a byte lies one place further on than the byte.
        if self.encoder is None:
            rows_BTD = self.global_bytes(bytes_BT[:, :-patch])
        else:
            x_BTD = self.encoder(x_BTD, masks[1])
            rows_BTD = x_BTD[:, 1 : length - patch + 1]
        pad = self.global_pad.view(patch, -1).expand(lanes, -1, -1)
        h_BKD = torch.cat([pad, rows_BTD], 1).unflatten(1, (-1, patch)).flatten(2)
        if self.encoder is None:
            h_BKD = h_BKD + self.global_position
        if self.embed is not None:
            q, _ = quantise(h_BKD)
            h_BKD = self.embed(q) * inverse_rms(q)
        h_BKD = self.global_stack(h_BKD, masks[0])
        # Local model (h_local_out): all patches in one stream.
        q, _ = quantise(h_BKD)
        r = inverse_rms(q)
        if self.config.projection == "dense":
            from_global = (self.project(q) * r).unflatten(-1, (patch, -1))
        else:
            from_global = self.project(q.unflatten(-1, (patch, -1))) * r.unsqueeze(-1)
        y_BTD = self.local_stack(x_BTD + from_global.flatten(1, 2), masks[1])
        q, _ = quantise(y_BTD)
        return self.head(q) * inverse_rms(q)

    def loss(self, bytes_BT: Tensor, masks: tuple[BlockMask | None, ...] = (None, None)) -> Tensor:
        """Mean bits per byte over all positions."""
        logits = self(bytes_BT, masks)
        return F.cross_entropy(logits.flatten(0, 1), bytes_BT.flatten().long()) * LOG2_E
