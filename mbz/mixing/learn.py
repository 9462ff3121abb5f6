"""Adaptive probabilities and their calibration (docs/mixing.md, 6)."""

import numpy as np

from mbz.mixing.compiled import part
from mbz.mixing.tables import LIMIT
from mbz.mixing.vectors import item


@part
def chance(adaptive):
    """Probability, 1 .. 65535, of an adaptive one."""
    return min(max(np.int64(adaptive) >> 14, 1), 65535)


@part
def adapted(m, adaptive, y, limit):
    """An adaptive probability after bit y; it moves by at least 1 / (limit + 1.5) of the error."""
    value = np.int64(adaptive)
    n = value & 1023
    p = value >> 10
    p += (((y << 20) - p) * np.int64(item(m.rates, n))) >> 16
    return min(p, (1 << 20) - 1) << 10 | min(n + 1, limit)


@part
def logit(m, p):
    return np.int64(item(m.stretch, p))


@part
def squashed(m, st):
    return item(m.squash, st + LIMIT)
