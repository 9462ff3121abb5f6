"""Second and third channels of pixels from guesses of their chroma (docs/mixing.md, 5).

Once the first channel is known, each pair of chroma gives the other two. Regressions guess chroma,
tables say how far they are off.
"""

import numpy as np

from mbz.mixing import regression
from mbz.mixing.colours import (
    BUCKETS,
    FIT,
    GUESS,
    LAST,
    MEAN,
    ON,
    ORDER,
    PHASE,
    SCALE,
    TERMS,
    UNIT,
    WITHIN,
)
from mbz.mixing.compiled import part
from mbz.mixing.distances import FRACTION, class_of
from mbz.mixing.guesses import CHANNELS, ROW
from mbz.mixing.learn import adapted, chance, logit

_STEP = 182  # that a difference which came adds at most to these shares, three times
_FULL = 8 << UNIT
_FADE = 10  # of the regressions
_FINE = 14


@part
def expect_colour(n, lane, at, channel, odd):
    """Before the second or third channel of the pixel that begins at number `at`."""
    c = n.colours
    state = c.state[lane]
    if channel == 1:
        state[ON] = max(c.fit[0], c.fit[1]) >= 1 << FIT - 1
        if state[ON]:
            _guess_chroma(n, lane, at, odd)
    if not state[ON]:
        return
    order = state[ORDER]
    added1, added2, green = c.added[order, 0], c.added[order, 1], c.green[order]
    shares1, shares2 = c.shares[0, state[SCALE]], c.shares[1, state[SCALE + 1]]
    guess1 = state[GUESS]
    counts = c.counts[lane]
    for v in range(257):
        counts[v] = 0
    middle1 = (guess1 + 2) >> 2
    for one in range(max(middle1 - WITHIN + 1, -128), min(middle1 + WITHIN, 128)):
        light = n.levels[at] - added1[one + 128]
        if light < 0 or light > 255:
            continue
        share1 = shares1[4 * one - guess1 + 4 * WITHIN]
        guess2 = _second_guess(c, lane, one)
        middle2 = (guess2 + 2) >> 2
        for two in range(max(middle2 - WITHIN + 1, -128), min(middle2 + WITHIN, 128)):
            second = light + ((32768 - green[0] * one - green[1] * two) >> 16)
            second = min(max(second, 0), 255)
            share = share1 * shares2[4 * two - guess2 + 4 * WITHIN]
            if channel == 1:
                counts[second + 1] += share
            elif second == n.levels[at + 1]:
                counts[min(max(light + added2[two + 128], 0), 255) + 1] += share
    total, weighted = np.int64(0), np.int64(0)
    for v in range(256):
        total += counts[v + 1]
        weighted += counts[v + 1] * v
    state[MEAN] = (weighted << FRACTION) // max(total, 1)
    least = (total >> 14) + 1
    for v in range(256):
        counts[v + 1] += counts[v] + least


