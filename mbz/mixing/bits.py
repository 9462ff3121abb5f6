"""The range coder of single bits (docs/mixing.md, 8): chances and bits <-> bytes.

An interval [low, low + range) of 48-bit numbers is divided by the chance of each bit in 1/65536, a
one first; while the range is below 2**40, the first byte of low is given out. A carry goes back
into bytes given out before. What remains of the code after its last byte counts as zeros.
"""

import numpy as np
from numpy.typing import NDArray

from mbz.mixing.compiled import function, part

LOW, RANGE, AT = range(3)  # an encoder; for a decoder LOW is how far the code is above low
_TOP = 1 << 48
_BOTTOM = 1 << 40
_WORST = 2  # bytes that a bit can cost


class BitEncoder:
    """Takes bits with their chances, and gives the code in the end."""

    def __init__(self) -> None:
        self._coder = np.array([0, _TOP, 0], np.int64)
        self._code = np.zeros(1 << 12, np.uint8)

    def encode(self, symbols_TL: NDArray[np.uint8], chances_T8L: NDArray[np.int32]) -> None:
        """Encodes what `Mixer.score` gave chances of; where they are 0 there is no bit."""
        needed = int(self._coder[AT]) + chances_T8L.size * _WORST + 8
        if needed > self._code.size:
            self._code = np.append(self._code, np.zeros(needed, np.uint8))
        encode_bits(self._code, self._coder, symbols_TL, chances_T8L)

    def finish(self) -> bytes:
        """The code; the encoder is of no further use."""
        low, width, at = self._coder.tolist()
        # The number in the interval with most zeros at its end.
        for shift in range(48, -1, -8):
            end = (low + (1 << shift) - 1) >> shift << shift
            if end < low + width:
                break
        carry(self._code, at, end >> 48)
        code: bytes = self._code[:at].tobytes() + (end % _TOP).to_bytes(6, "big")
        return code.rstrip(b"\0")


class BitDecoder:
    """Reads the code of a `BitEncoder`; hand it to `Mixer.decode`.

    Damaged codes decode to wrong bits, without an error.
    """

    def __init__(self, code: bytes) -> None:
        self.source = np.frombuffer(code, np.uint8)
        self.coder = np.array([int.from_bytes(code[:6].ljust(6, b"\0"), "big"), _TOP, 6], np.int64)


@function
def encode_bits(code, coder, symbols_TL, chances_T8L):
    """Appends bits to the code, step by step, the first bit of all lanes first."""
    low, width, at = coder[LOW], coder[RANGE], coder[AT]
    steps, _, lanes = chances_T8L.shape
    for t in range(steps):
        for bit in range(8):
            for lane in range(lanes):
                p = np.int64(chances_T8L[t, bit, lane])
                if p == 0:
                    continue
                ones = (width >> 16) * p
                if (np.int64(symbols_TL[t, lane]) >> (7 - bit)) & 1:
                    width = ones
                else:
                    low += ones
                    width -= ones
                while width < _BOTTOM:
                    carry(code, at, low >> 48)
                    low &= _TOP - 1
                    code[at] = low >> 40
                    at += 1
                    low = (low << 8) & (_TOP - 1)
                    width <<= 8
    carry(code, at, low >> 48)
    coder[LOW], coder[RANGE], coder[AT] = low & (_TOP - 1), width, at


@function
def carry(code, at, one):
    """Adds a carry, 0 or 1, to the `at` bytes given out."""
    while one:
        at -= 1
        code[at] = (np.int64(code[at]) + 1) & 255
        one = code[at] == 0


@part
def decode_bit(source, coder, p):
    """The next bit, of chance p."""
    ones = (coder[RANGE] >> 16) * p
    if coder[LOW] < ones:
        y = 1
        coder[RANGE] = ones
    else:
        y = 0
        coder[LOW] -= ones
        coder[RANGE] -= ones
    while coder[RANGE] < _BOTTOM:
        at = coder[AT]
        byte = np.int64(source[at]) if at < source.size else np.int64(0)
        coder[LOW] = coder[LOW] << 8 | byte
        coder[RANGE] <<= 8
        coder[AT] = at + 1
    return y
