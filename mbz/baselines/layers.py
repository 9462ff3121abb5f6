"""What the baselines are built of, as the paper has it (appendix A.1): pre-norm, ReLU, dropout.

Shapes: B batch, N positions, D width, H heads, E head width.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From queries, keys and values (B, H, N, E) to outputs of the same shape."""


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each position sees itself and all before it."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class Block(nn.Module):
    """Attention and MLP of one layer; who sees whom is said with each call."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BND: Tensor, attend: Attend, rotary: Tensor | None = None) -> Tensor:
        """The residual stream after the layer; `rotary` (2, N, E / 2) turns queries and keys."""
        qkv = self.qkv(self.attention_norm(x_BND)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if rotary is not None:
            q, k = turned(q, rotary).to(v.dtype), turned(k, rotary).to(v.dtype)
        o_BND = attend(q, k, v).transpose(1, 2).flatten(2)
        x_BND = x_BND + self.dropout(self.out(o_BND))
        hidden = F.relu(self.up(self.mlp_norm(x_BND)))
        out: Tensor = x_BND + self.dropout(self.down(hidden))
        return out


def rotary_table(positions: int, head_dim: int, device: torch.device) -> Tensor:
    """Cosines and sines (2, positions, head_dim / 2) of rotary embeddings, float32."""
    steps = torch.arange(0, head_dim, 2, device=device) / head_dim
    angles = torch.arange(positions, device=device)[:, None] * 10000.0**-steps
    return torch.stack([angles.cos(), angles.sin()])


def turned(x_BHNE: Tensor, rotary: Tensor) -> Tensor:
    """Turns the pairs (i, i + E / 2) by the angles of their positions."""
    cos, sin = rotary
    a, b = x_BHNE.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


@torch.no_grad()
def init_weights(model: nn.Module) -> None:
    """Every matrix, embedding and position: normal, 0.006, cut at two deviations; norms: one."""
    for p in model.parameters():
        if p.ndim > 1:
            nn.init.trunc_normal_(p, std=0.006, a=-0.012, b=0.012)


def fast(device: torch.device) -> AbstractContextManager[None]:
    """Products in bfloat16 on CUDA, in float32 elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
