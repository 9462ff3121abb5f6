"""The exported integer network says nearly what the float model with simulated rounding says."""

import numpy as np
import pytest
import torch

from mbz import versions, weights
from mbz.errors import ModelError
from mbz.exact.reference import ReferencePredictor
from mbz.model import Megabyte
from mbz.quantize import export, float_state, integer_tensors

ARITHMETIC = b'\\"arithmetic\\": %d'


def test_exact_follows_the_simulation(model, lively_model):
    rng = np.random.default_rng(1)
    data = rng.integers(0, 256, (4, model.config.patch * 12)).astype(np.uint8)
    with torch.no_grad():
        logits = lively_model(torch.from_numpy(data).int())
    p = torch.softmax(logits.double(), -1).numpy()
    exact = ReferencePredictor(model.config, integer_tensors(lively_model))
    exact.reset(len(data))
    q = (exact.score(data).astype(np.float64) + 1) / 2**24
    entropy = -(p * np.log2(p)).sum(-1).mean()
    divergence = (p * np.log2(p / q)).sum(-1).mean()
    assert entropy < 5  # not the uniform distribution, which any network of zeros would give
    assert 0 <= divergence < 0.02


def test_export_round_trip(tmp_path, model, lively_model):
    export(lively_model, "trial", tmp_path / "trial")
    loaded = weights.read(tmp_path / "trial")
    assert loaded.name == "trial"
    assert loaded.config == model.config
    for name, tensor in integer_tensors(lively_model).items():
        np.testing.assert_array_equal(loaded.tensors[name], tensor)
    with pytest.raises(FileExistsError):
        export(lively_model, "trial", tmp_path / "trial")


def test_weights_taken_back_to_floats_export_to_the_same_integers(lively_model):
    config, before = lively_model.config, integer_tensors(lively_model)
    back = Megabyte(config)
    back.load_state_dict(float_state(config, before))
    after = integer_tensors(back)
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        if name.endswith(("scale", "sharpness")):
            np.testing.assert_allclose(after[name], tensor, rtol=1e-6)
        else:
            np.testing.assert_array_equal(after[name], tensor)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda blob: blob[:-1], "not a usable model"),
        (lambda blob: blob[:100], "not a usable model"),
        (lambda blob: b"\xff" * 8 + blob[8:], "not a usable model"),
        (lambda blob: blob.replace(b'\\"patch\\": 4', b'\\"patch\\": 5'), "not a usable model"),
        (lambda blob: blob.replace(ARITHMETIC % versions.NETWORK, ARITHMETIC % 9), "arithmetic"),
        (lambda _: b"", "not a usable model"),
    ],
    ids=["cut", "header-only", "length", "shape", "arithmetic", "empty"],
)
def test_bad_weight_files_are_refused(tmp_path, tiny_model_dir, fault, says):
    blob = (tiny_model_dir / weights.FILE_NAME).read_bytes()
    assert fault(blob) != blob
    (tmp_path / weights.FILE_NAME).write_bytes(fault(blob))
    with pytest.raises(ModelError, match=says):
        weights.read(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        weights.read(tmp_path / "nowhere")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scales_that_are_no_numbers_are_refused(model, value):
    tensors = dict(model.tensors)
    tensors["head.scale"] = tensors["head.scale"].copy()
    tensors["head.scale"][3] = value
    with pytest.raises(ValueError, match=r"head\.scale"):
        weights.check(model.config, tensors)


def test_minus_128_is_refused(model):
    tensors = dict(model.tensors)
    tensors["head.weight"] = tensors["head.weight"].copy()
    tensors["head.weight"][0, 0] = -128
    with pytest.raises(ValueError, match=r"head\.weight"):
        weights.check(model.config, tensors)
