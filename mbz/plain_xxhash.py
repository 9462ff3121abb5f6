"""XXH64 in plain Python, for places without the package xxhash, whose names these are."""

from typing import Final

__all__ = ["xxh64", "xxh64_intdigest"]

_MASK: Final = (1 << 64) - 1
_PRIMES: Final = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


class xxh64:  # noqa: N801 - as in xxhash
    """The hash of bytes, seed 0."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = bytearray(data)

    def update(self, data: bytes) -> None:
        """Appends to the bytes."""
        self._data += data

    def intdigest(self) -> int:
        """The hash of all bytes so far."""
        return xxh64_intdigest(self._data)


def xxh64_intdigest(data: bytes | bytearray) -> int:
    """The hash of bytes, seed 0."""
    one, two, three, four, five = _PRIMES
    stripes, h = len(data) // 32, five
    if stripes:
        lanes = [one + two & _MASK, two, 0, -one & _MASK]
        for at in range(0, 32 * stripes, 32):
            for i in range(4):
                lanes[i] = _round(lanes[i], _word(data, at + 8 * i, 8))
        h = sum(map(_rotated, lanes, (1, 7, 12, 18))) & _MASK
        for lane in lanes:
            h = (h ^ _round(0, lane)) * one + four & _MASK
    h = h + len(data) & _MASK
    at = 32 * stripes
    while at + 8 <= len(data):
        h = _rotated(h ^ _round(0, _word(data, at, 8)), 27) * one + four & _MASK
        at += 8
    if at + 4 <= len(data):
        h = _rotated(h ^ _word(data, at, 4) * one & _MASK, 23) * two + three & _MASK
        at += 4
    for byte in data[at:]:
        h = _rotated(h ^ byte * five & _MASK, 11) * one & _MASK
    h = (h ^ h >> 33) * two & _MASK
    h = (h ^ h >> 29) * three & _MASK
    return h ^ h >> 32


def _word(data: bytes | bytearray, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _rotated(x: int, bits: int) -> int:
    return (x << bits | x >> 64 - bits) & _MASK


def _round(lane: int, word: int) -> int:
    return _rotated(lane + word * _PRIMES[1] & _MASK, 31) * _PRIMES[0] & _MASK
