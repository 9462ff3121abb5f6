"""The coder against section 8 of docs/format.md, written here with unbounded integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbz.coder import Decoder, Encoder
from mbz.errors import Corrupt
from mbz.exact import COUNT_SUM


def spec_code(symbols, counts) -> bytes:
    low, width, digits = 0, 2**64 - 1, 64
    for v, row in zip(symbols.tolist(), counts.astype(np.int64).tolist(), strict=True):
        scale = width // 2**24
        low += scale * (sum(row[:v]) + v)
        width = scale * (row[v] + 1)
        if width < 2**32:
            low, width, digits = low << 32, width << 32, digits + 32
    for num_bytes in range(digits // 8 + 1):
        step = 1 << (digits - 8 * num_bytes)
        code = -(-low // step)  # the first multiple of step that is not below low
        if code * step < low + width:
            return code.to_bytes(num_bytes, "big")
    raise AssertionError("unreachable")


def encode(symbols, counts) -> bytes:
    encoder = Encoder()
    encoder.encode(symbols, counts)
    return encoder.finish()


def random_rows(rng, n, sharpness):
    weights = rng.random((n, 256)) ** sharpness
    counts = np.floor(weights / weights.sum(axis=1, keepdims=True) * COUNT_SUM)
    counts[np.arange(n), rng.integers(0, 256, n)] += COUNT_SUM - counts.sum(axis=1)
    return counts.astype(np.float32)


def one_sure(n, value):
    counts = np.zeros((n, 256), np.float32)
    counts[:, value] = COUNT_SUM
    return counts


def halves(n):
    """Rows with almost all mass on 0x00 and 0xFF; their border is the worst case for carries."""
    counts = np.zeros((n, 256), np.float32)
    counts[:, 0] = COUNT_SUM // 2
    counts[:, 255] = COUNT_SUM // 2
    return counts


def test_golden_code():
    uniform = np.full((12, 256), COUNT_SUM // 256, np.float32)
    uniform[:, 0] += COUNT_SUM % 256
    symbols = np.frombuffer(b"Megabyte\x00\xff\x80\x7f", np.uint8)
    assert encode(symbols, uniform).hex() == "4d65676160ff11eb8c9a7f80"
    skewed = np.tile(np.arange(256, dtype=np.float32), (12, 1)) * 513
    skewed[:, 255] += COUNT_SUM - skewed[0].sum()
    assert encode(symbols, skewed).hex() == "16ffa294bf88b92852502b68ab16"


def test_nothing_and_the_certain_take_no_bytes():
    assert Encoder().finish() == b""
    assert encode(np.zeros(0, np.uint8), one_sure(0, 0)) == b""
    assert encode(np.zeros(1000, np.uint8), one_sure(1000, 0)) == b""
    assert len(encode(np.full(1000, 255, np.uint8), one_sure(1000, 255))) == 1


def test_an_impossible_byte_costs_24_bits():
    symbols = np.full(1000, 255, np.uint8)
    assert len(encode(symbols, one_sure(1000, 0))) == 3001  # and a byte for the end


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 70),
    sharpness=st.sampled_from([0, 1, 8, 300]),
    likely=st.booleans(),
)
def test_equals_the_specification_and_round_trips(seed, n, sharpness, likely):
    rng = np.random.default_rng(seed)
    counts = random_rows(rng, n, sharpness)
    symbols = counts.argmax(axis=1) if likely else rng.integers(0, 256, n)
    symbols = symbols.astype(np.uint8)
    code = encode(symbols, counts)
    assert code == spec_code(symbols, counts)
    assert np.array_equal(Decoder(code).decode(counts), symbols)


@pytest.mark.parametrize("first", [0, 255])
@pytest.mark.parametrize("last", [0, 3, 255])
@pytest.mark.parametrize("n", [2, 31, 32, 33, 63, 64, 65, 97, 200])
def test_carries(first, last, n):
    symbols = np.full(n, 255 - first, np.uint8)
    symbols[0], symbols[-1] = first, last
    code = encode(symbols, halves(n))
    assert code == spec_code(symbols, halves(n))
    assert np.array_equal(Decoder(code).decode(halves(n)), symbols)


def test_split_calls_give_the_same_code_and_bytes():
    rng = np.random.default_rng(5)
    counts, symbols = random_rows(rng, 300, 4), rng.integers(0, 256, 300).astype(np.uint8)
    encoder = Encoder()
    for start in range(0, 300, 7):
        encoder.encode(symbols[start : start + 7], counts[start : start + 7])
    code = encoder.finish()
    assert code == encode(symbols, counts)
    decoder = Decoder(code)
    parts = [decoder.decode(counts[start : start + 11]) for start in range(0, 300, 11)]
    assert np.array_equal(np.concatenate(parts), symbols)


def test_is_within_a_byte_and_a_thousandth_of_the_ideal():
    rng = np.random.default_rng(6)
    counts = random_rows(rng, 5000, 30)
    symbols = np.array(
        [rng.choice(256, p=(row + 1.0) / 2**24) for row in counts.astype(np.float64)]
    )
    ideal = -np.log2((counts[np.arange(5000), symbols].astype(np.float64) + 1) / 2**24).sum() / 8
    size = len(encode(symbols.astype(np.uint8), counts))
    assert ideal <= size <= ideal * 1.001 + 1


def test_trailing_zeros_may_be_missing_or_there():
    rng = np.random.default_rng(7)
    counts = random_rows(rng, 50, 2)
    for last in range(256):
        symbols = rng.integers(0, 256, 50).astype(np.uint8)
        symbols[-1] = last
        code = encode(symbols, counts)
        assert not code.endswith(b"\0")
        for zeros in range(6):
            assert np.array_equal(Decoder(code + bytes(zeros)).decode(counts), symbols)


def test_a_code_of_no_content_is_corrupt():
    with pytest.raises(Corrupt):
        Decoder(b"\xff" * 12).decode(one_sure(2, 0))


def test_a_panic_below_is_corrupt():
    class PanicException(BaseException):
        pass

    class Panicking:
        def decode(self, *_args):
            raise PanicException

    decoder = Decoder(b"")
    decoder._coder = Panicking()
    with pytest.raises(Corrupt):
        decoder.decode(one_sure(1, 0))


def test_an_interrupt_stays_an_interrupt():
    class Interrupted:
        def decode(self, *_args):
            raise KeyboardInterrupt

    decoder = Decoder(b"")
    decoder._coder = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        decoder.decode(one_sure(1, 0))


def test_prints_nothing(capfd):
    Decoder(encode(np.zeros(3, np.uint8), one_sure(3, 1))).decode(one_sure(3, 1))
    assert capfd.readouterr() == ("", "")