@part
def _guess_chroma(n, lane, at, odd):
    """Guesses of both chroma of a pixel whose first channel is known."""
    c = n.colours
    left, up = n.options[CHANNELS], n.options[ROW]
    state = c.state[lane]
    state[ORDER] = c.fit[1] > c.fit[0]
    phase = (at // up & 1) << 1 | odd
    state[PHASE] = phase
    first = n.levels
    for k in range(2):
        own, other, values = c.chroma[k], c.chroma[1 - k], c.values[lane, k]
        base, base1 = own[at - left], other[at - left]
        if at % up < left:  # the first column: what is on the left is the end of the row above
            base, base1 = own[at - up], other[at - up]
        values[0] = own[at - up] - base
        values[1] = own[at - up - left] - base
        values[2] = own[at - up + left] - base
        values[3] = own[at - 2 * left] - base
        values[4] = own[at - 3 * left] - base
        values[5] = own[at - up + 2 * left] - base
        values[6] = own[at - up - 2 * left] - base
        values[7] = own[at - 2 * up] - base
        values[8] = own[at - 2 * up + left] - base
        values[9] = own[at - 2 * up - left] - base
        values[10] = own[at - up + 3 * left] - base
        values[11] = own[at - 4 * left] - base
        values[12] = first[at] - first[at - left]
        values[13] = first[at - up] - first[at - left]
        values[14] = other[at - up] - base1
        values[15] = other[at - 2 * left] - base1
        values[LAST] = 0
        values[TERMS] = base
        more = regression.guess(c.weights[k, phase], values, TERMS)
        state[GUESS + k] = _bounded((base << 2) + ((more + (1 << 19)) >> 20))
        miss = c.misses[k]
        near = 2 * (miss[at - left] + miss[at - up]) + miss[at - up - left] + miss[at - up + left]
        near += miss[at - 2 * left] + miss[at - up + 2 * left]
        state[SCALE + k] = class_of(n, ((near >> 1) + (c.lately[k, phase] >> 4)) >> 1)


@part
def _second_guess(c, lane, one):
    """The guess of the second chroma, in 1/4, if this is the first."""
    state = c.state[lane]
    more = c.weights[1, state[PHASE], LAST] * (one - c.values[lane, 0, TERMS])
    return _bounded(state[GUESS + 1] + (more >> 20))


@part
def _bounded(guess):
    return min(max(guess, -512), 508)


@part
def colour_inputs(m, lane, channel, bit, partial, x, at):
    """Inputs of the chances that chroma gives; returns a class of what they say, 0 to 15."""
    c = m.numbers.colours
    c.keys[lane] = -1
    x[at], x[at + 1], x[at + 2] = 0, 0, 0
    if channel == 0 or channel > 2 or not c.state[lane, ON]:
        return np.int64(7)
    low = (partial << (8 - bit)) & 255
    half = 1 << (7 - bit)
    counts = c.counts[lane]
    zero = counts[low + half] - counts[low]
    one = counts[low + 2 * half] - counts[low + half]
    p = min(max((one << 16) // (zero + one), 1), 65535)
    st = logit(m, p)
    fit = max(c.fit[0], c.fit[1]) >> FIT - 4 & 7
    key = (((channel - 1) * 8 + bit) * 8 + fit) * BUCKETS + ((st + 2944) >> 7)
    c.keys[lane] = key
    x[at] = st
    x[at + 1] = (p - 32768) >> 5
    x[at + 2] = logit(m, chance(c.chances[key]))
    return (np.int64(x[at + 2]) + 2880) // 384


@part
def learn_colour(m, lane, y):
    """After a bit."""
    c = m.numbers.colours
    key = c.keys[lane]
    if key >= 0:
        c.chances[key] = adapted(m, c.chances[key], y, 500)


@part
def end_colour(n, lane, at):
    """After the third channel of the pixel that begins at number `at`: what it was made of."""
    c = n.colours
    state = c.state[lane]
    order = np.int64(c.fit[1] > c.fit[0])
    for each in range(2):
        found, one, two = _explain(n, at, each)
        if each == order:
            c.chroma[0, at], c.chroma[1, at] = one, two
        c.fit[each] += ((found << FIT) - c.fit[each]) >> 6
    if not state[ON]:
        return
    base = c.values[lane, 0, TERMS]
    _learn_chroma(n, lane, at, 1, _second_guess(c, lane, c.chroma[0, at]), c.chroma[0, at] - base)
    _learn_chroma(n, lane, at, 0, state[GUESS], 0)


@part
def _learn_chroma(n, lane, at, k, guess, last):
    c = n.colours
    phase, scale = c.state[lane, PHASE], c.state[lane, SCALE + k]
    miss = 4 * c.chroma[k, at] - guess
    c.misses[k, at] = abs(miss)
    c.lately[k, phase] += ((abs(miss) << 6) - c.lately[k, phase]) >> 5
    if abs(miss) < 4 * WITHIN - 2:
        _learn_share(c.shares[k, scale], miss + 4 * WITHIN)
    values = c.values[lane, k]
    values[LAST] = last
    values[TERMS] = c.chroma[k, at] - values[TERMS]
    regression.gather(c.sums[k, phase], values, TERMS, _FINE, _FADE)
    regression.solve(c.sums[k, phase], c.weights[k, phase], n.lower, n.scaled, TERMS, 0)


@part
def _learn_share(shares, at):
    for more in range(-2, 3):
        shares[at + more] += _STEP * (3 - abs(more))
    if shares[at] > _FULL:
        for k in range(shares.size):
            shares[k] = (shares[k] + 1) >> 1


@part
def _explain(n, at, order):
    """Whether chroma explains a colour, in this order, and which, or which nearly."""
    c = n.colours
    first, second, third = n.levels[at], n.levels[at + 1], n.levels[at + 2]
    red, blue = (third, first) if order else (first, third)
    mean = (19595 * red + 38470 * second + 7471 * blue + 32768) >> 16
    for k in range(5):
        light = mean + (k + 1 >> 1) * (1 - 2 * (k & 1))  # nearest first
        one = c.nearest[order, 0, first - light + 512]
        two = c.nearest[order, 1, third - light + 512]
        green = (32768 - c.green[order, 0] * one - c.green[order, 1] * two) >> 16
        if (
            light + c.added[order, 0, one + 128] == first
            and light + green == second
            and light + c.added[order, 1, two + 128] == third
        ):
            return np.int64(1), one, two
    one = c.nearest[order, 0, first - mean + 512]
    two = c.nearest[order, 1, third - mean + 512]
    return np.int64(0), one, two
