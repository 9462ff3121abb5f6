"""The network and the mixing coders of several blocks, without the host in between."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from mbz.cuda_code import Kernel, compiled, memory_left
from mbz.errors import MbzError
from mbz.exact import Resident
from mbz.exact.torch_resident import decode_there
from mbz.mixing import begun_to_copy
from mbz.mixing.bits import BitDecoder
from mbz.mixing.cuda import selftest
from mbz.mixing.cuda.blocks import Blocks
from mbz.mixing.cuda.source import scratch_of, source
from mbz.mixing.memory import Memory

__all__ = ["Mixing"]

_THREADS = 512  # of a block; more of them have too few registers


@cache
def _sound_kernel(device: torch.device) -> Kernel:
    kernel = compiled(source(), "code", _THREADS, device)
    if selftest.digest(kernel, device) != selftest.DIGEST:
        msg = "mixing fails its self-test"
        raise RuntimeError(msg)
    return kernel


class Mixing:
    """`mbz.together.Coders` with experts, beside one network.

    Attributes:
        memory: bytes of the device that blocks may take together.
    """

    def __init__(self, predictor: Resident) -> None:
        """Compiles for the device.

        Raises:
            RuntimeError, OSError: that fails, or what it gives is wrong.
        """
        self._predictor, self._device = predictor, predictor.device
        self._kernel = _sound_kernel(self._device)
        self._stream = torch.cuda.Stream(self._device)  # mixes while the network is ahead
        self.memory = memory_left(self._device) // 3

    def takes(self, use: str, lanes: int) -> bool:
        """Whether the shared memory of the device is enough for blocks of so many lanes."""
        # Makes what all blocks share, before several threads want it at once.
        memory = begun_to_copy(lanes, lanes, use=use, network=True)
        return scratch_of(memory) <= self._kernel.most_shared

    def begin(
        self,
        places: Sequence[tuple[Memory, slice]],
        decoders: Sequence[BitDecoder] = (),
    ) -> None:
        """Takes memories that have seen nothing, and which lanes are theirs; codes, to decode.

        Raises:
            MbzError: the device's memory is not enough.
        """
        memories, lanes = zip(*places, strict=True)
        firsts = [own.start for own in lanes]
        self._lanes = max(own.stop for own in lanes)
        try:
            self._blocks = Blocks(self._kernel, self._device, memories, firsts, decoders or None)
        except torch.OutOfMemoryError as error:
            # Others may have taken it since it was found to be free.
            msg = "The GPU has too little memory left; --device cpu does without it."
            raise MbzError(msg) from error
        self._sizes = [(int(memory.starts[-1]), int(memory.starts[1])) for memory in memories]
        self._done = 0

    @torch.inference_mode()
    def score(self, symbols_BS: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Chances (S, 8, B) of the bits of the next bytes."""
        lanes, steps = symbols_BS.shape
        found = torch.empty((steps, 8, lanes), dtype=torch.int16, pin_memory=True)
        network, mixing = torch.cuda.current_stream(self._device), self._stream
        at_once = max(1, self._predictor.rows // lanes)
        done: list[torch.cuda.Event] = []
        for start in range(0, steps, at_once):
            part_BS = np.ascontiguousarray(symbols_BS[:, start : start + at_once])
            if len(done) > 1:  # or counts would fill the memory
                network.wait_event(done[-2])
            counts = self._predictor.score_there(part_BS)
            symbols = torch.from_numpy(part_BS).to(self._device).long()
            mixing.wait_stream(network)
            with torch.cuda.stream(mixing):
                chances = self._blocks.score(self._done, counts, symbols)
                found[start : start + at_once].copy_(chances, non_blocking=True)
                done.append(mixing.record_event())
            for given in (counts, symbols):
                given.record_stream(mixing)
            self._done += part_BS.shape[1]
        mixing.synchronize()
        return found.numpy().view(np.uint16)

    @torch.inference_mode()
    def decode(self, reports: Sequence[Callable[[int], object]]) -> list[bytes]:
        """The contents of all blocks; reports how many bytes of each are done."""
        decode_there(self._predictor, self._lanes, self._sizes, self._blocks.decode, reports)
        return self._blocks.contents()
