"""Exact integer matrix products in torch, in two carriers that give the same numbers.

Which one may be used, and which is faster, depends on the processor and the release of torch, so
both are tried with worst-case operands when a predictor is opened (docs/exact.md, section 5).
"""

import logging
import time
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

log = logging.getLogger(__name__)

FLOAT_TERMS = 1024  # 127**2 * 1024 < 2**24


class Matrix(Protocol):
    """Integer-valued rows (M, K), int8 or float32, times an int8 matrix: int32 sums (M, N)."""

    def __init__(self, weight_NK: Tensor) -> None:
        """Takes int8 weights on the device where the products are to be."""

    def __call__(self, q_MK: Tensor) -> Tensor:
        """The exact sums."""


class FloatMatrix:
    """int8 weights carried in float32: partial sums are exact integers in any order."""

    def __init__(self, weight_NK: Tensor) -> None:
        self.slices = [part.float().t() for part in weight_NK.split(FLOAT_TERMS, 1)]

    def __call__(self, q_MK: Tensor) -> Tensor:
        """The exact sums, slice by slice."""
        first, *rest = zip(q_MK.float().split(FLOAT_TERMS, 1), self.slices, strict=True)
        total = (first[0] @ first[1]).int()
        for q, weight in rest:
            total += (q @ weight).int()
        return total


class Int8Matrix:
    """int8 weights and `torch._int_mm`, which accumulates in int32.

    On CUDA it wants more than 16 rows and all sizes in eights, so zeros are added there.
    """

    def __init__(self, weight_NK: Tensor) -> None:
        self.outputs, terms = weight_NK.shape
        self.padding = -terms % 8 if weight_NK.is_cuda else 0
        if weight_NK.is_cuda:
            weight_NK = F.pad(weight_NK, (0, self.padding, 0, -self.outputs % 8))
        self.weight = weight_NK.contiguous().t()

    def __call__(self, q_MK: Tensor) -> Tensor:
        """The exact sums."""
        rows, q = len(q_MK), q_MK.to(torch.int8)
        if q.is_cuda and (self.padding or rows < 17 or rows % 8):
            q = F.pad(q, (0, self.padding, 0, max(24 - rows, -rows % 8)))
        sums = torch._int_mm(q, self.weight)  # noqa: SLF001  (torch's only int8 product)
        return sums[:rows, : self.outputs]


def sound(matrix: type[Matrix], device: torch.device) -> bool:
    """Whether products of operands that are all +-127 come out right, for few rows and many."""
    for terms in (64, 384, 2048):
        index = torch.arange(terms)
        signs = (index * index % 7 < 4).float() * 254 - 127
        weight = torch.stack([signs, -signs, signs.abs(), -signs.abs()] * 4)
        rows = torch.stack([signs, signs.abs()] * 32)
        expected = (rows.double() @ weight.double().t()).int()
        product = matrix(weight.to(torch.int8).to(device))
        for count in (1, 2, 64):
            if not torch.equal(product(rows[:count].to(device)).cpu(), expected[:count]):
                return False
    return True


def seconds(matrix: type[Matrix], device: torch.device) -> float:
    """Best time of a product of middling size."""
    product = matrix(torch.ones((1024, 512), dtype=torch.int8, device=device))
    rows = torch.ones((64, 512), device=device)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        product(rows).cpu()
        times.append(time.perf_counter() - start)
    return min(times)


def choose(device: torch.device) -> type[Matrix] | None:
    """The faster of the sound carriers on this device; None if there is none."""
    usable: list[type[Matrix]] = []
    matrix: type[Matrix]
    for matrix in (Int8Matrix, FloatMatrix):
        try:
            if sound(matrix, device):
                usable.append(matrix)
        except (RuntimeError, AttributeError) as error:  # no such kernel in this torch
            log.debug("%s: %s", matrix.__name__, error)
    best = min(usable, key=lambda matrix: seconds(matrix, device), default=None)
    log.debug("carrier on %s: %s", device, best and best.__name__)
    return best
