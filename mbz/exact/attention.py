"""Attention of the exact network, one position and key head at a time (docs/exact.md, 3.2).

What docs/exact.md and the head of `rows.py` say of arithmetic holds here, too.

Shapes: M rows, H query heads, G key heads, R = H / G, E head width.
"""

import sys

import numpy as np

from mbz.exact import fixed
from mbz.exact.compiled import part
from mbz.exact.powers import weights_at
from mbz.exact.rows import FULL, ordered, quantise, root_of, times, unordered
from mbz.exact.vectors import (
    GROUP,
    HEAD,
    MOST,
    OFFSET,
    OUTPUTS,
    WEIGHED,
    put,
    weigh_1,
    weigh_2,
    weigh_3,
    weigh_4,
)

ATTENTION_SUM = np.float32(fixed.ATTENTION_SUM)
LAST = np.float32(fixed.attention_table().size - 1)
LOWEST = np.float32(-(2.0**127))
SWAPPED = int(sys.byteorder == "big")  # where the bytes of a pair lie


@part
def _rotated(sums, scale, cos, sin, y):
    """2.4 after the product and 2.5, for a head."""
    half = cos.size
    for i in range(half):
        a = np.float32(sums[i]) * scale[i]
        b = np.float32(sums[half + i]) * scale[half + i]
        y[i] = a * cos[i] - b * sin[i]
        y[half + i] = b * cos[i] + a * sin[i]


@part
def _put_key(q, width, block, column):
    """A raised key into a column of a block, and what its products start at into the first row."""
    for i in range(width, GROUP * (block.shape[0] - HEAD)):
        q[i] = OFFSET
    put(q, block, column)
    if HEAD:
        total = np.int32(-OFFSET * width)
        for i in range(width):
            total = np.int32(total + np.int32(q[i]))
        first = np.int32(np.int32(-OFFSET) * total)
        for i in range(4):
            block[0, 4 * column + i] = np.int8(first >> np.int32(8 * i))


@part
def _put_value(q, root, width, row, slot):
    """A raised value, normalised, into its part of a row of slots."""
    shift = np.int32(8 * ((slot & 1) ^ SWAPPED))
    kept = np.int32(0xFF00 >> shift)
    at = slot % WEIGHED >> 1
    for i in range(width):
        n = np.rint(np.float32(np.int32(np.int32(q[i]) - np.int32(OFFSET))) * root)
        byte = np.int32(np.int32(min(max(n, -FULL), FULL)) & np.int32(0xFF))
        row[at] = np.int16((np.int32(row[at]) & kept) | np.int32(byte << shift))
        at += WEIGHED // 2


