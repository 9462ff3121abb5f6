"""The exact network in fused Triton kernels, for CUDA: equal to `reference.py` bit for bit.

Between two kernels lie the residual stream in float32 and int8 activations; only what must be
quantised by its own largest element passes through memory as float32. One set of kernels serves
passes over many positions and single steps: the position is a number on the device.

Shapes as in `torch_backend.py`; M = B * S rows.
"""

import numpy as np
import torch
from torch import Tensor

from mbz.config import ModelConfig, StackConfig
from mbz.exact import fixed
from mbz.exact.torch_arithmetic import Arithmetic
from mbz.exact.torch_matrix import FloatMatrix
from mbz.exact.torch_steps import SteppingPredictor, Steps
from mbz.exact.triton_heads import SLOTS, Heads, Ring, attend, sound
from mbz.exact.triton_products import ADD, SQUARE, TIMES, product
from mbz.exact.triton_rows import (
    NOTHING,
    RATIO,
    ROOTS,
    SQUARES,
    STEPS,
    Input,
    counts_of,
    quantise_rows,
)
from mbz.exact.triton_steps import attend_step
from mbz.exact.triton_tiles import heads_tile, look_tile, step_tile
from mbz.weights import Tensors

WIDEST = 1 << 13
"""A row that is quantised must fit in one program."""

ROWS = 1 << 17
"""Positions times lanes in one pass: the kernels take longer than it takes to launch them."""

LONG = 128
"""Windows from which on a single position is worth two kernels of attention."""


def supported(config: ModelConfig, device: torch.device) -> bool:
    """Whether the kernels take this network and give the right bits on this device."""
    stacks = (config.global_stack, config.local_stack)
    width = max(config.patch_width, *(max(c.width, c.hidden) for c in stacks))
    return width <= WIDEST and all(c.head_dim <= 128 for c in stacks) and sound(device)


class Product:
    """2.4: an int8 matrix with one scale per output, and the table of roots."""

    def __init__(self, arithmetic: Arithmetic, tensors: Tensors, name: str) -> None:
        self.roots = arithmetic.roots
        self.weight = arithmetic.put(tensors[f"{name}.weight"])
        self.scale = arithmetic.put(tensors[f"{name}.scale"])

    def times_root(self, x_MK: Tensor) -> Tensor:
        """Of rows quantised, times the reciprocal root of their sum of squares."""
        q_MK, root_M = quantise_rows(x_MK, ROOTS, self.roots)
        return product(q_MK, self.weight, self.scale, TIMES, root_M)

    def in_slices(self, x_MK: Tensor, count: int) -> Tensor:
        """The same with one matrix for each of `count` slices of a row, (M * count, N)."""
        q_MK, root_M = quantise_rows(x_MK, ROOTS, self.roots)
        return product(
            q_MK.view(len(q_MK) * count, -1),
            self.weight,
            self.scale,
            TIMES,
            root_M.repeat_interleave(count),
        )


class FusedBlock:
    """3.2 and 3.3: one layer and its ring of keys and values."""

    def __init__(
        self, arithmetic: Arithmetic, tensors: Tensors, stack: str, index: int, config: StackConfig
    ) -> None:
        name = f"{stack}.{index}"
        self.config, self.roots = config, arithmetic.roots
        qkv, out, self.up, self.down = (
            Product(arithmetic, tensors, f"{name}.{part}") for part in ("qkv", "out", "up", "down")
        )
        sizes = (config.heads, config.kv_heads, config.head_dim)
        sharpness = arithmetic.put(tensors[f"{name}.sharpness"])
        self.heads = Heads(qkv.weight, qkv.scale, sharpness, sizes)
        # The heads that come in are padded, and so must be the terms.
        padded = out.weight.new_zeros((config.width, config.heads, self.heads.width))
        padded[:, :, : config.head_dim] = out.weight.unflatten(1, (config.heads, -1))
        out.weight, self.out = padded.flatten(1), out
        self.ring: Ring | None = None

    def reset(self, lanes: int, slots: int) -> None:
        """Makes a ring, if there is none of this shape; nobody sees what an old one holds."""
        shape = (lanes, self.config.kv_heads, slots)
        if self.ring is not None and self.ring.roots.shape == shape:
            return
        device, width = self.roots.device, self.heads.width
        self.ring = Ring(
            torch.zeros((*shape, width), dtype=torch.int8, device=device),
            torch.zeros(shape, device=device),
            torch.zeros((*shape[:2], width, slots), dtype=torch.int8, device=device),
        )

    def extend(self, x_MD: Tensor, length: int, rotary: Tensor, position: Tensor) -> None:
        """The layer at the next `length` positions of all lanes, in place."""
        assert self.ring is not None
        roots, ring, out, up, down = self.roots, self.ring, self.out, self.up, self.down
        q_MK, _ = quantise_rows(x_MD, NOTHING, roots)
        heads = self.heads(q_MK, length, rotary, roots, position, ring, heads_tile(len(x_MD)))
        q_MK, step_M = quantise_rows(self.attend(heads, length, position), STEPS, roots)
        product(q_MK, out.weight, out.scale, ADD, step_M, y_MN=x_MD)

        q_MK, squares_M = quantise_rows(x_MD, SQUARES, roots)
        u_MK = product(q_MK, up.weight, up.scale, SQUARE)
        q_MK, ratio_M = quantise_rows(u_MK, RATIO, roots, squares_M)
        product(q_MK, down.weight, down.scale, ADD, ratio_M, y_MN=x_MD)

    def attend(self, heads: tuple[Tensor, Tensor], length: int, position: Tensor) -> Tensor:
        """3.2: integer sums of values of all heads (M, H * E), in float32 or int32."""
        assert self.ring is not None
        window = self.config.window
        if length == 1 and window >= LONG:
            tile = step_tile(self.ring.roots.shape[:2].numel())
            return attend_step(heads, self.ring, window, position, tile)
        return attend(heads, self.ring, length, window, position, look_tile(length, window))


