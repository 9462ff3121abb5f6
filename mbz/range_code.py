"""The range code of docs/format.md, section 8, compiled: the very words of `coder.py`, faster.

A byte is coded by its interval: where its share of 2**24 starts, and how large it is. So whatever
predicts on a device needs to give out 8 bytes for a byte that is known, not all 256 counts.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbz.compiled import compiler
from mbz.exact import Interval, Predictor
from mbz.pointers import address_of
from mbz.records import Held, at_address

__all__ = ["Decoding", "Encoder", "intervals_of", "step_address"]

START, SIZE = range(2)
LOW, WIDTH = range(2)  # of a decoder LOW is how far the code is above low
AT, STEP, LAST = range(3)
_WORD, _SHARES = np.uint64(32), np.uint64(24)
_BOTTOM, _TOP = np.uint64(1 << 32), np.uint64((1 << 24) - 1)
_ALL = (1 << 64) - 1

_HERE = Path(__file__)
_function = compiler([_HERE, *(_HERE.with_name(f"{name}.py") for name in ("pointers", "records"))])


class Encoder:
    """Codes bytes one after the other; `finish` gives the code."""

    def __init__(self) -> None:
        self._state = np.array([0, _ALL], np.uint64)
        self._words = np.zeros(0, np.uint32)
        self._at = 0

    def encode(self, intervals: NDArray[np.uint32]) -> None:
        """Appends bytes by their intervals, (n, 2): start and size."""
        if self._words.size < self._at + len(intervals):  # at most a word each
            self._words = np.append(self._words, np.zeros(self._at + len(intervals), np.uint32))
        self._at = _encode(self._words, self._at, self._state, intervals)

    def finish(self) -> bytes:
        """The shortest code of all bytes so far; empty if there are none."""
        low, width = self._state.tolist()
        # The number in the interval with most zero bytes at its end.
        for shift in range(64, -1, -8):
            end = -(-low >> shift) << shift
            if end < low + width:
                break
        words = self._words[: self._at].copy()
        if end >> 64:
            _carry(words, self._at)
        code: bytes = words.astype(">u4").tobytes() + (end & _ALL).to_bytes(8, "big")
        return code.rstrip(b"\0")


@_function
def _encode(
    words: NDArray[np.uint32], at: int, state: NDArray[np.uint64], intervals: NDArray[np.uint32]
) -> int:
    low, width = state[LOW], state[WIDTH]
    for i in range(intervals.shape[0]):
        scale = width >> _SHARES
        before = low
        low += scale * np.uint64(intervals[i, START])
        width = scale * np.uint64(intervals[i, SIZE])
        if low < before:
            _carry(words, at)
        if width < _BOTTOM:
            words[at] = np.uint32(low >> _WORD)
            at += 1
            low <<= _WORD
            width <<= _WORD
    state[LOW], state[WIDTH] = low, width
    return at


@_function
def _carry(words: NDArray[np.uint32], at: int) -> None:
    """Adds one to the first `at` words."""
    at -= 1
    while words[at] == np.uint32(0xFFFFFFFF):
        words[at] = 0
        at -= 1
    words[at] += np.uint32(1)


def intervals_of(predictor: Predictor, symbols_BS: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Appends S bytes to each lane and returns their intervals, (B, S, 2)."""
    if isinstance(predictor, Interval):
        return predictor.intervals(symbols_BS)
    intervals = np.empty((*symbols_BS.shape, 2), np.uint32)
    _reduce(predictor.score(symbols_BS), symbols_BS, intervals)
    return intervals


@_function
def _reduce(
    counts: NDArray[np.float32], symbols: NDArray[np.uint8], intervals: NDArray[np.uint32]
) -> None:
    for lane in range(symbols.shape[0]):
        for i in range(symbols.shape[1]):
            symbol = np.int64(symbols[lane, i])
            start = symbol
            for v in range(symbol):
                start += np.int64(counts[lane, i, v])
            intervals[lane, i, START] = start
            intervals[lane, i, SIZE] = np.int64(counts[lane, i, symbol]) + 1


class _Job(NamedTuple):
    """What `_step` works on."""

    output: NDArray[np.uint8]  # (T, L)
    words: NDArray[np.uint32]
    state: NDArray[np.uint64]
    places: NDArray[np.int64]  # (3,): next word, step, lanes in the last step
    symbols: NDArray[np.uint8]  # (L,)
    counts: NDArray[np.uint32]  # (L, 256)


_SAMPLE = _Job(
    np.zeros((1, 1), np.uint8),
    np.zeros(1, np.uint32),
    np.zeros(1, np.uint64),
    np.zeros(1, np.int64),
    np.zeros(1, np.uint8),
    np.zeros((1, 256), np.uint32),
)
_KIND = Held(_SAMPLE).kind
_job: Any = at_address(_KIND)


class Decoding:
    """A block that is decoded by calls of a function, see `step_address`.

    Damaged codes decode to wrong bytes, without an error.

    Attributes:
        address: the argument of the function, as long as this lives.
        symbols_TL: the bytes, as far as decoded.
    """

    def __init__(
        self,
        code: bytes,
        size: int,
        symbols_L: NDArray[np.uint8],
        counts_LV: NDArray[np.uint32],
    ) -> None:
        """Starts a block.

        Args:
            code: of an `Encoder`.
            size: bytes of the block.
            symbols_L: takes the byte of each lane, at every step.
            counts_LV: where the counts are to be found, at every step.
        """
        steps = -(-size // symbols_L.size)
        self.symbols_TL = np.zeros((steps, symbols_L.size), np.uint8)
        words = np.frombuffer(code + bytes(8 + -len(code) % 4), ">u4").astype(np.uint32)
        point = int(words[0]) << 32 | int(words[1])
        self._job = _Job(
            self.symbols_TL,
            words,
            np.array([point, _ALL], np.uint64),
            np.array([2, 0, size - (steps - 1) * symbols_L.size], np.int64),
            symbols_L,
            counts_LV,
        )
        self._held = Held(self._job)
        assert self._held.kind == _KIND
        self.address = self._held.address


@_function
def _step(address: int) -> None:
    """Decodes the next byte of each lane, if there is one, from counts that are there."""
    job = _job(address)
    places, words = job.places, job.words
    t = places[STEP]
    if t == job.output.shape[0]:
        return
    point, width = job.state[LOW], job.state[WIDTH]
    lanes = job.output.shape[1] if t + 1 < job.output.shape[0] else places[LAST]
    for lane in range(lanes):
        scale = width >> _SHARES
        share = np.int64(min(point // scale, _TOP))  # no code of a content is above
        counts = job.counts[lane]
        start, symbol, size = np.int64(0), 0, np.int64(counts[0]) + 1
        while start + size <= share:
            start += size
            symbol += 1
            size = np.int64(counts[symbol]) + 1
        point -= scale * np.uint64(start)
        width = scale * np.uint64(size)
        if width < _BOTTOM:
            at = places[AT]
            word = np.uint64(words[at]) if at < words.size else np.uint64(0)
            point = point << _WORD | word
            width <<= _WORD
            places[AT] = at + 1
        job.output[t, lane] = symbol
        job.symbols[lane] = symbol
    job.state[LOW], job.state[WIDTH] = point, width
    places[STEP] = t + 1


def step_address() -> int:
    """Where the function is that decodes the next byte of each lane of a `Decoding`."""
    return address_of(_step)
