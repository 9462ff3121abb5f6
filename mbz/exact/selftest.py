"""The self-test of a model: a digest of its counts on a fixed input, kept beside the weights.

It is checked before any byte is written or read, so that a damaged model or a backend that
computes wrongly on this machine is found before it can harm.
"""

import hashlib

import numpy as np

from mbz.exact import Predictor

LANES, PARALLEL, STEPS = 2, 33, 5


def digest(predictor: Predictor) -> str:
    """Hex SHA-256 of the counts before each of 38 fixed bytes in two lanes.

    The first 33 bytes are scored at once, the others one by one, so both ways are tested.
    """
    total = PARALLEL + STEPS
    symbols = (np.arange(LANES * total).reshape(LANES, total) * 37 % 101 + 30).astype(np.uint8)
    predictor.reset(LANES)
    rows = [predictor.score(symbols[:, :PARALLEL])]
    for i in range(PARALLEL, total):
        rows.append(predictor.counts()[:, None])
        predictor.push(symbols[:, i])
    counts = np.concatenate(rows, 1).astype("<u4")
    return hashlib.sha256(counts.tobytes()).hexdigest()
