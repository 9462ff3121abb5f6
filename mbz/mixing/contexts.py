"""What the experts say of a bit, and what they learn from it (docs/mixing.md, 4).

The loops go through experts e, 16 at a time; see `vectors.py`.
"""

from typing import Any

import numpy as np

from mbz.mixing import features as f
from mbz.mixing.compiled import part
from mbz.mixing.experts import MOST_FEATURES
from mbz.mixing.memory import BUCKETS, COUNTS
from mbz.mixing.vectors import (
    each,
    each_of_whole,
    fetch,
    least,
    most,
    scaled,
    signed,
    unsigned,
    where,
    wrapped,
)

RUN_LIMIT, STATE_LIMIT, SLOT_LIMIT = 255, 255, 400
COUNT_LIMIT = 60
SLOTS = 16  # of a bucket


def _joined(h: Any, value: Any) -> Any:
    """`features.joined` for vectors."""
    h = wrapped(h ^ value, f.STEP, f.MORE)
    return h ^ (h >> 15)


def _probability(adaptive: Any) -> Any:
    return least(most(adaptive >> 14, 1), 65535)


def _adapted(adaptive: Any, y: Any, rates: Any, limit: int) -> Any:
    """`learn.adapted` for vectors."""
    n, p = adaptive & 1023, adaptive >> 10
    p = p + scaled((y << 20) - p, rates[n], 16)
    return least(p, (1 << 20) - 1) << 10 | least(n + 1, limit)


@each
def _hash_features(e, experts, recipes, row, hashes):
    h = unsigned(recipes[e])
    for place in range(1, MOST_FEATURES + 1):
        feature = recipes[e + experts * place]
        h = where(feature != f.NOTHING, _joined(h, row[feature]), h)
    hashes[e] = h


@each
def _point(e, half, buckets, hashes, coming, checks):
    h = where(half != 0, _joined(hashes[e], half), hashes[e])
    coming[e] = signed(scaled(h, f.MIX, 40) & (buckets - 1)) << 4
    checks[e] = signed(scaled(h, f.MIX, 22) & 0xFFFF)


@part
def hash_contexts(m, lane):
    """Hashes the contexts of the byte that the lane's features tell of."""
    _hash_features(m.recipes.shape[1], m.recipes.shape[1], m.recipes, m.rows[lane], m.hashes[lane])


@part
def approach(m, lane, half):
    """Says where the contexts' buckets are, so that memory fetches them all at once.

    half: the first half of the byte after a one, or 0 before it.
    """
    coming = m.coming[lane]
    _point(coming.size, half, m.slots.size >> 4, m.hashes[lane], coming, m.checks[lane])
    for e in range(coming.size):
        fetch(m.slots, np.int64(coming[e]))


@each
def _arrive(e, slots, coming, checks, at, found):
    at[e] = coming[e]
    check = signed(slots[coming[e]] >> 16)
    found[e] = check
    return where(check != checks[e], 1, 0)


@each
def _begin_runs(e, slots, checks, at, run_at, run_head):
    run_at[e] = at[e]
    head, check = slots[at[e]], unsigned(checks[e])
    # Another context may have taken the bucket just now.
    run_head[e] = where(head >> 16 == check, head, check << 16)


@part
def find_buckets(m, lane, half):
    """Points each expert to its context's bucket, after `approach`."""
    num = m.at.shape[1]
    at, checks, found = m.at[lane], m.checks[lane], m.found[lane]
    if _arrive(num, m.slots, m.coming[lane], checks, at, found):
        for e in range(num):
            if found[e] != checks[e]:
                at[e] = _find_neighbour(m, np.int64(at[e]), np.int64(checks[e]))
    if half == 0:
        _begin_runs(num, m.slots, checks, at, m.run_at[lane], m.run_head[lane])


@part
def _find_neighbour(m, first, check):
    """The bucket with this check beside the first one, or else the least used of them, cleared."""
    best, least_used = first, (np.int64(m.slots[first + 1]) >> 8) & 63
    for k in range(1, 3):
        at = first ^ (k << 4)
        if np.int64(m.slots[at]) >> 16 == check:
            return at
        use = (np.int64(m.slots[at + 1]) >> 8) & 63
        if use < least_used:
            best, least_used = at, use
    _clear(SLOTS, m.slots[best:], check)
    return best


@each_of_whole
def _clear(k, bucket, check):
    bucket[k] = where(k == 0, unsigned(check) << 16, 1 << 31)


@part
def _node(bit, partial):
    """The slot of its bucket that holds what is known of this bit."""
    return partial if bit < 4 else (partial & ((1 << (bit - 4)) - 1)) | (1 << (bit - 4))


