"""What a block holds: pixels, sound, records of one length, or none of these (encoder only).

A guess that is wrong costs ratio, never content: the archive records what was chosen.
"""

import re
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbz.mixing import repeats

__all__ = ["Settings", "settings_of"]

_SAMPLE = 3 << 14  # bytes looked at, from the middle of the block
_LEAST = 4096  # bytes that statistics need
_MOST_CHANNELS = 16
_LONGEST_ROW = 1 << 14
_LEAST_ENTROPY = 3.0  # bits per byte of what is not records of much the same
_LEAST_OF_PIXELS = 4.5
_LONGEST_RECORD = 512
_LEAST_NEWS = 256
_PLAIN_STRIDE = 4
_PPM = re.compile(rb"P([56])(?:\s|#[^\n]*\n)+(\d{1,6})\s+(\d{1,6})\s+(\d{1,3})\s")


class Settings(NamedTuple):
    """How the mixing coder reads a block; see `Mixer`."""

    use: str
    stride: int = _PLAIN_STRIDE
    unit: int = 1
    phase: int = 0


def settings_of(block: bytes, use: str) -> Settings:
    """Settings for a block that suit what it seems to hold.

    Args:
        block: its bytes; headers are known at its beginning only, the rest by statistics.
        use: set of experts for what is neither pixels nor sound.
    """
    for found in (_netpbm(block), _bitmap(block), _wave(block)):
        if found is not None:
            return found
    data = np.frombuffer(block, np.uint8)
    start = max(data.size - _SAMPLE, 0) // 2
    sample = data[start : start + _SAMPLE]
    if sample.size >= _LEAST and not _is_text(sample) and _entropy(sample) > _LEAST_ENTROPY:
        found = min(_pixels(sample), _samples(sample, start), key=lambda pair: pair[0])[1]
        if found is not None:
            return found
    return Settings(use, _record(sample))


def _netpbm(block: bytes) -> Settings | None:
    """PGM or PPM, with one byte a value."""
    header = _PPM.match(block)
    if header is None or int(header[4]) > 255:
        return None
    unit = 3 if header[1] == b"6" else 1
    return _picture(block, int(header[2]) * unit, unit, header.end(), int(header[3]))


