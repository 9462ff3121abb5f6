"""Opens a predictor on a torch device, with what is sound and fastest there."""

import logging
from collections.abc import Iterator

import torch

from mbz.config import ModelConfig
from mbz.exact import Predictor
from mbz.exact.selftest import digest
from mbz.exact.torch_backend import TorchPredictor
from mbz.exact.torch_matrix import choose
from mbz.exact.torch_steps import SteppingPredictor
from mbz.weights import Tensors

log = logging.getLogger(__name__)


def open_on(config: ModelConfig, tensors: Tensors, device: str) -> Iterator[Predictor]:
    """Predictors on "cpu" or "cuda", the fastest first; none without a sound integer product.

    Args:
        config: the network.
        tensors: its weights.
        device: where to run; "auto" takes CUDA or, where there is none, gives none.

    Raises:
        ValueError: an unknown device, or one that this machine lacks.
    """
    place = find_device(device)
    if device == "auto" and place.type == "cpu":
        return
    if place.type != "cpu" and (fused := open_fused(config, tensors, place)) is not None:
        yield fused
    if (matrix := choose(place)) is not None:
        kind = TorchPredictor if place.type == "cpu" else SteppingPredictor
        yield kind(config, tensors, place, matrix)


def open_fused(config: ModelConfig, tensors: Tensors, device: torch.device) -> Predictor | None:
    """The predictor of fused kernels, compiled; None where Triton or the device cannot have it."""
    try:
        from mbz.exact.triton_backend import FusedPredictor, supported  # noqa: PLC0415

        if not supported(config, device):
            return None
        predictor = FusedPredictor(config, tensors, device)
        digest(predictor)
    except Exception as error:  # noqa: BLE001  (no Triton, no C compiler, too little shared memory)
        log.info("going on without fused kernels, slower (%s)", error)
        return None
    return predictor


def find_device(device: str) -> torch.device:
    """The torch device for "auto", "cpu" or "cuda"; ValueError if this machine lacks it."""
    if device not in ("auto", "cpu", "cuda"):
        msg = f"device must be auto, cpu or cuda, not {device}"
        raise ValueError(msg)
    if device == "cuda" and not torch.cuda.is_available():
        msg = "device cuda is not available on this machine"
        raise ValueError(msg)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)
