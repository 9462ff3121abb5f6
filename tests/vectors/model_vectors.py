"""Writes MODEL_DIR/vectors.json: golden counts and code words of a model, by the reference.

    python tests/vectors/model_vectors.py models/NAME

A released model never changes, so neither does this file; it refuses to overwrite.
"""

import json
import sys
from pathlib import Path

from mbz import golden, weights
from mbz.exact.reference import ReferencePredictor


def write(folder: Path) -> None:
    model = weights.read(folder)
    found = golden.vectors(ReferencePredictor(model.config, model.tensors))
    found = {"fingerprint": model.fingerprint.hex(), **found}
    with (folder / golden.FILE_NAME).open("x") as file:
        json.dump(found, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
