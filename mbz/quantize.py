"""Turns a trained float model into the integer weights of the exact network.

The factors that norms, softmax and fixed-point steps would apply at run time are constants, so
they are folded into the scales here (docs/exact.md, section 4).
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbz import weights
from mbz.config import ModelConfig, StackConfig
from mbz.exact import fixed
from mbz.exact.reference import ReferencePredictor
from mbz.exact.selftest import digest
from mbz.layers import LOG2_E
from mbz.model import Linear, Megabyte

GRID = 1 << 12
"""Embeddings and positions are stored as multiples of 1 / GRID."""


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy()


def _on_grid(tensor: Tensor) -> NDArray[np.float32]:
    return np.round(_array(tensor) * GRID) / np.float32(GRID)


def _stacks(config: ModelConfig) -> Iterator[tuple[str, str, StackConfig]]:
    """Of every stack: its name here, its module in `Megabyte`, and its sizes."""
    if config.encoder is not None:
        yield "encoder", "encoder", config.encoder
    yield "global", "global_stack", config.global_stack
    yield "local", "local_stack", config.local_stack


def _matrices(config: ModelConfig) -> Iterator[tuple[str, str, float]]:
    """Of every matrix: its name here, its module, and the factor folded into its scales.

    A root mean square that is left out brings the root of the width.
    """
    if config.embeds_patch:
        yield "embed", "embed", math.sqrt(config.patch_width)
    for name, path, stack in _stacks(config):
        for i in range(stack.layers):
            layer, block = f"{name}.{i}", f"{path}.blocks.{i}"
            yield f"{layer}.qkv", f"{block}.qkv", 1.0
            yield f"{layer}.out", f"{block}.out", 1 / (fixed.ATTENTION_SUM * fixed.VALUE_STEPS)
            yield f"{layer}.up", f"{block}.up", 1.0
            yield f"{layer}.down", f"{block}.down", float(stack.width)
    yield "project", "project", math.sqrt(config.global_stack.width)
    yield "head", "head", math.sqrt(config.local_stack.width) * LOG2_E * fixed.OCTAVE


def _sharpnesses(config: ModelConfig) -> Iterator[tuple[str, str, np.float32]]:
    """Of every layer's attention: the name of its sharpness here, the parameter, the factor."""
    for name, path, stack in _stacks(config):
        # Scores are in 1/64 octaves; two root mean squares bring E, the usual scale E**-0.5.
        factor = np.float32(stack.head_dim**0.5 * LOG2_E * fixed.OCTAVE)
        for i in range(stack.layers):
            yield f"{name}.{i}.sharpness", f"{path}.blocks.{i}.sharpness", factor


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
    for name, path, _ in _stacks(config):
        tensors[f"{name}.rotary"] = _array(model.get_buffer(f"{path}.rotary"))
    for name, path, factor in _matrices(config):
        module = model.get_submodule(path)
        assert isinstance(module, Linear)
        q, scale = module.quantised()
        tensors[f"{name}.weight"] = q.round().to(torch.int8).cpu().numpy()
        tensors[f"{name}.scale"] = (_array(scale).astype(np.float64) * factor).astype(np.float32)
    for name, path, sharpen in _sharpnesses(config):
        tensors[name] = _array(model.get_parameter(path)) * sharpen
    return tensors


def float_state(config: ModelConfig, tensors: weights.Tensors) -> dict[str, Tensor]:
    """Float weights for `Megabyte.load_state_dict`, whose export has the same integers again.

    Args:
        config: the network.
        tensors: in the layout of `weights.layout(config)`.
    """
    state = {
        "local_bytes.weight": tensors["local.bytes"],
        "local_position": tensors["local.position"],
        "local_pad": tensors["local.start"],
        "global_pad": tensors["global.start"],
    }
    if config.encoder is None:
        state["global_bytes.weight"] = tensors["global.bytes"]
        state["global_position"] = tensors["global.position"]
        state["global_pad"] = tensors["global.start"] - tensors["global.position"]
    if config.ngram_orders:
        steps = tensors["ngrams"].reshape(-1, config.ngram_width)
        state["ngrams.table.weight"] = steps / np.float32(fixed.NGRAM_STEPS)
    for name, path, factor in _matrices(config):
        scale = tensors[f"{name}.scale"].astype(np.float64) / factor
        state[f"{path}.weight"] = tensors[f"{name}.weight"] * scale[:, None]
    for name, path, sharpen in _sharpnesses(config):
        state[path] = tensors[name] / sharpen
    return {name: torch.tensor(value, dtype=torch.float32) for name, value in state.items()}


def export(model: Megabyte, name: str, folder: Path) -> Path:
    """Writes the exact form of `model` to `folder` and returns the path of the weights file."""
    tensors = integer_tensors(model)
    golden = digest(ReferencePredictor(model.config, tensors))
    return weights.write(folder, name=name, config=model.config, tensors=tensors, golden=golden)
