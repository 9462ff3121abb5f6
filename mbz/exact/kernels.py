"""The exact network in kernels that numba compiles: any number of positions of some lanes.

Every operation on floats here is of float32 and rounds once, as docs/exact.md says; section numbers
are in the docstrings. Products of int32 are cast back at once: numba would go on in int64, which
costs four times the time.

Shapes: B lanes, S positions, M = B * S rows in that order, D width, H query heads, G key heads,
R = H / G, E head width, P patch. Left operands are raised by OFFSET, and right ones lie in blocks
(`vectors.py`).
"""

import sys

import numpy as np

from mbz.exact import fixed
from mbz.exact.compiled import function, part
from mbz.exact.memory import Job, kind_of
from mbz.exact.vectors import (
    GROUP,
    HEAD,
    MOST,
    OFFSET,
    OUTPUTS,
    bits,
    dots_1,
    dots_2,
    dots_3,
    dots_4,
    entry,
    put,
    unbits,
    weigh_1,
    weigh_2,
    weigh_3,
    weigh_4,
)
from mbz.records import at_address

ROOT_SHIFT = 23 - fixed.ROOT_BITS
ROOT_BASE = 127 << fixed.ROOT_BITS
SMALLEST, STEP = fixed.SMALLEST, fixed.STEP
FULL = np.float32(127)
ATTENTION_SUM = np.float32(fixed.ATTENTION_SUM)
COUNT_SUM = fixed.COUNT_SUM
NGRAM_STEP = np.float32(1 / fixed.NGRAM_STEPS)
HASH_STEP, HASH_MIX, HASH_LOW = fixed.HASH_STEP, fixed.HASH_MIX, (1 << 32) - 1
ZERO = np.float32(0)
LOWEST = np.float32(-(2.0**127))
SWAPPED = int(sys.byteorder == "big")  # where the bytes of a pair lie
PATCH, ENCODER, EMBED, DENSE = range(4)

JOB = kind_of(Job)
_job = at_address(JOB)


@part
def _quantise(x, size, q):
    """2.1 and 2.2: integers of x[:size] into q, raised; largest magnitude, sum of squares."""
    # Magnitudes compare as their bits do, and a maximum of integers becomes vector code.
    top = np.int32(0)
    for i in range(size):
        top = max(top, np.int32(bits(x[i]) & np.int32(0x7FFFFFFF)))
    largest = max(unbits(top), SMALLEST)
    inverse = FULL / largest
    total = np.int32(0)
    for i in range(size):
        n = np.int32(np.rint(x[i] * inverse))
        q[i] = np.int32(n + np.int32(OFFSET))
        total = np.int32(total + np.int32(n * n))
    return largest, np.float32(max(total, np.int32(1)))


@part
def _root(squares, table):
    """2.3."""
    return table[(bits(squares) >> ROOT_SHIFT) - ROOT_BASE]