def _bitmap(block: bytes) -> Settings | None:
    """BMP of 24 or 32 bits a pixel, or of 8 bits, which mostly are grey."""
    if block[:2] != b"BM" or len(block) < 54:
        return None
    start, _, width, height, _, bits, packed = struct.unpack_from("<IIiiHHI", block, 10)
    if bits not in {8, 24, 32} or packed not in {0, 3}:
        return None
    return _picture(block, (width * bits + 31) // 32 * 4, bits // 8, start, abs(height))


def _picture(block: bytes, row: int, unit: int, start: int, height: int) -> Settings | None:
    """Pixels, if they are most of the block."""
    covered = min(row * height, len(block) - start)
    if not unit <= row <= _LONGEST_ROW * 4 or 2 * covered < len(block):
        return None
    return Settings("pixels", row, unit, start % row)


def _wave(block: bytes) -> Settings | None:
    """WAV with whole samples of 8, 16 or 24 bits."""
    if block[:4] != b"RIFF" or block[8:12] != b"WAVE":
        return None
    at, frame, width = 12, 0, 0
    while at + 8 <= len(block):
        name, size = struct.unpack_from("<4sI", block, at)
        at += 8
        if name == b"fmt " and at + 16 <= len(block):
            coding, _, _, _, frame, bits = struct.unpack_from("<HHIIHH", block, at)
            width = bits // 8
            if coding not in {1, 0xFFFE} or bits not in {8, 16, 24} or frame % width:
                return None
            if frame > _MOST_CHANNELS * width:
                return None
        if name == b"data":
            enough = 2 * min(size, len(block) - at) >= len(block)
            return Settings("sound", frame, width, at % frame) if frame and enough else None
        at += size + size % 2
    return None


def _is_text(sample: NDArray[np.uint8]) -> bool:
    counts = np.bincount(sample, minlength=256)
    printable = counts[32:127].sum() + counts[[9, 10, 13]].sum()
    high = counts[128:].sum()  # UTF-8 in other scripts: no control characters
    return bool(printable + high >= 0.99 * sample.size and printable >= 0.1 * sample.size)


def _entropy(sample: NDArray[np.uint8]) -> float:
    """Bits per byte of single bytes."""
    share = np.bincount(sample) / sample.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def _bits(misses: NDArray[np.int32]) -> float:
    """About what such misses of a guess would cost, in bits each."""
    return float(np.log2(2 * np.abs(misses) + 1).mean()) + 1


def _pixels(sample: NDArray[np.uint8]) -> tuple[float, Settings | None]:
    """Bits per byte, and rows that are much like those above, of pixels like those on the left."""
    x = sample.astype(np.int32)
    entropy = _entropy(sample)
    best, found = 0.75 * entropy, None
    if entropy < _LEAST_OF_PIXELS:
        return best, None
    for row in _likest(sample):
        for unit in (1, 3, 4):
            if row < 8 * unit:
                continue
            left, up = x[row:-unit], x[unit:-row]
            here, corner = x[row + unit :], x[: -row - unit]
            cost = min(_bits(here - (left + up) // 2), _bits(here - (left + up - corner)))
            if cost < best - 0.02 and cost < _bits(here - left) - 0.1:
                best, found = cost, Settings("pixels", row, unit)
    if found is None:
        return best, None
    # Channels of a picture differ in their means; parts of rows of one channel do not.
    row = found.stride
    spread, unit = 4.0, 1
    for each in (3, 4):
        if row % each == 0:
            means = sample[: sample.size // row * row].reshape(-1, each).mean(0)
            if np.ptp(means) > spread:
                spread, unit = float(np.ptp(means)), each
    return best, found._replace(unit=unit)


def _likest(sample: NDArray[np.uint8]) -> list[int]:
    """The row lengths at which a sample is most like itself."""
    x = sample - sample.mean()
    longest = min(_LONGEST_ROW, sample.size // 4)
    power = np.abs(np.fft.rfft(x, 2 * x.size)) ** 2
    alike = np.fft.irfft(power)[: longest + 2] / np.arange(x.size, x.size - longest - 2, -1)
    inner = alike[1:-1]
    peaks = np.flatnonzero((inner > alike[:-2]) & (inner >= alike[2:])) + 1
    peaks = peaks[(peaks >= 16) & (alike[peaks] > 0.4 * alike[0])]
    best = peaks[np.argsort(-alike[peaks], kind="stable")[:6]]
    return sorted(int(row) for row in best)


def _samples(sample: NDArray[np.uint8], start: int) -> tuple[float, Settings | None]:
    """Bits per byte, and 16-bit samples that go on about straight, channel by channel."""
    best, found = 0.85 * _entropy(sample), None
    for phase in (0, 1):
        shift = (phase - start) % 2
        x = sample[shift : sample.size - (sample.size - shift) % 2].view("<i2").astype(np.int32)
        for channels in (1, 2):
            here, last, older = x[2 * channels :], x[channels:-channels], x[: -2 * channels]
            cost = min(_bits(here - last), _bits(here - 2 * last + older)) / 2
            if cost < best - 0.05:
                best, found = cost, Settings("sound", 2 * channels, 2, phase)
    return best, found


def _record(sample: NDArray[np.uint8]) -> int:
    """Length of records, by how many bytes equal the one a record before; else the usual stride.

    First of those bytes that differ from the one before: runs are alike at all distances.
    """
    sample = sample[: 1 << 13]
    longest = min(_LONGEST_RECORD, sample.size // 4)
    if sample.size < _LEAST:
        return _PLAIN_STRIDE
    here = sample[longest:]
    news = here != sample[longest - 1 : -1]
    for places in (news, np.ones_like(news)):
        number = np.count_nonzero(places)
        if number < _LEAST_NEWS:
            continue
        found = np.zeros(longest, np.uint16)
        repeats.count(sample, places, found)
        alike = found[::-1] / number
        clear = alike > max(float(np.median(alike)) + 0.1, 0.95 * alike.max())
        lengths = np.flatnonzero(clear) + 1
        lengths = lengths[lengths > 1]
        if lengths.size:
            return int(lengths[0])
    return _PLAIN_STRIDE
