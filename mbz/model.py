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

Shapes: B batch, T bytes, K = T / P patches, P patch, N positions, D width, A = (H + 2G) * E.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mbz.config import ModelConfig, StackConfig
from mbz.exact.fixed import ngram_factors, ngram_rows, rotary_table
from mbz.layers import (
    add_normalise,
    cross_entropy,
    embed,
    fake_quantise,
    normalise_heads,
    quantise,
    relu_squared,
    window_attention,
)


class Linear(nn.Module):
    """A matrix whose weights act as int8 with one scale per output channel."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))

    def quantised(self) -> tuple[Tensor, Tensor]:
        """Integer-valued weights (outputs, inputs) and their scales (outputs,)."""
        q, step = quantise(self.weight)
        return q, step[:, 0]

    def forward(self, x: Tensor) -> Tensor:
        """Product with rows that were rounded before."""
        return F.linear(x, fake_quantise(self.weight))


class Block(nn.Module):
    """Attention and MLP of one layer, each added to the residual stream."""

    def __init__(self, stack: StackConfig) -> None:
        super().__init__()
        self.stack = stack
        heads = stack.heads + 2 * stack.kv_heads
        self.qkv = Linear(stack.width, heads * stack.head_dim)
        self.out = Linear(stack.width, stack.width)
        self.up = Linear(stack.width, stack.hidden)
        self.down = Linear(stack.hidden, stack.width)
        self.sharpness = nn.Parameter(torch.empty(stack.heads))

    def forward(self, x_BND: Tensor, y_BND: Tensor | None, rotary: Tensor) -> tuple[Tensor, Tensor]:
        """One layer on the residual stream x + y; returns its two summands likewise.

        A sum is left to the next norm, which reads both parts anyway. `rotary` (2, 2W, E / 2) has
        cosines and sines of the positions.
        """
        c = self.stack
        x_BND, normed_BND = add_normalise(x_BND, y_BND)
        qkv_BNA = normalise_heads(self.qkv(normed_BND), rotary, self.sharpness, c.kv_heads)
        o_BND = window_attention(qkv_BNA, c.window, c.heads, c.kv_heads)
        x_BND, normed_BND = add_normalise(x_BND, self.out(fake_quantise(o_BND)))
        return x_BND, self.down(relu_squared(self.up(normed_BND)))


class Stack(nn.Module):
    """A causal transformer with blockwise attention."""

    rotary: Tensor

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        table = torch.from_numpy(rotary_table(config.window, config.head_dim))
        self.register_buffer("rotary", table, persistent=False)
        self.recompute = False  # whether gradients compute activations again, to save memory

    def forward(self, x_BND: Tensor, y_BND: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All layers on x + y: the residual stream and its norm."""
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                x_BND, y_BND = checkpoint(block, x_BND, y_BND, self.rotary, use_reentrant=False)
            else:
                x_BND, y_BND = block(x_BND, y_BND, self.rotary)
        return add_normalise(x_BND, y_BND)


class Ngrams(nn.Module):
    """For each order N a row of its table, chosen by the N bytes before a position."""

    factors: Tensor
    first: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        orders, self.rows = config.ngram_orders, config.ngram_rows
        self.table = nn.Embedding(len(orders) * self.rows, config.ngram_width)
        factors = torch.from_numpy(ngram_factors(orders))
        first = torch.arange(len(orders)) * self.rows
        self.register_buffer("factors", factors, persistent=False)
        self.register_buffer("first", first, persistent=False)

    def forward(self, bytes_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (B, T, orders) and the table they are in; before the stream there are zeros."""
        reach = self.factors.shape[1]
        before_BTH = F.pad(bytes_BT.long(), (reach, -1)).unfold(1, reach, 1)
        rows_BTO = ngram_rows(before_BTH, self.factors, self.rows) + self.first
        return rows_BTO, self.table.weight


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

    def forward(self, bytes_BT: Tensor) -> Tensor:
        """Logits (B, T, 256) in nats of each byte given those before it.

        `bytes_BT` is integer, T a multiple of P. Byte t = kP + p sees the patches before k through
        the global model and the bytes before t within the local window.
        """
        patch, (lanes, length) = self.config.patch, bytes_BT.shape
        # Local input (paper, equation for h_local_in): shifted by one byte; 256 is the pad.
        table = torch.cat([self.local_bytes.weight, self.local_pad[None]])
        before_BT = F.pad(bytes_BT, (1, -1), value=256)
        ngrams = (None, None) if self.ngrams is None else self.ngrams(bytes_BT)
        x_BTD = embed(before_BT, table, self.local_position, *ngrams)
        # Global model (h_embed, h_global_in, h_global_out): shifted by one patch. The encoder's
        # row of a byte lies one place further on than the byte.
        if self.encoder is None:
            rows_BTD = self.global_bytes(bytes_BT[:, :-patch])
        else:
            x_BTD, _ = self.encoder(x_BTD)
            rows_BTD = x_BTD[:, 1 : length - patch + 1]
        pad = self.global_pad.view(patch, -1).expand(lanes, -1, -1).to(rows_BTD.dtype)
        h_BKD = torch.cat([pad, rows_BTD], 1).unflatten(1, (-1, patch)).flatten(2)
        if self.encoder is None:
            h_BKD = h_BKD + self.global_position
        if self.embed is not None:
            h_BKD = self.embed(add_normalise(h_BKD, None)[1])
        _, normed_BKD = self.global_stack(h_BKD)
        # Local model (h_local_out): all patches in one stream.
        if self.config.projection == "shared":
            normed_BKD = normed_BKD.unflatten(-1, (patch, -1))
        from_global = self.project(normed_BKD).view(x_BTD.shape)
        _, normed_BTD = self.local_stack(x_BTD, from_global)
        return self.head(normed_BTD)

    def loss(self, bytes_BT: Tensor) -> Tensor:
        """Mean bits per byte over all positions."""
        return cross_entropy(self(bytes_BT).flatten(0, 1), bytes_BT.flatten())
