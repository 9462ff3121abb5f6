"""From all inputs to a chance: two layers of mixers, last calibrations (docs/mixing.md, 6)."""

import numpy as np

from mbz.mixing import features as f
from mbz.mixing.compiled import part
from mbz.mixing.learn import squashed
from mbz.mixing.memory import NETWORK, REFINED, REFINED_STEP
from mbz.mixing.samples import number_classes
from mbz.mixing.tables import LIMIT
from mbz.mixing.vectors import WIDTH, each_of_whole, fetch, item, least, most, put

RATE, RATE_AT_FIRST, RATE_BYTES = 90, 200, 4096  # of the first layer; the extra halves by then


@each_of_whole
def _products(k, w, x):
    return w[k] * x[k] >> 8


@each_of_whole
def _move(k, w, x, error):
    w[k] = least(most(w[k] + (x[k] * error + (1 << 15) >> 16), -(1 << 19)), (1 << 19) - 1)


@part
def _mixed(w, x):
    return min(max(_products(x.size, w, x) >> 8, -LIMIT), LIMIT)


@part
def approach_calibrations(m, lane, partial):
    """Says which contexts the last calibrations will have, so that memory fetches them."""
    row, a = m.rows[lane], m.refined_at[lane]
    a[1] = partial | row[f.C1] << 8
    a[2] = f.joined(f.joined(row[f.C1] << 8 | row[f.C2], row[f.C3]), partial) & 0xFFFF
    a[3] = partial | (row[f.EXPECTED] & 255 if not m.options[NETWORK] else m.network[lane, 0]) << 8
    for k in range(1, 4):
        fetch(m.refined, (k << 16 | a[k]) * REFINED)


@part
def approach_weights(m, lane):
    """Has the weights of the chosen rows fetched."""
    width = m.weights.shape[1]
    for s in range(m.chosen.shape[1]):
        for k in range(0, width, WIDTH):
            fetch(m.weights, m.chosen[lane, s] * width + k)


@part
def choose_calibrations(m, lane, bit, partial, expected, sure):
    """Contexts of the last calibrations. expected: see `match_inputs`; sure: `number_inputs`."""
    a = m.refined_at[lane]
    a[0] = partial | min(expected, 31) << 8
    if m.numbers.plans.size:
        near, lately, channel, _, where = number_classes(m, lane)
        joint = m.numbers.keys[lane, m.numbers.keys.shape[1] - 1] & 127
        a[1] = where << 9 | bit << 6 | channel << 4 | near >> 1
        a[2] = joint << 9 | bit << 6 | channel << 4 | lately >> 1
        a[3] = sure << 8 | bit << 5 | channel << 3 | near >> 2


@part
def mix(m, lane):
    """The chance of a one."""
    x, logits = m.inputs[lane], m.logits[lane]
    for s in range(m.chosen.shape[1]):
        st = _mixed(m.weights[m.chosen[lane, s]], x)
        logits[s] = st
        m.outputs[lane, s] = squashed(m, st)
    final = np.int64(0)
    finals = m.final_outputs.shape[1]  # two or four
    for s in range(finals):
        st = _mixed(m.final_weights[m.final_chosen[lane, s]], logits)
        m.final_outputs[lane, s] = squashed(m, st)
        final += st
    final >>= finals >> 1
    return _calibrated(m, m.refined_at[lane], final)


@part
def _calibrated(m, a, final):
    """The chance of a mixed logit in the contexts a (4,), which become the entries to be learnt."""
    position = final + REFINED // 2 * REFINED_STEP - REFINED_STEP // 2
    low = position // REFINED_STEP
    share = ((position - low * REFINED_STEP) << 16) // REFINED_STEP
    nearer = share >> 15
    before, after = np.int64(item(m.ramp, low)), np.int64(item(m.ramp, low + 1))
    total = 2 * np.int64(squashed(m, final))
    for k in range(4):
        at = (k << 16 | a[k]) * REFINED + low
        a[k] = at + nearer
        # They hold differences to what they said at first.
        p = ((np.int64(item(m.refined, at)) + before) & 0xFFFF) * (65536 - share)
        p += ((np.int64(item(m.refined, at + 1)) + after) & 0xFFFF) * share
        total += p >> 16 if k < 2 else p >> 16 << 1
    return min(max((total + 4) >> 3, 1), 65535)


@part
def learn_weights(m, lane, t, y):
    """After bit y of step t."""
    x, logits = m.inputs[lane], m.logits[lane]
    target = y << 16
    for s in range(m.final_outputs.shape[1]):
        error = (target - np.int64(m.final_outputs[lane, s])) >> 1
        _move(WIDTH, m.final_weights[m.final_chosen[lane, s]], logits, error)
    done = t * (m.starts.size - 1)
    rate = RATE + RATE_AT_FIRST * RATE_BYTES // (RATE_BYTES + done)
    for s in range(m.chosen.shape[1]):
        error = ((target - np.int64(m.outputs[lane, s])) * rate) >> 8
        _move(x.size, m.weights[m.chosen[lane, s]], x, error)
    for k in range(4):
        at = m.refined_at[lane, k]
        first = np.int64(item(m.ramp, at & (REFINED - 1)))
        q = (np.int64(item(m.refined, at)) + first) & 0xFFFF
        q = min(max(q + (((target - q) * 5 + 128) >> 8), 1), 65535)
        put(m.refined, at, (q - first) & 0xFFFF)
