"""Counts and symbols to a range code and back (docs/format.md, sections 7 and 8).

The only importer of constriction, whose queue coder does the arithmetic. What holds here:

- A row of counts holds integers >= 0 in float32 with sum 2**24 - 256. Every partial sum is below
  2**24, so float32 holds it exactly in any order, constriction's scaling factor is exactly 1, and
  byte v gets exactly the probability (counts[v] + 1) / 2**24. No rounding decides a bit.
- The code is the integer that section 8 defines, whatever the machine's byte order, and the
  shortest byte string inside the final interval; missing bytes are zeros.
- Decoding has no redundancy: a damaged code, or other counts, give other bytes or `Corrupt`. The
  caller must compare a checksum of the content.

`perfect=False` must be explicit: without it constriction prints to stdout and gives other bytes.
Rows must be in C order: it reads others wrongly. It takes symbols as int32 only.
"""

import constriction
import numpy as np
from numpy.typing import NDArray

from mbz.errors import Corrupt

__all__ = ["Decoder", "Encoder"]

_FAMILY = constriction.stream.model.Categorical(perfect=False)
_WORD_BITS = 32


class Encoder:
    """Codes bytes one after the other; `finish` gives the code."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: NDArray[np.uint8], counts: NDArray[np.float32]) -> None:
        """Appends n bytes, `symbols` (n,), each under its row of `counts` (n, 256)."""
        _assert_rows(counts)
        assert symbols.dtype == np.uint8
        assert symbols.shape == counts.shape[:1]
        self._coder.encode(symbols.astype(np.int32), _FAMILY, counts)

    def finish(self) -> bytes:
        """The shortest code of all bytes so far; empty if there are none."""
        # constriction seals with the first multiple of 2**32 in the final interval and may add a
        # word that guards against what follows; here only zeros follow.
        words_out, (lower, width) = self._coder.pos()
        words = self._coder.get_compressed()[: words_out + 1]
        sealed = int.from_bytes(words.astype(">u4").tobytes(), "big") << _WORD_BITS
        low = sealed - (-lower) % (1 << _WORD_BITS)
        if low == 0:
            return b""
        # The highest bit in which low - 1 and the top of the interval differ tells how many zero
        # bytes a number in between can end in; of those numbers this takes the smallest.
        drop = ((low + width - 1) ^ (low - 1)).bit_length() - 1 >> 3
        code: int = -(-low >> 8 * drop)
        return code.to_bytes(_WORD_BITS // 8 * (words_out + 2) - drop, "big")


class Decoder:
    """Reads back what an `Encoder` coded, given the same counts in the same order."""

    def __init__(self, data: bytes) -> None:
        padded = data + bytes(-len(data) % 4)
        words = np.frombuffer(padded, dtype=">u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def decode(self, counts: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The next n bytes, (n,), each under its row of `counts` (n, 256).

        Raises:
            Corrupt: no bytes have this code. Most damage gives wrong bytes instead.
        """
        _assert_rows(counts)
        try:
            symbols = self._coder.decode(_FAMILY, counts)
        except Exception as error:
            raise Corrupt(_MESSAGE) from error
        except BaseException as error:
            # Rust's panics derive from BaseException and cannot be imported by name.
            if type(error).__name__ != "PanicException":
                raise
            raise Corrupt(_MESSAGE) from error
        decoded: NDArray[np.uint8] = symbols.astype(np.uint8)
        return decoded


_MESSAGE = (
    "The archive is damaged: a block holds a code that no content has, "
    "or the model is not the one that made it."
)


def _assert_rows(counts: NDArray[np.float32]) -> None:
    assert counts.dtype == np.float32
    assert counts.ndim == 2
    assert counts.shape[1] == 256
    assert counts.flags.c_contiguous
