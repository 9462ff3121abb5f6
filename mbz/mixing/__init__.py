"""Mixing: adaptive experts, and a network if there is one, agree on each next bit.

`docs/mixing.md` is the specification. Nothing here uses floats or depends on the machine. The first
use on a machine compiles for about half a minute (numba keeps the result).
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from mbz.compiled import announce
from mbz.mixing import kernel
from mbz.mixing.bits import BitDecoder, BitEncoder
from mbz.mixing.compiled import held
from mbz.mixing.experts import SETS
from mbz.mixing.memory import SAME, Memory, open_memory
from mbz.mixing.start import Start, begin_with, shipped
from mbz.steps import Steps

__all__ = ["SETS", "BitDecoder", "BitEncoder", "Mixer", "begun", "begun_to_copy"]

_NO_COUNTS = np.zeros((0, 0, 0), np.uint32)
_NOTHING, _NO_CODER = np.frombuffer(b"", np.uint8), np.zeros(0, np.int64)
_NO_CALL, _NO_SYMBOLS = np.zeros(0, np.int64), np.zeros(0, np.uint8)
_ALONE = np.zeros(0, np.int64)

WORTH_TWO = 50
"""Experts times lanes from which on two threads do a bit faster than one."""


def begun(
    size: int, lanes: int, *, use: str, network: bool, stride: int = 4, unit: int = 1,
    phase: int = 0, start: Start | None = None,
) -> Memory:  # fmt: skip
    """What the mixing coder of a block knows before its first byte; arguments as for `Mixer`."""
    lengths = _lengths(size, lanes, stride, unit, phase)
    memory = open_memory(use, lengths, network=network, stride=stride, unit=unit, phase=phase)
    begin_with(start or shipped(), memory, use)
    return memory


def begun_to_copy(
    size: int, lanes: int, *, use: str, network: bool, stride: int = 4, unit: int = 1,
    phase: int = 0,
) -> Memory:  # fmt: skip
    """The same for text, but with arrays SAME that all such blocks share, so that it takes less.

    Nobody may write to these.
    """
    lengths = _lengths(size, lanes, stride, unit, phase)
    return open_memory(
        use, lengths, network=network, stride=stride, unit=unit, phase=phase,
        same=_same(use, network=network),
    )  # fmt: skip


@cache
def _same(use: str, *, network: bool) -> dict[str, NDArray[np.int32]]:
    memory = begun(1, 1, use=use, network=network)
    arrays: dict[str, NDArray[np.int32]] = {name: getattr(memory, name) for name in SAME}
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def _lengths(size: int, lanes: int, stride: int, unit: int, phase: int) -> list[int]:
    """Bytes of the lanes of a block; ValueError if what it is said to be cannot be."""
    if not 1 <= lanes <= size:
        raise ValueError(f"a block of {size} bytes cannot have {lanes} lanes")
    if not 1 <= unit <= stride:
        raise ValueError(f"rows of {stride} bytes cannot hold units of {unit}")
    if not 0 <= phase < stride:
        raise ValueError(f"rows of {stride} bytes cannot begin after {phase} bytes")
    shorter, longer = divmod(size, lanes)
    return [shorter + 1] * longer + [shorter] * (lanes - longer)


class Mixer:
    """Chances of the bits of one block, cut into L lanes that advance together and share memory.

    A chance is the probability of a one in 1/65536, from 1 to 65535, as int32. Bits come with the
    most significant first. Lanes are consecutive pieces of the block; shorter ones, by one byte,
    come last and have no part in the last step.

    Encoding calls `score`. Decoding calls, for every byte, `begin`, then `push` with each of the
    first seven bits, then `finish` with the eighth; the chances are equal bit for bit.
    """

    def __init__(
        self, size: int, lanes: int = 1, *, use: str = "rich", network: bool = False,
        stride: int = 4,
        unit: int = 1,
        phase: int = 0,
        start: Start | None = None,
    ) -> None:  # fmt: skip
        """Starts a block.

        Args:
            size: bytes of the block, at least one a lane.
            lanes: number of lanes, >= 1.
            use: set of experts, one of `SETS`.
            network: whether a network's counts will be given.
            stride: bytes of a record or of a row of pixels in the block, >= 1.
            unit: bytes of a sample or pixel in it, from 1 to stride.
            phase: bytes before the first whole record or row, from 0 to stride - 1.
            start: start states, those shipped if None; a network has its own, that know it.

        Raises:
            ValueError: there is no such set, or a number is out of its range.
        """
        announce(kernel.code, "the mixing coder")
        self.memory: Memory = begun(
            size, lanes, use=use, network=network, stride=stride, unit=unit, phase=phase,
            start=start,
        )  # fmt: skip
        shorter, longer = divmod(size, lanes)
        self.steps = shorter + (longer > 0)
        """Bytes of the longest lane."""
        self._held = held(self.memory)
        self._network = network
        self._lanes, self._last = lanes, longer or lanes
        self._t = 0
        self._bit = 0

    def active(self) -> int:
        """The number of lanes, the first ones, that have a byte at this step."""
        return self._lanes if self._t + 1 < self.steps else self._last

    def _active(self, steps: int) -> NDArray[np.int64]:
        """The same of the next steps, of so many or of all that are left."""
        lanes_T = np.full(min(steps, self.steps - self._t), self._lanes, np.int64)
        if self._t + lanes_T.size == self.steps:
            lanes_T[-1:] = self._last
        return lanes_T

    def score(
        self, symbols_TL: NDArray[np.uint8], counts_TLV: NDArray[np.uint32] | None = None
    ) -> NDArray[np.int32]:
        """Chances of all bits of T known steps, (T, 8, L); 0 where a lane has no byte.

        Args:
            symbols_TL: the bytes; what lanes without a byte hold is ignored.
            counts_TLV: with a network, its counts, which sum to 2**24 - 256.
        """
        steps, lanes = symbols_TL.shape
        bits_T8L = (symbols_TL[:, None, :] >> np.arange(7, -1, -1)[:, None]) & 1
        chances = np.zeros((steps, 8, lanes), np.int32)
        kernel.code(
            self._held, self._t, self._active(steps),
            np.ascontiguousarray(bits_T8L, np.int64), self._counts(counts_TLV), chances,
            _NOTHING, _NO_CODER, _NO_CALL, _NO_SYMBOLS, _ALONE,
        )  # fmt: skip
        self._t += steps
        return chances

    def decode(
        self,
        decoder: BitDecoder,
        steps: int,
        counts_TLV: NDArray[np.uint32] | None = None,
        network: Steps | None = None,
    ) -> NDArray[np.uint8]:
        """The bytes (T, L) of the next `steps` steps, as encoded with the chances of `score`.

        Args:
            decoder: holds the code and how far it was read.
            steps: how many, fewer at the end of the block; with counts 1, as they depend on the
                bytes before.
            counts_TLV: a network's counts.
            network: a network that is stepped from here.
        """
        lanes_T = self._active(steps)
        bits_T8L = np.zeros((lanes_T.size, 8, self._lanes), np.int64)
        chances_T8L = np.zeros(bits_T8L.shape, np.int32)
        calls, symbols, words = _NO_CALL, _NO_SYMBOLS, _ALONE
        if network is not None:
            calls, symbols, counts_TLV = network.call, network.symbols, network.counts[None]
            if network.crew and self.memory.at.size >= WORTH_TWO:
                from mbz.mixing.beside import Beside  # noqa: PLC0415 - wants compiled code

                beside = Beside(
                    address=network.crew, memory=self._held, bits_T8L=bits_T8L,
                    counts_TLV=counts_TLV, chances_T8L=chances_T8L, decoder=decoder,
                )  # fmt: skip
                words = beside.words
        kernel.code(
            self._held, self._t, lanes_T, bits_T8L, self._counts(counts_TLV),
            chances_T8L, decoder.source, decoder.coder, calls, symbols, words,
        )  # fmt: skip
        self._t += steps
        return np.packbits(bits_T8L.astype(np.uint8), axis=1)[:, 0]

    def begin(self, counts_LV: NDArray[np.uint32] | None = None) -> NDArray[np.int32]:
        """Chances of the first bit of the next byte, (active lanes,)."""
        lanes = self.active()
        if self._network:
            kernel.load_counts(self._held, lanes, self._counts(counts_LV))
        kernel.begin(self._held, self._t, lanes)
        chances = np.empty(lanes, np.int32)
        kernel.predict(self._held, 0, lanes, chances)
        return chances

    def push(self, bits_L: NDArray[np.int64]) -> NDArray[np.int32]:
        """Takes a bit of each active lane and returns the chances of the next bit."""
        assert self._bit < 7
        chances = np.empty(bits_L.size, np.int32)
        kernel.advance(self._held, self._t, self._bit, bits_L.size, bits_L, chances)
        self._bit += 1
        return chances

    def finish(self, bits_L: NDArray[np.int64]) -> None:
        """Takes the last bit of the byte of each active lane."""
        assert self._bit == 7
        kernel.update(self._held, self._t, 7, bits_L.size, bits_L)
        self._t += 1
        self._bit = 0

    def _counts(self, counts: NDArray[np.uint32] | None) -> NDArray[np.uint32]:
        assert (counts is not None) == self._network
        return _NO_COUNTS if counts is None else counts
