"""Pixels and samples: numbers guessed from those before them, and the bits from the guesses.

What a guess says of a bit is learnt by where it lies from the border of the bit's two sides, by
how far guesses were off around here (docs/mixing.md, 5). Numbers are little-endian.
"""

import numpy as np

from mbz.mixing import features as f
from mbz.mixing import regression
from mbz.mixing.chroma import colour_inputs, end_colour, expect_colour, learn_colour
from mbz.mixing.colours import MEAN, ON
from mbz.mixing.compiled import part
from mbz.mixing.distances import FRACTION, bin_of, class_of
from mbz.mixing.guesses import (
    BINS,
    BY_COLUMN,
    CHANNELS,
    CLASSES,
    ECHO,
    EVERY,
    FADE,
    PHASE,
    PLAIN,
    RADIUS,
    REACH,
    RIDGE,
    ROW,
    SIZE,
    VIEW_SIZE,
    WIDTH,
)
from mbz.mixing.learn import adapted, chance, logit
from mbz.mixing.neighbours import PRODUCT, note_products, products_around

INDEX, PLACE, KNOWN, READY, WHOLE, DONE, NEAR, LATELY, CHANNEL, COLUMN, ODD, VIEWS = range(12)
_JOINT_FADE = 8
VIEW_PLAIN = 3  # the view of the plain guess, by where it was right; the others are of the mean
_FINE_PICTURE, _FINE_SOUND = 14, 8


