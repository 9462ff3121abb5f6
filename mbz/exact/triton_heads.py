"""Attention of the exact network as Triton kernels: section 3.2.

Keys and values lie in a ring of C slots, position t in slot t mod C. A ring holds the 2W positions
that may be seen and all that come at once, so new ones are written before anything is read, and
attention is the same however positions are cut into calls.

The softmax knows its largest score before it rounds, so no part of it can be rescaled later:
attention goes over the keys three times, for the largest score, for the sum of the weights, and
for the values, and computes the products of queries and keys anew each time.

Heads are padded with zeros to a power of two, at least 32, in which the elements of a rotated pair
lie side by side; the products of queries and keys do not mind.

Shapes: M rows = B lanes of S positions, H query heads, G key heads, R = H / G, E padded head width,
W window, C slots.
"""

from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from mbz.exact import fixed
from mbz.exact.triton_products import sums_of
from mbz.exact.triton_rows import EXACT, ROUND, SMALLEST, rint, root_of
from mbz.exact.triton_tiles import Look, Tile

ATTENTION_SUM = tl.constexpr(float(fixed.ATTENTION_SUM))
ATTENTION_LAST = tl.constexpr(fixed.ATTENTION_BITS * fixed.OCTAVE)
BITS = tl.constexpr(fixed.ATTENTION_BITS + ROUND.value / fixed.OCTAVE)
OCTAVE = tl.constexpr(1 / fixed.OCTAVE)
ROUND_BITS = tl.constexpr(int(np.float32(ROUND.value).view(np.int32)))

SLOTS = 128
"""Rings are multiples of this, so that no tile of keys lies across their end."""


class Ring(NamedTuple):
    """What a layer remembers."""

    keys: Tensor  # (B, G, C, E) int8
    roots: Tensor  # (B, G, C) float32
    values: Tensor  # (B, G, E, C) int8: products of bytes want their terms side by side


