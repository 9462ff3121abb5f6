"""The exact network in numpy, one byte a step: the definition that every backend must equal.

Written to be read beside docs/exact.md, in its order; section numbers are in the comments. Each
reduction is over integers, each other operation rounds once. Needs numpy alone, so that an archive
can be restored without torch.

Shapes: B lanes, P patch, D width, H query heads, G key heads, R = H / G, E head width, N visible
positions, O orders of n-grams.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mbz.config import ModelConfig, StackConfig
from mbz.exact import fixed
from mbz.weights import Tensors

Floats: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[np.float64]
"""Integers carried in float64, where products and sums below 2**53 are exact in any order."""


def quantise(x: Floats) -> tuple[Floats, Floats]:
    """2.1: rows to integers in [-127, 127], and the largest magnitude of each row."""
    largest = np.maximum(np.abs(x).max(-1, keepdims=True), fixed.SMALLEST)
    return np.rint(x * (np.float32(127) / largest)), largest


def sum_of_squares(q: Floats) -> Floats:
    """2.2: of integers, at least 1; rounded once, where it passes 2**24."""
    total = np.square(q, dtype=np.float64).sum(-1, keepdims=True)
    return np.maximum(total, 1).astype(np.float32)


class Root:
    """2.3: reciprocal square root of an integer, by table."""

    def __init__(self) -> None:
        self.table = fixed.root_table()

    def __call__(self, n: Floats) -> Floats:
        """Entry by exponent and leading mantissa bits of the float32 `n` >= 1."""
        return self.table[(n.view(np.int32) >> (23 - fixed.ROOT_BITS)) - (127 << fixed.ROOT_BITS)]


class Linear:
    """2.4: an int8 matrix with one float32 scale per output."""

    def __init__(self, tensors: Tensors, name: str) -> None:
        self.weight: Integers = tensors[f"{name}.weight"].astype(np.float64).T
        self.scale: Floats = tensors[f"{name}.scale"]

    def __call__(self, q: Floats) -> Floats:
        """Integer product, to float32, times the scale of each output."""
        return (q.astype(np.float64) @ self.weight).astype(np.float32) * self.scale


class Block:
    """3.2 and 3.3: one layer, with the cache of keys and values of the last 2W positions."""

    def __init__(self, tensors: Tensors, stack: str, index: int, config: StackConfig) -> None:
        name = f"{stack}.{index}"
        self.config = config
        self.qkv = Linear(tensors, f"{name}.qkv")
        self.out = Linear(tensors, f"{name}.out")
        self.up = Linear(tensors, f"{name}.up")
        self.down = Linear(tensors, f"{name}.down")
        self.sharpness: Floats = tensors[f"{name}.sharpness"][:, None]
        self.rotary: Floats = tensors[f"{stack}.rotary"]
        self.value_scale = fixed.value_scale(config.head_dim)
        self.weights = fixed.attention_table()
        self.root = Root()

    def reset(self, lanes: int) -> None:
        """Empties the cache."""
        c = self.config
        slots = (lanes, c.kv_heads, 2 * c.window)
        self.keys_BGNE = np.zeros((*slots, c.head_dim), np.float32)
        self.key_roots_BGN = np.zeros(slots, np.float32)
        self.values_BGNE = np.zeros((*slots, c.head_dim), np.float32)

    def __call__(self, x_BD: Floats, t: int) -> Floats:
        """The layer at position `t` = 0, 1, 2, ... of its stack."""
        q, largest = quantise(self.attend(x_BD, t))
        x_BD = x_BD + self.out(q) * (largest * fixed.STEP)
        q, _ = quantise(x_BD)
        u = np.maximum(self.up(q), np.float32(0))
        u, largest = quantise(u * u)
        return x_BD + self.down(u) * ((largest * fixed.STEP) / sum_of_squares(q))

    def attend(self, x_BD: Floats, t: int) -> Floats:
        """3.2: sums of values as integers below 2**21, all heads side by side."""
        c = self.config
        lanes = x_BD.shape[0]
        heads = self.qkv(quantise(x_BD)[0]).reshape(lanes, -1, c.head_dim)
        split = [c.heads, c.heads + c.kv_heads]
        q_BHE, k_BGE, v_BGE = np.split(heads, split, axis=1)
        q_BHE, _ = quantise(self.rotate(q_BHE, t))
        k_BGE, _ = quantise(self.rotate(k_BGE, t))
        v_BGE, _ = quantise(v_BGE)
        v_root = self.root(sum_of_squares(v_BGE)) * self.value_scale
        slot = t % (2 * c.window)
        self.keys_BGNE[:, :, slot] = k_BGE
        self.key_roots_BGN[:, :, slot] = self.root(sum_of_squares(k_BGE))[..., 0]
        self.values_BGNE[:, :, slot] = np.clip(np.rint(v_BGE * v_root), -127, 127)

        first = max(0, (t // c.window - 1) * c.window)
        seen = np.arange(first, t + 1) % (2 * c.window)
        keys = self.keys_BGNE[:, :, seen].astype(np.float64)
        values = self.values_BGNE[:, :, seen].astype(np.float64)
        key_roots = self.key_roots_BGN[:, :, None, seen]
        query_roots = self.root(sum_of_squares(q_BHE)) * self.sharpness
        per_key_head = (lanes, c.kv_heads, -1, c.head_dim)
        q_BGRE = q_BHE.reshape(per_key_head).astype(np.float64)
        dots = (q_BGRE @ keys.transpose(0, 1, 3, 2)).astype(np.float32)
        scores = (dots * query_roots.reshape(lanes, c.kv_heads, -1, 1)) * key_roots
        weights = self.softmax(scores).astype(np.float64)
        return (weights @ values).astype(np.float32).reshape(lanes, -1)

    def rotate(self, x_BHE: Floats, t: int) -> Floats:
        """2.5: rotary embedding; the pair of element i is i + E / 2."""
        cos, sin = self.rotary[:, t % (2 * self.config.window)]
        a, b = np.split(x_BHE, 2, axis=-1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def softmax(self, scores: Floats) -> Floats:
        """2.6: integer weights that sum to at most 2**14, by distance to the largest score."""
        n = np.rint(scores.max(-1, keepdims=True) - scores)
        w = self.weights[np.minimum(n, len(self.weights) - 1).astype(np.int32)]
        total = w.sum(-1, keepdims=True, dtype=np.float64).astype(np.float32)
        return np.floor(w * (np.float32(fixed.ATTENTION_SUM) / total))


class Stack:
    """3.4: the layers of one of the models, over one position at a time."""

    def __init__(self, tensors: Tensors, name: str, config: StackConfig) -> None:
        self.blocks = [Block(tensors, name, i, config) for i in range(config.layers)]

    def reset(self, lanes: int) -> None:
        """Goes back to position 0."""
        self.t = 0
        for block in self.blocks:
            block.reset(lanes)

    def __call__(self, x_BD: Floats) -> Floats:
        """The residual stream after all layers at the next position."""
        for block in self.blocks:
            x_BD = block(x_BD, self.t)
        self.t += 1
        return x_BD


def counts_of(logits: Floats, table: Floats) -> Floats:
    """2.7: counts of the 256 bytes that sum to COUNT_SUM, from logits in 1/64 octaves."""
    n = np.rint(logits.max(-1, keepdims=True) - logits)
    w = table[np.minimum(n, len(table) - 1).astype(np.int32)].astype(np.float64)
    counts = np.floor(w * (fixed.COUNT_SUM / w.sum(-1, keepdims=True)))
    top = w.argmax(-1)
    counts[np.arange(len(counts)), top] += fixed.COUNT_SUM - counts.sum(-1)
    return counts.astype(np.float32)


class Ngrams:
    """3.6: what the tables hold for the bytes before a position."""

    def __init__(self, config: ModelConfig, tensors: Tensors) -> None:
        self.table_ORD = tensors["ngrams"]
        self.factors = fixed.ngram_factors(config.ngram_orders)

    def __call__(self, before_BH: NDArray[np.int64]) -> Floats:
        """The rows of all orders side by side, (B, O * width)."""
        orders, rows, _ = self.table_ORD.shape
        rows_BO = fixed.ngram_rows(before_BH, self.factors, rows)
        values = self.table_ORD[np.arange(orders), rows_BO].reshape(len(before_BH), -1)
        return values.astype(np.float32) / np.float32(fixed.NGRAM_STEPS)


class ReferencePredictor:
    """The `Predictor` of these weights in plain numpy."""

    def __init__(self, config: ModelConfig, tensors: Tensors) -> None:
        self.config, self.tensors = config, tensors
        self.most_lanes = config.most_lanes
        self.ngrams = Ngrams(config, tensors) if config.ngram_orders else None
        self.encoder = Stack(tensors, "encoder", config.encoder) if config.encoder else None
        self.embed = Linear(tensors, "embed") if config.embeds_patch else None
        self.global_stack = Stack(tensors, "global", config.global_stack)
        self.project = Linear(tensors, "project")
        self.local_stack = Stack(tensors, "local", config.local_stack)
        self.head = Linear(tensors, "head")
        self.table = fixed.output_table()
        self.root = Root()

    def reset(self, lanes: int) -> None:
        """Starts `lanes` empty streams."""
        for stack in (self.encoder, self.global_stack, self.local_stack):
            if stack is not None:
                stack.reset(lanes)
        self.t = 0
        self.before_BH = np.zeros((lanes, max(self.config.ngram_orders, default=1)), np.int64)
        self.patch: list[Floats] = []
        self.from_global_BPD = self.patch_states(np.tile(self.tensors["global.start"], (lanes, 1)))

    def counts(self) -> Floats:
        """3.6: counts of the next byte of each lane, (B, 256)."""
        x_BD = self.local_input()
        if self.encoder is not None:
            x_BD = self.encoder(x_BD)
        if self.t > 0:
            self.extend_patch(x_BD)
        x_BD = self.local_stack(x_BD + self.from_global_BPD[:, self.t % self.config.patch])
        q, _ = quantise(x_BD)
        return counts_of(self.head(q) * self.root(sum_of_squares(q)), self.table)

    def local_input(self) -> Floats:
        """3.6: the byte before, its place in the patch, and the n-grams before."""
        x_BD = self.tensors["local.bytes"][self.before_BH[:, -1]]
        if self.t == 0:
            x_BD = np.broadcast_to(self.tensors["local.start"], x_BD.shape)
        x_BD = x_BD + self.tensors["local.position"][self.t % self.config.patch]
        if self.ngrams is not None:
            values = self.ngrams(self.before_BH)
            x_BD[:, : values.shape[1]] += values
        return x_BD

    def extend_patch(self, encoded_BD: Floats) -> None:
        """3.1: takes the row of the byte before; after P of them the global model moves on."""
        row = encoded_BD if self.encoder else self.tensors["global.bytes"][self.before_BH[:, -1]]
        self.patch.append(row)
        if len(self.patch) == self.config.patch:
            h_BD = np.concatenate(self.patch, 1)
            if self.encoder is None:
                h_BD = h_BD + self.tensors["global.position"]
            self.patch = []
            self.from_global_BPD = self.patch_states(h_BD)

    def push(self, symbols_B: NDArray[np.uint8]) -> None:
        """Appends one byte to each lane."""
        self.before_BH = np.column_stack([self.before_BH[:, 1:], symbols_B.astype(np.int64)])
        self.t += 1

    def patch_states(self, h_BD: Floats) -> Floats:
        """3.1 and 3.5: what the global model says to each byte of the next patch, (B, P, D)."""
        if self.embed is not None:
            q, _ = quantise(h_BD)
            h_BD = self.embed(q) * self.root(sum_of_squares(q))
        h_BD = self.global_stack(h_BD)
        q, _ = quantise(h_BD)
        r = self.root(sum_of_squares(q))[..., None]
        lanes, patch = len(q), self.config.patch
        if self.config.projection == "dense":
            return self.project(q).reshape(lanes, patch, -1) * r
        return self.project(q.reshape(lanes, patch, -1)) * r

    def score(self, symbols_BS: NDArray[np.uint8]) -> Floats:
        """Counts before each of S given bytes, (B, S, 256): S rounds of `counts` and `push`."""
        rows: list[NDArray[Any]] = []
        for symbols_B in symbols_BS.T:
            rows.append(self.counts())
            self.push(symbols_B)
        return np.stack(rows, 1)
