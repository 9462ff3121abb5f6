"""Writes MODEL_DIR/vectors.json: golden counts and code words of a model, by the reference.

    python tests/vectors/model_vectors.py models/NAME

A released model never changes, so neither does this file; it refuses to overwrite.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from mbz import weights
from mbz.coder import Encoder
from mbz.exact import Predictor
from mbz.exact.reference import ReferencePredictor

TEXT = (
    b'The quick brown fox <a href="x">jumps</a>\n'
    b'    return {"n": 0x1F, "s": "\xc3\xa9"}\r\n\x00\xff'
)
SHOWN = (0, 1, 8, 41, len(TEXT) - 1)


def vectors(predictor: Predictor) -> dict[str, object]:
    """Counts before each byte of TEXT in one lane, as a digest and in part, and its code words."""
    predictor.reset(1)
    symbols = np.frombuffer(TEXT, np.uint8)
    counts = predictor.score(symbols[None])[0]
    encoder = Encoder()
    encoder.encode(symbols, counts)
    return {
        "input": TEXT.hex(),
        "counts_sha256": hashlib.sha256(counts.astype("<u4").tobytes()).hexdigest(),
        "largest_counts": {
            str(i): {str(v): int(counts[i, v]) for v in np.argsort(-counts[i], kind="stable")[:8]}
            for i in SHOWN
        },
        "code": encoder.finish().hex(),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    model = weights.read(folder)
    found = vectors(ReferencePredictor(model.config, model.tensors))
    found = {"fingerprint": model.fingerprint.hex(), **found}
    with (folder / "vectors.json").open("x") as file:
        json.dump(found, file, indent=1)
        file.write("\n")
