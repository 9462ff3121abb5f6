"""What every backend on the CPU computes in this process, as JSON on standard output.

    python backend_digests.py MODEL_FOLDER...

A program of its own, because libraries read the variables that hold them to an instruction set
when they are loaded. `tests/exact/test_instruction_sets.py` runs it.
"""

import hashlib
import itertools
import json
import sys
from pathlib import Path

import numpy as np

from mbz import weights
from mbz.exact import Predictor, open_predictor
from mbz.exact.reference import ReferencePredictor

LANES, LENGTH = 3, 60  # the longest ring of the test models is 2 * 6 patches of 4 bytes


def digests(predictor: Predictor) -> list[str]:
    """SHA-256 of the counts of seeded bytes, scored at once and one by one."""
    data = np.random.default_rng(5).integers(0, 256, (LANES, LENGTH)).astype(np.uint8)
    predictor.reset(LANES)
    at_once = predictor.score(data)
    predictor.reset(LANES)
    rows = []
    for column in data.T:
        rows.append(predictor.counts())
        predictor.push(column)
    both = (at_once, np.stack(rows, 1))
    return [hashlib.sha256(counts.astype("<u4").tobytes()).hexdigest() for counts in both]


def main(folders: list[str]) -> None:
    """Prints which carriers are sound, which one was chosen, and digests by model and backend."""
    import torch

    from mbz.exact.torch_backend import TorchPredictor
    from mbz.exact.torch_matrix import FloatMatrix, Int8Matrix, choose, sound

    cpu = torch.device("cpu")
    carriers = [matrix for matrix in (FloatMatrix, Int8Matrix) if sound(matrix, cpu)]
    chosen = choose(cpu)
    found = {}
    for folder, threads in itertools.product(folders, (1, 2)):
        model = weights.read(Path(folder))
        results = found.setdefault(model.name, {})
        results[f"open_predictor, {threads} threads"] = digests(
            open_predictor(model, "cpu", threads)
        )
        if threads == 1:
            for matrix in carriers:
                predictor = TorchPredictor(model.config, model.tensors, cpu, matrix)
                results[matrix.__name__] = digests(predictor)
            results["reference"] = digests(ReferencePredictor(model.config, model.tensors))
    names = [matrix.__name__ for matrix in carriers]
    print(json.dumps({"sound": names, "chosen": [chosen.__name__], "digests": found}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
