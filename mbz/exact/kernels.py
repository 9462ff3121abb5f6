"""The exact network in kernels that numba compiles: any number of positions of some lanes.

What docs/exact.md and the head of `rows.py` say of arithmetic holds here, too; section numbers are
in the docstrings.

Shapes: B lanes, S positions, M = B * S rows in that order, D width, P patch.
"""

import numpy as np

from mbz.exact import fixed
from mbz.exact.attention import attend
from mbz.exact.compiled import function, part
from mbz.exact.memory import Job, kind_of
from mbz.exact.powers import weights_at
from mbz.exact.rows import (
    active_units,
    add,
    hidden_product,
    ordered,
    product,
    quantise,
    root_of,
    unordered,
)
from mbz.exact.units import DENSE_FROM, DENSE_ROWS
from mbz.exact.vectors import OFFSET
from mbz.records import at_address

STEP = fixed.STEP
COUNT_SUM = fixed.COUNT_SUM
LAST = np.float32(fixed.output_table().size - 1)
NGRAM_STEP = np.float32(1 / fixed.NGRAM_STEPS)
HASH_STEP, HASH_MIX, HASH_LOW = fixed.HASH_STEP, fixed.HASH_MIX, (1 << 32) - 1
ZERO = np.float32(0)
PATCH, ENCODER, EMBED, DENSE = range(4)

JOB = kind_of(Job)
_job = at_address(JOB)


@part
def layers(s, ring, z, x, lanes, count, t, tables):
    """3.4: all layers at positions t .. t + S - 1; x (M, D) ends quantised in z.q too."""
    rows = lanes * count
    width = x.shape[1]
    for m in range(rows):
        _, z.squares[m] = quantise(x[m], width, z.q[m], OFFSET)
    for layer in range(s.qkv.shape[0]):
        product(z.q, rows, s.qkv[layer], z.sums)
        for lane in range(lanes):
            for group in range(ring.keys.shape[2]):
                for i in range(count):
                    attend(s, layer, ring, z, lane, group, lane * count + i, t + i, tables)
        for m in range(rows):
            largest, _ = quantise(z.out[m], width, z.q[m], OFFSET)
            z.factor[m] = largest * STEP
        product(z.q, rows, s.out[layer], z.sums)
        add(x, z, s.out_scale[layer], rows)
        product(z.q, rows, s.up[layer], z.sums)
        scale = s.up_scale[layer]
        size, hidden = scale.size, z.hidden
        for m in range(rows):
            sums = z.sums[m]
            for i in range(size):
                u = max(np.float32(sums[i]) * scale[i], ZERO)
                hidden[i] = u * u
            largest, _ = quantise(hidden, size, z.hidden_q[m], 0)
            z.factor[m] = (largest * STEP) / z.squares[m]
        dense = rows >= DENSE_ROWS
        if dense and active_units(z.hidden_q, rows, size) * DENSE_FROM > rows * size:
            product(z.hidden_q, rows, s.down_dense[layer], z.sums)
        else:
            units, places = z.unit_values, z.unit_places
            hidden_product(z.hidden_q, rows, s.down[layer], units, places, z.unit_counts, z.sums)
        add(x, z, s.down_scale[layer], rows)


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
            _, z.squares[m] = quantise(z.patches[m], patch * width, z.q[m], OFFSET)
        product(z.q, rows, n.embed, z.sums)
        for m in range(rows):
            root, row = root_of(z.squares[m], tables.roots), z.g[m]
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
        root, states = root_of(z.squares[m], tables.roots), z.states[m]
        for b in range(patch):
            row = m if n.options[DENSE] else m * patch + b
            at = b * narrow if n.options[DENSE] else 0
            for j in range(narrow):
                value = np.float32(z.sums[row, at + j]) * n.project_scale[at + j]
                states[b * narrow + j] = value * root


@part
def _counts(sums, scale, root, z, table, counts):
    """2.7 of the sums of the last matrix."""
    top = np.int32(-(2**31))
    for v in range(256):
        logit = (np.float32(sums[v]) * scale[v]) * root
        z.scores[v] = logit
        top = max(top, ordered(logit))
    largest = unordered(top)
    weights = z.weights[:256]
    for v in range(256):
        weights[v] = np.int32(min(np.rint(largest - z.scores[v]), LAST))
    likeliest = 0
    while weights[likeliest]:
        likeliest += 1
    total = weights_at(weights, table)
    share = np.float64(COUNT_SUM) / np.float64(total)
    total = np.int32(0)
    for v in range(256):
        n = np.int32(np.floor(np.float64(weights[v]) * share))
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
        root = root_of(z.squares[m], tables.roots)
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
