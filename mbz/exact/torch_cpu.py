"""Transformer layers on the CPU: four fused kernels around torch's integer products.

The same numbers as `torch_backend.Stack`, several times faster: int8 rings of keys and values, one
pass over memory between two matrix products, and none of torch's cost per operation, which is what
counts when a few lanes are decoded step by step.

Shapes: B lanes, S positions, M = B * S rows in that order, D width.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbz.config import StackConfig
from mbz.exact import fixed, kernels
from mbz.exact.torch_arithmetic import Arithmetic
from mbz.weights import Tensors


class Product:
    """2.4 without the scale: int32 sums of int8 rows."""

    def __init__(self, arithmetic: Arithmetic, tensors: Tensors, name: str) -> None:
        self.matrix = arithmetic.matrix(arithmetic.put(tensors[f"{name}.weight"]))
        self.scale: NDArray[np.float32] = tensors[f"{name}.scale"]

    def __call__(self, q_MK: NDArray[np.int8]) -> NDArray[np.int32]:
        """Sums (M, N)."""
        sums: NDArray[np.int32] = self.matrix(torch.from_numpy(q_MK)).numpy()
        return sums


class CpuBlock:
    """3.2 and 3.3: one layer and its ring of keys and values."""

    def __init__(self, arithmetic: Arithmetic, tensors: Tensors, name: str, c: StackConfig) -> None:
        self.config = c
        self.qkv, self.out, self.up, self.down = (
            Product(arithmetic, tensors, f"{name}.{part}") for part in ("qkv", "out", "up", "down")
        )
        self.sharpness: NDArray[np.float32] = tensors[f"{name}.sharpness"]
        self.value_scale = fixed.value_scale(c.head_dim)

    def reset(self, lanes: int) -> None:
        """Empties the ring."""
        c = self.config
        shape = (lanes, c.kv_heads, 2 * c.window)
        self.keys = np.zeros((*shape, c.head_dim), np.int8)
        self.key_roots = np.zeros(shape, np.float32)
        self.values = np.zeros((*shape, c.head_dim), np.int8)

    def extend(self, rows: "Rows", t: int, stack: "CpuStack") -> None:
        """The layer at the next positions from t on; `rows` come and go quantised."""
        o = np.empty(rows.x.shape, np.float32)
        kernels.attend(
            self.qkv(rows.q), self.qkv.scale, stack.rotary, self.sharpness, self.value_scale, t,
            self.keys, self.key_roots, self.values, stack.roots, stack.table,
            o, rows.q, rows.factor,
        )  # fmt: skip
        kernels.add(rows.x, self.out(rows.q), self.out.scale, rows.factor, rows.q, rows.squares)
        hidden = np.empty((len(o), self.config.hidden), np.int8)
        kernels.relu_squared(self.up(rows.q), self.up.scale, rows.squares, hidden, rows.factor)
        kernels.add(rows.x, self.down(hidden), self.down.scale, rows.factor, rows.q, rows.squares)


class Rows:
    """Residual rows x (M, D), their integers q, sums of squares, and factors for products."""

    def __init__(self, x_MD: NDArray[np.float32]) -> None:
        self.x = x_MD
        self.q = np.empty(x_MD.shape, np.int8)
        self.squares = np.empty(len(x_MD), np.float32)
        self.factor = np.empty(len(x_MD), np.float32)
        kernels.quantise_rows(self.x, self.q, self.squares)


class CpuStack:
    """3.4: the layers of one of the models."""

    def __init__(
        self, arithmetic: Arithmetic, tensors: Tensors, name: str, config: StackConfig
    ) -> None:
        self.rotary: NDArray[np.float32] = tensors[f"{name}.rotary"]
        self.roots, self.table = fixed.root_table(), fixed.attention_table()
        self.blocks = [
            CpuBlock(arithmetic, tensors, f"{name}.{i}", config) for i in range(config.layers)
        ]

    def reset(self, lanes: int) -> None:
        """Goes back to position 0."""
        self.t = 0
        for block in self.blocks:
            block.reset(lanes)

    def extend(self, x_BSD: Tensor) -> Tensor:
        """The residual stream after all layers at the next S positions."""
        rows = Rows(x_BSD.flatten(0, 1).numpy().copy())
        for block in self.blocks:
            block.extend(rows, self.t, self)
        self.t += x_BSD.shape[1]
        return torch.from_numpy(rows.x).view(x_BSD.shape)