@triton.jit(do_not_specialize=["count", "length"])
def _heads_kernel(
    a_p, w_p, scale_p, sharpness_p, rotary_p, roots_p, position_p,
    q_p, q_root_p, k_p, k_root_p, v_p, count, length, slots, value_scale,
    H: tl.constexpr, G: tl.constexpr, E: tl.constexpr, W: tl.constexpr,
    K: tl.constexpr, ROWS: tl.constexpr, TERMS: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) % (H + 2 * G)
    row = tl.program_id(0) // (H + 2 * G) * ROWS + tl.arange(0, ROWS)
    inside = row < count
    row = tl.minimum(row, count - 1)
    column = tl.arange(0, E)
    output = head * E + column
    sums = sums_of(a_p, w_p, row, output, K, ROWS, E, TERMS)
    y = sums.to(tl.float32) * tl.load(scale_p + output)[None, :]
    a, b = tl.split(tl.reshape(y, (ROWS, E // 2, 2)))

    lane, s = row // length, row % length
    t = tl.load(position_p)
    pair = ((t % (2 * W)).to(tl.int32) + s) % (2 * W) * (E // 2)
    pair = pair[:, None] + tl.arange(0, E // 2)[None, :]
    cos = tl.where(head < H + G, tl.load(rotary_p + pair), 1.0)
    sin = tl.where(head < H + G, tl.load(rotary_p + W * E + pair), 0.0)
    u = a * cos - b * sin
    v = b * cos + a * sin
    largest = tl.maximum(tl.max(tl.abs(u), 1), tl.max(tl.abs(v), 1))
    inverse = tl.div_rn(127.0, tl.maximum(largest, SMALLEST))[:, None]
    u, v = rint(u * inverse), rint(v * inverse)
    squares = tl.sum((u * u + v * v).to(tl.int32), 1)
    root = root_of(squares, roots_p)

    slot = ((t % slots).to(tl.int32) + s) % slots
    if head < H:
        q = tl.reshape(tl.join(u, v), (ROWS, E)).to(tl.int8)
        at = row.to(tl.int64) * H + head
        tl.store(q_p + at[:, None] * E + column, q, inside[:, None])
        tl.store(q_root_p + at, root * tl.load(sharpness_p + head), inside)
    elif head < H + G:
        q = tl.reshape(tl.join(u, v), (ROWS, E)).to(tl.int8)
        at = (lane.to(tl.int64) * G + (head - H)) * slots + slot
        tl.store(k_p + at[:, None] * E + column, q, inside[:, None])
        tl.store(k_root_p + at, root, inside)
    else:
        scale = (root * value_scale)[:, None]
        u = tl.minimum(tl.maximum(rint(u * scale), -127.0), 127.0)
        v = tl.minimum(tl.maximum(rint(v * scale), -127.0), 127.0)
        q = tl.reshape(tl.join(u, v), (ROWS, E)).to(tl.int8)
        at = (lane.to(tl.int64) * G + (head - H - G)) * E
        tl.store(v_p + (at[:, None] + column) * slots + slot[:, None], q, inside[:, None])


class Heads:
    """3.2 up to attention: the heads of new positions, and where a layer puts them."""

    def __init__(
        self, weight: Tensor, scale: Tensor, sharpness: Tensor, sizes: tuple[int, int, int]
    ) -> None:
        """Takes `qkv` on the device; `sizes` are query heads, key heads and their width."""
        self.queries, self.groups, width = sizes
        self.width = max(32, triton.next_power_of_2(width))
        self.sharpness, self.value_scale = sharpness, float(fixed.value_scale(width))
        self.weight, self.scale = self.packed(weight, width), self.packed(scale, width)

    def packed(self, outputs: Tensor, width: int) -> Tensor:
        """The outputs of all heads, padded.

        Of queries and keys, element i and its partner come to lie at 2i and 2i + 1.
        """
        turned = self.queries + self.groups
        index = torch.arange(width, device=outputs.device)
        pairs = index % (width // 2) * 2 + index // (width // 2)
        heads = outputs.unflatten(0, (-1, width))
        packed = outputs.new_zeros((len(heads), self.width, *outputs.shape[1:]))
        packed[:turned, pairs], packed[turned:, :width] = heads[:turned], heads[turned:]
        return packed.flatten(0, 1)

    def __call__(
        self,
        a_MK: Tensor,
        length: int,
        rotary: Tensor,
        roots: Tensor,
        position: Tensor,
        ring: Ring,
        tile: Tile,
    ) -> tuple[Tensor, Tensor]:
        """Queries (M, H, E) int8 and their roots times the sharpness (M, H); the rest in the ring.

        Args:
            a_MK: int8 rows.
            length: positions of a lane, S.
            rotary: cosines and sines (2, 2W, E / 2), padded.
            roots: the table of 2.3.
            position: the first of the positions, one int64 on the device.
            ring: where keys and values go.
            tile: how the product is cut; its outputs are a head.
        """
        (count, terms), heads = a_MK.shape, self.queries + 2 * self.groups
        shape = (count, self.queries)
        q_MHE = torch.empty((*shape, self.width), dtype=torch.int8, device=a_MK.device)
        q_root_MH = torch.empty(shape, device=a_MK.device)
        _heads_kernel[(triton.cdiv(count, tile.rows) * heads,)](
            a_MK, self.weight, self.scale, self.sharpness, rotary, roots, position,
            q_MHE, q_root_MH, *ring, count, length, ring.roots.shape[2], self.value_scale,
            H=self.queries, G=self.groups, E=self.width, W=rotary.shape[1] // 2, K=terms,
            ROWS=tile.rows, TERMS=tile.terms,
            num_warps=tile.warps, num_stages=tile.stages, **EXACT,
        )  # fmt: skip
        return q_MHE, q_root_MH


@triton.jit
def scores_of(q, q_root, k_p, k_root_p, slot, E: tl.constexpr, KEYS: tl.constexpr):
    """Scores (rows, keys) of the keys from a slot on.

    A GPU converts integers more slowly than it adds, so these sums, below 2**22, are
    made part of a float by an addition.
    """
    key = slot + tl.arange(0, KEYS)
    k = tl.load(k_p + key[None, :] * E + tl.arange(0, E)[:, None])
    dots = tl.dot(q, k, out_dtype=tl.int32) + ROUND_BITS
    dots = dots.to(tl.float32, bitcast=True) - ROUND
    return (dots * q_root[:, None]) * tl.load(k_root_p + key)[None, :]


@triton.jit
def _hide(scores, j, first, last, KEYS: tl.constexpr):
    key = j + tl.arange(0, KEYS)[None, :]
    return tl.where((key >= first[:, None]) & (key <= last[:, None]), scores, float("-inf"))


@triton.jit
def weights_of(x):
    """ATTENTION[n] of 2.6 for n = rint(x), x >= 0, by the hardware's power of two.

    Of all 768 powers the nearest to a tie is off it by 1.57e-6 of itself, and `ex2.approx` errs by
    2**-22 = 2.4e-7 at most; `sound` looks at every entry on the device. The argument is exact, so
    that its fused multiply-add, which takes away what n was rounded by, rounds nothing.
    """
    n = x + ROUND
    return tl.where(n < ROUND + ATTENTION_LAST, rint(tl.exp2(tl.fma(n, -OCTAVE, BITS))), 0.0)


@triton.jit
def values_of(low, high, p, v_p, slot, slots, E: tl.constexpr, KEYS: tl.constexpr):
    """Adds the products of weights below 2**14 with values, by bytes: 256 * high + low."""
    key = slot + tl.arange(0, KEYS)
    v = tl.trans(tl.load(v_p + tl.arange(0, E)[:, None] * slots + key[None, :]))
    low = tl.dot(p.to(tl.int8), v, low, out_dtype=tl.int32)
    high = tl.dot(((p + 128) >> 8).to(tl.int8), v, high, out_dtype=tl.int32)
    return low, high


@triton.jit(do_not_specialize=["length"])
def _attend_kernel(
    q_p, q_root_p, k_p, k_root_p, v_p, o_p, position_p, length, slots,
    H: tl.constexpr, G: tl.constexpr, E: tl.constexpr, W: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    R: tl.constexpr = H // G
    group, lane = tl.program_id(1), tl.program_id(2).to(tl.int64)
    # A row is a query head of a position; beyond the end it repeats the last.
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = row < length * R
    row = tl.minimum(row, length * R - 1)
    s = row // R
    at = (lane * length + s) * H + group * R + row % R
    q = tl.load(q_p + at[:, None] * E + tl.arange(0, E)[None, :])
    q_root = tl.load(q_root_p + at)
    k_p += (lane * G + group) * slots * E
    v_p += (lane * G + group) * slots * E
    k_root_p += (lane * G + group) * slots

    # Positions are counted from the block of the first, which 32 bits suffice for.
    t = tl.load(position_p)
    block = t // W * W
    shift = (t - block).to(tl.int32)
    behind = tl.minimum(block, W).to(tl.int32)
    block_slot = (block % slots).to(tl.int32)
    last = shift + s
    first = tl.maximum((last // W - 1) * W, -behind)
    lowest = shift + tl.program_id(0) * ROWS // R
    highest = shift + tl.minimum((tl.program_id(0) * ROWS + ROWS - 1) // R, length - 1)
    begin = tl.maximum((lowest // W - 1) * W, -behind)
    early = (block_slot + begin + slots) % KEYS
    # All rows see all keys before `clear`, which need not be compared one by one.
    alike = (early == 0) & (lowest // W == highest // W)
    clear = tl.where(alike, begin + (lowest + 1 - begin) // KEYS * KEYS, begin - early)
    begin -= early
    offset = block_slot + slots

    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    for j in range(begin, clear, KEYS):
        slot = tl.multiple_of((offset + j) % slots, KEYS)
        scores = scores_of(q, q_root, k_p, k_root_p, slot, E, KEYS)
        largest = tl.maximum(largest, tl.max(scores, 1))
    for j in range(clear, highest + 1, KEYS):
        slot = tl.multiple_of((offset + j) % slots, KEYS)
        scores = scores_of(q, q_root, k_p, k_root_p, slot, E, KEYS)
        largest = tl.maximum(largest, tl.max(_hide(scores, j, first, last, KEYS), 1))

    total = tl.zeros((ROWS,), tl.float32)  # of integers, below 2**24
    for j in range(begin, clear, KEYS):
        slot = tl.multiple_of((offset + j) % slots, KEYS)
        scores = scores_of(q, q_root, k_p, k_root_p, slot, E, KEYS)
        total += tl.sum(weights_of(largest[:, None] - scores), 1)
    for j in range(clear, highest + 1, KEYS):
        slot = tl.multiple_of((offset + j) % slots, KEYS)
        scores = scores_of(q, q_root, k_p, k_root_p, slot, E, KEYS)
        scores = _hide(scores, j, first, last, KEYS)
        total += tl.sum(weights_of(largest[:, None] - scores), 1)

    ratio = tl.div_rn(ATTENTION_SUM, total)[:, None]
    low, high = tl.zeros((ROWS, E), tl.int32), tl.zeros((ROWS, E), tl.int32)
    for j in range(begin, clear, KEYS):
        slot = tl.multiple_of((offset + j) % slots, KEYS)
        scores = scores_of(q, q_root, k_p, k_root_p, slot, E, KEYS)
        p = (weights_of(largest[:, None] - scores) * ratio).to(tl.int32)
        low, high = values_of(low, high, p, v_p, slot, slots, E, KEYS)
    for j in range(clear, highest + 1, KEYS):
        slot = tl.multiple_of((offset + j) % slots, KEYS)
        scores = scores_of(q, q_root, k_p, k_root_p, slot, E, KEYS)
        scores = _hide(scores, j, first, last, KEYS)
        p = (weights_of(largest[:, None] - scores) * ratio).to(tl.int32)
        low, high = values_of(low, high, p, v_p, slot, slots, E, KEYS)
    o = (high * 256 + low).to(tl.float32)
    tl.store(o_p + at[:, None] * E + tl.arange(0, E)[None, :], o, inside[:, None])


def attend(
    heads: tuple[Tensor, Tensor],
    ring: Ring,
    length: int,
    window: int,
    position: Tensor,
    tile: Look,
) -> Tensor:
    """3.2: integer sums of values (M, H * E) in float32, of queries and roots from `Heads`.

    The keys of a tile divide `SLOTS`.
    """
    q_MHE, q_root_MH = heads
    count, queries, width = q_MHE.shape
    lanes, groups, slots = ring.roots.shape
    o_MA = torch.empty((count, queries * width), device=q_MHE.device)
    grid = (triton.cdiv(length * (queries // groups), tile.rows), groups, lanes)
    _attend_kernel[grid](
        q_MHE, q_root_MH, *ring, o_MA, position, length, slots,
        H=queries, G=groups, E=width, W=window, ROWS=tile.rows, KEYS=tile.keys,
        num_warps=tile.warps, num_stages=tile.stages, **EXACT,
    )  # fmt: skip
    return o_MA


@triton.jit
def _weights_kernel(table_p, COUNT: tl.constexpr):
    n = tl.arange(0, COUNT)
    tl.store(table_p + n, weights_of(n.to(tl.float32)))


def sound(device: torch.device) -> bool:
    """Whether this device's power of two gives the table of softmax weights, and 0 beyond it."""
    expected = torch.zeros(1024)
    table = torch.from_numpy(fixed.attention_table())
    expected[: len(table)] = table
    got = torch.empty(1024, device=device)
    _weights_kernel[(1,)](got, COUNT=1024, num_warps=4, **EXACT)
    return torch.equal(got.cpu(), expected)