@part
def begin_number(m, lane, t):
    """Before the byte at step t: guesses its number if it is the first byte of it."""
    n = m.numbers
    width = n.options[WIDTH]
    here = m.starts[lane] + t + n.options[PHASE]
    state = n.state[lane]
    state[PLACE] = here % width
    if t == 0 or state[PLACE] == 0:
        state[INDEX] = here // width
        state[KNOWN] = 0
        first = (m.starts[lane] + n.options[PHASE]) // width
        done = state[INDEX] - first
        state[DONE] = done
        # Pixels that there are none of, above and on the left of the first, differ by nothing.
        state[WHOLE] = done > n.options[REACH]
        state[READY] = done >= n.options[CHANNELS] if n.options[ROW] else state[WHOLE]
        _guess(n, lane, state)
    # What the mean guess says of this byte, as features.
    row = m.rows[lane]
    level = (n.guesses[lane, 0] >> FRACTION) << 8 * max(width - 2, 0)
    if state[PLACE] == width - 1:
        level = (level - state[KNOWN] + (1 << 8 * state[PLACE]) // 2) >> 8 * state[PLACE]
    else:
        level >>= 8 * state[PLACE]
    row[f.GUESS] = level & 511
    row[f.GUESS_NEAR] = state[NEAR]
    if n.guesses.shape[1] > 2:
        row[f.GUESS1] = (n.guesses[lane, 1] >> FRACTION) & 0xFFFF
        row[f.GUESS2] = (n.guesses[lane, 2] >> FRACTION) & 0xFFFF
        row[f.GUESS_FINE] = n.guesses[lane, 0] >> FRACTION - 2
    row[f.PLACE] = state[PLACE]


@part
def _guess(n, lane, state):
    """All guesses of the number at state[INDEX], and how far off they may be."""
    at = state[INDEX]
    channels = n.options[CHANNELS]
    # Rows of pixels may end in bytes that are none.
    channel = (at % n.options[ROW] if n.options[ROW] else at) % channels
    state[CHANNEL] = channel
    state[COLUMN] = at % n.options[ROW] // channels if n.options[ROW] else 1
    state[ODD] = state[COLUMN] % 2 if n.options[ROW] else 0
    guesses = n.guesses[lane]
    top = ((1 << 8 * min(n.options[WIDTH], 2)) - 1) << FRACTION
    base = n.levels[at - channels] if at >= channels else np.int64(0)
    num = n.plans.shape[0]
    for g in range(num + 3):
        guesses[g] = base << FRACTION
    if not state[READY]:
        return
    for g in range(num):
        size = n.plans[g, SIZE]
        values = n.values[lane, g]
        if state[WHOLE]:
            for k in range(size):
                values[k] = n.levels[at - n.terms[g, k, 0]] - n.levels[at - n.terms[g, k, 1]]
        else:
            _differ_at_first(n, lane, g, at)
        values[size] = base
        kind = channel + channels * state[ODD] * n.plans[g, BY_COLUMN]
        if n.plans[g, RADIUS]:
            products_around(n, lane, g, at, channel, n.sums[g, kind])
            _fit(n, g, kind)
        more = regression.guess(n.weights[g, kind], values, size) >> 22 - FRACTION
        guesses[g + 1] = min(max((base << FRACTION) + more, 0), top)
    guesses[num + 1] = guesses[2]
    if n.colours.keys.size and 1 <= channel <= 2:
        if state[WHOLE]:
            expect_colour(n, lane, at - channel, channel, state[ODD])
        if n.colours.state[lane, ON]:
            guesses[num + 1] = n.colours.state[lane, MEAN]
    if n.options[ROW] == 0:
        more, power = np.int64(0), np.int64(0)
        back = at
        for k in range(min(ECHO, at // channels)):
            back -= channels
            value = n.levels[back] - 32768
            more += n.echo[channel, k] * value
            power += value * value
        n.echo_state[lane, 0] = min(max(more >> 20, -top), top)
        n.echo_state[lane, 1] = power
        guesses[num + 1] = min(max(guesses[2] + n.echo_state[lane, 0], 0), top)
    values = n.joint_values[lane]
    for g in range(num + 1):
        values[g] = (guesses[g + 1] >> 1) - (base << FRACTION - 1)
    values[num + 1] = base
    more = regression.guess(n.joint_weights[channel], values, num + 1) >> 22 - 1
    guesses[num + 2] = min(max((base << FRACTION) + more, 0), top)
    _mean(n, lane, at, num)
    # How far off, in 1 / 2**FRACTION: around this place, and lately.
    miss = n.misses
    row = n.options[ROW]
    if row:
        done = state[DONE]
        above = abs(miss[_before(at, row, done)])
        near = 2 * (abs(miss[at - channels]) + above + abs(miss[at - 1]))
        near += abs(miss[_before(at, row - channels, done)])
        near += abs(miss[_before(at, row + channels, done)])
        if state[COLUMN] == 0:
            near = 8 * above
    else:
        near = 3 * abs(miss[at - channels]) + 2 * abs(miss[at - 2 * channels]) + abs(miss[at - 1])
        near += abs(miss[at - 3 * channels]) + abs(miss[at - 4 * channels])
    state[NEAR] = class_of(n, near >> 3)
    _look(n, lane, at, channels, row)
    state[LATELY] = class_of(n, n.wrong[lane, 0] >> 4)


@part
def _differ_at_first(n, lane, g, at):
    """Differences of guess g where some numbers that they reach to are before the lane."""
    first = at - n.state[lane, DONE]
    for k in range(n.plans[g, SIZE]):
        one, two = at - n.terms[g, k, 0], at - n.terms[g, k, 1]
        n.values[lane, g, k] = n.levels[one] - n.levels[two] if min(one, two) >= first else 0


@part
def _look(n, lane, at, channels, row):
    """What else tells how the mean guess may be off: misses around with their signs, slopes."""
    state = n.state[lane]
    miss = n.misses
    up = row or 2 * channels
    done = state[DONE]
    last = _signed(n, miss[at - 1])
    state[VIEWS] = min(state[CHANNEL], 3) << 5 | state[ODD] << 4 | state[NEAR] >> 1
    state[VIEWS + 1] = _signed(n, miss[at - channels]) * 11 + _signed(
        n, miss[_before(at, up, done)]
    )
    texture = np.int64(0)
    for back in (channels, up, up + channels, up - channels, 2 * channels, 2 * up):
        texture = texture << 1 | (
            n.levels[_before(at, back, done)] << FRACTION > n.guesses[lane, 0]
        )
    state[VIEWS + 2] = texture << 1 | (last > 5)
    hits = np.int64(0)
    for back in (4 * channels, 2 * up, channels, up, 2 * channels, 1):
        hits = hits << 1 | np.int64(n.exact[_before(at, back, done)])
    state[VIEWS + 3] = hits << 1 | (state[CHANNEL] > 0)


@part
def _before(at, back, done):
    """The number so far back, or else the first of the lane, of which so many are done."""
    return at - min(back, done)


@part
def _signed(n, miss):
    """Class of a miss with its sign, 0 .. 10, 5 for next to none."""
    size = min((bin_of(n, abs(miss)) + 1) >> 3, 5)
    return 5 + size if miss >= 0 else 5 - size


@part
def _mean(n, lane, at, num):
    """The mean of all guesses, each by the inverse cube of how far it may be off."""
    doubts = n.doubts[lane]
    least = np.int64(1 << 40)
    for g in range(1, num + 3):
        doubts[g] = _doubt(n, lane, at, g) if n.missed.size else n.wrong[lane, g]
        least = min(least, doubts[g])
    total, weight = np.int64(0), np.int64(0)
    for g in range(1, num + 3):
        share = ((least + 1) << 8) // (doubts[g] + 1)
        share = share * share * share >> 8
        total += share * n.guesses[lane, g]
        weight += share
    n.guesses[lane, 0] = total // weight


@part
def _doubt(n, lane, at, g):
    """How far off a guess was around, in 1 / 2**FRACTION, times 10."""
    left, up = n.options[CHANNELS], n.options[ROW]
    if at % up < left:  # the first column: what is on the left is the end of the row above
        return 6 * _missed(n, lane, at - up, g) + 4 * _missed(n, lane, at - 2 * up, g) + 40
    near = _missed(n, lane, at - left, g) + _missed(n, lane, at - up, g)
    far = _missed(n, lane, at - up - left, g) + _missed(n, lane, at - up + left, g)
    far += _missed(n, lane, at - 2 * left, g) + _missed(n, lane, at - 2 * up, g)
    far += _missed(n, lane, at - up - 2 * left, g) + _missed(n, lane, at - up + 2 * left, g)
    return 2 * near + far + 40


@part
def _missed(n, lane, at, g):
    return np.int64(n.missed[lane, at & (n.missed.shape[1] - 1), g])


@part
def number_inputs(m, lane, bit, partial, x, at):
    """Inputs of all guesses; returns a class of what colours say, 0 to 15."""
    n = m.numbers
    state = n.state[lane]
    width, place = n.options[WIDTH], state[PLACE]
    if n.options[ROW] == 0 and width > 1 and place == width - 1 and bit > 0:
        partial ^= 1 << (bit - 1)  # of signed samples, levels count from the least
    shift = 8 * place
    border = ((partial << 1 | 1) << (7 - bit)) & 255
    border = (((border << shift) + state[KNOWN]) << FRACTION) - (1 << shift + FRACTION) // 2
    span = 1 << shift + 8 + FRACTION
    coarse = 8 * max(width - 2, 0)
    for g in range(n.guesses.shape[1]):
        # The first guess, the mean, goes by what is around, the others by both in turn.
        scale = state[LATELY] if g & 1 else state[NEAR]
        distance = (n.guesses[lane, g] << coarse) - border
        if place < width - 1:  # higher bytes are not known yet: the nearest number that fits
            distance = ((distance + span // 2) & (span - 1)) - span // 2
        where = bin_of(n, abs(distance)) + (64 if distance < 0 else 0)
        key = ((place * 8 + bit) * CLASSES + scale) * BINS + where
        n.keys[lane, g] = key
        p = chance(n.chances[g, key])
        x[at] = logit(m, p)
        x[at + 1] = (p - 32768) >> 5
        at += 2
    for v in range(n.view_keys.shape[1]):
        where = n.keys[lane, n.options[PLAIN] if v == VIEW_PLAIN else 0] % BINS
        key = ((place * 8 + bit) * VIEW_SIZE + state[VIEWS + v]) * BINS + where
        n.view_keys[lane, v] = key
        p = chance(n.view_chances[v, key])
        x[at] = logit(m, p)
        x[at + 1] = (p - 32768) >> 5
        at += 2
    if n.colours.keys.size:
        return colour_inputs(m, lane, state[CHANNEL], bit, partial, x, at)
    return np.int64(0)


@part
def number_classes(m, lane):
    """What weights go by: how far off guesses may be, lately too; channel or byte; hits; place."""
    n = m.numbers
    state = n.state[lane]
    channel = min(state[CHANNEL] * n.options[WIDTH] + state[PLACE], 3)
    hits = state[VIEWS + VIEW_PLAIN] >> 1 & 7 | state[ODD] << 3
    return state[NEAR], state[LATELY], channel, hits, n.keys[lane, 0] % BINS


@part
def learn_numbers(m, lane, y):
    """After a bit."""
    n = m.numbers
    for g in range(n.guesses.shape[1]):
        key = n.keys[lane, g]
        n.chances[g, key] = adapted(m, n.chances[g, key], y, 500)
    for v in range(n.view_keys.shape[1]):
        key = n.view_keys[lane, v]
        n.view_chances[v, key] = adapted(m, n.view_chances[v, key], y, 500)
    if n.colours.keys.size:
        learn_colour(m, lane, y)


@part
def end_number(m, lane, byte):
    """After a byte: if its number is complete, how far off were the guesses, and why."""
    n = m.numbers
    state = n.state[lane]
    width, place = n.options[WIDTH], state[PLACE]
    state[KNOWN] |= byte << 8 * place
    if place < width - 1:
        return
    level = state[KNOWN]
    if n.options[ROW] == 0 and width > 1:
        level ^= 1 << 8 * width - 1
    level >>= 8 * max(width - 2, 0)
    at = state[INDEX]
    channels = n.options[CHANNELS]
    channel = state[CHANNEL]
    n.levels[at] = level
    n.exact[at] = n.guesses[lane, n.options[PLAIN]] == level << FRACTION
    n.misses[at] = (level << FRACTION) - n.guesses[lane, 0]
    if n.colours.keys.size and channel == 2:
        end_colour(n, lane, at - 2)
    if not state[READY]:
        return
    for g in range(n.guesses.shape[1]):
        miss = abs((level << FRACTION) - n.guesses[lane, g])
        n.wrong[lane, g] += ((miss << 4) - n.wrong[lane, g]) >> 4
        if n.missed.size:
            n.missed[lane, at & (n.missed.shape[1] - 1), g] = miss
    fine = _FINE_PICTURE if n.options[ROW] else _FINE_SOUND
    for g in range(n.plans.shape[0]):
        size, fade, every = n.plans[g, SIZE], n.plans[g, FADE], n.plans[g, EVERY]
        if not fade or state[COLUMN] == 0:
            continue
        values = n.values[lane, g]
        values[size] = level - values[size]
        if n.plans[g, RADIUS]:
            note_products(n, lane, g, at, channel, values)
            continue
        kind = channel + channels * state[ODD] * n.plans[g, BY_COLUMN]
        regression.gather(n.sums[g, kind], values, size, fine, fade)
        if at // channels % every == 0:
            _fit(n, g, kind)
    if n.options[ROW] == 0:
        _learn_echo(n, lane, at, channel, level)
    values = n.joint_values[lane]
    size = n.plans.shape[0] + 1
    values[size] = (level - values[size]) << FRACTION - 1
    regression.gather(n.joint_sums[channel], values, size, fine - 6, _JOINT_FADE)
    regression.solve(n.joint_sums[channel], n.joint_weights[channel], n.lower, n.scaled, size, 0)


@part
def _fit(n, g, kind):
    size, ridge = n.plans[g, SIZE], n.plans[g, RIDGE]
    regression.solve(n.sums[g, kind], n.weights[g, kind], n.lower, n.scaled, size, ridge << PRODUCT)


@part
def _learn_echo(n, lane, at, channel, level):
    """Normalised least mean squares of what the second guess left."""
    channels = n.options[CHANNELS]
    error = (level << FRACTION) - n.guesses[lane, n.plans.shape[0] + 1]
    step = (error << 30) // ((n.echo_state[lane, 1] + 16 * ECHO) << 4)
    back = at
    for k in range(min(ECHO, at // channels)):
        back -= channels
        more = step * (n.levels[back] - 32768) >> 9
        n.echo[channel, k] = min(max(n.echo[channel, k] + more, -(1 << 26)), 1 << 26)
