"""What the kernels of the exact network work on: weights, lanes and scratch, in arrays.

Each tuple says the types and axes of its arrays, from which numba's type of it is made.

Shapes: B lanes, S positions, L layers, D width, G key heads, E head width, P patch.
"""

from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from mbz.config import ModelConfig, StackConfig
from mbz.exact import fixed
from mbz.exact.units import MARKED, SPAN, TOGETHER, packed_units
from mbz.exact.vector_code import HAS_VNNI
from mbz.exact.vectors import GROUP, HEAD, LEFT, OUTPUTS, SHARE, WEIGHED, packed
from mbz.records import Record, array_kind
from mbz.weights import Tensors

F32, I8, I16, I32, I64 = np.float32, np.int8, np.int16, np.int32, np.int64
Array = NDArray[Any]
Bytes3 = Annotated[Array, I8, 3]
Bytes4 = Annotated[Array, I8, 4]
Bytes6 = Annotated[Array, I8, 6]
Counts3 = Annotated[Array, np.uint32, 3]
Floats1 = Annotated[Array, F32, 1]
Floats2 = Annotated[Array, F32, 2]
Floats3 = Annotated[Array, F32, 3]
Floats4 = Annotated[Array, F32, 4]
Ints1 = Annotated[Array, I32, 1]
Ints2 = Annotated[Array, I32, 2]
Left2 = Annotated[Array, LEFT, 2]
Longs1 = Annotated[Array, I64, 1]
Shares2 = Annotated[Array, SHARE, 2]
Shorts5 = Annotated[Array, I16, 5]
Symbols2 = Annotated[Array, np.uint8, 2]


