"""What another thread does beside the one that consults the experts: it mixes, and decodes.

The two share nothing but the inputs of a bit, which come lane by lane, and the bits that come back.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbz.exact import crew
from mbz.mixing import kernel
from mbz.mixing.bits import BitDecoder
from mbz.mixing.compiled import function
from mbz.mixing.memory import open_memory
from mbz.pointers import address_of
from mbz.records import Held, at_address


class _Job(NamedTuple):
    """What `_weigh` works on, for the most part arguments of `kernel.code`."""

    beside: NDArray[np.int64]
    memory: Any
    bits: NDArray[np.int64]
    counts: NDArray[np.uint32]
    chances: NDArray[np.int32]
    source: NDArray[np.uint8]
    coder: NDArray[np.int64]


_KIND = Held(
    _Job(
        np.zeros(1, np.int64),
        open_memory("lean", [1], network=True),
        np.zeros((1, 8, 1), np.int64),
        np.zeros((1, 1, 256), np.uint32),
        np.zeros((1, 8, 1), np.int32),
        BitDecoder(b"").source,
        BitDecoder(b"").coder,
    )
).kind
_job: Any = at_address(_KIND)


@function
def _weigh(address: int) -> None:
    job = _job(address)
    beside = job.beside
    step, bit = beside[kernel.STEP], beside[kernel.BIT]
    kernel.weigh(
        job.memory, beside[kernel.TIME], bit, beside[kernel.COUNT], job.bits[step, bit],
        job.chances[step, bit], job.counts, 0, job.source, job.coder, beside[kernel.CREW],
    )  # fmt: skip


class Beside:
    """Has the threads of a network's crew ready to mix in a call of `kernel.code`.

    Attributes:
        words: what `kernel.code` takes, as long as this lives.
    """

    def __init__(
        self,
        *,
        address: int,
        memory: Held,
        bits_T8L: NDArray[np.int64],
        counts_TLV: NDArray[np.uint32],
        chances_T8L: NDArray[np.int32],
        decoder: BitDecoder,
    ) -> None:
        """Takes the crew's address, and what is handed to `kernel.code`."""
        self.words = np.array([address, 0, 0, 0, 0], np.int64)
        job = _Job(
            self.words, memory, bits_T8L, counts_TLV, chances_T8L, decoder.source, decoder.coder
        )
        self._held = Held(job)
        assert self._held.kind == _KIND
        crew.beside(address, address_of(_weigh), self._held.address)
