"""Adaptive probabilities and their calibration (docs/mixing.md, 6)."""

import numpy as np

from mbz.mixing.compiled import function
from mbz.mixing.memory import REFINED, REFINED_STEP
from mbz.mixing.tables import LIMIT


@function
def chance(adaptive):
    """Probability, 1 .. 65535, of an adaptive one."""
    return min(max(np.int64(adaptive) >> 14, 1), 65535)


@function
def adapted(m, adaptive, y, limit):
    """An adaptive probability after bit y; it moves by at least 1 / (limit + 1.5) of the error."""
    value = np.int64(adaptive)
    n = value & 1023
    p = value >> 10
    p += (((y << 20) - p) * np.int64(m.rates[n])) >> 16
    return min(p, (1 << 20) - 1) << 10 | min(n + 1, limit)


@function
def logit(m, p):
    return np.int64(m.stretch[p])


@function
def squashed(m, st):
    return m.squash[st + LIMIT]


@function
def refined(m, k, at):
    """What an entry of table k says; it holds the difference to what it said at first."""
    return (np.int64(m.refined[k, at]) + np.int64(m.ramp[at & (REFINED - 1)])) & 0xFFFF


@function
def refine(m, k, context, st):
    """Calibrates a logit in a context: the nearest entry of table k and what it says."""
    position = st + REFINED // 2 * REFINED_STEP - REFINED_STEP // 2
    low = position // REFINED_STEP
    share = position - low * REFINED_STEP
    at = context * REFINED + low
    mean = refined(m, k, at) * (REFINED_STEP - share) + refined(m, k, at + 1) * share
    return at + (share >= REFINED_STEP // 2), mean // REFINED_STEP
