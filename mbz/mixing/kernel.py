"""Predictions of the next bit of every lane, and what is learnt from it (docs/mixing.md, 6).

This source is the definition: numba compiles it, and without numba it runs as it stands. All
numbers are integers that stay inside their types, so that both are the same, everywhere. Types
narrower than int64 are widened before arithmetic.
"""

import numpy as np

from mbz.mixing import features as f
from mbz.mixing.bits import decode_bit
from mbz.mixing.compiled import function
from mbz.mixing.learn import adapted, chance, logit, refine, refined, squashed
from mbz.mixing.matches import find_matches, follow_matches, learn_matches, match_inputs
from mbz.mixing.memory import (
    BUCKETS,
    EXPERT_INPUTS,
    FINAL_SELECTORS,
    MATCH_INPUTS,
    REFINED,
    SELECTORS,
)
from mbz.mixing.samples import (
    begin_number,
    end_number,
    learn_numbers,
    number_classes,
    number_inputs,
)

NUM_SETS = len(SELECTORS)
FINAL_OFFSETS = tuple(sum(FINAL_SELECTORS[:n]) for n in range(len(FINAL_SELECTORS)))
OFFSETS = tuple(sum(SELECTORS[:n]) for n in range(NUM_SETS))
NETWORK, STRIDE, INPUTS, UNIT, FULLY = range(5)
RUN_LIMIT, STATE_LIMIT, SLOT_LIMIT = 255, 255, 400
COUNT_LIMIT = 60
FINAL_RATE = 8
RATE, RATE_AT_FIRST, RATE_BYTES = 90, 200, 4096  # of the first layer; the extra halves by then


@function
def begin(m, t, lanes):
    """Before the byte at step t of the first `lanes` lanes: contexts, matches, network."""
    for lane in range(lanes):
        row = m.rows[lane]
        find_matches(m, lane, t)
        if m.numbers.plans.size:
            begin_number(m, lane, t)
        row[f.NOTHING] = 0
        for e in range(m.recipes.shape[0]):
            h = m.recipes[e, 0]
            for k in range(1, m.recipes.shape[1]):
                feature = m.recipes[e, k]
                if feature:
                    h = f.joined(h, row[feature])
            m.hashes[lane, e] = h
        m.partial[lane] = 1
        if m.options[NETWORK]:
            _begin_network(m, lane)
        _find_buckets(m, lane, 0)


@function
def _begin_network(m, lane):
    best, most = 0, 0
    for v in range(256):
        share = np.int64(m.counts[lane, v + 1]) - np.int64(m.counts[lane, v])
        if share > most:
            best, most = v, share
    m.network[lane, 0] = best
    m.network[lane, 1] = min(most >> 20, 15)


@function
def _find_buckets(m, lane, nibble):
    """Points each expert to the bucket of its context and, in a byte's second half, first half."""
    num_buckets = m.slots.size >> 4
    # Without a branch, so that memory fetches all experts' buckets at once.
    for e in range(m.at.shape[1]):
        h = m.hashes[lane, e]
        if nibble:
            h = f.joined(h, m.partial[lane])
        z = h * f.MIX  # below 2**63
        first = ((z >> 40) & (num_buckets - 1)) << 4
        m.at[lane, e] = first
        m.checks[lane, e] = ((z >> 22) & 0xFFFF) << 16 | np.int64(m.slots[first]) >> 16
    for e in range(m.at.shape[1]):
        check, found = m.checks[lane, e] >> 16, m.checks[lane, e] & 0xFFFF
        best = m.at[lane, e]
        if found != check:
            best = _find_neighbour(m, best, check)
            m.at[lane, e] = best
        if nibble == 0:
            m.runs[lane, e, 0] = best
            m.runs[lane, e, 1] = np.int64(m.slots[best])


@function
def _find_neighbour(m, first, check):
    """The bucket with this check beside the first one, or else the least used of them, cleared."""
    best, least = first, (np.int64(m.slots[first + 1]) >> 8) & 63
    for k in range(1, 3):
        at = first ^ (k << 4)
        if np.int64(m.slots[at]) >> 16 == check:
            return at
        use = (np.int64(m.slots[at + 1]) >> 8) & 63
        if use < least:
            best, least = at, use
    m.slots[best] = np.uint32(check << 16)
    for k in range(1, 16):
        m.slots[best + k] = np.uint32(1 << 31)
    return best


