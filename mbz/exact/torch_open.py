"""Opens a predictor on a torch device, with what is sound and fastest there."""

import torch

from mbz.config import ModelConfig
from mbz.exact import Predictor
from mbz.exact.torch_backend import TorchPredictor
from mbz.exact.torch_matrix import choose
from mbz.exact.torch_steps import SteppingPredictor
from mbz.weights import Tensors


def open_on(config: ModelConfig, tensors: Tensors, device: str) -> Predictor | None:
    """A predictor on "cpu" or "cuda"; None where torch has no sound integer product.

    Args:
        config: the network.
        tensors: its weights.
        device: where to run; "auto" takes CUDA or, where there is none, gives None.

    Raises:
        ValueError: an unknown device, or one that this machine lacks.
    """
    place = find_device(device)
    if device == "auto" and place.type == "cpu":
        return None
    matrix = choose(place)
    if matrix is None:
        return None
    kind = SteppingPredictor if place.type == "cuda" else TorchPredictor
    return kind(config, tensors, place, matrix)


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
