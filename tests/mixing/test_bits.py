"""The range coder of bits: golden code, exact restoring, carries, and its cost."""

import chances
import numpy as np
import pytest

from mbz.mixing import BitDecoder, BitEncoder, Mixer


def encoded(symbols, p):
    """The code, given to the encoder in two parts."""
    encoder = BitEncoder()
    for part in (slice(0, 3), slice(3, None)):
        encoder.encode(symbols[part], p[part])
    return encoder.finish()


@pytest.mark.parametrize("case", chances.CASES, ids=lambda case: case[0])
def test_what_was_scored_and_encoded_is_decoded(case):
    name, lanes, network, _ = case
    symbols = chances.lanes_of(chances.block(name), lanes)
    counts = chances.counts_like(symbols) if network else None
    p = chances.scored(*case)
    code = encoded(symbols, p)
    bits = np.unpackbits(symbols[:, None], axis=1)
    assert len(code) <= -np.log2(np.where(bits, p, 65536 - p)[p > 0] / 65536).sum() / 8 + 1.1
    mixer, decoder = chances.mixer_of(*case), BitDecoder(code)
    if network:
        parts = [mixer.decode(decoder, 1, counts[t : t + 1]) for t in range(len(symbols))]
        decoded = np.concatenate(parts)
    else:
        decoded = np.concatenate([mixer.decode(decoder, 2), mixer.decode(decoder, 1 << 20)])
    np.testing.assert_array_equal(decoded, symbols)


def test_carries_go_through_all_bytes_given_out():
    """Ones always lie below zeros, so a code of only zeros, improbable at the end, is highest."""
    symbols = np.zeros((400, 1), np.uint8)
    p = np.full((400, 8, 1), 1, np.int32)
    p[-1] = 65535
    code = encoded(symbols, p)
    assert len(code) <= 17
    symbols[:] = 255
    assert encoded(symbols, 65536 - p) == b""  # ends in zeros, which need not be written


def test_golden_code():
    """Other bytes are another format: old archives would be lost."""
    rng = np.random.default_rng(5)
    symbols = rng.integers(0, 256, (12, 2), dtype=np.uint8)
    p = rng.integers(1, 65536, (12, 8, 2), dtype=np.int32)
    assert encoded(symbols, p).hex() == (
        "2d2b998f98bb9948151dae682d436ce42a5161bf2b326e8bba307e30f6e63c563a31b8"
    )


def test_a_damaged_code_gives_bytes_without_an_error():
    decoded = Mixer(50, use="lean").decode(BitDecoder(b"\xff" * 9), 50)
    assert decoded.shape == (50, 1)
