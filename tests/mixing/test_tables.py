"""The tables of the mixing coder: golden hashes, and closeness to what they stand for."""

import hashlib

import numpy as np

from mbz.mixing import tables


def sha(table: np.ndarray) -> str:
    return hashlib.sha256(table.astype("<i4").tobytes()).hexdigest()[:16]


def test_golden_tables():
    """A changed hash is another arithmetic: old archives would be lost."""
    assert sha(tables.squash_table()) == "06f06c632a70e5d7"
    assert sha(tables.stretch_table()) == "a82c68c11c5c68a2"
    assert sha(tables.next_state_table()) == "9a38701d1122fd71"
    assert sha(tables.state_chance_table()) == "05a2159aad69e285"
    assert sha(tables.rate_table()) == "9907bf9ddc225daf"


def test_squash_and_stretch_are_rounded_logistics():
    x = np.arange(-tables.LIMIT, tables.LIMIT + 1)
    exact = 65536 / (1 + np.exp(-x / 256))
    assert np.abs(tables.squash_table() - np.clip(exact, 1, 65535)).max() <= 0.5
    p = np.arange(1, 65536)
    assert np.abs(tables.stretch_table()[1:] - 256 * np.log(p / (65536 - p))).max() <= 0.5


def test_histories_are_mirrored_and_follow_the_bits():
    states = tables.states()
    assert len(states) == len(set(states)) < 256
    after = tables.next_state_table()
    pairs = {(zeros, ones) for zeros, ones, _ in states}
    assert pairs == {(ones, zeros) for zeros, ones in pairs}
    for n, (zeros, ones, _) in enumerate(states):
        for bit in (0, 1):
            counts = states[after[n, bit]][:2]
            assert counts[bit] >= min((zeros, ones)[bit], 6)  # only caps and surprises shrink
            assert counts[1 - bit] <= (zeros, ones)[1 - bit]
            assert counts[bit] > 0
