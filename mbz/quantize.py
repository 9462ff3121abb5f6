"""Turns a trained float model into the integer weights of the exact network.

The factors that norms, softmax and fixed-point steps would apply at run time are constants, so
they are folded into the scales here (docs/exact.md, section 4).
"""

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbz import weights
from mbz.exact import fixed
from mbz.exact.reference import ReferencePredictor
from mbz.exact.selftest import digest
from mbz.layers import LOG2_E
from mbz.model import Block, Linear, Megabyte, Stack

GRID = 1 << 12
"""Embeddings and positions are stored as multiples of 1 / GRID."""


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy()


def _on_grid(tensor: Tensor) -> NDArray[np.float32]:
    return np.round(_array(tensor) * GRID) / np.float32(GRID)


@torch.no_grad()
def integer_tensors(model: Megabyte) -> dict[str, NDArray[np.generic]]:
    """The tensors of `weights.layout(model.config)`."""
    config = model.config
    tensors: dict[str, NDArray[np.generic]] = {
        "local.bytes": _on_grid(model.local_bytes.weight),
        "local.position": _on_grid(model.local_position),
        "local.start": _on_grid(model.local_pad),
    }
    if model.encoder is None:
        tensors["global.bytes"] = _on_grid(model.global_bytes.weight)
        tensors["global.position"] = _on_grid(model.global_position)
        tensors["global.start"] = _on_grid(model.global_pad + model.global_position)
    else:
        tensors["global.start"] = _on_grid(model.global_pad)
    if model.ngrams is not None:
        steps = np.round(_array(model.ngrams.table.weight) * fixed.NGRAM_STEPS).clip(-127, 127)
        shape = (len(config.ngram_orders), config.ngram_rows, config.ngram_width)
        tensors["ngrams"] = steps.astype(np.int8).reshape(shape)

    def linear(name: str, module: Linear, factor: float = 1.0) -> None:
        q, scale = module.quantised()
        tensors[f"{name}.weight"] = q.round().to(torch.int8).cpu().numpy()
        tensors[f"{name}.scale"] = (_array(scale).astype(np.float64) * factor).astype(np.float32)

    def stack(name: str, module: Stack) -> None:
        c = module.config
        tensors[f"{name}.rotary"] = _array(module.rotary)
        # Scores are in 1/64 octaves; two root mean squares bring E, the usual scale E**-0.5.
        sharpen = c.head_dim**0.5 * LOG2_E * fixed.OCTAVE
        for i, block in enumerate(module.blocks):
            assert isinstance(block, Block)
            linear(f"{name}.{i}.qkv", block.qkv)
            linear(f"{name}.{i}.out", block.out, 1 / (fixed.ATTENTION_SUM * fixed.VALUE_STEPS))
            linear(f"{name}.{i}.up", block.up)
            linear(f"{name}.{i}.down", block.down, c.width)
            tensors[f"{name}.{i}.sharpness"] = _array(block.sharpness) * np.float32(sharpen)

    wide, narrow = config.global_stack.width, config.local_stack.width
    if model.embed is not None:
        linear("embed", model.embed, math.sqrt(config.patch_width))
    if model.encoder is not None:
        stack("encoder", model.encoder)
    stack("global", model.global_stack)
    linear("project", model.project, math.sqrt(wide))
    stack("local", model.local_stack)
    linear("head", model.head, math.sqrt(narrow) * LOG2_E * fixed.OCTAVE)
    return tensors


def export(model: Megabyte, name: str, folder: Path) -> Path:
    """Writes the exact form of `model` to `folder` and returns the path of the weights file."""
    tensors = integer_tensors(model)
    golden = digest(ReferencePredictor(model.config, tensors))
    return weights.write(folder, name=name, config=model.config, tensors=tensors, golden=golden)