@part
def _ordered(x):
    """Bits that compare as integers as the floats do; undoes itself, of bits."""
    n = bits(x)
    return np.int32(n ^ np.int32((n >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@part
def _unordered(n):
    return unbits(np.int32(n ^ np.int32((n >> np.int32(31)) & np.int32(0x7FFFFFFF))))


@part
def _times(q, rows, w, n, sums, at):
    """Sums of products of the rows of q with block n of w, into sums[:, at:]."""
    m = 0
    while m + MOST <= rows:
        if MOST == 4:
            dots_4(q, m, w, n, sums, at)
        else:
            dots_2(q, m, w, n, sums, at)
        m += MOST
    if rows - m == 3:
        dots_3(q, m, w, n, sums, at)
    elif rows - m == 2:
        dots_2(q, m, w, n, sums, at)
    elif rows - m == 1:
        dots_1(q, m, w, n, sums, at)


@function
def product(q, rows, w, sums):
    """Sums of products of the rows of q with all columns of w."""
    for n in range(w.shape[0]):
        _times(q, rows, w, n, sums, n * OUTPUTS)


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
def _put_value(q, root, width, pairs, odd):
    """A raised value, normalised, into one half of a row of pairs."""
    shift = np.int32(8 * (odd ^ SWAPPED))
    kept = np.int32(0xFF00 >> shift)
    for i in range(width):
        n = np.rint(np.float32(np.int32(np.int32(q[i]) - np.int32(OFFSET))) * root)
        byte = np.int32(np.int32(min(max(n, -FULL), FULL)) & np.int32(0xFF))
        pairs[i] = np.int16((np.int32(pairs[i]) & kept) | np.int32(byte << shift))


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
    _, squares = _quantise(z.head, width, spare)
    ring.key_roots[layer, lane, group, slot] = _root(squares, roots)
    _put_key(spare, width, ring.keys[layer, lane, group, slot // OUTPUTS], slot % OUTPUTS)
    at += groups * width
    value_sums, value_scale = sums[at:], scale[at:]
    for i in range(width):
        z.head[i] = np.float32(value_sums[i]) * value_scale[i]
    _, squares = _quantise(z.head, width, spare)
    root = _root(squares, roots) * s.value_scale[0]
    _put_value(spare, root, width, ring.values[layer, lane, group, slot >> 1], slot & 1)
    for r in range(shared):
        head = group * shared + r
        at = head * width
        _rotated(sums[at:], scale[at:], cos, sin, z.head)
        _, squares = _quantise(z.head, width, z.heads[r])
        z.head_roots[r] = _root(squares, roots) * s.sharpness[layer, head]


@part
def _weighed(z, shared, values, first, stop):
    """Adds the values of the pairs of slots first .. stop, by their weights, to z.total."""
    count, at = stop - first, 2 * first
    for e in range(0, values.shape[1], OUTPUTS):
        r = 0
        while r + MOST <= shared:
            if MOST == 4:
                weigh_4(z.shares, r, at, values, first, count, z.total, e)
            else:
                weigh_2(z.shares, r, at, values, first, count, z.total, e)
            r += MOST
        if shared - r == 3:
            weigh_3(z.shares, r, at, values, first, count, z.total, e)
        elif shared - r == 2:
            weigh_2(z.shares, r, at, values, first, count, z.total, e)
        elif shared - r == 1:
            weigh_1(z.shares, r, at, values, first, count, z.total, e)


@part
def _scores(dots, root, key_roots, scores):
    for j in range(scores.size):
        scores[j] = (np.float32(dots[j]) * root) * key_roots[j]


@part
def _top(scores):
    """The order of the largest score."""
    top = np.int32(-(2**31))
    for j in range(scores.size):
        top = max(top, _ordered(scores[j]))
    return top


@part
def _lookup(scores, largest, table, weights):
    """2.6: weights by distance to the largest score, and their sum."""
    last = np.float32(table.size - 1)
    for j in range(scores.size):
        weights[j] = np.int32(min(np.rint(largest - scores[j]), last))
    total = np.int32(0)
    for j in range(scores.size):
        n = entry(table, weights[j])
        weights[j] = n
        total = np.int32(total + n)
    return total


@part
def _shares(weights, share, shares):
    for j in range(shares.size):
        shares[j] = np.int16(np.floor(np.float32(weights[j]) * share))


@part
def _attend(s, layer, ring, z, lane, group, m, position, tables):
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
        _times(z.heads, shared, keys, n, z.dots, n * OUTPUTS)
    for n in range(far_blocks, keys.shape[0]):
        _times(z.heads, shared, keys, n, z.dots, n * OUTPUTS)
    stop, start, end = blocks * OUTPUTS, far_blocks * OUTPUTS, keys.shape[0] * OUTPUTS
    scores, weights = z.scores[:end], z.weights[:end]
    pairs = (near + 1) >> 1
    for r in range(shared):
        dots, shares, root = z.dots[r, :end], z.shares[r, :end], z.head_roots[r]
        _scores(dots[:stop], root, key_roots[:stop], scores[:stop])
        _scores(dots[start:], root, key_roots[start:], scores[start:])
        scores[near : min(stop, far)] = LOWEST
        scores[min(start, far) : far] = LOWEST
        scores[2 * window :] = LOWEST
        largest = _unordered(max(_top(scores[:stop]), _top(scores[start:])))
        total = _lookup(scores[:stop], largest, tables.attention, weights[:stop])
        total += _lookup(scores[start:], largest, tables.attention, weights[start:])
        share = ATTENTION_SUM / np.float32(np.int32(total))
        _shares(weights[:stop], share, shares[:stop])
        _shares(weights[start:], share, shares[start:])
        for i in range(z.total.shape[1]):
            z.total[r, i] = 0
    values = ring.values[layer, lane, group]
    _weighed(z, shared, values, 0, pairs)
    _weighed(z, shared, values, max(pairs, far >> 1), window)
    for r in range(shared):
        out, of_head = z.out[m, (group * shared + r) * width :], z.total[r]
        for i in range(width):
            out[i] = np.float32(of_head[i])


@part
def _add(x, z, scale, rows):
    """3.3: adds a product to the residual rows, and quantises them for the next matrix."""
    width = x.shape[1]
    for m in range(rows):
        row, sums, factor = x[m], z.sums[m], z.factor[m]
        for i in range(width):
            row[i] += (np.float32(sums[i]) * scale[i]) * factor
        _, z.squares[m] = _quantise(row, width, z.q[m])


@function
def layers(s, ring, z, x, lanes, count, t, tables):
    """3.4: all layers at positions t .. t + S - 1; x (M, D) ends quantised in z.q too."""
    rows = lanes * count
    width = x.shape[1]
    for m in range(rows):
        _, z.squares[m] = _quantise(x[m], width, z.q[m])
    for layer in range(s.qkv.shape[0]):
        product(z.q, rows, s.qkv[layer], z.sums)
        for lane in range(lanes):
            for group in range(ring.keys.shape[2]):
                for i in range(count):
                    _attend(s, layer, ring, z, lane, group, lane * count + i, t + i, tables)
        for m in range(rows):
            largest, _ = _quantise(z.out[m], width, z.q[m])
            z.factor[m] = largest * STEP
        product(z.q, rows, s.out[layer], z.sums)
        _add(x, z, s.out_scale[layer], rows)
        product(z.q, rows, s.up[layer], z.sums)
        scale, hidden = s.up_scale[layer], z.hidden
        for m in range(rows):
            sums = z.sums[m]
            for i in range(scale.size):
                u = max(np.float32(sums[i]) * scale[i], ZERO)
                hidden[i] = u * u
            largest, _ = _quantise(hidden, scale.size, z.q[m])
            z.factor[m] = (largest * STEP) / z.squares[m]
        product(z.q, rows, s.down[layer], z.sums)
        _add(x, z, s.down_scale[layer], rows)


@part
def _embed_bytes(n, p, z, lanes, count, t):
    """3.6: the local input of all rows, into z.x."""
    reach = p.history.shape[1] - p.most[0] + 1
    width = n.local_bytes.shape[1]
    for lane in range(lanes):
        before = p.history[lane]
        for i in range(count):
            x, end = z.x[lane * count + i], reach + i
            first = n.local_bytes[before[end - 1]] if t + i else n.local_start
            place = n.local_position[(t + i) % n.options[PATCH]]
            for k in range(width):
                x[k] = first[k] + place[k]
            num = n.ngrams.shape[2]
            for o in range(n.orders.size):
                h = np.int64(0)
                for k in range(end - n.orders[o], end):
                    h = (h * HASH_STEP + np.int64(before[k]) + 1) & HASH_LOW
                row = ((h * HASH_MIX) & HASH_LOW) >> n.hash_shift[0]
                values = n.ngrams[o, row]
                for k in range(num):
                    x[o * num + k] += np.float32(values[k]) * NGRAM_STEP


@part
def _copy_row(n, p, z, lane, count, t, position, target, at):
    """3.1: what a patch is made of at a position: a row of the encoder, or of a table."""
    width = p.tail.shape[2]
    i = position - t
    if i < 0:
        for j in range(width):
            target[at + j] = p.tail[lane, position % n.options[PATCH], j]
    elif n.options[ENCODER]:
        for j in range(width):
            target[at + j] = z.x[lane * count + i, j]
    else:
        byte = p.history[lane, p.history.shape[1] - p.most[0] + i]
        for j in range(width):
            target[at + j] = n.global_bytes[byte, j]


@part
def _patches(n, p, z, lanes, count, t, first, num, tables):
    """3.1 and 3.5: the states of the patches first .. first + num - 1, into z.states."""
    patch, width = n.options[PATCH], p.tail.shape[2]
    rows = lanes * num
    for lane in range(lanes):
        for k in range(num):
            h = z.patches[lane * num + k]
            for b in range(patch):
                if first + k == 0:
                    for j in range(width):
                        h[b * width + j] = n.global_start[b * width + j]
                    continue
                position = (first + k - 1) * patch + 1 + b
                _copy_row(n, p, z, lane, count, t, position, h, b * width)
                if not n.options[ENCODER]:
                    for j in range(width):
                        h[b * width + j] += n.global_position[b * width + j]
    wide = z.g.shape[1]
    if n.options[EMBED]:
        for m in range(rows):
            _, z.squares[m] = _quantise(z.patches[m], patch * width, z.q[m])
        product(z.q, rows, n.embed, z.sums)
        for m in range(rows):
            root, row = _root(z.squares[m], tables.roots), z.g[m]
            for j in range(wide):
                row[j] = (np.float32(z.sums[m, j]) * n.embed_scale[j]) * root
    else:
        for m in range(rows):
            for j in range(wide):
                z.g[m, j] = z.patches[m, j]
    layers(n.global_stack, p.global_ring, z, z.g, lanes, num, first, tables)
    narrow = z.x.shape[1]
    if n.options[DENSE]:
        product(z.q, rows, n.project, z.sums)
    else:
        slice_ = wide // patch
        for m in range(rows):
            for b in range(patch):
                for j in range(slice_):
                    z.slices[m * patch + b, j] = z.q[m, b * slice_ + j]
        product(z.slices, rows * patch, n.project, z.sums)
    for m in range(rows):
        root, states = _root(z.squares[m], tables.roots), z.states[m]
        for b in range(patch):
            row = m if n.options[DENSE] else m * patch + b
            at = b * narrow if n.options[DENSE] else 0
            for j in range(narrow):
                value = np.float32(z.sums[row, at + j]) * n.project_scale[at + j]
                states[b * narrow + j] = value * root


@part
def _counts(sums, scale, root, z, table, counts):
    """2.7 of the sums of the last matrix."""
    last = np.float32(table.size - 1)
    top = np.int32(-(2**31))
    for v in range(256):
        logit = (np.float32(sums[v]) * scale[v]) * root
        z.scores[v] = logit
        top = max(top, _ordered(logit))
    largest = _unordered(top)
    for v in range(256):
        z.weights[v] = np.int32(min(np.rint(largest - z.scores[v]), last))
    total, likeliest = np.int32(0), 256
    for v in range(256):
        n = z.weights[v]
        if n == 0 and likeliest == 256:
            likeliest = v
        w = table[n]
        z.weights[v] = w
        total = np.int32(total + w)
    share = np.float64(COUNT_SUM) / np.float64(total)
    total = np.int32(0)
    for v in range(256):
        n = np.int32(np.floor(np.float64(z.weights[v]) * share))
        counts[v] = np.uint32(n)
        total = np.int32(total + n)
    counts[likeliest] += np.uint32(COUNT_SUM - total)


@part
def _extend(n, p, z, count, counts, at, tables):
    """3.6 at the next `count` positions; counts (B, .., 256) from `at` on.

    n: the network. p: its lanes, with the bytes before each position in `history`. z: scratch.
    """
    lanes, patch = p.history.shape[0], n.options[PATCH]
    t, rows = p.clock[0], p.history.shape[0] * count
    _embed_bytes(n, p, z, lanes, count, t)
    if n.options[ENCODER]:
        layers(n.encoder, p.encoder_ring, z, z.x, lanes, count, t, tables)
    first = -(-t // patch)
    num = (t + count - 1) // patch - first + 1
    if num > 0:
        _patches(n, p, z, lanes, count, t, first, num, tables)
    narrow = z.x.shape[1]
    for lane in range(lanes):
        for position in range(max(t, t + count - patch), t + count):
            _copy_row(n, p, z, lane, count, t, position, p.tail[lane, position % patch], 0)
        for i in range(count):
            k, b = (t + i) // patch - first, (t + i) % patch
            state = p.state[lane] if k < 0 else z.states[lane * num + k]
            x = z.x[lane * count + i]
            for j in range(narrow):
                x[j] += state[b * narrow + j]
        if num > 0:
            state, last = p.state[lane], z.states[lane * num + num - 1]
            for j in range(patch * narrow):
                state[j] = last[j]
    layers(n.local_stack, p.local_ring, z, z.x, lanes, count, t, tables)
    product(z.q, rows, n.head, z.sums)
    for m in range(rows):
        root = _root(z.squares[m], tables.roots)
        row = counts[m // count, at + m % count]
        _counts(z.sums[m], n.head_scale, root, z, tables.output, row)
    p.clock[0] = t + count


@part
def _append(p, reach, symbols, at):
    """A byte of each lane after its history."""
    for lane in range(p.history.shape[0]):
        before = p.history[lane]
        for i in range(reach - 1):
            before[i] = before[i + 1]
        before[reach - 1] = symbols[lane, at]


@function
def score(address):
    """Counts before each of the symbols of a job, as many at a time as fit.

    Without symbols, counts of the next byte, which `history` takes afterwards. For steps, appends
    the symbols, but at the start, and then gives the counts of the next byte.
    """
    job = _job(address)
    n, p, z, tables = job.network, job.part, job.scratch, job.tables
    symbols, counts, steps = job.symbols, job.counts, job.steps[0]
    lanes, most = p.history.shape[0], p.most[0]
    reach = p.history.shape[1] - most + 1
    if steps and p.clock[0]:
        _append(p, reach, symbols, 0)
    known = 0 if steps else symbols.shape[1]
    for start in range(0, max(known, 1), most):
        count = min(most, max(known, 1) - start)
        for lane in range(lanes):
            for i in range(count - 1):
                p.history[lane, reach + i] = symbols[lane, start + i]
        _extend(n, p, z, count, counts, start, tables)
        if known:
            for lane in range(lanes):
                before = p.history[lane]
                for i in range(reach - 1):
                    before[i] = before[i + count]
                before[reach - 1] = symbols[lane, start + count - 1]
