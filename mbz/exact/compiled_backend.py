"""The exact network on the CPU in compiled kernels, without torch: equal to `reference.py`.

Lanes are dealt to parts that share nothing but the weights, so that threads need not wait for each
other within a step: a step of a part, or many positions at once, is one call of `kernels.score` or
`kernels.extend`.

Shapes: B lanes, S positions, L layers, D width, G key heads, E head width, P patch.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbz.compiled import announce
from mbz.config import ModelConfig, StackConfig
from mbz.exact import fixed, kernels
from mbz.exact.vectors import GROUP, HEAD, LEFT, OUTPUTS, packed
from mbz.weights import Tensors

ROWS = 64
"""Positions times lanes that a part takes through the network at once: what fits in a cache."""

MOST_THREADS = 16

F32, I8, I16, I32, I64 = np.float32, np.int8, np.int16, np.int32, np.int64
Array = NDArray[Any]


def above(size: int, multiple: int) -> int:
    """The least multiple that is not below size."""
    return -(-size // multiple) * multiple


def held(array: Array) -> Array:
    """The array in memory of its own, so that numba sees one type, however it was loaded."""
    return np.array(array, order="C")


class Layers(NamedTuple):
    """The weights of a stack; matrices (L, blocks, ..) are packed."""

    qkv: Array
    qkv_scale: Array
    out: Array
    out_scale: Array
    up: Array
    up_scale: Array
    down: Array
    down_scale: Array
    sharpness: Array  # (L, H)
    rotary: Array  # (2, 2W, E / 2)
    value_scale: Array  # (1,)


class Ring(NamedTuple):
    """The last keys and values of some lanes, by position modulo 2W; E and slots are padded."""

    keys: Array  # (L, B, G, blocks, ..) int8, packed
    key_roots: Array  # (L, B, G, slots)
    values: Array  # (L, B, G, slots / 2, E) int16: the bytes of two slots


class Network(NamedTuple):
    """All weights of a model."""

    options: Array  # patch, has an encoder, projects patches, projects densely
    local_bytes: Array
    local_position: Array
    local_start: Array
    ngrams: Array  # (orders, rows, width) int8
    orders: Array
    hash_shift: Array  # (1,)
    global_bytes: Array
    global_position: Array
    global_start: Array
    embed: Array
    embed_scale: Array
    project: Array
    project_scale: Array
    head: Array
    head_scale: Array
    encoder: Layers
    global_stack: Layers
    local_stack: Layers


class Tables(NamedTuple):
    """The tables of section 2."""

    roots: Array
    attention: Array
    output: Array


class Part(NamedTuple):
    """What is known of some lanes."""

    clock: Array  # (1,): the position
    most: Array  # (1,): positions at once
    history: Array  # (B, reach + most - 1): bytes before the position, and after
    tail: Array  # (B, P, D_G): what the last patch is made of, by position modulo P
    state: Array  # (B, P * D): what the global stack says to the patch at hand
    encoder_ring: Ring
    global_ring: Ring
    local_ring: Ring


class Scratch(NamedTuple):
    """Memory of one pass; M rows."""

    x: Array  # (M, D) residual rows of encoder and local stack
    g: Array  # (M, D) of the global stack
    patches: Array  # (M, P * D_G)
    states: Array  # (M, P * D)
    q: Array
    slices: Array
    sums: Array
    out: Array
    hidden: Array
    factor: Array
    squares: Array
    head: Array
    heads: Array
    head_roots: Array
    dots: Array
    scores: Array
    weights: Array
    shares: Array
    total: Array


def layers_of(tensors: Tensors, name: str, c: StackConfig | None) -> Layers:
    """The weights of a stack; of None, none."""
    if c is None:
        w, s = np.zeros((0, 0, 0, 0), I8), np.zeros((0, 1), F32)
        return Layers(w, s, w, s, w, s, w, s, s, np.zeros((2, 2, 1), F32), np.zeros(1, F32))

    def stacked(part: str) -> Array:
        return np.stack([tensors[f"{name}.{i}.{part}"] for i in range(c.layers)])

    matrices: list[Array] = []
    for part in ("qkv", "out", "up", "down"):
        matrices += [packed(stacked(f"{part}.weight")), stacked(f"{part}.scale")]
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
        np.zeros((*shape, slots // 2, width), I16),
    )


def part_of(config: ModelConfig, lanes: int) -> Part:
    """Lanes that are empty yet."""
    most = max(1, ROWS // lanes)
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
    return Scratch(
        np.zeros((rows, narrow), F32),
        np.zeros((rows, wide), F32),
        np.zeros((rows, config.patch_width), F32),
        np.zeros((rows, patch * narrow), F32),
        np.zeros((rows, above(inputs, GROUP)), LEFT),
        np.zeros((rows * shared if shared > 1 else 0, above(wide // patch, GROUP)), LEFT),
        np.zeros((rows * shared, above(outputs, OUTPUTS)), I32),
        np.zeros((rows, max(wide, narrow)), F32),
        np.zeros(max(s.hidden for s in stacks), F32),
        np.zeros(rows, F32),
        np.zeros(rows, F32),
        np.zeros(width, F32),
        np.zeros((heads + 1, width), LEFT),
        np.zeros(heads, F32),
        np.zeros((heads, slots), I32),
        np.zeros(max(slots, 256), F32),
        np.zeros(max(slots, 256), I32),
        np.zeros((heads, slots), I16),
        np.zeros((heads, width), I32),
    )


class CompiledPredictor:
    """The `Predictor` of these weights on the CPU."""

    def __init__(self, config: ModelConfig, tensors: Tensors, threads: int | None = None) -> None:
        """Takes the most threads to use; None means all cores."""
        announce(kernels.score, "the network's kernels")
        self.config, self.threads = config, min(threads or usable_cores(), MOST_THREADS)
        self.most_lanes = config.most_lanes
        self.network = network_of(config, tensors)
        self.tables = Tables(
            fixed.root_table(),
            fixed.attention_table().astype(I32),
            fixed.output_table().astype(I32),
        )
        self.pool = ThreadPoolExecutor(max(self.threads - 1, 1))

    def reset(self, lanes: int) -> None:
        """Starts `lanes` empty streams."""
        count = min(lanes, max(self.threads, -(-lanes // ROWS)))
        edges = [lanes * i // count for i in range(count + 1)]
        sizes = np.diff(edges)
        self.spans = [slice(a, b) for a, b in itertools.pairwise(edges)]
        self.parts = [part_of(self.config, int(size)) for size in sizes]
        self.scratch = [
            scratch_of(self.config, int(part.most[0] * size))
            for part, size in zip(self.parts, sizes, strict=True)
        ]

    def counts(self) -> NDArray[np.float32]:
        """Counts of the next byte of each lane, (B, 256)."""
        lanes = self.spans[-1].stop
        return self.extend(np.empty((lanes, 0), np.uint8), 1)[:, 0]

    def push(self, symbols_B: NDArray[np.uint8]) -> None:
        """Appends one byte to each lane."""
        for span, part in zip(self.spans, self.parts, strict=True):
            reach = part.history.shape[1] - int(part.most[0]) + 1
            part.history[:, : reach - 1] = part.history[:, 1:reach]
            part.history[:, reach - 1] = symbols_B[span]

    def score(self, symbols_BS: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Counts before each of S given bytes, (B, S, 256)."""
        return self.extend(held(symbols_BS), symbols_BS.shape[1])

    def extend(self, symbols_BS: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
        """Counts of the next positions, of which all or none of the bytes are known."""
        out = np.empty((len(symbols_BS), count, 256), F32)

        def run(i: int) -> None:
            span = self.spans[i]
            symbols = symbols_BS[span]
            kernels.score(
                self.network, self.parts[i], self.scratch[i], symbols, out[span], self.tables
            )

        self.each(run)
        return out

    def each(self, run: Callable[[int], None]) -> None:
        """Runs all parts."""
        if self.threads == 1:
            for i in range(len(self.parts)):
                run(i)
            return
        waiting = [self.pool.submit(run, i) for i in range(1, len(self.parts))]
        run(0)
        for future in waiting:
            future.result()


def usable_cores() -> int:
    """Cores that this process may run on, where the system and OMP_NUM_THREADS say so."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(asked)) if asked.isdecimal() and int(asked) else cores
