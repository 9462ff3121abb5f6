"""Steps of the mixing coder that other compiled code can call for, by addresses.

So one thread can go on with one block after the other, a byte of all lanes each, without Python.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from mbz.mixing import kernel
from mbz.mixing.bits import BitDecoder
from mbz.mixing.compiled import function
from mbz.mixing.memory import Memory, open_memory
from mbz.pointers import address_of, call_with
from mbz.records import Held, at_address

CODE, AT, LANES, LAST = range(4)


class _Job(NamedTuple):
    """What `step` works on, for the most part arguments of `kernel.code`."""

    words: NDArray[np.int64]  # the address of `kernel.code`, the step, lanes, lanes in the last
    output: NDArray[np.uint8]  # (T, L)
    memory: Memory
    of_step: NDArray[np.int64]  # (1,): lanes of the step at hand, like what follows
    bits: NDArray[np.int64]
    counts: NDArray[np.uint32]
    chances: NDArray[np.int32]
    source: NDArray[np.uint8]
    coder: NDArray[np.int64]
    network: NDArray[np.int64]
    symbols: NDArray[np.uint8]
    beside: NDArray[np.int64]


def _opened(
    memory: Memory, decoder: BitDecoder, symbols_L: NDArray[np.uint8], counts_LV: NDArray[np.uint32]
) -> _Job:
    lengths = np.diff(memory.starts)
    lanes, steps = lengths.size, lengths[0]
    return _Job(
        np.array([0, 0, lanes, (lengths == steps).sum()], np.int64),
        np.zeros((steps, lanes), np.uint8),
        memory,
        np.zeros(1, np.int64),
        np.zeros((1, 8, lanes), np.int64),
        counts_LV[None],
        np.zeros((1, 8, lanes), np.int32),
        decoder.source,
        decoder.coder,
        np.zeros(0, np.int64),
        symbols_L,
        np.zeros(0, np.int64),
    )


_SAMPLE = _opened(
    open_memory("lean", [1], network=True),
    BitDecoder(b""),
    np.zeros(1, np.uint8),
    np.zeros((1, 256), np.uint32),
)
_KIND = Held(_SAMPLE).kind
_CODE_KINDS = [
    _KIND.fields["memory"],
    types.int64,
    *(_KIND.fields[name] for name in _Job._fields[3:]),
]
_job: Any = at_address(_KIND)


@function
def step(address: int) -> None:
    """Decodes the next byte of each lane, if there is one, from counts that are there."""
    job = _job(address)
    words, output = job.words, job.output
    t = words[AT]
    if t == output.shape[0]:
        return
    lanes = words[LANES] if t + 1 < output.shape[0] else words[LAST]
    job.of_step[0] = lanes
    arguments = (
        job.memory, t, job.of_step, job.bits, job.counts, job.chances, job.source,
        job.coder, job.network, job.symbols, job.beside,
    )  # fmt: skip
    # By its address, or all of it would be compiled once more, into this.
    call_with(words[CODE], arguments)
    for lane in range(lanes):
        symbol = job.memory.partial[lane] & 255
        output[t, lane] = symbol
        job.symbols[lane] = symbol
    words[AT] = t + 1


class Decoding:
    """A block that is decoded by calls of `step`.

    Attributes:
        address: the argument of `step`, as long as this lives.
        symbols_TL: the bytes, as far as decoded.
    """

    def __init__(
        self,
        memory: Memory,
        decoder: BitDecoder,
        symbols_L: NDArray[np.uint8],
        counts_LV: NDArray[np.uint32],
    ) -> None:
        """Starts a block.

        Args:
            memory: of its `Mixer`.
            decoder: holds the code.
            symbols_L: takes the byte of each lane, at every step.
            counts_LV: where a network's counts are to be found, at every step.
        """
        self._job = _opened(memory, decoder, symbols_L, counts_LV)
        self._job.words[CODE] = address_of(kernel.code, *_CODE_KINDS)
        self._held = Held(self._job)
        assert self._held.kind == _KIND
        self.address = self._held.address
        self.symbols_TL = self._job.output


def step_address() -> int:
    """Where `step` is."""
    return address_of(step)
