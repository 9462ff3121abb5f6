"""The mixer: compiled == interpreted, decoding == encoding, and it predicts what repeats."""

import os
import subprocess
import sys
from pathlib import Path

import chances
import numpy as np
import pytest

from mbz.mixing import Mixer


def bits_per_byte(data, chances_T8L, lanes=1):
    symbols = chances.lanes_of(data, lanes)
    bits = (symbols[:, None, :] >> np.arange(7, -1, -1)[:, None]) & 1
    p = np.where(bits, chances_T8L, 65536 - chances_T8L)[chances_T8L > 0] / 65536
    return -np.log2(p).sum() / data.size


def digests_with(**settings):
    run = subprocess.run(
        [sys.executable, "-W", "error", Path(chances.__file__)],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.split()


def test_compiled_equals_the_source_as_it_stands():
    """Without numba, and with every overflow of a type an error."""
    assert digests_with(NUMBA_DISABLE_JIT="1") == chances.digests()


@pytest.mark.slow  # compiles anew
def test_vectors_do_not_depend_on_the_instruction_set(tmp_path):
    found = digests_with(NUMBA_CPU_NAME="generic", NUMBA_CACHE_DIR=str(tmp_path))
    assert found == chances.digests()


@pytest.mark.parametrize("case", chances.CASES, ids=lambda case: case[0])
def test_decoding_sees_the_same_chances(case):
    name, lanes, network, _ = case
    expected = chances.scored(*case)
    assert ((expected >= 0) & (expected < 65536)).all()
    data = chances.block(name)
    symbols = chances.lanes_of(data, lanes)
    counts = chances.counts_like(symbols)
    mixer = chances.mixer_of(*case)
    for t, row in enumerate(symbols):
        active = mixer.active()
        assert active == (expected[t, 0] > 0).sum()
        p = mixer.begin(counts[t] if network else None)
        for bit in range(8):
            np.testing.assert_array_equal(p, expected[t, bit, :active])
            bits = (row[:active].astype(np.int64) >> (7 - bit)) & 1
            if bit < 7:
                p = mixer.push(bits)
            else:
                mixer.finish(bits)


def test_any_split_into_calls_scores_the_same():
    data = chances.block("repeats")
    symbols = chances.lanes_of(data, 5)
    mixer = Mixer(data.size, 5, use="lean", stride=3)
    parts = [mixer.score(part) for part in np.split(symbols, [1, 4])]
    whole = Mixer(data.size, 5, use="lean", stride=3).score(symbols)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_matches_reach_into_other_lanes():
    rng = np.random.default_rng(3)
    first = rng.integers(0, 256, 2000, dtype=np.uint8)
    # The second lane repeats, 40 steps later, what the first one had.
    data = np.concatenate([first, rng.integers(0, 256, 40, dtype=np.uint8), first[:1960]])
    p = Mixer(data.size, 2, use="lean").score(chances.lanes_of(data, 2))
    assert bits_per_byte(data, p, 2) < 4.5


@pytest.mark.parametrize("use", ["lean", "rich"])
def test_matches_are_found_and_followed(use):
    noise = np.random.default_rng(3).integers(0, 256, 300, dtype=np.uint8)
    data = np.concatenate([noise, noise])
    mixer = Mixer(data.size, use=use)
    mixer.score(data[:, None])
    assert (mixer.memory.matches[0, :, :3] == [300, 0, 300]).all()  # position, lane, length


@pytest.mark.parametrize(
    ("name", "at_most"), [("zeros", 0.02), ("noise", 8.2), ("cycle", 0.3), ("counter", 2.0)]
)
def test_what_blocks_cost(name, at_most):
    n = np.arange(20000)
    data = {
        "zeros": np.zeros(20000),
        "noise": np.random.default_rng(1).integers(0, 256, 20000),
        "cycle": n % 251,
        "counter": np.where(n % 4 == 3, n >> 2, n >> 10) & 255,  # big-endian 32-bit numbers
    }[name].astype(np.uint8)
    p = Mixer(data.size, use="middle").score(data[:, None])
    assert bits_per_byte(data, p) < at_most


def test_pixels_are_predicted_from_those_around():
    y, x, c = np.indices((60, 80, 3))
    noise = np.random.default_rng(2).integers(0, 3, (60, 80, 3))
    picture = (x * (c + 1) + y * 2 + noise).astype(np.uint8).ravel()
    cost = [
        bits_per_byte(picture, Mixer(picture.size, **options).score(picture[:, None]))
        for options in ({"use": "pixels", "stride": 240, "unit": 3}, {"use": "middle"})
    ]
    assert cost[0] < 3 < cost[1]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_colours_that_jpeg_leaves_are_told_from_others(order):
    picture = chances.colours(np.random.default_rng(5), 40, 64)[..., order]
    p = Mixer(picture.size, use="pixels", stride=192, unit=3).score(picture.reshape(-1, 1))
    # Light has 7 bits a pixel, each chroma 5.3 for two: 4.1 a byte. Without what chroma says: 5.2.
    assert bits_per_byte(picture.ravel(), p) < 5.05


def test_samples_are_predicted_from_those_before():
    n = np.arange(6000)
    noise = np.random.default_rng(3).normal(0, 20, (6000, 2))
    waves = np.stack([8000 * np.sin(n / 9), 5000 * np.sin(n / 9 + 1) + 3000 * np.sin(n / 31)], 1)
    sound = (waves + noise).astype("<i2").view(np.uint8).ravel()
    # The noise has log2(20 * sqrt(2 pi e)) = 6.4 bits a sample.
    shifted = np.concatenate([sound[-3:], sound])
    for data, phase in ((sound, 0), (shifted, 3)):
        mixer = Mixer(data.size, use="sound", stride=4, unit=2, phase=phase)
        assert bits_per_byte(data, mixer.score(data[:, None])) < 3.6


def test_a_network_that_is_right_helps():
    data = chances.block("random")
    symbols = chances.lanes_of(data, 1)
    counts = chances.counts_like(symbols)
    p = Mixer(data.size, use="middle", network=True).score(symbols, counts)
    assert bits_per_byte(data, p) < 5 < bits_per_byte(data, chances.scored(*chances.CASES[0]))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"'huge'.*lean, middle, rich, pixels, sound"):
        Mixer(10, use="huge")
    with pytest.raises(ValueError, match="3 bytes cannot have 4 lanes"):
        Mixer(3, 4)
    with pytest.raises(ValueError, match="rows of 4 bytes cannot begin after 4 bytes"):
        Mixer(3, phase=4)
    with pytest.raises(ValueError, match="rows of 0 bytes cannot hold units of 1"):
        Mixer(3, stride=0)
