"""What the fused kernels compute on the CPU by Triton's interpreter, as JSON on standard output.

    TRITON_INTERPRET=1 python fused_digests.py MODEL LENGTH

MODEL is one of the test models. A program of its own, because Triton reads the variable when the
kernels are defined. `tests/exact/test_fused.py` runs it.
"""

import hashlib
import json
import sys

import conftest
import numpy as np
import torch

from mbz.exact import triton_backend
from mbz.exact.reference import ReferencePredictor
from mbz.exact.torch_backend import intervals_of

LANES = 3


def cut(length: int) -> dict[str, list[int]]:
    """Ways to come through `length` bytes: sizes of calls to `score`, and 0 for a step."""
    return {
        "at once": [length],
        "split": [1, 6, length - 7],
        "steps": [0] * length,
        "steps between": [length // 3, 0, 0, 0, length - length // 3 - 5, 0, 0],
    }


def digest(predictor, data: np.ndarray, calls: list[int]) -> str:
    """SHA-256 of the counts."""
    predictor.reset(len(data))
    rows, at = [], 0
    for size in calls:
        if size:
            rows.append(predictor.score(data[:, at : at + size]))
        else:
            rows.append(predictor.counts()[:, None])
            predictor.push(data[:, at])
        at += size or 1
    assert at == data.shape[1]
    return hashlib.sha256(np.concatenate(rows, 1).astype("<u4").tobytes()).hexdigest()


def intervals(predictor: triton_backend.FusedPredictor, data: np.ndarray) -> np.ndarray:
    """In two calls."""
    predictor.reset(len(data))
    return np.concatenate([predictor.intervals(data[:, :7]), predictor.intervals(data[:, 7:])], 1)


def main(name: str, length: int) -> None:
    """Prints the digests of counts, and whether intervals are those of the reference."""
    torch.set_num_threads(1)
    config = conftest.MODELS[name]
    tensors = conftest.random_tensors(config)
    data = np.random.default_rng(5).integers(0, 256, (LANES, length)).astype(np.uint8)
    reference = ReferencePredictor(config, tensors)
    found = {"reference": digest(reference, data, [length])}
    cpu = torch.device("cpu")
    assert triton_backend.supported(config, cpu)
    predictor = triton_backend.FusedPredictor(config, tensors, cpu)
    triton_backend.LONG = 6  # of the windows, some are long
    for how, calls in cut(length).items():
        found[how] = digest(predictor, data, calls)
    reference.reset(LANES)
    counts, symbols = (torch.from_numpy(a) for a in (reference.score(data), data.astype(np.int64)))
    expected = intervals_of(counts, symbols).numpy()
    same = np.array_equal(intervals(predictor, data), expected)
    json.dump({"counts": found, "intervals": same}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
