"""Exact integer matrix products in torch, in two carriers that give the same numbers.

Which one may be used, and which is faster, depends on the processor and the release of torch, so
both are tried with worst-case operands when a predictor is opened (docs/exact.md, section 5).
"""

import logging
import time
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger(__name__)

FLOAT_TERMS = 1024  # 127**2 * 1024 < 2**24
Matrix = Callable[[Tensor], Tensor]
"""Takes integer-valued float32 rows (M, K), gives the products with a matrix (M, N) in float32."""


class FloatMatrix:
    """int8 weights carried in float32: partial sums are exact integers in any order."""

    def __init__(self, weight_NK: Tensor) -> None:
        self.slices = [part.float().t() for part in weight_NK.split(FLOAT_TERMS, 1)]

    def __call__(self, q_MK: Tensor) -> Tensor:
        """Products, rounded once to float32."""
        if len(self.slices) == 1:
            return q_MK @ self.slices[0]
        parts = zip(q_MK.split(FLOAT_TERMS, 1), self.slices, strict=True)
        total = sum((q @ weight).int() for q, weight in parts)
        assert isinstance(total, Tensor)
        return total.float()


class Int8Matrix:
    """int8 weights and `torch._int_mm`, which accumulates in int32."""

    def __init__(self, weight_NK: Tensor) -> None:
        self.weight = weight_NK.t()

    def __call__(self, q_MK: Tensor) -> Tensor:
        """Products, rounded once to float32."""
        rows, q = len(q_MK), q_MK.to(torch.int8)
        if q.is_cuda:  # more than 16 rows, in eights, columns in eights
            columns = -q.shape[1] % 8
            q = torch.nn.functional.pad(q, (0, columns, 0, max(24 - rows, -rows % 8)))
        return torch._int_mm(q, self.weight)[:rows].float()  # noqa: SLF001  (the only int8 product)


def sound(matrix: Callable[[Tensor], Matrix], device: torch.device) -> bool:
    """Whether products of operands that are all +-127 come out right, for few rows and many."""
    for terms in (64, 384, 2048):
        index = torch.arange(terms)
        signs = (index * index % 7 < 4).float() * 254 - 127
        weight = torch.stack([signs, -signs, signs.abs(), -signs.abs()] * 4)
        rows = torch.stack([signs, signs.abs()] * 32)
        expected = (rows.double() @ weight.double().t()).float()
        product = matrix(weight.to(torch.int8).to(device))
        for count in (1, 2, 64):
            if not torch.equal(product(rows[:count].to(device)).cpu(), expected[:count]):
                return False
    return True


def seconds(matrix: Callable[[Tensor], Matrix], device: torch.device) -> float:
    """Best time of a product of middling size."""
    product = matrix(torch.ones((1024, 512), dtype=torch.int8, device=device))
    rows = torch.ones((64, 512), device=device)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        product(rows).cpu()
        times.append(time.perf_counter() - start)
    return min(times)


def choose(device: torch.device) -> Callable[[Tensor], Matrix] | None:
    """The faster of the sound carriers on this device; None if there is none."""
    usable = []
    for matrix in (Int8Matrix, FloatMatrix):
        try:
            if sound(matrix, device):
                usable.append(matrix)
        except (RuntimeError, AttributeError) as error:  # no such kernel in this torch
            log.debug("%s: %s", matrix.__name__, error)
    best = min(usable, key=lambda matrix: seconds(matrix, device), default=None)
    log.debug("carrier on %s: %s", device, best.__name__ if best else None)
    return best