@part
def _heads(s, layer, ring, z, lane, group, m, slot, roots):
    """3.2: key and value of one position into the ring, its queries into z.heads."""
    width = 2 * s.rotary.shape[2]
    heads, groups = s.sharpness.shape[1], ring.keys.shape[2]
    shared = heads // groups
    sums, scale = z.sums[m], s.qkv_scale[layer]
    cos, sin = s.rotary[0, slot], s.rotary[1, slot]
    at = (heads + group) * width
    _rotated(sums[at:], scale[at:], cos, sin, z.head)
    spare = z.heads[shared]
    _, squares = quantise(z.head, width, spare, OFFSET)
    ring.key_roots[layer, lane, group, slot] = root_of(squares, roots)
    _put_key(spare, width, ring.keys[layer, lane, group, slot // OUTPUTS], slot % OUTPUTS)
    at += groups * width
    value_sums, value_scale = sums[at:], scale[at:]
    for i in range(width):
        z.head[i] = np.float32(value_sums[i]) * value_scale[i]
    _, squares = quantise(z.head, width, spare, OFFSET)
    root = root_of(squares, roots) * s.value_scale[0]
    _put_value(spare, root, width, ring.values[layer, lane, group, slot // WEIGHED], slot)
    for r in range(shared):
        head = group * shared + r
        at = head * width
        _rotated(sums[at:], scale[at:], cos, sin, z.head)
        _, squares = quantise(z.head, width, z.heads[r], OFFSET)
        z.head_roots[r] = root_of(squares, roots) * s.sharpness[layer, head]


@part
def _weighed(z, shared, values, first, stop, columns):
    """Adds the values of rows of slots first .. stop, by their weights, to z.total."""
    p, high, out, count, at = z.shares, z.high_shares, z.total, stop - first, WEIGHED * first
    for e in range(0, columns, OUTPUTS):
        r = 0
        while r + MOST <= shared:
            if MOST == 4:
                weigh_4(p, high, r, at, values, first, count, out, e)
            else:
                weigh_2(p, high, r, at, values, first, count, out, e)
            r += MOST
        if shared - r == 3:
            weigh_3(p, high, r, at, values, first, count, out, e)
        elif shared - r == 2:
            weigh_2(p, high, r, at, values, first, count, out, e)
        elif shared - r == 1:
            weigh_1(p, high, r, at, values, first, count, out, e)


@part
def _scores(dots, root, key_roots, scores):
    for j in range(scores.size):
        scores[j] = (np.float32(dots[j]) * root) * key_roots[j]


@part
def _top(scores):
    """The order of the largest score."""
    top = np.int32(-(2**31))
    for j in range(scores.size):
        top = max(top, ordered(scores[j]))
    return top


@part
def _lookup(scores, largest, table, weights):
    """2.6: weights by distance to the largest score, and their sum."""
    for j in range(scores.size):
        weights[j] = np.int32(min(np.rint(largest - scores[j]), LAST))
    return weights_at(weights, table)


@part
def _shares(weights, share, shares, high):
    """2.6: shares of ATTENTION_SUM."""
    for j in range(shares.size):
        n = np.int32(np.floor(np.float32(weights[j]) * share))
        if WEIGHED == 4:
            shares[j], high[j] = n & np.int32(255), n >> np.int32(8)
        else:
            shares[j] = n


@part
def attend(s, layer, ring, z, lane, group, m, position, tables):
    """3.2 of one position and all query heads of one key head."""
    width = 2 * s.rotary.shape[2]
    window = s.rotary.shape[1] // 2
    shared = s.sharpness.shape[1] // ring.keys.shape[2]
    slot = position % (2 * window)
    _heads(s, layer, ring, z, lane, group, m, slot, tables.roots)
    keys, key_roots = ring.keys[layer, lane, group], ring.key_roots[layer, lane, group]
    # Slots 0 .. slot are seen, and the other half if that comes after them. Blocks that have any
    # are taken whole, which makes vector code without rests; what is not seen is to weigh nothing.
    near, far = slot + 1, 2 * window
    if position >= window > slot:
        far = window
    blocks = slot // OUTPUTS + 1
    far_blocks = max(blocks, far // OUTPUTS) if far < 2 * window else keys.shape[0]
    for n in range(blocks):
        times(z.heads, shared, keys, n, z.dots, n * OUTPUTS)
    for n in range(far_blocks, keys.shape[0]):
        times(z.heads, shared, keys, n, z.dots, n * OUTPUTS)
    stop, start, end = blocks * OUTPUTS, far_blocks * OUTPUTS, keys.shape[0] * OUTPUTS
    scores, weights = z.scores[:end], z.weights[:end]
    rows = -(-near // WEIGHED)
    for r in range(shared):
        dots, root = z.dots[r, :end], z.head_roots[r]
        shares, high = z.shares[r, :end], z.high_shares[r, :end]
        _scores(dots[:stop], root, key_roots[:stop], scores[:stop])
        _scores(dots[start:], root, key_roots[start:], scores[start:])
        scores[near : min(stop, far)] = LOWEST
        scores[min(start, far) : far] = LOWEST
        scores[2 * window :] = LOWEST
        largest = unordered(max(_top(scores[:stop]), _top(scores[start:])))
        total = _lookup(scores[:stop], largest, tables.attention, weights[:stop])
        total += _lookup(scores[start:], largest, tables.attention, weights[start:])
        share = ATTENTION_SUM / np.float32(np.int32(total))
        _shares(weights[:stop], share, shares[:stop], high[:stop])
        _shares(weights[start:], share, shares[start:], high[start:])
        for i in range(z.total.shape[1]):
            z.total[r, i] = 0
    values = ring.values[layer, lane, group]
    columns, last = z.total.shape[1], -(-2 * window // WEIGHED)
    _weighed(z, shared, values, 0, rows, columns)
    if far < 2 * window:
        _weighed(z, shared, values, max(rows, far // WEIGHED), last, columns)
    for r in range(shared):
        out, of_head = z.out[m, (group * shared + r) * width :], z.total[r]
        for i in range(width):
            out[i] = np.float32(of_head[i])
