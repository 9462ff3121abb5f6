"""Content that a model predicts well."""

import numpy as np

from mbz.exact import Predictor


def sampled(predictor: Predictor, size: int, seed: int = 0) -> bytes:
    """Bytes drawn from the model, which codes them better than LZMA does."""
    rng = np.random.default_rng(seed)
    predictor.reset(1)
    data = bytearray()
    for _ in range(size):
        counts = predictor.counts()[0].astype(np.float64)
        data.append(rng.choice(256, p=counts / counts.sum()))
        predictor.push(np.array([data[-1]], np.uint8))
    return bytes(data)