class Places:
    """A stack at a position that is a number on the device, which later steps overwrite."""

    def __init__(self, numbers: Tensor, stack: "FusedStack") -> None:
        self.position, self.stack = numbers[:1], stack

    def __call__(self, x_BSD: Tensor) -> Tensor:
        """`FusedStack.extend` by one position."""
        return self.stack.run(x_BSD, self.position)


class FusedStack:
    """3.4: the layers, over a residual stream that they change in place."""

    def __init__(
        self, arithmetic: Arithmetic, tensors: Tensors, name: str, config: StackConfig
    ) -> None:
        self.config = config
        self.blocks = [
            FusedBlock(arithmetic, tensors, name, i, config) for i in range(config.layers)
        ]
        rotary = tensors[f"{name}.rotary"]
        padding = self.blocks[0].heads.width // 2 - rotary.shape[2]
        self.rotary = arithmetic.put(np.pad(rotary, ((0, 0), (0, 0), (0, padding))))
        self.position = torch.zeros(1, dtype=torch.long, device=arithmetic.device)

    def reset(self, lanes: int) -> None:
        """Goes back to position 0."""
        self.t = 0
        new = max(1, ROWS // lanes)
        slots = -(-(2 * self.config.window + new) // SLOTS) * SLOTS
        for block in self.blocks:
            block.reset(lanes, slots)

    def extend(self, x_BSD: Tensor) -> Tensor:
        """The residual stream after all layers at the next S positions, where it was before."""
        self.position.fill_(self.t)
        self.t += x_BSD.shape[1]
        return self.run(x_BSD, self.position)

    def run(self, x_BSD: Tensor, position: Tensor) -> Tensor:
        """`extend` from the position that lies on the device."""
        for block in self.blocks:
            block.extend(x_BSD.flatten(0, 1), x_BSD.shape[1], self.rotary, position)
        return x_BSD


class FusedSteps(Steps):
    """`Steps` in fused kernels: a stack must know no more than the position."""

    places = Places
    of: "FusedPredictor"

    @staticmethod
    def place(t: int, window: int) -> tuple[int, int]:
        """The position, and nothing of its ring."""
        del window
        return t, 0

    def local_input(self) -> Tensor:
        """3.6: the row of the position in each lane, (B, 1, D)."""
        of = self.of
        return of.input(self.before_BH, self.before_BH.shape[1], self.local_step.position)


class FusedPredictor(SteppingPredictor):
    """`SteppingPredictor` in fused kernels."""

    stack, linear, steps_kind = FusedStack, Product, FusedSteps

    def __init__(self, config: ModelConfig, tensors: Tensors, device: torch.device) -> None:
        super().__init__(config, tensors, device, FloatMatrix)  # which no kernel asks for
        tables = (self.local_bytes, self.local_position, self.local_start)
        ngrams = (self.ngrams.table, self.ngrams.factors) if self.ngrams else None
        self.input = Input(tables, ngrams, len(config.ngram_orders))
        self.output = self.a.put(fixed.output_table().astype(np.int32))

    @property
    def rows(self) -> int:
        """Positions times lanes in one pass."""
        return ROWS

    def local_input(self, bytes_BN: Tensor) -> Tensor:
        """3.6: the rows (B, S, D) of the next S positions."""
        position = self.local_stack.position.fill_(self.t)
        return self.input(bytes_BN, self.before_BH.shape[1], position)

    def embedded(self, h_BKD: Tensor) -> Tensor:
        """3.1: patches as the global model takes them, to be overwritten."""
        if self.embed is None:
            return h_BKD.clone(memory_format=torch.contiguous_format)
        h_MD = h_BKD.flatten(0, 1).contiguous()
        return self.embed.times_root(h_MD).unflatten(0, h_BKD.shape[:2])

    def said(self, x_BKD: Tensor) -> Tensor:
        """3.5: rows of the global model as what they say to each byte."""
        lanes, count, _ = x_BKD.shape
        x_MD, patch = x_BKD.flatten(0, 1), self.config.patch
        if self.config.projection == "dense":
            said = self.project.times_root(x_MD)
        else:
            said = self.project.in_slices(x_MD, patch)
        return said.view(lanes, count * patch, -1)

    def counts_of(self, x_BSD: Tensor) -> Tensor:
        """3.6: counts (B, S, 256) from the rows of the local model."""
        logits = self.head.times_root(x_BSD.flatten(0, 1))
        return counts_of(logits, self.output).unflatten(0, x_BSD.shape[:2])

    def intervals_of(self, x_BSD: Tensor, symbols_BS: Tensor) -> Tensor:
        """Start and size of the shares of these bytes, (B, S, 2) int32."""
        logits = self.head.times_root(x_BSD.flatten(0, 1))
        symbols_M = symbols_BS.flatten().contiguous()
        return counts_of(logits, self.output, symbols_M).unflatten(0, x_BSD.shape[:2])
