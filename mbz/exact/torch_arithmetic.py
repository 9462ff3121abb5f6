"""Single operations of the exact network in torch: sections 2 and 3.6 of docs/exact.md.

Traps (docs/exact.md, section 5): scalar / tensor is two roundings in torch, so numerators are
tensors; a tensor divided by a scalar may be a product; float32 sums are of integers below 2**24.

Shapes: B lanes, S positions, H bytes before a position, O orders of n-grams.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbz.config import MAX_WIDTH, ModelConfig
from mbz.exact import fixed
from mbz.exact.torch_matrix import Matrix
from mbz.weights import Tensors


class Arithmetic:
    """Section 2 of docs/exact.md on one device: tables, constants and row operations."""

    def __init__(self, device: torch.device, matrix: type[Matrix]) -> None:
        self.device, self.matrix = device, matrix
        self.roots = self.put(fixed.root_table())
        self.attention = self.put(fixed.attention_table())
        self.output = self.put(fixed.output_table().astype(np.float64))
        self.full = self.put(np.array([127], np.float32))
        self.attention_sum = self.put(np.array([fixed.ATTENTION_SUM], np.float32))
        self.count_sum = self.put(np.array([fixed.COUNT_SUM], np.float64))
        self.step = float(fixed.STEP)

    def put(self, array: NDArray[np.generic]) -> Tensor:
        """A numpy array on the device; on the CPU it may share the memory."""
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self.device)

    def fetch(self, x: Tensor) -> Tensor:
        """A copy of a tensor on its way to the host, where it is after `wait`.

        Memory that cannot be paged out takes it at the full rate of the bus, while the host goes
        on; torch keeps such memory to use it again.
        """
        host = torch.empty(x.shape, dtype=x.dtype, pin_memory=x.is_cuda)
        return host.copy_(x, non_blocking=True)

    def wait(self) -> None:
        """Returns when all that was asked of the device is done."""
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()

    def quantise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """2.1: rows to integers, and the largest magnitude of each row."""
        largest = x.abs().amax(-1, keepdim=True).clamp_min_(float(fixed.SMALLEST))
        return (x * (self.full / largest)).round_(), largest

    def sum_of_squares(self, q: Tensor) -> Tensor:
        """2.2: at least 1."""
        kind = torch.float32 if q.shape[-1] <= MAX_WIDTH else torch.float64
        return (q * q).sum(-1, keepdim=True, dtype=kind).float().clamp_min_(1)

    def root(self, q: Tensor) -> Tensor:
        """2.3 of 2.2: the reciprocal root of the sum of squares of each row."""
        bits = self.sum_of_squares(q).view(torch.int32)
        return self.roots[(bits >> (23 - fixed.ROOT_BITS)) - (127 << fixed.ROOT_BITS)]

    def softmax(self, scores: Tensor) -> Tensor:
        """2.6: integer weights that sum to at most 2**14; overwrites the scores."""
        largest = scores.amax(-1, keepdim=True)
        n = torch.sub(largest, scores, out=scores).round_().clamp_max_(len(self.attention) - 1)
        w = self.attention[n.int()]
        return w.mul_(self.attention_sum / w.sum(-1, keepdim=True)).floor_()

    def counts(self, logits: Tensor) -> Tensor:
        """2.7: counts of the 256 bytes, float32."""
        n = (logits.amax(-1, keepdim=True) - logits).round_().clamp_max_(len(self.output) - 1)
        w = self.output[n.int()]
        counts = (w * (self.count_sum / w.sum(-1, keepdim=True))).floor_()
        top = w.argmax(-1, keepdim=True)  # the first, where several are largest
        return counts.scatter_add_(-1, top, self.count_sum - counts.sum(-1, keepdim=True)).float()


class Linear:
    """2.4: an int8 matrix with one float32 scale per output."""

    def __init__(self, arithmetic: Arithmetic, tensors: Tensors, name: str) -> None:
        self.matrix = arithmetic.matrix(arithmetic.put(tensors[f"{name}.weight"]))
        self.scale = arithmetic.put(tensors[f"{name}.scale"])

    def __call__(self, q: Tensor) -> Tensor:
        """Rows of any leading shape."""
        return (self.matrix(q.flatten(0, -2)).float() * self.scale).unflatten(0, q.shape[:-1])


class Ngrams:
    """3.6: what the tables hold for the bytes before each position."""

    def __init__(self, arithmetic: Arithmetic, tensors: Tensors, config: ModelConfig) -> None:
        self.rows = config.ngram_rows
        self.table = arithmetic.put(tensors["ngrams"].reshape(-1, config.ngram_width))
        self.factors = arithmetic.put(fixed.ngram_factors(config.ngram_orders))
        self.first = arithmetic.put(np.arange(len(config.ngram_orders)) * self.rows)

    def __call__(self, before_BSH: Tensor) -> Tensor:
        """The rows of all orders side by side, (B, S, O * width)."""
        rows_BSO = fixed.ngram_rows(before_BSH, self.factors, self.rows) + self.first
        return self.table[rows_BSO].flatten(2).float().mul_(1 / fixed.NGRAM_STEPS)
