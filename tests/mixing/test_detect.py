"""What a block holds: known headers, and statistics where there is none."""

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from mbz.mixing import repeats
from mbz.mixing.detect import Settings, settings_of

TEXT = (Path(__file__).parents[1] / "samples" / "text.txt").read_bytes()
RNG = np.random.default_rng(4)


def picture(height, width, channels):
    sheet = RNG.normal(size=(height, width, 1)).cumsum(0).cumsum(1)
    sheet = 80 + 70 * sheet / np.abs(sheet).max() + 20 * np.arange(channels)
    values = sheet + RNG.normal(0, 12, (1, width, 1)) + RNG.normal(0, 3, (height, 1, 1))
    values = values + RNG.normal(0, 2, values.shape)
    return values.clip(0, 255).astype(np.uint8)


def sound(channels):
    n = np.arange(30000)[:, None]
    waves = 6000 * np.sin(n / 9) + 2000 * np.sin(n / 31 + np.arange(channels))
    return (waves + RNG.normal(0, 30, waves.shape)).astype("<i2")


def bitmap(pixels):
    height, width, channels = pixels.shape
    rows = np.zeros((height, -(-width * channels // 4) * 4), np.uint8)
    rows[:, : width * channels] = pixels.reshape(height, -1)
    head = struct.pack("<2sIIIIiiHHI", b"BM", 54 + rows.size, 0, 54, 40, width, height, 1, 24, 0)
    return head.ljust(54, b"\0") + rows.tobytes()


def wav(samples):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(samples.shape[1])
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"P6\n# by hand\n20 30\n255\n" + bytes(1800), ("pixels", 60, 3, 23)),
        (b"P5 200 9 255\n" + bytes(1800), ("pixels", 200, 1, 13)),
        (bitmap(picture(30, 21, 3)), ("pixels", 64, 3, 54)),
        (wav(sound(2)), ("sound", 4, 2, 0)),
        (wav(sound(1)), ("sound", 2, 2, 0)),
        (b"P6\n20 30\n65535\n" + bytes(3600), ("rich", 4, 1, 0)),
        (b"P6\n2000 3000\n255\n", ("rich", 4, 1, 0)),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0", ("rich", 4, 1, 0)),
        (b"BM" + bytes(52), ("rich", 4, 1, 0)),
        (b"", ("rich", 4, 1, 0)),
    ],
)
def test_headers(block, expected):
    assert settings_of(block, "rich")[1:] == expected[1:]
    assert settings_of(block, "rich").use == expected[0]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (picture(150, 170, 3).tobytes()[1000:], ("pixels", 510, 3)),
        (picture(300, 170, 1).tobytes()[1000:], ("pixels", 170, 1)),
        (sound(1).tobytes(), ("sound", 2, 2)),
        (sound(2).tobytes(), ("sound", 4, 2)),
        (RNG.integers(0, 256, 50000, dtype=np.uint8).tobytes(), ("middle", 4, 1)),
        (TEXT, ("middle", 4, 1)),
        ((TEXT[:59] + b"\n") * 400, ("middle", 60, 1)),
    ],
    ids=["colours", "grey", "mono", "stereo", "random", "text", "lines"],
)
def test_statistics(block, expected):
    assert settings_of(block, "middle")[:3] == expected


def test_samples_that_begin_amid_the_block():
    assert settings_of(b"\0" + sound(1).tobytes(), "rich") == Settings("sound", 2, 2, 1)


def test_records_are_found_among_runs():
    """As in a picture of a bit a pixel, whose many zeros are alike at all distances."""
    row = np.where(RNG.random(216) < 0.04, RNG.integers(1, 256, 216), 0).astype(np.uint8)
    assert settings_of(np.tile(row, 200).tobytes(), "lean") == Settings("lean", 216)


@pytest.mark.parametrize("longest", [1, 7, 512])
def test_repeats_are_those_that_numpy_counts(longest):
    for data in (TEXT, RNG.bytes(5000), b"abcdefg\n" * 600 + RNG.bytes(99), bytes(4100)):
        sample = np.frombuffer(data[:8192], np.uint8)
        here = sample[longest:]
        for places in (here != sample[longest - 1 : -1], np.ones(here.size, np.bool_)):
            found = np.zeros(longest, np.uint16)
            repeats.count(sample, places, found)
            want = [
                np.count_nonzero((here == sample[longest - k : -k]) & places)
                for k in range(longest, 0, -1)
            ]
            assert found.tolist() == want
