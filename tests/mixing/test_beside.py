"""Mixing on two threads: what is decoded and what is learnt are those of one."""

import chances
import numba
import numpy as np
import pytest

from mbz import mixing
from mbz.compiled import OPTIONS
from mbz.exact import crew
from mbz.mixing import BitDecoder, BitEncoder, Mixer
from mbz.pointers import address_of
from mbz.steps import Steps

CASES = [
    # of which block, lanes, and the other arguments of Mixer
    ("text", 16, {"use": "middle"}),
    ("machine", 3, {"use": "rich"}),
    ("repeats", 5, {"use": "lean"}),
    ("zeros", 1, {"use": "lean"}),
    ("picture", 2, {"use": "pixels", "stride": 10, "unit": 3, "phase": 4}),
    ("colours", 4, {"use": "pixels", "stride": 48, "unit": 3, "phase": 5}),
    ("loud", 7, {"use": "sound", "stride": 3, "unit": 3}),
]


@numba.njit(**OPTIONS)
def same_counts(_job: int) -> None:
    """A network whose counts never change."""


def learnt(given):
    """All arrays of a memory, and of the tuples within."""
    for name, value in zip(given._fields, given, strict=True):
        if isinstance(value, np.ndarray):
            yield name, value
        else:
            yield from learnt(value)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_another_thread_mixes(case, threads, monkeypatch):
    """Or would, with one thread: nobody comes for what is offered."""
    monkeypatch.setattr(mixing, "WORTH_TWO", 0)
    name, lanes, options = case
    rng = np.random.default_rng(9)
    data = np.tile(chances.block(name), 30)[:1501]
    data[rng.integers(0, data.size, 40)] ^= 3
    symbols = chances.lanes_of(data, lanes)
    counts = chances.counts_like(symbols)[:1]
    alone = Mixer(data.size, lanes, network=True, **options)
    encoder = BitEncoder()
    encoder.encode(symbols, alone.score(symbols, np.repeat(counts, len(symbols), 0)))
    decoder = BitDecoder(encoder.finish())
    mixer = Mixer(data.size, lanes, network=True, **options)
    with crew.at_work(address_of(same_counts), [0] * 4, threads) as call:
        steps = Steps(np.array(call), np.zeros(lanes, np.uint8), counts[0], call[1])
        parts = [mixer.decode(decoder, count, None, steps) for count in (1, 9, len(symbols) - 10)]
    np.testing.assert_array_equal(np.concatenate(parts), symbols)
    for (field, one), (_, other) in zip(learnt(alone.memory), learnt(mixer.memory), strict=True):
        np.testing.assert_array_equal(one, other, err_msg=field)
