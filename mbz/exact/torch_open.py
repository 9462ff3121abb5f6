"""Opens a predictor on a torch device, with what is sound and fastest there."""

import logging
import os
from collections.abc import Callable

import torch

from mbz.config import ModelConfig
from mbz.exact import Predictor
from mbz.exact.paced_threads import PacedThreads
from mbz.exact.torch_backend import AnyStack, Stack, TorchPredictor
from mbz.exact.torch_matrix import choose
from mbz.weights import Tensors

log = logging.getLogger(__name__)

MOST_THREADS = 16


def open_on(
    config: ModelConfig, tensors: Tensors, device: str, threads: int | None
) -> Predictor | None:
    """A predictor on "auto", "cpu" or "cuda"; None where torch has no sound integer product.

    On the CPU it sets the threads of torch and numba in this process, and keeps changing them.

    Args:
        config: the network.
        tensors: its weights.
        device: where to run; "auto" takes CUDA where there is one.
        threads: at most, on the CPU; None means one for each core that this process may use.

    Raises:
        ValueError: an unknown device, or one that this machine lacks.
    """
    place = find_device(device)
    matrix = choose(place)
    if matrix is None:
        return None
    if place.type == "cuda":
        return TorchPredictor(config, tensors, place, matrix)
    most = min(threads or usable_cores(), MOST_THREADS)
    stack, set_threads = cpu_stack()
    predictor = TorchPredictor(config, tensors, place, matrix, stack)
    return PacedThreads(predictor, most, set_threads)


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


def usable_cores() -> int:
    """Cores that this process may run on, where the system says so."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_stack() -> tuple[type[AnyStack], Callable[[int], None]]:
    """The stack of fused kernels, or of torch operations where numba is missing; its threads."""
    try:
        import numba  # noqa: PLC0415

        from mbz.exact.torch_cpu import CpuStack  # noqa: PLC0415
    except (ImportError, RuntimeError) as error:  # RuntimeError: nowhere to keep compiled code
        log.info("the CPU kernels need numba; going on in torch, slower (%s)", error)
        return Stack, torch.set_num_threads
    limit = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]

    def set_threads(count: int) -> None:
        torch.set_num_threads(count)
        numba.set_num_threads(min(count, limit))

    return CpuStack, set_threads
