"""Predictions of the next bit of every lane, and what is learnt from it (docs/mixing.md, 6).

This source is the definition: numba compiles it, and without numba it runs as it stands. All
numbers are integers that stay inside their types, so that both are the same, everywhere. Types
narrower than int64 are widened before arithmetic.
"""

import numpy as np

from mbz.mixing import features as f
from mbz.mixing.bits import decode_bit
from mbz.mixing.compiled import (
    AHEAD,
    KNOWN,
    call,
    function,
    offer,
    part,
    poke,
    reach,
    taken,
)
from mbz.mixing.contexts import (
    approach,
    expert_inputs,
    find_buckets,
    hash_contexts,
    learn_experts,
)
from mbz.mixing.learn import adapted, chance, logit
from mbz.mixing.matches import (
    approach_matches,
    find_matches,
    follow_matches,
    learn_matches,
    match_inputs,
)
from mbz.mixing.memory import (
    BUCKETS,
    EXPERT_INPUTS,
    FINAL_SELECTORS,
    FULLY,
    INPUTS,
    MATCH_INPUTS,
    NETWORK,
    SELECTORS,
    STRIDE,
    UNIT,
)
from mbz.mixing.mixers import (
    approach_calibrations,
    approach_weights,
    choose_calibrations,
    learn_weights,
    mix,
)
from mbz.mixing.samples import (
    begin_number,
    end_number,
    learn_numbers,
    number_classes,
    number_inputs,
)

CREW, TIME, STEP, BIT, COUNT = range(5)
NUM_SETS = len(SELECTORS)
FINAL_OFFSETS = tuple(sum(FINAL_SELECTORS[:n]) for n in range(len(FINAL_SELECTORS)))
OFFSETS = tuple(sum(SELECTORS[:n]) for n in range(NUM_SETS))


@function
def begin(m, t, lanes):
    """Before the byte at step t of the first `lanes` lanes: contexts, matches, network."""
    _begin_contexts(m, t, lanes)
    _begin_network(m, lanes)


@part
def _begin_contexts(m, t, lanes):
    for lane in range(lanes):
        row = m.rows[lane]
        find_matches(m, lane, t)
        if m.numbers.plans.size:
            begin_number(m, lane, t)
        row[f.NOTHING] = 0
        hash_contexts(m, lane)
        approach(m, lane, 0)
        m.partial[lane] = 1
        find_buckets(m, lane, 0)


@part
def _begin_network(m, lanes):
    if m.options[NETWORK]:
        for lane in range(lanes):
            best, most = 0, 0
            for v in range(256):
                share = np.int64(m.counts[lane, v + 1]) - np.int64(m.counts[lane, v])
                if share > most:
                    best, most = v, share
            m.network[lane, 0] = best
            m.network[lane, 1] = min(most >> 20, 15)


@function
def predict(m, bit, lanes, p):
    """Probability of a one in bit `bit` (0 comes first) of each lane, into p (lanes,) int32."""
    _consult(m, bit, lanes, 0)
    _prepare(m, bit, lanes)
    for lane in range(lanes):
        p[lane] = _mixed(m, lane)


@part
def _consult(m, bit, lanes, beside):
    """Inputs of the experts."""
    full = m.options[INPUTS] == EXPERT_INPUTS
    if beside:
        poke(beside + AHEAD, 0)
    for lane in range(lanes):
        m.seen[lane] = expert_inputs(m, lane, bit, m.partial[lane], m.inputs[lane], full)
        if beside:
            poke(beside + AHEAD, lane + 1)


@part
def _prepare(m, bit, lanes):
    """All other inputs, and what is to be mixed, but for what the experts say."""
    first_match = m.at.shape[1] * m.options[INPUTS]
    for lane in range(lanes):
        partial = m.partial[lane]
        x = m.inputs[lane]
        approach_calibrations(m, lane, partial)
        expected = match_inputs(m, lane, bit, partial, x, first_match)
        k = first_match + m.matches.shape[1] * MATCH_INPUTS
        sure = 0
        if m.options[NETWORK]:
            sure = _network_inputs(m, lane, bit, partial, x, k)
            k += 3
        x[k] = 256
        if m.numbers.plans.size:
            sure = number_inputs(m, lane, bit, partial, x, k + 1)
        _select(m, lane, bit, partial, expected, sure)
        choose_calibrations(m, lane, bit, partial, expected, sure)
        approach_weights(m, lane)


