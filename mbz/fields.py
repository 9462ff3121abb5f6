"""The fields of headers: numbers, checks, and what is wrong with them (docs/format.md, section 1).

Imports the standard library and xxhash only.
"""

from typing import TYPE_CHECKING, Final

from mbz.errors import Corrupt
from mbz.reader import Reader

if TYPE_CHECKING:
    import xxhash
else:
    try:
        import xxhash
    except ImportError:  # restoring by the reference decoder, where nothing is installed
        from mbz import plain_xxhash as xxhash

__all__ = ["MAX_SIZE", "Fields", "check16", "require", "sealed", "varint", "xxhash"]

MAX_SIZE: Final = (1 << 63) - 1  # of all numbers
_CHECK16_BYTES = 2
_VARINT_BYTES = 9


class Fields:
    """The fields of one header, with the bytes read so far for its check."""

    def __init__(self, reader: Reader, start: bytes = b"") -> None:
        self._reader = reader
        self._seen = bytearray(start)

    def take(self, size: int) -> bytes:
        """The next `size` bytes; raises Truncated if there are fewer."""
        data = self._reader.exactly(size)
        self._seen += data
        return data

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def varint(self) -> int:
        """The next number, below 2**63; raises Corrupt if it is not spelled as it must be."""
        value = 0
        for group in range(_VARINT_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << 7 * group
            if byte < 0x80:
                require(byte > 0 or group == 0, "a number is written longer than needed")
                return value
        raise Corrupt("The archive is damaged: a number is too long.")

    def verify(self) -> None:
        """Takes the check; raises Corrupt if it is not that of the fields before."""
        expected = check16(self._seen)
        require(self._reader.exactly(_CHECK16_BYTES) == expected, "a header's check is wrong")


def require(condition: bool, finding: str) -> None:
    """Raises Corrupt, for the reason `finding`, unless the condition holds."""
    if not condition:
        raise Corrupt(f"The archive is damaged: {finding}.")


def varint(value: int) -> bytes:
    """A number from 0 to MAX_SIZE as unsigned LEB128, 1 to 9 bytes."""
    assert 0 <= value <= MAX_SIZE
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def check16(header: bytes | bytearray) -> bytes:
    """The 2 check bytes of a header."""
    return (xxhash.xxh64_intdigest(bytes(header)) & 0xFFFF).to_bytes(_CHECK16_BYTES, "little")


def sealed(header: bytes) -> bytes:
    """A header with its check behind it."""
    return header + check16(header)