@function
def predict(m, bit, lanes, p):
    """Probability of a one in bit `bit` (0 comes first) of each lane, into p (lanes,) int32."""
    for lane in range(lanes):
        partial = m.partial[lane]
        x = m.inputs[lane]
        seen = _expert_inputs(m, lane, bit, partial, x)
        k = m.at.shape[1] * m.options[INPUTS]
        expected = match_inputs(m, lane, bit, partial, x, k)
        k += m.matches.shape[1] * MATCH_INPUTS
        sure = 0
        if m.options[NETWORK]:
            sure = _network_inputs(m, lane, bit, partial, x, k)
            k += 3
        x[k] = 256
        if m.numbers.plans.size:
            number_inputs(m, lane, bit, partial, x, k + 1)
        _select(m, lane, bit, partial, seen, expected, sure)
        p[lane] = _mix(m, lane, bit, partial, expected)


@function
def _expert_inputs(m, lane, bit, partial, x):
    """Inputs of all experts; returns how many know their context."""
    seen = 0
    num = m.at.shape[1]
    full = m.options[INPUTS] == EXPERT_INPUTS
    node = _node(bit, partial)
    for e in range(num):
        slot = np.int64(m.slots[m.at[lane, e] + node])
        state, count, p = slot & 255, (slot >> 8) & 63, slot >> 14
        one, two, three, four = 0, 0, 0, 0
        if state:
            seen += 1
            q = chance(m.state_chance[e, bit << 8 | state])
            one = logit(m, q)
            key = (logit(m, p >> 2) + 2944) >> 7
            m.slot_key[lane, e] = key
            two = logit(m, chance(m.slot_chance[e, count, key]))
            three = (q - 32768) >> 5
        x[e] = one
        x[num + e] = two
        x[2 * num + e] = three
        if full:
            run = m.runs[lane, e]
            run[2] = -1
            length = run[1] & 255
            byte = (run[1] >> 8 & 255) | 256
            if length and byte >> (8 - bit) == partial:
                y = (byte >> (7 - bit)) & 1
                key = min(length, 31) << 3 | bit
                four = logit(m, chance(m.run_chance[e, key]))
                four = four if y else -four
                run[2] = key << 1 | y
            x[3 * num + e] = four
    return seen


@function
def _node(bit, partial):
    """The slot of its bucket that holds what is known of this bit."""
    return partial if bit < 4 else (partial & ((1 << (bit - 4)) - 1)) | (1 << (bit - 4))


