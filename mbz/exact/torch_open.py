"""Opens a predictor on a torch device, with what is sound and fastest there."""

import logging

import torch

from mbz.config import ModelConfig
from mbz.exact.torch_backend import AnyStack, Stack, TorchPredictor
from mbz.exact.torch_matrix import choose
from mbz.weights import Tensors

log = logging.getLogger(__name__)


def open_on(
    config: ModelConfig, tensors: Tensors, device: str, threads: int | None
) -> TorchPredictor | None:
    """A predictor on "auto", "cpu" or "cuda"; None where torch has no sound integer product.

    Raises:
        ValueError: an unknown device, or one that this machine lacks.
    """
    if device not in ("auto", "cpu", "cuda"):
        msg = f"device must be auto, cpu or cuda, not {device}"
        raise ValueError(msg)
    if device == "cuda" and not torch.cuda.is_available():
        msg = "device cuda is not available on this machine"
        raise ValueError(msg)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if threads is not None:
        torch.set_num_threads(threads)
    place = torch.device(device)
    matrix = choose(place)
    if matrix is None:
        return None
    stack = numba_stack(threads) if device == "cpu" else Stack
    return TorchPredictor(config, tensors, place, matrix, stack)


def numba_stack(threads: int | None) -> type[AnyStack]:
    """The stack of fused CPU kernels, or the one of torch operations where numba is missing."""
    try:
        import numba  # noqa: PLC0415

        from mbz.exact.torch_cpu import CpuStack  # noqa: PLC0415
    except (ImportError, RuntimeError) as error:  # RuntimeError: nowhere to keep compiled code
        log.info("the CPU kernels need numba; going on in torch, slower (%s)", error)
        return Stack
    if threads is not None:
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    return CpuStack
