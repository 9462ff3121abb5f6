"""The range code decoded on a CUDA device, where the counts are: as `range_code.py` does."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbz.cuda_code import compiled, memory_left
from mbz.exact import Resident
from mbz.exact.torch_resident import decode_there

__all__ = ["Ranges", "ranges_of"]

log = logging.getLogger(__name__)

_THREADS: Final = 128
_SOURCE: Final = Path(__file__).with_name("range_code.cu")
_ALL = (1 << 64) - 1


def ranges_of(predictor: Resident) -> "Ranges | None":
    """What decodes blocks beside this network, on its device; None where it cannot."""
    if predictor.device.type != "cuda":
        return None
    try:
        return Ranges(predictor)
    except (RuntimeError, OSError) as error:
        log.info("decoding on the CPU, slower (%s)", error)
        return None


def jobs_of(
    places: Sequence[tuple[int, slice]],
    codes: Sequence[bytes],
    put: Callable[[NDArray[Any]], Any],
) -> tuple[bytes, list[Any], list[Any]]:
    """Jobs of the source; what they point to, and of that the contents, wherever `put` puts it."""
    held, contents, packed = [], [], b""
    for (length, own), code in zip(places, codes, strict=True):
        words = np.frombuffer(code + bytes(8 + -len(code) % 4), ">u4").astype(np.uint32)
        state = np.array([int(words[0]) << 32 | int(words[1]), _ALL, 2], np.uint64)
        arrays = [put(array) for array in (words, state, np.zeros(length, np.uint8))]
        held += arrays
        contents.append(arrays[-1])
        lanes = own.stop - own.start
        steps = -(-length // lanes)
        packed += np.array([*map(address_of, arrays), words.size], np.int64).tobytes()
        packed += np.array(
            [lanes, length - (steps - 1) * lanes, own.start, steps], np.int32
        ).tobytes()
    return packed, held, contents


def address_of(array: Any) -> int:  # noqa: ANN401 - of torch or numpy
    """Where its memory is."""
    return array.data_ptr() if isinstance(array, Tensor) else array.ctypes.data


class Ranges:
    """`mbz.together.Coders` without experts, beside one network; it only decodes.

    Attributes:
        memory: bytes of the device that blocks may take together.
    """

    def __init__(self, predictor: Resident) -> None:
        """Compiles for the device.

        Raises:
            RuntimeError, OSError: that fails.
        """
        self._predictor, self._device = predictor, predictor.device
        source = _SOURCE.read_text("utf-8")
        self._kernel = compiled(source, "decode_bytes", _THREADS, self._device)
        self.memory = memory_left(self._device) // 3

    def begin(self, places: Sequence[tuple[int, slice]], decoders: Sequence[bytes]) -> None:
        """Takes lengths of blocks and which lanes are theirs, and their codes."""
        self._sizes = [(length, -(-length // (own.stop - own.start))) for length, own in places]
        self._lanes = max(own.stop for _, own in places)

        def put(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(array).to(self._device)

        packed, self._held, self._contents = jobs_of(places, decoders, put)
        self._jobs = put(np.frombuffer(packed, np.uint8).copy())
        self._step = torch.zeros(1, dtype=torch.long, device=self._device)

    @torch.inference_mode()
    def decode(self, reports: Sequence[Callable[[int], object]]) -> list[bytes]:
        """The contents of all blocks; reports how many bytes of each are done."""
        decode_there(self._predictor, self._lanes, self._sizes, self._decode, reports)
        return [content.cpu().numpy().tobytes() for content in self._contents]

    def _decode(self, step: int, counts_BV: Tensor, symbols_B: Tensor) -> None:
        self._step.fill_(step)
        given = self._jobs, self._step, counts_BV, (counts_BV.stride(0),), symbols_B
        self._kernel(len(self._contents), 0, given)
