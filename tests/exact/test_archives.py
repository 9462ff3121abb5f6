"""Archives made by one backend are restored by every other, at all sizes that may be special."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sampled import sampled

from mbz import codec, weights
from mbz.container import Coding, Kind, ModelId
from mbz.exact import Predictor, open_predictor
from mbz.exact.reference import ReferencePredictor
from mbz.exact.torch_backend import TorchPredictor
from mbz.exact.torch_matrix import FloatMatrix
from mbz.exact.torch_steps import SteppingPredictor
from mbz.payload import decode, encode

# The tiny model: patch 4, local window 8 bytes, global window 6 patches. The other one, with an
# encoder and n-grams: patch 3, local window 3 bytes, global window 5 patches.
SIZES = sorted({*range(1, 65), *(n + d for n in (72, 96, 120, 144, 240) for d in (-1, 0, 1))})


@pytest.fixture(scope="module", params=["tiny_model_dir", "both_model_dir"])
def folder(request) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def backends(folder) -> dict[str, Predictor]:
    model = weights.read(folder)
    cpu = torch.device("cpu")
    return {
        "reference": ReferencePredictor(model.config, model.tensors),
        "torch": TorchPredictor(model.config, model.tensors, cpu, FloatMatrix),
        "steps": SteppingPredictor(model.config, model.tensors, cpu, FloatMatrix),
        "chosen": open_predictor(model, "cpu"),
    }


@pytest.mark.parametrize(("lanes", "sizes"), [(1, SIZES), (3, SIZES[::2])], ids=["1", "3"])
def test_every_backend_restores_what_another_made(folder, backends, lanes, sizes):
    data = sampled(backends["chosen"], max(SIZES))
    for size in sizes if folder.name == "tiny-test" else sizes[::4]:
        coding = Coding(lanes=min(lanes, size), network=True, experts=size % 3)
        code = encode(data[:size], coding, backends["chosen"], lambda _: None)
        # The slow ones see whole patches, of the model's 4 bytes, and all that is near a window.
        for name, every in (("chosen", 1), ("torch", 4), ("steps", 4), ("reference", 8)):
            if size > 64 or size % every == 0:
                if name != "chosen":
                    assert encode(data[:size], coding, backends[name], lambda _: None) == code
                decoded = decode(code, size, coding, backends[name], lambda _: None)
                assert decoded == data[:size]


@pytest.mark.parametrize("size", [399, 400, 401, 800])
def test_whole_archives(backends, size):
    data = sampled(backends["chosen"], size)
    archive = packed(backends["chosen"], data, block_size=400)
    blocks = codec.describe(io.BytesIO(archive))[0].blocks
    assert blocks[0].block.kind == Kind.CODED
    for predictor in backends.values():
        assert packed(predictor, data, block_size=400) == archive
        out = io.BytesIO()
        codec.decompress(io.BytesIO(archive), out, lambda _fingerprint, _name, p=predictor: p)
        assert out.getvalue() == data


def packed(predictor: Predictor, data: bytes, block_size: int) -> bytes:
    out = io.BytesIO()
    name = ModelId(fingerprint=b"8 bytes.", name=None)
    codec.compress(io.BytesIO(data), out, predictor, name, block_size=block_size, lanes=3)
    return out.getvalue()


def test_an_archive_is_restored_without_torch_and_numba(folder, backends, tmp_path):
    data = sampled(backends["chosen"], 400)
    (tmp_path / "a.mbz").write_bytes(packed(backends["chosen"], data, 1 << 20))
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("torch", "numba", "typer", "rich"), None))  # import fails
from pathlib import Path
from mbz import codec, weights
from mbz.exact import open_predictor
model = weights.read(Path({str(folder)!r}))
with open("a.mbz", "rb") as src, open("a", "wb") as dst:
    codec.decompress(src, dst, lambda fingerprint, name: open_predictor(model))
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert (tmp_path / "a").read_bytes() == data


@pytest.mark.parametrize("device", ["gpu", "cuda"])
def test_devices_that_are_not_there(tiny_model_dir, device):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(ValueError, match="device"):
        open_predictor(weights.read(tiny_model_dir), device)
