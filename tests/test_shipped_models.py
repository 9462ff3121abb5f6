"""The models in the repository: every backend gives the golden counts and code words."""

import json
from pathlib import Path

import pytest
import torch

from mbz import weights
from mbz.exact import open_predictor
from mbz.exact.reference import ReferencePredictor
from mbz.exact.torch_backend import TorchPredictor
from mbz.exact.torch_matrix import FloatMatrix, Int8Matrix, sound
from mbz.golden import vectors

FOLDERS = sorted(path.parent for path in Path(__file__).parents[1].glob("models/*/vectors.json"))
LARGEST = {"base": 36 << 20, "small": 12 << 20, "tiny": 3 << 20}


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda path: path.name)
def folder(request):
    return request.param


def test_golden_vectors(folder):
    golden = json.loads((folder / "vectors.json").read_text())
    model = weights.read(folder)
    assert model.fingerprint.hex() == golden.pop("fingerprint")
    assert vectors(ReferencePredictor(model.config, model.tensors)) == golden
    assert vectors(open_predictor(model)) == golden
    cpu = torch.device("cpu")
    for matrix in (FloatMatrix, Int8Matrix):
        if sound(matrix, cpu):
            predictor = TorchPredictor(model.config, model.tensors, cpu, matrix)
            assert vectors(predictor) == golden


def test_size_and_card(folder):
    size = (folder / weights.FILE_NAME).stat().st_size
    assert size <= LARGEST[folder.name.split("_")[0]]
    card = (folder / "README.md").read_text()
    assert weights.read(folder).fingerprint.hex() in card
