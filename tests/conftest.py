"""Fixtures: small untrained models whose weights are drawn by numpy, equal on every machine."""

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from mbz import weights
from mbz.config import ModelConfig, StackConfig
from mbz.exact import fixed
from mbz.exact.reference import ReferencePredictor
from mbz.exact.selftest import digest

settings.register_profile("default", max_examples=25, deadline=None)
settings.register_profile("expensive", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

TINY = ModelConfig(
    patch=4,
    byte_width=8,
    projection="dense",
    global_stack=StackConfig(width=32, layers=2, heads=2, kv_heads=1, window=6, hidden=64),
    local_stack=StackConfig(width=32, layers=2, heads=4, kv_heads=2, window=8, hidden=64),
)
# Every other path: projections, a shared output matrix, an odd patch, one KV head per head.
ODD = ModelConfig(
    patch=3,
    byte_width=10,
    projection="shared",
    global_stack=StackConfig(width=48, layers=1, heads=2, kv_heads=2, window=5, hidden=1100),
    local_stack=StackConfig(width=20, layers=1, heads=2, kv_heads=1, window=3, hidden=40),
)

# What the paper's network has not: an encoder, and hashed n-grams.
ENCODER = replace(TINY, byte_width=32, encoder_layers=1)
NGRAMS = replace(TINY, ngram_orders=(3,), ngram_rows=16, ngram_width=32)
BOTH = replace(
    ODD,
    byte_width=20,
    projection="dense",
    encoder_layers=2,
    ngram_orders=(2, 5),
    ngram_rows=64,
    ngram_width=7,
)
MODELS = {"tiny": TINY, "odd": ODD, "encoder": ENCODER, "ngrams": NGRAMS, "both": BOTH}


def random_tensors(config: ModelConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights that make lively distributions, without any training."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}
    for name, (shape, dtype) in weights.layout(config).items():
        stack = config.global_stack if name.startswith("global") else config.local_stack
        if name.endswith("rotary"):
            tensors[name] = fixed.rotary_table(stack.window, stack.head_dim)
        elif dtype is np.int8:
            tensors[name] = rng.integers(-127, 128, shape, np.int8)
        elif name.endswith("sharpness"):
            tensors[name] = rng.uniform(100, 300, shape).astype(np.float32)
        elif name.endswith("scale"):
            fan_in = tensors[name.replace("scale", "weight")].shape[1]
            size = 160 * fan_in**0.5 if name.startswith("head") else 0.3
            size *= fan_in**0.5 if name.startswith(("embed", "project")) else 1.0
            size *= stack.width if "down" in name else 1.0
            size /= 2**19 if "out" in name else 1.0
            spread = rng.uniform(0.5, 1.5, shape) * size / (73 * fan_in**0.5)
            tensors[name] = spread.astype(np.float32)
        else:
            tensors[name] = (rng.integers(-4096, 4097, shape) / 4096).astype(np.float32)
    return tensors


# A shell that starts the tests in the background has interrupts ignored, and what the tests start
# would ignore them too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Model:
    """Configuration and tensors of a test model."""

    config: ModelConfig
    tensors: dict[str, np.ndarray]


@pytest.fixture(scope="session", params=MODELS.values(), ids=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    """Each of the test models in turn."""
    return Model(request.param, random_tensors(request.param))


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    """The configuration of the first test model."""
    return TINY


@pytest.fixture
def lively_model(model: Model):
    """A float model, untrained, whose zero-initialised matrices have been filled; only to read."""
    import torch

    from mbz.training.start import untrained

    float_model = untrained(model.config, seed=0, device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in float_model.named_parameters():
            if name.endswith(("out.weight", "down.weight", "head.weight")):
                scale = p.shape[1] ** -0.5 * (3 if "head" in name else 1)
                p.normal_(std=scale, generator=generator)
            if name.endswith("sharpness"):
                p.uniform_(1, 3, generator=generator)
    return float_model


def write_model(config: ModelConfig, folder: Path) -> Path:
    """Makes a model folder with an untrained model, named as the folder."""
    tensors = random_tensors(config)
    golden = digest(ReferencePredictor(config, tensors))
    weights.write(folder, name=folder.name, config=config, tensors=tensors, golden=golden)
    return folder


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder named "tiny-test" with an untrained model."""
    return write_model(TINY, tmp_path_factory.mktemp("models") / "tiny-test")


@pytest.fixture(scope="session")
def odd_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another, apart from the first, named "odd-test"."""
    return write_model(ODD, tmp_path_factory.mktemp("models") / "odd-test")


@pytest.fixture(scope="session")
def both_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A third, with an encoder and n-grams, named "both-test"."""
    return write_model(BOTH, tmp_path_factory.mktemp("models") / "both-test")
