"""Adaptive probabilities and their calibration (docs/mixing.md, 5)."""

import numpy as np

from mbz.mixing.compiled import function
from mbz.mixing.memory import BUCKETS
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
def refine(m, k, context, st):
    """Calibrates a logit in a context: the nearest entry of table k and what it says."""
    position = st + LIMIT
    low = min(position >> 7, BUCKETS - 2)
    share = position - (low << 7)
    at = context * BUCKETS + low
    one, other = np.int64(m.refined[k, at]), np.int64(m.refined[k, at + 1])
    return at + (share >> 6 if share < 128 else 1), (one * (128 - share) + other * share) >> 7
