"""The integer weights of a model: one safetensors file, its layout, and its fingerprint.

A model folder holds `weights.safetensors`. The file alone decides every probability: tensors in
the layout of `layout()`, and in its metadata, under the key "mbz", a JSON object with the model's
name, configuration, arithmetic version, and the digest of its self-test. The SHA-256 of the file
is the model's fingerprint.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mbz import versions
from mbz.config import ModelConfig, StackConfig
from mbz.errors import ModelError

FILE_NAME = "weights.safetensors"
MAX_FILE_BYTES = 1 << 32
# The square of a hidden value reaches 2**76 and a layer adds 2**113 at most, so that 1024 layers
# stay finite: no model, however odd, makes an infinity or a NaN, which kernels would index with.
LARGEST_SCALE = 2.0**14

Tensors: TypeAlias = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """A model as the exact network reads it.

    golden: hex digest that `mbz.exact.selftest` must give on these weights.
    fingerprint: SHA-256 of the file, 32 bytes.
    """

    name: str
    config: ModelConfig
    tensors: Tensors
    golden: str
    fingerprint: bytes


def layout(config: ModelConfig) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and dtype of every tensor of a model, by name (docs/exact.md, section 3)."""
    wide, narrow = config.global_stack.width, config.local_stack.width
    tensors: dict[str, tuple[tuple[int, ...], type]] = {}
    if config.encoder is None:
        tensors["global.bytes"] = ((256, config.byte_width), np.float32)
        tensors["global.position"] = ((config.patch_width,), np.float32)
    tensors["global.start"] = ((config.patch_width,), np.float32)
    tensors["local.bytes"] = ((256, narrow), np.float32)
    tensors["local.position"] = ((config.patch, narrow), np.float32)
    tensors["local.start"] = ((narrow,), np.float32)
    if config.ngram_orders:
        shape = (len(config.ngram_orders), config.ngram_rows, config.ngram_width)
        tensors["ngrams"] = (shape, np.int8)

    def linear(name: str, inputs: int, outputs: int) -> None:
        tensors[f"{name}.weight"] = ((outputs, inputs), np.int8)
        tensors[f"{name}.scale"] = ((outputs,), np.float32)

    def stack(name: str, c: StackConfig) -> None:
        tensors[f"{name}.rotary"] = ((2, 2 * c.window, c.head_dim // 2), np.float32)
        for i in range(c.layers):
            linear(f"{name}.{i}.qkv", c.width, (c.heads + 2 * c.kv_heads) * c.head_dim)
            linear(f"{name}.{i}.out", c.width, c.width)
            linear(f"{name}.{i}.up", c.width, c.hidden)
            linear(f"{name}.{i}.down", c.hidden, c.width)
            tensors[f"{name}.{i}.sharpness"] = ((c.heads,), np.float32)

    if config.encoder is not None:
        stack("encoder", config.encoder)
    if config.embeds_patch:
        linear("embed", config.patch_width, wide)
    stack("global", config.global_stack)
    if config.projection == "dense":
        linear("project", wide, config.patch * narrow)
    else:
        linear("project", wide // config.patch, narrow)
    stack("local", config.local_stack)
    linear("head", narrow, 256)
    return tensors


def check(config: ModelConfig, tensors: Tensors) -> None:
    """Raises ValueError unless `tensors` have the layout of `config` and usable values."""
    expected = layout(config)
    if tensors.keys() != expected.keys():
        odd = sorted(tensors.keys() ^ expected.keys())
        msg = f"tensors missing or unknown: {', '.join(odd[:4])}"
        raise ValueError(msg)
    for name, (shape, dtype) in expected.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            msg = f"tensor {name} is {tensor.dtype}{tensor.shape}, not {np.dtype(dtype)}{shape}"
            raise ValueError(msg)
        # NaN fails the comparison too. -128 would break the bounds of the float32 carrier.
        low, high = (-127, 127) if dtype is np.int8 else (-LARGEST_SCALE, LARGEST_SCALE)
        if not (tensor.min() >= low and tensor.max() <= high):
            msg = f"tensor {name} has values outside [{low:g}, {high:g}]"
            raise ValueError(msg)


def write(folder: Path, *, name: str, config: ModelConfig, tensors: Tensors, golden: str) -> Path:
    """Writes `folder`/weights.safetensors and returns its path; the folder must not have one."""
    from safetensors.numpy import save  # noqa: PLC0415 - the reference decoder does without

    check(config, tensors)
    meta = {
        "arithmetic": versions.NETWORK,
        "name": name,
        "config": config.to_dict(),
        "golden": golden,
    }
    contiguous = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    blob = save(contiguous, metadata={"mbz": json.dumps(meta)})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    with path.open("xb") as file:
        file.write(blob)
    return path


def read(folder: Path) -> Weights:
    """Reads and checks the model in `folder`.

    Raises:
        ModelError: the file is missing, damaged, of another arithmetic version, or not a model.
    """
    from safetensors import SafetensorError  # noqa: PLC0415 - as above
    from safetensors.numpy import load  # noqa: PLC0415

    path = folder / FILE_NAME
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            msg = f"{path} is too large for a model ({size} bytes)"
            raise ModelError(msg)
        blob = path.read_bytes()
        tensors = load(blob)
        header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
        meta = json.loads(header["__metadata__"]["mbz"])
        if meta["arithmetic"] != versions.NETWORK:
            msg = f"{path} needs arithmetic version {meta['arithmetic']!r}, unknown to this mbz"
            raise ModelError(msg)
        name, golden = str(meta["name"]), str(meta["golden"])
        config = ModelConfig.from_dict(meta["config"])
        check(config, tensors)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror or error}); is this a model folder?"
        raise ModelError(msg) from error
    except (
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        msg = f"{path} is not a usable model ({error})"
        raise ModelError(msg) from error
    fingerprint = hashlib.sha256(blob).digest()
    return Weights(
        name=name, config=config, tensors=tensors, golden=golden, fingerprint=fingerprint
    )
