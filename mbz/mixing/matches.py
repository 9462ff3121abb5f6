"""Match models: where the last bytes were seen before, in any lane (docs/mixing.md, 4)."""

import numpy as np

from mbz.mixing import features as f
from mbz.mixing.compiled import part
from mbz.mixing.learn import adapted, chance, logit
from mbz.mixing.memory import MATCH_INPUTS
from mbz.mixing.vectors import fetch, item

POSITION, LANE, LENGTH, MISSES, KEY, BYTE_KEY, HEAD = range(7)
MOST = 65535
VERIFIED = 48  # bytes compared before a match is believed
GIVE_UP = 8


@part
def class_of(length):
    """Class of a match length, 0 .. 15."""
    if length < 8:
        return (length + 1) >> 1
    if length < 32:
        return 4 + ((length - 8) >> 2)
    if length < 64:
        return 10 + ((length - 32) >> 4)
    if length < 512:
        return 12 + (length >= 128) + (length >= 256)
    return 15


@part
def _length(m, position, lane, own, own_start):
    """Bytes alike before both positions, at most VERIFIED."""
    most = min(position - m.starts[lane], own - own_start, VERIFIED)
    n = 0
    while n < most and m.past[position - 1 - n] == m.past[own - 1 - n]:
        n += 1
    return n


@part
def _lane_of(m, position):
    """The lane that holds a position; longer lanes come first and differ by one byte."""
    lanes = m.starts.size - 1
    lane = min(position // (m.starts[1] - m.starts[0]), lanes - 1)
    while m.starts[lane + 1] <= position:
        lane += 1
    return lane


@part
def approach_matches(m, lane, t):
    """After the byte at step t: where its hashes, of the last bytes, say when they were here."""
    own = m.starts[lane] + t
    h, n = np.int64(0), 0
    for k in range(m.match_bytes.size - 1, -1, -1):
        number = m.match_bytes[k]  # from the least on
        if t + 1 >= number:
            while n < number:
                h = f.joined(h, np.int64(m.past[own - n]))
                n += 1
            head = h * f.MIX >> 16 & (m.match_heads.shape[1] - 1)
            m.matches[lane, k, HEAD] = head
            fetch(m.match_heads, k * m.match_heads.shape[1] + head)


@part
def find_matches(m, lane, t):
    """Before the byte at step t: drops matches that know no byte, looks for new ones.

    Notes, too, that these last bytes were here.
    """
    start = m.starts[lane]
    own = start + t
    row = m.rows[lane]
    row[f.EXPECTED] = 0
    for k in range(m.matches.shape[1]):
        match = m.matches[lane, k]
        if t >= m.match_bytes[k]:
            head = match[HEAD]
            candidate = np.int64(m.match_heads[k, head])
            m.match_heads[k, head] = own
            if match[LENGTH] < 16 and candidate and candidate != match[POSITION]:
                its = _lane_of(m, candidate)
                if candidate - m.starts[its] < t:
                    n = _length(m, candidate, its, own, start)
                    if n >= m.match_bytes[k] and n > match[LENGTH]:
                        match[POSITION], match[LANE], match[LENGTH] = candidate, its, n
                        match[MISSES] = 0
        if match[POSITION] and match[POSITION] - m.starts[match[LANE]] >= t:
            match[POSITION], match[LENGTH] = 0, 0
        if match[POSITION] and row[f.EXPECTED] == 0:
            row[f.EXPECTED] = np.int64(m.past[match[POSITION]]) | (class_of(match[LENGTH]) + 1) << 8


@part
def match_inputs(m, lane, bit, partial, x, at):
    """Inputs of all match models; returns 2 * (length class + 1) + bit of the first there is."""
    expected = 0
    for k in range(m.matches.shape[1]):
        match = m.matches[lane, k]
        x[at], x[at + 1], x[at + 2] = 0, 0, 0
        match[KEY] = -1
        if match[POSITION]:
            byte = np.int64(item(m.past, match[POSITION])) | 256
            if byte >> (8 - bit) == partial:
                y = (byte >> (7 - bit)) & 1
                key = class_of(match[LENGTH]) << 5 | min(match[MISSES], 3) << 3 | bit
                p = chance(m.match_chance[k, key])
                st = logit(m, p)
                x[at] = st if y else -st
                x[at + 1] = (p - 32768 if y else 32768 - p) >> 4
                match[KEY] = key << 1 | y
                key = class_of(match[LENGTH]) << 11 | bit << 8 | (byte & 255)
                match[BYTE_KEY] = key
                st = logit(m, chance(m.match_byte_chance[k, key]))
                x[at + 2] = st if y else -st
                if expected == 0:
                    expected = (class_of(match[LENGTH]) + 1) << 1 | y
        at += MATCH_INPUTS
    return expected


@part
def learn_matches(m, lane, y):
    """After a bit."""
    for k in range(m.matches.shape[1]):
        key = m.matches[lane, k, KEY]
        if key >= 0:
            hit = 1 if (key & 1) == y else 0
            m.match_chance[k, key >> 1] = adapted(m, m.match_chance[k, key >> 1], hit, 255)
            key = m.matches[lane, k, BYTE_KEY]
            value = m.match_byte_chance[k, key]
            m.match_byte_chance[k, key] = adapted(m, value, hit, 255)


@part
def follow_matches(m, lane, t):
    """After the byte at step t: moves on."""
    own = m.starts[lane] + t
    for k in range(m.matches.shape[1]):
        match = m.matches[lane, k]
        if match[POSITION]:
            if m.past[match[POSITION]] == m.past[own]:
                match[LENGTH] = min(match[LENGTH] + 1, MOST)
            else:
                match[LENGTH] = 0
                match[MISSES] += 1
            match[POSITION] += 1
            if match[POSITION] == m.starts[match[LANE] + 1]:
                match[LANE] += 1
            if match[MISSES] > GIVE_UP or match[POSITION] == m.starts[-1]:
                match[POSITION], match[LENGTH] = 0, 0