def above(size: int, multiple: int) -> int:
    """The least multiple that is not below size."""
    return -(-size // multiple) * multiple


def held(array: Array) -> Array:
    """The array in memory of its own, so that numba sees one type, however it was loaded."""
    return np.array(array, order="C")


class Layers(NamedTuple):
    """The weights of a stack; matrices (L, blocks, ..) are packed, `down` by hidden unit."""

    qkv: Bytes4
    qkv_scale: Floats2
    out: Bytes4
    out_scale: Floats2
    up: Bytes4
    up_scale: Floats2
    down: Bytes4
    down_dense: Bytes4  # where that may be faster, or empty
    down_scale: Floats2
    sharpness: Floats2  # (L, H)
    rotary: Floats3  # (2, 2W, E / 2)
    value_scale: Floats1  # (1,)


class Ring(NamedTuple):
    """The last keys and values of some lanes, by position modulo 2W; E and slots are padded."""

    keys: Bytes6  # (L, B, G, blocks, ..) int8, packed
    key_roots: Floats4  # (L, B, G, slots)
    values: Shorts5  # (L, B, G, slots / n, E * n / 2) int16: the bytes of n = WEIGHED slots


class Network(NamedTuple):
    """All weights of a model."""

    options: Longs1  # patch, has an encoder, projects patches, projects densely
    local_bytes: Floats2
    local_position: Floats2
    local_start: Floats1
    ngrams: Bytes3  # (orders, rows, width) int8
    orders: Longs1
    hash_shift: Longs1  # (1,)
    global_bytes: Floats2
    global_position: Floats1
    global_start: Floats1
    embed: Bytes3
    embed_scale: Floats1
    project: Bytes3
    project_scale: Floats1
    head: Bytes3
    head_scale: Floats1
    encoder: Layers
    global_stack: Layers
    local_stack: Layers


class Tables(NamedTuple):
    """The tables of section 2."""

    roots: Floats1
    attention: Ints1
    output: Ints1


class Part(NamedTuple):
    """What is known of some lanes."""

    clock: Longs1  # (1,): the position
    most: Longs1  # (1,): positions at once
    history: Symbols2  # (B, reach + most - 1): bytes before the position, and after
    tail: Floats3  # (B, P, D_G): what the last patch is made of, by position modulo P
    state: Floats2  # (B, P * D): what the global stack says to the patch at hand
    encoder_ring: Ring
    global_ring: Ring
    local_ring: Ring


class Scratch(NamedTuple):
    """Memory of one pass; M rows."""

    x: Floats2  # (M, D) residual rows of encoder and local stack
    g: Floats2  # (M, D) of the global stack
    patches: Floats2  # (M, P * D_G)
    states: Floats2  # (M, P * D)
    q: Left2
    slices: Left2
    sums: Ints2
    out: Floats2
    hidden: Floats1
    hidden_q: Symbols2  # (M, F and more) integers of hidden rows, 0 .. 127
    unit_values: Symbols2  # (M, F and more) those that are not zero
    unit_places: Ints2  # (M, F and more) where their units are in a span
    unit_counts: Longs1  # (M,)
    factor: Floats1
    squares: Floats1
    head: Floats1
    heads: Left2
    head_roots: Floats1
    dots: Ints2
    scores: Floats1
    weights: Ints1
    shares: Shares2
    high_shares: Shares2  # their high bytes with VNNI
    total: Ints2


class Job(NamedTuple):
    """What the kernel `score` is to do."""

    network: Network
    part: Part
    scratch: Scratch
    tables: Tables
    steps: Longs1  # (1,): whether this is for steps of a decoder
    symbols: Symbols2  # (B, S), or (B, 1) for steps
    counts: Counts3  # (B, S, 256), or (B, 1, 256)


def kind_of(hint: Any) -> Any:  # noqa: ANN401 - a type with hints
    """What numba makes of a tuple of arrays, by its hints."""
    if get_origin(hint) is Annotated:
        _, dtype, axes = get_args(hint)
        return array_kind(np.dtype(dtype), axes)
    hints = get_type_hints(hint, include_extras=True)
    return Record(hint.__name__, {name: kind_of(one) for name, one in hints.items()})


def layers_of(tensors: Tensors, name: str, c: StackConfig | None) -> Layers:
    """The weights of a stack; of None, none."""
    if c is None:
        w, s = np.zeros((0, 0, 0, 0), I8), np.zeros((0, 1), F32)
        return Layers(w, s, w, s, w, s, w, w, s, s, np.zeros((2, 2, 1), F32), np.zeros(1, F32))

    def stacked(part: str) -> Array:
        return np.stack([tensors[f"{name}.{i}.{part}"] for i in range(c.layers)])

    matrices: list[Array] = []
    for part in ("qkv", "out", "up"):
        matrices += [packed(stacked(f"{part}.weight")), stacked(f"{part}.scale")]
    down = stacked("down.weight")
    dense = packed(down, 0) if HAS_VNNI else np.zeros((c.layers, 0, 0, 0), I8)
    matrices += [packed_units(down), dense, stacked("down.scale")]
    rotary = held(tensors[f"{name}.rotary"])
    scale = np.array([fixed.value_scale(c.head_dim)], F32)
    return Layers._make([*matrices, stacked("sharpness"), rotary, scale])


def network_of(config: ModelConfig, tensors: Tensors) -> Network:
    """The weights as the kernels take them."""
    none = np.zeros((0, 0), F32)
    has_encoder = config.encoder is not None
    options = [config.patch, has_encoder, config.embeds_patch, config.projection == "dense"]
    matrices: list[Array] = []
    for name in ("embed", "project", "head"):
        if name == "embed" and not config.embeds_patch:
            matrices += [np.zeros((0, 0, 0), I8), np.zeros(0, F32)]
        else:
            matrices += [packed(tensors[f"{name}.weight"]), held(tensors[f"{name}.scale"])]
    rows = max(config.ngram_rows, 1)
    return Network._make(
        [
            np.array(options, I64),
            held(tensors["local.bytes"]),
            held(tensors["local.position"]),
            held(tensors["local.start"]),
            held(tensors["ngrams"]) if config.ngram_orders else np.zeros((0, 1, 1), I8),
            np.array(config.ngram_orders, I64),
            np.array([33 - rows.bit_length()], I64),
            none if has_encoder else held(tensors["global.bytes"]),
            np.zeros(0, F32) if has_encoder else held(tensors["global.position"]),
            held(tensors["global.start"]),
            *matrices,
            layers_of(tensors, "encoder", config.encoder),
            layers_of(tensors, "global", config.global_stack),
            layers_of(tensors, "local", config.local_stack),
        ]
    )


def ring_of(c: StackConfig | None, lanes: int) -> Ring:
    """An empty ring."""
    if c is None:
        return Ring(np.zeros((0,) * 6, I8), np.zeros((0,) * 4, F32), np.zeros((0,) * 5, I16))
    slots, width = above(2 * c.window, OUTPUTS), above(c.head_dim, OUTPUTS)
    groups = HEAD + -(-c.head_dim // GROUP)
    shape = (c.layers, lanes, c.kv_heads)
    return Ring(
        np.zeros((*shape, slots // OUTPUTS, groups, OUTPUTS * GROUP), I8),
        np.zeros((*shape, slots), F32),
        np.zeros((*shape, slots // WEIGHED, width * WEIGHED // 2), I16),
    )


def part_of(config: ModelConfig, lanes: int, most: int) -> Part:
    """Lanes that are empty yet; takes at most `most` positions at once."""
    reach = max(config.ngram_orders, default=1)
    patch, narrow = config.patch, config.local_stack.width
    return Part(
        np.zeros(1, I64),
        np.array([most], I64),
        np.zeros((lanes, reach + most - 1), np.uint8),
        np.zeros((lanes, patch, config.byte_width), F32),
        np.zeros((lanes, patch * narrow), F32),
        ring_of(config.encoder, lanes),
        ring_of(config.global_stack, lanes),
        ring_of(config.local_stack, lanes),
    )


def scratch_of(config: ModelConfig, rows: int) -> Scratch:
    """Memory for passes of up to `rows` rows."""
    stacks = [config.global_stack, config.local_stack]
    wide, narrow, patch = config.global_stack.width, config.local_stack.width, config.patch
    inputs = max(config.patch_width, *(s.width for s in stacks), *(s.hidden for s in stacks))
    outputs = max(256, patch * narrow, *(max(3 * s.width, s.hidden) for s in stacks))
    slots = above(max(2 * s.window for s in stacks), OUTPUTS) + 1
    heads = max(s.heads // s.kv_heads for s in stacks)
    width = above(max(s.head_dim for s in stacks), OUTPUTS)
    shared = 1 if config.projection == "dense" else patch
    hidden = max(s.hidden for s in stacks)
    return Scratch(
        np.zeros((rows, narrow), F32),
        np.zeros((rows, wide), F32),
        np.zeros((rows, config.patch_width), F32),
        np.zeros((rows, patch * narrow), F32),
        np.zeros((rows, above(inputs, GROUP)), LEFT),
        np.zeros((rows * shared if shared > 1 else 0, above(wide // patch, GROUP)), LEFT),
        np.zeros((rows * shared, above(outputs, max(OUTPUTS, SPAN))), I32),
        np.zeros((rows, max(wide, narrow)), F32),
        np.zeros(hidden, F32),
        np.zeros((rows, above(hidden, MARKED)), np.uint8),
        np.zeros((rows, hidden + TOGETHER), np.uint8),
        np.zeros((rows, hidden + TOGETHER), I32),
        np.zeros(rows, I64),
        np.zeros(rows, F32),
        np.zeros(rows, F32),
        np.zeros(width, F32),
        np.zeros((heads + 1, width), LEFT),
        np.zeros(heads, F32),
        np.zeros((heads, slots), I32),
        np.zeros(max(slots, 256), F32),
        np.zeros(max(slots, 256), I32),
        np.zeros((heads, slots), SHARE),
        np.zeros((heads, slots), SHARE),
        np.zeros((heads, width), I32),
    )
