"""Opens a predictor on a torch device, with what is sound and fastest there."""

import logging
import os

import torch

from mbz.config import ModelConfig
from mbz.exact import Predictor
from mbz.exact.lane_threads import LaneThreads
from mbz.exact.torch_backend import AnyStack, Stack, TorchPredictor
from mbz.exact.torch_matrix import choose
from mbz.weights import Tensors

log = logging.getLogger(__name__)

MOST_THREADS = 16


def open_on(
    config: ModelConfig, tensors: Tensors, device: str, threads: int | None
) -> Predictor | None:
    """A predictor on "auto", "cpu" or "cuda"; None where torch has no sound integer product.

    On the CPU torch's own threads are turned off in this process: lanes are shared out instead.

    Args:
        config: the network.
        tensors: its weights.
        device: where to run; "auto" takes CUDA where there is one.
        threads: on the CPU; None takes one for each core that this process may use.

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
    place = torch.device(device)
    if device == "cpu":
        torch.set_num_threads(1)
    matrix = choose(place)
    if matrix is None:
        return None
    if device == "cuda":
        return TorchPredictor(config, tensors, place, matrix)
    stack = cpu_stack()
    count = min(threads or len(os.sched_getaffinity(0)), MOST_THREADS)
    group = [TorchPredictor(config, tensors, place, matrix, stack) for _ in range(count)]
    return LaneThreads(list(group), lambda: torch.set_num_threads(1))


def cpu_stack() -> type[AnyStack]:
    """The stack of fused kernels, or the one of torch operations where numba is missing."""
    try:
        from mbz.exact.torch_cpu import CpuStack  # noqa: PLC0415
    except (ImportError, RuntimeError) as error:  # RuntimeError: nowhere to keep compiled code
        log.info("the CPU kernels need numba; going on in torch, slower (%s)", error)
        return Stack
    return CpuStack