@part
def _mixed(m, lane):
    """The chance of a one, once all inputs are there."""
    # How many experts know their contexts is part of what selects some weights.
    tier = min(m.seen[lane] * 8 // max(m.at.shape[1], 1), 7)
    chosen = m.chosen[lane]
    if m.numbers.plans.size == 0:
        m.final_chosen[lane, 3] += tier << 3
        if chosen.size > 3:
            chosen[3] += tier
    if chosen.size > 3:
        chosen[4] += tier << 3
    return mix(m, lane)


@part
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


@part
def _select(m, lane, bit, partial, expected, sure):
    """Rows of the weight sets. expected: 2 * length class + bit of the longest match, or 0.

    `_mixed` adds how many experts know their contexts.
    """
    row = m.rows[lane]
    chosen = m.chosen[lane]
    agree = (m.network[lane, 0] | 256) >> (8 - bit) == partial
    share = m.network[lane, 1] if agree else 0
    best = ((m.network[lane, 0] >> (7 - bit)) & 1) if agree else 0
    length = expected >> 1
    chosen[0] = OFFSETS[0] + (min(length, 3) << 8 | partial)
    chosen[1] = OFFSETS[1] + (min(length, 15) << 4 | share)
    chosen[2] = OFFSETS[2] + (row[f.C1] << 3 | bit)
    m.final_chosen[lane, 0] = partial
    m.final_chosen[lane, 1] = FINAL_OFFSETS[1] + (min(length, 15) << 4 | sure << 1 | best)
    m.final_chosen[lane, 2] = FINAL_OFFSETS[2] + row[f.C1]
    m.final_chosen[lane, 3] = FINAL_OFFSETS[3] + (bit << 6 | sure)
    if chosen.size == 3:
        return
    chosen[3] = OFFSETS[3] + (row[f.C2] << 3)
    chosen[4] = OFFSETS[4] + (bit << 6 | sure)
    chosen[5] = OFFSETS[5] + (bit << 9 | (row[f.KINDS] & 511))
    chosen[6] = OFFSETS[6] + (min(length, 1) << 9 | (expected & 1) << 8 | (row[f.EXPECTED] & 255))
    if chosen.size > 8:
        chosen[8] = OFFSETS[8] + (row[f.PART] << 3 | bit)
    if m.numbers.plans.size == 0:
        chosen[7] = OFFSETS[7] + (min(row[f.FIELD_AT], 7) << 6 | min(row[f.FIELD], 7) << 3 | bit)
    else:  # how far off guesses may be, and where the mean of them is
        near, lately, channel, hits, where = number_classes(m, lane)
        chosen[1] = OFFSETS[1] + (channel << 4 | sure)
        m.final_chosen[lane, 1] = FINAL_OFFSETS[1] + (channel << 4 | sure)
        m.final_chosen[lane, 3] = FINAL_OFFSETS[3] + (bit << 6 | channel << 3 | near >> 2)
        chosen[3] = OFFSETS[3] + (bit << 8 | near << 3 | lately >> 2)
        chosen[5] = OFFSETS[5] + (bit << 9 | channel << 7 | where)
        chosen[7] = OFFSETS[7] + (bit << 6 | channel << 4 | hits)


@function
def update(m, t, bit, lanes, bits):
    """Learns the bits (lanes,) int64 that came in each lane; after the last, the bytes."""
    for lane in range(lanes):
        m.partial[lane] = m.partial[lane] << 1 | np.int64(bits[lane])
    _learn_mixing(m, t, bit, lanes)
    _learn_contexts(m, t, bit, lanes, 0)
    if bit == 7:
        _follow(m, t, lanes)


@part
def _learn_mixing(m, t, bit, lanes):
    """What all but the experts learn from the bits that `partial` ends with."""
    for lane in range(lanes):
        y = m.partial[lane] & 1
        learn_weights(m, lane, t, y)
        learn_matches(m, lane, y)
        if m.numbers.plans.size:
            learn_numbers(m, lane, y)
            if bit == 7:
                end_number(m, lane, m.partial[lane] & 255)
        if m.options[NETWORK]:
            key = m.network[lane, 2]
            m.network_chance[key] = adapted(m, m.network_chance[key], y, 255)


@part
def _learn_contexts(m, t, bit, lanes, beside):
    """What the experts learn, and their next contexts."""
    full = m.options[INPUTS] == EXPERT_INPUTS
    for lane in range(lanes):
        if beside:
            reach(beside, KNOWN, lane + 1)
        partial = m.partial[lane]
        # What is learnt now takes a while, in which memory fetches what comes next.
        if bit == 3:
            approach(m, lane, partial)
        if bit == 7:
            _observe(m, lane, t, partial & 255)
        learn_experts(m, lane, bit, partial >> 1, partial & 1, full)
        if bit == 3:
            find_buckets(m, lane, partial)


@part
def _observe(m, lane, t, byte):
    position = m.starts[lane] + t
    m.past[position] = byte
    f.observe(
        m.rows[lane], m.past, m.starts[lane], position, m.after1, m.after2, m.targets,
        m.numerals, m.options[STRIDE], m.options[UNIT], m.options[FULLY],
    )  # fmt: skip
    approach_matches(m, lane, t)
    # Nearly all of these contexts are those of the next byte: matches are still to be found.
    hash_contexts(m, lane)
    approach(m, lane, 0)


@part
def _follow(m, t, lanes):
    """After a byte of all lanes, which matches may be in."""
    for lane in range(lanes):
        follow_matches(m, lane, t)


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


@part
def weigh(m, t, bit, lanes, bits, p, counts, now, source, coder, beside):
    """All of a bit but for the experts: chances, bits if they are decoded, what mixers learn.

    beside: address of what this thread shares with the one that consults the experts, or 0.
    """
    if bit == 0 and m.options[NETWORK]:
        load_counts(m, lanes, counts[now])
        _begin_network(m, lanes)
    if beside:
        reach(beside, AHEAD, 0)
    _prepare(m, bit, lanes)
    for lane in range(lanes):
        if beside:
            reach(beside, AHEAD, lane + 1)
        p[lane] = _mixed(m, lane)
        if coder.size:
            bits[lane] = decode_bit(source, coder, np.int64(p[lane]))
        m.partial[lane] = m.partial[lane] << 1 | np.int64(bits[lane])
        if beside:
            poke(beside + KNOWN, lane + 1)
    _learn_mixing(m, t, bit, lanes)
    if beside:
        poke(beside + KNOWN, lanes + 1)


@function
def code(m, first, lanes_T, bits_T8L, counts, p_T8L, source, coder, network, symbols, beside):
    """All of the above for T bytes a lane, from step `first` on.

    lanes_T: lanes that have a byte, for each step. bits_T8L: the bits, or, if `coder` is not empty,
    filled with those decoded from `source`. counts: (T, L, 256) uint32, or any three dimensions
    where there is no network. p_T8L: filled where a lane has a byte. network: (2,), a function and
    its argument that fills counts (1, L, 256) before each step, from the bytes of the last in
    `symbols` (L,); or empty. beside: (5,), the address of what this thread shares with others that
    may take `weigh`, and what they need to know of a bit; or empty.
    """
    crew = beside[CREW] if beside.size else 0
    for step in range(lanes_T.size):
        t, lanes = first + step, lanes_T[step]
        now = 0 if network.size else step
        if network.size:
            call(network[0], network[1])
        for bit in range(8):
            p, bits = p_T8L[step, bit], bits_T8L[step, bit]
            if crew:
                beside[TIME], beside[STEP], beside[BIT], beside[COUNT] = t, step, bit, lanes
                offer(crew)
            if bit == 0:
                _begin_contexts(m, t, lanes)
            _consult(m, bit, lanes, crew)
            alone = crew == 0 or taken(crew)
            if alone:
                weigh(m, t, bit, lanes, bits, p, counts, now, source, coder, 0)
            _learn_contexts(m, t, bit, lanes, 0 if alone else crew)
            if not alone:
                reach(crew, KNOWN, lanes + 1)
        _follow(m, t, lanes)
        if network.size:
            for lane in range(lanes):
                symbols[lane] = m.partial[lane] & 255