@each
def _slot_inputs(
    e, bit, node, at, slots, state_chance, slot_chance, slot_key, stretch, first, second, third
):  # fmt: skip
    slot = slots[at[e] + node]
    state, count, p = signed(slot & 255), signed(slot >> 8 & 63), signed(slot >> 14)
    known = state != 0
    key = where(known, (stretch[p >> 2] + 2944) >> 7, slot_key[e])
    slot_key[e] = key
    q = _probability(state_chance[(e << 11) + (bit << 8) + state])
    calibrated = _probability(slot_chance[(e * COUNTS + count) * BUCKETS + key])
    first[e] = where(known, stretch[q], 0)
    second[e] = where(known, stretch[calibrated], 0)
    third[e] = where(known, (q - 32768) >> 5, 0)
    return where(known, 1, 0)


@each
def _run_inputs(e, bit, partial, run_head, run_key, run_chance, stretch, fourth):
    length, byte = signed(run_head[e] & 255), signed(run_head[e] >> 8 & 255) | 256
    fits = (length != 0) & (byte >> (8 - bit) == partial)
    y = byte >> (7 - bit) & 1
    key = least(length, 31) << 3 | bit
    st = stretch[_probability(run_chance[(e << 9) + key])]
    fourth[e] = where(fits, where(y != 0, st, -st), 0)
    run_key[e] = where(fits, key << 1 | y, -1)


@part
def expert_inputs(m, lane, bit, partial, x, full):
    """Inputs of all experts; returns how many know their context. full: those of runs, too."""
    num = m.at.shape[1]
    if full:
        _run_inputs(
            num, bit, partial, m.run_head[lane], m.run_key[lane], m.run_chance, m.stretch,
            x[3 * num :],
        )  # fmt: skip
    return _slot_inputs(
        num, bit, _node(bit, partial), m.at[lane], m.slots, m.state_chance, m.slot_chance,
        m.slot_key[lane], m.stretch, x, x[num:], x[2 * num :],
    )  # fmt: skip


@each
def _learn_slots(
    e, y, bit, node, at, slots, state_chance, slot_chance, slot_key, next_state, rates
):  # fmt: skip
    place = at[e] + node
    slot = slots[place]
    state, count, p = signed(slot & 255), signed(slot >> 8 & 63), signed(slot >> 14)
    known = state != 0
    key = (e << 11) + (bit << 8) + state
    old = state_chance[key]
    state_chance[key] = where(known, _adapted(old, y, rates, STATE_LIMIT), old)
    key = (e * COUNTS + count) * BUCKETS + slot_key[e]
    old = slot_chance[key]
    slot_chance[key] = where(known, _adapted(old, y, rates, SLOT_LIMIT), old)
    state = unsigned(next_state[state * 2 + y])
    p = p + scaled((y << 18) - p, rates[count], 16)
    p = unsigned(least(most(p, 4), (1 << 18) - 4))
    slots[place] = p << 14 | unsigned(least(count + 1, COUNT_LIMIT)) << 8 | state


@each
def _learn_runs(e, y, run_key, run_chance, rates):
    used = run_key[e] > -1
    key = (e << 9) + (where(used, run_key[e], 0) >> 1)
    hit = where((run_key[e] & 1) == y, 1, 0)
    old = run_chance[key]
    run_chance[key] = where(used, _adapted(old, hit, rates, RUN_LIMIT), old)


@each
def _note_runs(e, byte, slots, run_at, run_head):
    """Notes in the head of the context's bucket which byte came last and how often in a row."""
    head, now = run_head[e], slots[run_at[e]]
    again = signed(head >> 8 & 255) == byte
    length = where(again, least(signed(head & 255) + 1, 255), 1)
    noted = head >> 16 << 16 | unsigned(byte << 8 | length)
    # Or has another context taken the bucket meanwhile?
    slots[run_at[e]] = where(head >> 16 == now >> 16, noted, now)


@part
def learn_experts(m, lane, bit, partial, y, full):
    """After a bit; after the last one, the byte."""
    num = m.at.shape[1]
    _learn_slots(
        num, y, bit, _node(bit, partial), m.at[lane], m.slots, m.state_chance, m.slot_chance,
        m.slot_key[lane], m.next_state, m.rates,
    )  # fmt: skip
    if full:
        _learn_runs(num, y, m.run_key[lane], m.run_chance, m.rates)
        if bit == 7:
            byte = partial << 1 & 255 | y
            _note_runs(num, byte, m.slots, m.run_at[lane], m.run_head[lane])