@function
def _network_inputs(m, lane, bit, partial, x, k):
    """Inputs of the network; returns how sure it is of the bit, 0 to 7."""
    low = (partial << (8 - bit)) & 255
    half = 1 << (7 - bit)
    zero = np.int64(m.counts[lane, low + half]) - np.int64(m.counts[lane, low]) + half
    one = np.int64(m.counts[lane, low + 2 * half]) - np.int64(m.counts[lane, low + half]) + half
    p = min(max((one << 16) // (zero + one), 1), 65535)
    st = logit(m, p)
    x[k] = st
    x[k + 1] = (p - 32768) >> 4
    key = ((bit << 8) | partial) * BUCKETS + ((st + 2944) >> 7)
    m.network[lane, 2] = key
    x[k + 2] = logit(m, chance(m.network_chance[key]))
    return min(abs(st) >> 8, 7)


@function
def _select(m, lane, bit, partial, seen, expected, sure):
    """Rows of the weight sets. expected: 2 * length class + bit of the longest match, or 0."""
    row = m.rows[lane]
    chosen = m.chosen[lane]
    agree = (m.network[lane, 0] | 256) >> (8 - bit) == partial
    share = m.network[lane, 1] if agree else 0
    best = ((m.network[lane, 0] >> (7 - bit)) & 1) if agree else 0
    tier = min(seen * 8 // max(m.at.shape[1], 1), 7)
    length = expected >> 1
    chosen[0] = OFFSETS[0] + (min(length, 3) << 8 | partial)
    chosen[1] = OFFSETS[1] + (min(length, 15) << 4 | share)
    chosen[2] = OFFSETS[2] + (row[f.C1] << 3 | bit)
    m.final_chosen[lane, 0] = partial
    m.final_chosen[lane, 1] = FINAL_OFFSETS[1] + (min(length, 15) << 4 | sure << 1 | best)
    m.final_chosen[lane, 2] = FINAL_OFFSETS[2] + row[f.C1]
    m.final_chosen[lane, 3] = FINAL_OFFSETS[3] + (bit << 6 | tier << 3 | sure)
    if chosen.size == 3:
        return
    chosen[3] = OFFSETS[3] + (row[f.C2] << 3 | tier)
    chosen[4] = OFFSETS[4] + (bit << 6 | tier << 3 | sure)
    chosen[5] = OFFSETS[5] + (bit << 9 | (row[f.KINDS] & 511))
    chosen[6] = OFFSETS[6] + (min(length, 1) << 9 | (expected & 1) << 8 | (row[f.EXPECTED] & 255))
    if chosen.size > 8:
        chosen[8] = OFFSETS[8] + (row[f.PART] << 3 | bit)
    if m.numbers.plans.size == 0:
        chosen[7] = OFFSETS[7] + (min(row[f.FIELD_AT], 7) << 6 | min(row[f.FIELD], 7) << 3 | bit)
    else:  # how far off guesses may be, and where the mean of them is
        near, lately, channel, hits, where = number_classes(m, lane)
        chosen[3] = OFFSETS[3] + (bit << 8 | near << 3 | lately >> 2)
        chosen[5] = OFFSETS[5] + (bit << 9 | channel << 7 | where)
        chosen[7] = OFFSETS[7] + (bit << 6 | channel << 4 | hits)


@function
def _mix(m, lane, bit, partial, expected):
    x = m.inputs[lane]
    width = x.size
    final = np.int64(0)
    for s in range(m.chosen.shape[1]):
        w = m.weights[m.chosen[lane, s]]
        total = np.int32(0)
        for k in range(width):
            total = np.int32(total + np.int32(np.int32(w[k] * x[k]) >> 8))
        st = min(max(np.int64(total) >> 8, -2880), 2880)
        m.outputs[lane, s, 0] = squashed(m, st)
        m.outputs[lane, s, 1] = st
    for s in range(m.final_outputs.shape[1]):
        total64 = np.int64(0)
        w = m.final_weights[m.final_chosen[lane, s]]
        for k in range(m.chosen.shape[1]):
            total64 += np.int64(w[k]) * np.int64(m.outputs[lane, k, 1])
        st = min(max(total64 >> 16, -2880), 2880)
        m.final_outputs[lane, s] = squashed(m, st)
        final += st
    final = final // m.final_outputs.shape[1]
    row = m.rows[lane]
    base = np.int64(squashed(m, final))
    a = m.refined_at[lane]
    a0 = partial | min(expected, 31) << 8
    a1 = partial | row[f.C1] << 8
    if m.numbers.plans.size:
        near, _, channel, _, where = number_classes(m, lane)
        a1 = where << 9 | bit << 6 | channel << 4 | near >> 1
    a2 = f.joined(f.joined(row[f.C1] << 8 | row[f.C2], row[f.C3]), partial) & 0xFFFF
    a3 = partial | (row[f.EXPECTED] & 255 if not m.options[NETWORK] else m.network[lane, 0]) << 8
    total64 = 2 * base
    for k, context in ((0, a0), (1, a1), (2, a2), (3, a3)):
        a[k], q = refine(m, k, context, final)
        total64 += q * (1 if k < 2 else 2)
    return min(max((total64 + 4) >> 3, 1), 65535)


@function
def update(m, t, bit, lanes, bits):
    """Learns the bits (lanes,) int64 that came in each lane; after the last, the bytes."""
    for lane in range(lanes):
        y = np.int64(bits[lane])
        _learn_weights(m, lane, t, y)
        _learn_experts(m, lane, bit, m.partial[lane], y)
        learn_matches(m, lane, y)
        if m.numbers.plans.size:
            learn_numbers(m, lane, y)
        if m.options[NETWORK]:
            key = m.network[lane, 2]
            m.network_chance[key] = adapted(m, m.network_chance[key], y, 255)
        partial = m.partial[lane] << 1 | y
        m.partial[lane] = partial
        if bit == 3:
            _find_buckets(m, lane, 1)
        if bit == 7:
            position = m.starts[lane] + t
            m.past[position] = partial & 255
            if m.numbers.plans.size:
                end_number(m, lane, partial & 255)
            f.observe(
                m.rows[lane], m.past, m.starts[lane], position, m.after1, m.after2,
                m.targets,
                m.options[STRIDE],
                m.options[UNIT],
                m.options[FULLY],
            )  # fmt: skip
    if bit == 7:
        for lane in range(lanes):
            follow_matches(m, lane, t)


@function
def _learn_weights(m, lane, t, y):
    x = m.inputs[lane]
    target = y << 16
    for s in range(m.final_outputs.shape[1]):
        error = (target - np.int64(m.final_outputs[lane, s])) * FINAL_RATE
        w = m.final_weights[m.final_chosen[lane, s]]
        for k in range(m.chosen.shape[1]):
            step = (np.int64(m.outputs[lane, k, 1]) * error + (1 << 19)) >> 20
            w[k] = min(max(np.int64(w[k]) + step, -(1 << 19)), 1 << 19)
    done = t * (m.starts.size - 1)
    rate = RATE + RATE_AT_FIRST * RATE_BYTES // (RATE_BYTES + done)
    for s in range(m.chosen.shape[1]):
        error = np.int32(((target - np.int64(m.outputs[lane, s, 0])) * rate) >> 8)
        w = m.weights[m.chosen[lane, s]]
        for k in range(x.size):
            step = np.int32(np.int32(np.int32(x[k] * error) + np.int32(32768)) >> 16)
            w[k] = min(max(np.int32(w[k] + step), np.int32(-524288)), np.int32(524287))
    for k in range(4):
        at = m.refined_at[lane, k]
        q = refined(m, k, at)
        q = min(max(q + (((target - q) * 5 + 128) >> 8), 1), 65535)
        m.refined[k, at] = np.uint16((q - np.int64(m.ramp[at & (REFINED - 1)])) & 0xFFFF)


@function
def _learn_experts(m, lane, bit, partial, y):
    node = _node(bit, partial)
    full = m.options[INPUTS] == EXPERT_INPUTS
    for e in range(m.at.shape[1]):
        at = m.at[lane, e] + node
        slot = np.int64(m.slots[at])
        state, count, p = slot & 255, (slot >> 8) & 63, slot >> 14
        if state:
            key = bit << 8 | state
            m.state_chance[e, key] = adapted(m, m.state_chance[e, key], y, STATE_LIMIT)
            b = m.slot_key[lane, e]
            m.slot_chance[e, count, b] = adapted(m, m.slot_chance[e, count, b], y, SLOT_LIMIT)
        state = np.int64(m.next_state[state, y])
        p += (((y << 18) - p) * np.int64(m.rates[count])) >> 16
        p = min(max(p, 4), (1 << 18) - 4)
        count = min(count + 1, COUNT_LIMIT)
        m.slots[at] = np.uint32(p << 14 | count << 8 | state)
        if full:
            key = m.runs[lane, e, 2]
            if key >= 0:
                hit = 1 if (key & 1) == y else 0
                m.run_chance[e, key >> 1] = adapted(m, m.run_chance[e, key >> 1], hit, 255)
            if bit == 7:
                _learn_run(m, lane, e, partial << 1 & 255 | y)


@function
def _learn_run(m, lane, e, byte):
    """Notes in the head of the context's bucket which byte came last and how often in a row."""
    at, head = m.runs[lane, e, 0], m.runs[lane, e, 1]
    if np.int64(m.slots[at]) >> 16 == head >> 16:  # else another context took it meanwhile
        length = min((head & 255) + 1, 255) if head >> 8 & 255 == byte else 1
        m.slots[at] = np.uint32(head >> 16 << 16 | byte << 8 | length)


@function
def load_counts(m, lanes, counts):
    """Takes the network's counts (lanes, 256) of the next bytes."""
    for lane in range(lanes):
        total = np.int64(0)
        for v in range(256):
            total += np.int64(counts[lane, v])
            m.counts[lane, v + 1] = total


@function
def advance(m, t, bit, lanes, bits, p):
    """`update` and, but after the last bit of a byte, `predict` for the next bit."""
    update(m, t, bit, lanes, bits)
    if bit < 7:
        predict(m, bit + 1, lanes, p)


@function
def code(m, first, lanes_T, bits_T8L, counts, p_T8L, source, coder):
    """All of the above for T bytes a lane, from step `first` on.

    lanes_T: lanes that have a byte, for each step. bits_T8L: the bits, or, if `coder` is not empty,
    filled with those decoded from `source`. counts: (T, L, 256) uint32, or any three dimensions
    where there is no network. p_T8L: filled where a lane has a byte.
    """
    for step in range(lanes_T.size):
        lanes = lanes_T[step]
        if m.options[NETWORK]:
            load_counts(m, lanes, counts[step])
        begin(m, first + step, lanes)
        for bit in range(8):
            p, bits = p_T8L[step, bit], bits_T8L[step, bit]
            predict(m, bit, lanes, p)
            if coder.size:
                for lane in range(lanes):
                    bits[lane] = decode_bit(source, coder, np.int64(p[lane]))
            update(m, first + step, bit, lanes, bits)
