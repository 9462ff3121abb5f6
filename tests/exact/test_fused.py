"""The fused Triton kernels give the bits of the reference: interpreted on the CPU, and on CUDA."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import conftest
import numpy as np
import pytest
import torch

from mbz import weights
from mbz.exact.reference import ReferencePredictor
from mbz.exact.selftest import digest

TESTS = Path(__file__).parents[1]
SHIPPED = sorted((TESTS.parent / "models").glob("*_v*"))

needs_triton = pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="no Triton")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("name", conftest.MODELS)
def test_interpreted_kernels_agree_with_the_reference(name):
    program = [sys.executable, str(TESTS / "fused_digests.py"), name, "26"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    if "only 0-dimensional arrays" in done.stderr:
        pytest.skip("an interpreter of Triton that cannot take bounds of loops from this numpy")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    counts = found["counts"]
    assert counts == dict.fromkeys(counts, counts["reference"])
    assert found["intervals"]


def fused(config, tensors):
    from mbz.exact.triton_backend import FusedPredictor, supported

    device = torch.device("cuda")
    assert supported(config, device)
    return FusedPredictor(config, tensors, device)


@needs_triton
@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_shipped_models_pass_their_self_test(folder):
    model = weights.read(folder)
    assert digest(fused(model.config, model.tensors)) == model.golden


@needs_triton
@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize("lanes", [1, 40, 300])
@pytest.mark.parametrize("rows", [256, 1 << 15])
def test_lanes_and_passes_of_all_sizes_agree(model, lanes, rows, monkeypatch):
    """Many lanes and long passes take other tiles; after short passes rings wrap."""
    monkeypatch.setattr("mbz.exact.triton_backend.ROWS", rows)
    rng = np.random.default_rng(lanes)
    few = rng.integers(0, 256, (3, 170)).astype(np.uint8)
    expected = ReferencePredictor(model.config, model.tensors)
    expected.reset(3)
    counts = expected.score(few)
    data = few[np.arange(lanes) % 3]
    predictor = fused(model.config, model.tensors)
    predictor.reset(lanes)
    for start, end in ((0, 147), (147, 160)):
        got = predictor.score(data[:, start:end])
        np.testing.assert_array_equal(got, counts[np.arange(lanes) % 3, start:end])
    for i in range(160, 170):
        np.testing.assert_array_equal(predictor.counts(), counts[np.arange(lanes) % 3, i])
        predictor.push(data[:, i])
