"""MEGABYTE to the letter (arXiv 2305.07185): the equations of its section 2, with its options.

Learned positions, LayerNorm, ReLU, dropout, standard causal attention, output tied to the local
embedding. Options are those of its section 2.3: cross-patch attention, a convolutional patch
encoder, and leaving out either model, as in its ablations. Local positions are learned too, which
the authors said though the equations don't.

Shapes: B batch, T bytes, K = T / P patches, P patch, N positions, D width, H heads, E head width.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mbz.baselines.config import PaperConfig
from mbz.baselines.layers import Block, causal, fast, init_weights, rotary_table, turned
from mbz.layers import cross_entropy

KERNELS = (3, 5, 7)


class Convolutions(nn.Module):
    """Causal convolutions over bytes, each added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(width, width, size) for size in KERNELS)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Rows of the same shape; each knows its byte and fifteen places before it."""
        x = x_BTD.mT
        for layer, size in zip(self.layers, KERNELS, strict=True):
            x = x + F.relu(layer(F.pad(x, (size - 1, 0))))
        return x.mT


class Paper(nn.Module):
    """Next-byte logits from bytes; see the module's head and `PaperConfig`."""

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.config = c = config
        self.local_bytes = nn.Embedding(256, c.local_width)
        if c.global_layers:
            width = c.global_width // c.patch
            self.global_bytes = nn.Embedding(256, width)
            self.position = nn.Parameter(torch.empty(c.length, width))
            self.global_pad = nn.Parameter(torch.empty(c.patch, width))
            self.convolutions = Convolutions(width) if c.convolutions else nn.Identity()
            self.global_blocks = _blocks(c.global_layers, c.global_width, c.global_heads, c.dropout)
            self.global_norm = nn.LayerNorm(c.global_width)
            self.project = nn.Linear(width, c.local_width, bias=False)
        if c.local_layers:
            self.local_pad = nn.Parameter(torch.empty(1, c.local_width))
            self.local_position = nn.Parameter(torch.empty(c.patch, c.local_width))
            self.local_blocks = _blocks(c.local_layers, c.local_width, c.local_heads, c.dropout)
        self.norm = nn.LayerNorm(c.local_width)
        init_weights(self)

    def forward(self, bytes_BT: Tensor) -> Tensor:
        """Logits (B, T, 256) in nats of each byte given those before it; T is whole patches.

        Raises:
            ValueError: T is more than there are positions for.
        """
        if bytes_BT.shape[1] > self.config.length:
            msg = f"this model sees at most {self.config.length} bytes; ask for so short a context"
            raise ValueError(msg)
        bytes_BKP = bytes_BT.unflatten(1, (-1, self.config.patch))
        with fast(bytes_BT.device):
            x_BKPD = torch.zeros((), device=bytes_BT.device)
            if self.config.global_layers:
                x_BKPD = self.from_patches(bytes_BT)
            if self.config.local_layers:
                x_BKPD = self.from_bytes(bytes_BKP, x_BKPD)
            return F.linear(self.norm(x_BKPD), self.local_bytes.weight).flatten(1, 2)

    def from_patches(self, bytes_BT: Tensor) -> Tensor:
        """What the global model says of each byte from the patches before, (B, K, P, D)."""
        patch = self.config.patch
        embedded_BTD = self.global_bytes(bytes_BT) + self.position[: bytes_BT.shape[1]]
        rows_BTD = self.convolutions(embedded_BTD)[:, :-patch]
        pad_BTD = self.global_pad.expand(len(rows_BTD), -1, -1).to(rows_BTD.dtype)
        h_BKD = torch.cat([pad_BTD, rows_BTD], 1).unflatten(1, (-1, patch)).flatten(2)
        for block in self.global_blocks:
            h_BKD = block(h_BKD, causal)
        slices_BKPD = self.global_norm(h_BKD).unflatten(-1, (patch, -1))
        projected: Tensor = self.project(slices_BKPD)
        return projected

    def from_bytes(self, bytes_BKP: Tensor, from_patches: Tensor) -> Tensor:
        """The local model's states (B, K, P, D)."""
        rows_BKPD = self.local_bytes(bytes_BKP[..., :-1])
        pad_BKPD = self.local_pad.expand(*rows_BKPD.shape[:2], -1, -1)
        input_BKPD = torch.cat([pad_BKPD, rows_BKPD], 2) + self.local_position + from_patches
        x_MPD: Tensor = input_BKPD.flatten(0, 1)
        across = partial(self.across, bytes_BKP.shape[1])
        for block in self.local_blocks:
            x_MPD = block(x_MPD, across if self.config.cross_patch else causal)
        x_BKPD: Tensor = x_MPD.unflatten(0, bytes_BKP.shape[:2])
        return x_BKPD

    def across(self, patches: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of patches (B * K, H, P, E) to themselves and the last r keys of those before.

        Positions are rotary and relative. Before the first patch there are zeros.
        """
        patch, reach = self.config.patch, self.config.cross_patch
        rotary = rotary_table(2 * patch, q.shape[-1], q.device)
        here, before = rotary[:, patch:], rotary[:, patch - reach : patch]

        def moved(x: Tensor) -> Tensor:
            by_row = x[:, :, -reach:].unflatten(0, (-1, patches))
            return F.pad(by_row, (0, 0, 0, 0, 0, 0, 1, -1)).flatten(0, 1)

        keys = [turned(moved(k), before), turned(k, here)]
        q, k, v = turned(q, here), torch.cat(keys, 2), torch.cat([moved(v), v], 2)
        place = torch.arange(patch, device=q.device)
        seen = F.pad(place[:, None] >= place, (reach, 0), value=True)
        return F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=seen)

    def loss(self, bytes_BT: Tensor) -> Tensor:
        """Mean bits per byte over all positions."""
        return cross_entropy(self(bytes_BT).flatten(0, 1), bytes_BT.flatten())


def _blocks(layers: int, width: int, heads: int, dropout: float) -> nn.ModuleList:
    return nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
