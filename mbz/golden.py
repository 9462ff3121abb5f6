"""Golden vectors of a model: what it must predict and code, kept beside its weights.

`vectors.json` was written once, by the reference (`tests/vectors/model_vectors.py`). It says more
than the self-test in the weights: which counts, for people who write a backend, and code words.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Final

import numpy as np

from mbz.coder import Encoder
from mbz.errors import ModelError
from mbz.exact import Predictor

if TYPE_CHECKING:
    from mbz.loading import Model

__all__ = ["FILE_NAME", "vectors", "verify"]

FILE_NAME: Final = "vectors.json"
TEXT: Final = (
    b'The quick brown fox <a href="x">jumps</a>\n'
    b'    return {"n": 0x1F, "s": "\xc3\xa9"}\r\n\x00\xff'
)
SHOWN: Final = (0, 1, 8, 41, len(TEXT) - 1)  # places in it


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


def verify(model: "Model") -> bool:
    """Compares a model with its golden vectors; false if it has none, as those that users train.

    Raises:
        ModelError: they belong to other weights, or the model gives other counts or code words.
    """
    path = model.path / FILE_NAME
    try:
        golden = json.loads(path.read_bytes())
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read; get the model's folder anew") from error
    found = {"fingerprint": model.fingerprint.hex(), **vectors(model.predictor)}
    if not isinstance(golden, dict) or golden.get("fingerprint") != found["fingerprint"]:
        raise ModelError(f"{path} belongs to other weights; get the model's folder anew")
    for name, value in found.items():
        if golden.get(name) != value:
            raise ModelError(f"model {model.name} gives another {name} than {path} says")
    return True
