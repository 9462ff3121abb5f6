"""Orders of pixels and samples: as the paper has them, and each with its inverse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbz.media import scans, sounds
from mbz.media.scans import Scan
from mbz.media.sounds import Layout


def test_patch_scan_is_the_papers():
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 12, 3), np.uint8)
    p, width = 4, 12
    expected = bytearray(image.size)
    for y in range(8):
        for x in range(12):
            for c in range(3):
                (i, u), (j, v) = divmod(y, p), divmod(x, p)
                expected[((i * (width // p) + j) * p * p + u * p + v) * 3 + c] = image[0, y, x, c]
    [scan] = scans.parse("patch", 3 * p * p)
    assert scan.apply(image) == expected
    assert scans.parse("raster", 48)[0].apply(image) == image.tobytes()


def test_blocks_of_a_winding_scan_touch():
    [scan] = scans.parse("winding:2", 12)
    order = scan.order(1, 4, 6).reshape(-1, 4)
    assert order[3].min() == 2 * 6 + 4  # the second row of blocks starts at the right
    assert order[5].min() == 2 * 6


@given(
    st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 9), st.integers(1, 4)),
    st.builds(Scan, side=st.integers(1, 6), frames=st.integers(1, 3), winding=st.booleans()),
)
def test_scans_have_an_inverse(shape, scan):
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    data = scan.apply(pixels)
    assert len(data) == pixels.size
    assert np.array_equal(scan.undo(data, shape), pixels)


@given(
    st.integers(0, 40),
    st.integers(1, 3),
    st.sampled_from(["raw", "high", "split", "split:6+apart", "high+apart", "split:32"]),
    st.sampled_from(["<i2", "u1"]),
)
def test_sounds_have_an_inverse(time, channels, text, kind):
    data = np.random.default_rng(2).bytes(time * channels * np.dtype(kind).itemsize)
    samples = np.frombuffer(data, kind).reshape(-1, channels)
    layout = sounds.parse(text, 8)
    ordered = layout.apply(samples)
    assert len(ordered) == len(data)
    assert np.array_equal(layout.undo(ordered, channels, np.dtype(kind).itemsize), samples)


def test_high_bytes_come_first_and_have_no_sign():
    samples = np.array([[0], [-1], [1]], "<i2")
    assert Layout(kind="high").apply(samples) == b"\x80\x00\x7f\xff\x80\x01"
    assert Layout(kind="split", patch=4).apply(samples) == b"\x80\x7f\x00\xff\x80\x01"


@pytest.mark.parametrize("text", ["", "zigzag", "raster:8", "patch:", "patch:0"])
def test_there_is_no_such_scan(text):
    with pytest.raises(ValueError, match=r"scan|side"):
        scans.parse(text, 12)


@pytest.mark.parametrize("text", ["", "low", "raw:8", "split:1"])
def test_there_is_no_such_layout(text):
    with pytest.raises(ValueError, match=r"order|patch"):
        sounds.parse(text, 8)
