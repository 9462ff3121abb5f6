"""Attention of one position in each lane to a long ring, as two Triton kernels: section 3.2.

One position reads every key and value that it sees once, and nothing else takes as long. So the
scores are written down between the kernels, and where there are few lanes the keys are dealt to
several programs, whose sums of values are added as integers, in whatever order.

Shapes as in `triton_heads.py`; scores of the keys from the first in sight on.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from mbz.exact.triton_heads import ATTENTION_SUM, Ring, scores_of, values_of, weights_of
from mbz.exact.triton_rows import EXACT
from mbz.exact.triton_tiles import Step


@triton.jit
def _sight(position_p, slots, W: tl.constexpr, KEYS: tl.constexpr):
    """The keys of a position, counted from its block: a tile's begin, first, last; their slots."""
    t = tl.load(position_p)
    block = t // W * W
    last = (t - block).to(tl.int32)
    first = -tl.minimum(block, W).to(tl.int32)
    offset = (block % slots).to(tl.int32) + slots
    return first - (offset + first) % KEYS, first, last, offset


@triton.jit
def _scores_kernel(
    q_p, q_root_p, k_p, k_root_p, scores_p, largest_p, o_p, position_p, slots,
    H: tl.constexpr, G: tl.constexpr, E: tl.constexpr, W: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    R: tl.constexpr = H // G
    chunk, group, lane = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    row, column, key = tl.arange(0, ROWS), tl.arange(0, E), tl.arange(0, KEYS)
    real = row < R
    at = lane * H + group * R + tl.minimum(row, R - 1)
    q = tl.load(q_p + at[:, None] * E + column[None, :])
    q_root = tl.load(q_root_p + at)
    k_p += (lane * G + group) * slots * E
    k_root_p += (lane * G + group) * slots
    scores_p += (lane * H + group * R) * (CHUNK * CHUNKS)

    begin, first, last, offset = _sight(position_p, slots, W, KEYS)
    start = begin + chunk * CHUNK
    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    for j in range(start, tl.minimum(start + CHUNK, last + 1), KEYS):
        slot = tl.multiple_of((offset + j) % slots, KEYS)
        scores = scores_of(q, q_root, k_p, k_root_p, slot, E, KEYS)
        seen = (j + key >= first) & (j + key <= last)
        scores = tl.where(seen[None, :], scores, float("-inf"))
        largest = tl.maximum(largest, tl.max(scores, 1))
        to = row[:, None] * (CHUNK * CHUNKS) + (j - begin + key)[None, :]
        tl.store(scores_p + to, scores, real[:, None])
    to = ((lane * G + group) * CHUNKS + chunk) * R + row
    tl.store(largest_p + to, largest, real)
    if CHUNKS > 1 and chunk == 0:
        zeros = tl.zeros((ROWS, E), tl.int32)
        tl.store(o_p + at[:, None] * E + column[None, :], zeros, real[:, None])


@triton.jit
def _repeat(x, ROWS: tl.constexpr, FEW: tl.constexpr, KEYS: tl.constexpr):
    """Rows again and again, up to as many as a product takes."""
    x = tl.broadcast_to(x[None, :, :], (ROWS // FEW, FEW, KEYS))
    return tl.reshape(x, (ROWS, KEYS))


@triton.jit
def _values_kernel(
    scores_p, largest_p, v_p, o_p, position_p, slots,
    H: tl.constexpr, G: tl.constexpr, E: tl.constexpr, W: tl.constexpr,
    ROWS: tl.constexpr, FEW: tl.constexpr, KEYS: tl.constexpr,
    CHUNK: tl.constexpr, CHUNKS: tl.constexpr, MAXIMA: tl.constexpr,
):  # fmt: skip
    R: tl.constexpr = H // G
    chunk, group, lane = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    few, key, maximum = tl.arange(0, FEW), tl.arange(0, KEYS), tl.arange(0, MAXIMA)
    # A row that is too much repeats the last.
    few = tl.minimum(few, R - 1)
    v_p += (lane * G + group) * slots * E
    scores_p += (lane * H + group * R) * (CHUNK * CHUNKS)
    scores_p += few[:, None] * (CHUNK * CHUNKS) + key[None, :]
    largest_p += (lane * G + group) * CHUNKS * R
    maxima = tl.load(
        largest_p + maximum[None, :] * R + few[:, None],
        (maximum < CHUNKS)[None, :],
        float("-inf"),
    )
    largest = tl.max(maxima, 1)[:, None]

    begin, _, last, offset = _sight(position_p, slots, W, KEYS)
    total = tl.zeros((FEW,), tl.float32)  # of integers, below 2**24
    for j in range(0, last + 1 - begin, KEYS):
        total += tl.sum(weights_of(largest - tl.load(scores_p + j)), 1)
    ratio = tl.div_rn(ATTENTION_SUM, total)[:, None]
    low, high = tl.zeros((ROWS, E), tl.int32), tl.zeros((ROWS, E), tl.int32)
    start = chunk * CHUNK
    for j in range(start, tl.minimum(start + CHUNK, last + 1 - begin), KEYS):
        slot = tl.multiple_of((offset + begin + j) % slots, KEYS)
        p = (weights_of(largest - tl.load(scores_p + j)) * ratio).to(tl.int32)
        p = _repeat(p, ROWS, FEW, KEYS)
        low, high = values_of(low, high, p, v_p, slot, slots, E, KEYS)
    row, column = tl.arange(0, ROWS), tl.arange(0, E)
    to = (lane * H + group * R + row[:, None]) * E + column[None, :]
    real = (row < R)[:, None] & (column < E)[None, :]
    if CHUNKS == 1:
        tl.store(o_p + to, high * 256 + low, real)
    else:
        tl.atomic_add(o_p + to, high * 256 + low, real, sem="relaxed")


def attend_step(
    heads: tuple[Tensor, Tensor], ring: Ring, window: int, position: Tensor, tile: Step
) -> Tensor:
    """`attend` of one position in each lane: sums of values (B, H * E) in int32."""
    q_BHE, q_root_BH = heads
    lanes, queries, width = q_BHE.shape
    groups, slots = ring.roots.shape[1:]
    tiles = triton.cdiv(2 * window, tile.keys) + 1  # one more where the first is cut
    chunk = triton.cdiv(tiles, min(tile.chunks, tiles))
    chunks = triton.cdiv(tiles, chunk)
    device, few = q_BHE.device, triton.next_power_of_2(queries // groups)
    scores = torch.empty((lanes, queries, chunks * chunk * tile.keys), device=device)
    largest = torch.empty((lanes, groups, chunks, queries // groups), device=device)
    o_BA = torch.empty((lanes, queries * width), dtype=torch.int32, device=device)
    sizes = {
        "H": queries, "G": groups, "E": width, "W": window, "ROWS": max(16, few),
        "KEYS": tile.keys, "CHUNK": chunk * tile.keys, "CHUNKS": chunks,
        "num_warps": tile.warps, "num_stages": tile.stages, **EXACT,
    }  # fmt: skip
    grid = (chunks, groups, lanes)
    _scores_kernel[grid](
        q_BHE, q_root_BH, ring.keys, ring.roots, scores, largest, o_BA, position, slots, **sizes
    )
    _values_kernel[grid](
        scores, largest, ring.values, o_BA, position, slots,
        FEW=few, MAXIMA=triton.next_power_of_2(chunks), **sizes,
    )  # fmt: skip
    return o_BA
