"""Mixing on a CUDA device: the blocks whose lanes go through one network there.

Counts of the network stay on the device, and so do bytes that are decoded; chances of bits that are
known come back, for the range coder.

Shapes: B blocks, L lanes of all of them, S steps.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbz.cuda_code import Kernel
from mbz.mixing.bits import BitDecoder
from mbz.mixing.cuda.source import (
    EMPTY,
    OWN,
    more_of,
    numbers_of,
    pack,
    scratch_of,
    tables_of,
)
from mbz.mixing.memory import Memory

__all__ = ["Blocks"]


class Blocks:
    """Blocks that advance together."""

    def __init__(
        self,
        kernel: Kernel,
        device: torch.device,
        memories: Sequence[Memory],
        first_lanes: Sequence[int],
        decoders: Sequence[BitDecoder] | None = None,
    ) -> None:
        """Puts the memories on the device.

        Args:
            kernel: takes all of them.
            device: where they go.
            memories: of blocks that have seen nothing, all with a network.
            first_lanes: which of all lanes is the first of each block.
            decoders: hold the codes; None to encode.
        """
        self._kernel, self._device = kernel, device
        self._shared = max(map(scratch_of, memories))
        self._sizes = [int(memory.starts[-1]) for memory in memories]
        shared: dict[int, Tensor] = {}
        self._held: list[dict[str, Tensor]] = []
        packed = []
        for n, (memory, first) in enumerate(zip(memories, first_lanes, strict=True)):
            decoder = BitDecoder(b"") if decoders is None else decoders[n]
            arrays = {name: self._shared_table(t, shared) for name, t in tables_of(memory).items()}
            for name in OWN:
                arrays[name] = self._own(name, getattr(memory, name), shared)
            arrays |= {k: self._put(array) for k, array in more_of(memory, decoder).items()}
            self._held.append(arrays)
            numbers = numbers_of(memory, first, decoder.source.size)
            packed.append(pack({k: v.data_ptr() for k, v in arrays.items()}, numbers))
        self._memories = self._put(np.frombuffer(b"".join(packed), np.uint8).copy())
        self._first = torch.zeros(1, dtype=torch.long, device=device)

    def _put(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._device)

    def _own(self, name: str, array: NDArray[Any], shared: dict[int, Tensor]) -> Tensor:
        """An array of one block, which in most of the memory are zeros."""
        if not array.flags.writeable:  # several blocks begin with it
            return self._shared_table(array, shared).clone()
        if name not in EMPTY:
            return self._put(array)
        kind = torch.from_numpy(np.zeros(0, array.dtype)).dtype
        return torch.zeros(array.shape, dtype=kind, device=self._device)

    def _shared_table(self, array: NDArray[Any], shared: dict[int, Tensor]) -> Tensor:
        key = array.ctypes.data
        if key not in shared:
            shared[key] = self._put(array)
        return shared[key]

    def score(self, first: int, counts_LSV: Tensor, symbols_LS: Tensor) -> Tensor:
        """Chances (S, 8, L) of the bits of known bytes, as int16 of which all 16 bits count.

        Args:
            first: the first of the steps.
            counts_LSV: of the network, float32.
            symbols_LS: the bytes, int64.
        """
        lanes, steps = symbols_LS.shape
        chances = torch.zeros((steps, 8, lanes), dtype=torch.int16, device=self._device)
        self._code(first, counts_LSV, symbols_LS.contiguous(), chances)
        return chances

    def decode(self, step: int, counts_LV: Tensor, symbols_L: Tensor) -> None:
        """Decodes the byte of each lane at a step, into (L,) int64."""
        self._code(step, counts_LV[:, None], symbols_L[:, None], None)

    def _code(self, first: int, counts: Tensor, symbols: Tensor, chances: Tensor | None) -> None:
        self._first.fill_(first)
        lanes, steps = symbols.shape
        strides = (counts.stride(0),), (counts.stride(1),)
        arguments = self._memories, self._first, steps, counts, *strides, symbols, chances, lanes
        self._kernel(len(self._held), self._shared, arguments)

    def contents(self) -> list[bytes]:
        """The bytes of all blocks, once they are decoded."""
        pairs = zip(self._held, self._sizes, strict=True)
        return [arrays["past"][:size].cpu().numpy().tobytes() for arrays, size in pairs]
