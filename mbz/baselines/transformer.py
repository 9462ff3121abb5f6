"""Transformers over bytes: with full attention, with a sliding window, and PerceiverAR.

- "transformer": every byte sees all bytes before it.
- "sliding": bytes come in blocks of `span`; a byte sees its block and the one before.
- "perceiver": PerceiverAR (arXiv 2202.07765). Latents, one for each of `span` bytes, look once at
  all bytes before them; the layers after that know the latents alone. As each block of `span` bytes
  in turn may be the latents, all of a sequence are trained and scored at once: the first layer has
  full attention, and in the others a byte sees those of its own block.

Positions are rotary, the output is tied to the embedding. Shapes: B batch, T bytes, D width, H
heads, E head width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mbz.baselines.config import TransformerConfig
from mbz.baselines.layers import Attend, Block, causal, fast, init_weights, rotary_table
from mbz.layers import cross_entropy, window_attention


class Transformer(nn.Module):
    """Next-byte logits from bytes; see the module's head and `TransformerConfig`."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = c = config
        self.bytes = nn.Embedding(257, c.width)  # the last row stands before the first byte
        self.blocks = nn.ModuleList(Block(c.width, c.heads, c.dropout) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width)
        init_weights(self)

    def forward(self, bytes_BT: Tensor) -> Tensor:
        """Logits (B, T, 256) in nats of each byte given those before it."""
        c, length = self.config, bytes_BT.shape[1]
        whole = length if c.span == 0 else -(-length // c.span) * c.span  # in blocks
        before_BT = F.pad(bytes_BT, (1, whole - length - 1), value=256)
        with fast(bytes_BT.device):
            x_BTD = self.bytes(before_BT)
            rotary = self.rotary(whole, bytes_BT.device)
            for number, block in enumerate(self.blocks):
                x_BTD = block(x_BTD, self.attend(number), rotary)
            return F.linear(self.norm(x_BTD[:, :length]), self.bytes.weight[:256])

    def rotary(self, length: int, device: torch.device) -> Tensor:
        """Cosines and sines of the positions."""
        return rotary_table(length, self.config.width // self.config.heads, device)

    def attend(self, layer: int) -> Attend:
        """Who sees whom in a layer."""
        if self.config.arch == "sliding":
            return self.within_window
        if self.config.arch == "perceiver" and layer > 0:
            return self.within_block
        return causal

    def within_window(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The own block up to the byte, and all of the block before."""
        heads, width = self.config.heads, q.shape[-1]
        qkv_BHTE = torch.cat([q * width**-0.5, k, v], 1)
        qkv_BTA = qkv_BHTE.transpose(1, 2).flatten(2)
        o_BTD = window_attention(qkv_BTA, self.config.span, heads, heads)
        o_BTHE: Tensor = o_BTD.unflatten(-1, (heads, width))
        return o_BTHE.transpose(1, 2)

    def within_block(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The own block up to the byte."""
        blocks = [x.unflatten(2, (-1, self.config.span)).transpose(1, 2) for x in (q, k, v)]
        o = causal(*(x.flatten(0, 1) for x in blocks))
        by_row: Tensor = o.unflatten(0, (len(q), -1))
        return by_row.transpose(1, 2).flatten(2, 3)

    def loss(self, bytes_BT: Tensor) -> Tensor:
        """Mean bits per byte over all positions."""
        return cross_entropy(self(bytes_BT).flatten(0, 1), bytes_BT.flatten())
