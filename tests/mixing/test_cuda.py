"""The CUDA source of mixing, run by fibers, gives what the mixer gives, bit for bit."""

from pathlib import Path

import fibers
import numpy as np
import on_fibers
import pytest
from chances import counts_like, lanes_of

from mbz.mixing import BitDecoder, BitEncoder, Mixer, matches
from mbz.mixing.compiled import held
from mbz.mixing.memory import open_memory
from mbz.mixing.start import begin_with, shipped

pytestmark = pytest.mark.skipif(fibers.COMPILER is None, reason="there is no g++")

SAMPLES = Path(__file__).parents[1] / "samples"
LEARNT = (
    "past", "after1", "after2", "slots", "state_chance", "slot_chance", "run_chance", "match_heads",
    "match_chance", "match_byte_chance", "network_chance", "weights", "final_weights", "refined",
    "matches",
)  # fmt: skip


def machine_code():
    rng = np.random.default_rng(4)
    parts = bytearray()
    for _ in range(200):
        target = (0x2000 + 16 * int(rng.integers(5)) - len(parts) - 5) % 2**32
        parts += [
            b"\xe8" + target.to_bytes(4, "little"),  # calls, of few addresses
            bytes.fromhex("488b05") + bytes(rng.integers(0, 256, 4, np.uint8)),
            bytes.fromhex("48b8") + bytes(rng.integers(0, 256, 8, np.uint8)),
            bytes.fromhex("0f84") + bytes([int(rng.integers(99)), 1, 0, 0]),
            bytes.fromhex("c5f877 c4e27918c0 660f3a0fc108 66b83412"),
            bytes.fromhex("8d448b08 f6c101 f7c100010000 c3"),
        ][rng.integers(6)]
    return bytes(parts)


def content(name, size):
    rng = np.random.default_rng(9)
    pieces = [rng.bytes(n) for n in range(4, 28, 2)]
    made = {
        "machine": machine_code,
        "noise": lambda: rng.bytes(size),
        "zeros": lambda: bytes(size),
        "runs": lambda: b"".join(bytes([v]) * int(n) for v, n in rng.integers(1, 40, (size, 2))),
        "pieces": lambda: b"".join(pieces[k] for k in rng.integers(0, 12, size)),
        "cycle": lambda: rng.bytes(67) * (size // 67 + 1),
    }
    whole = made[name]() if name in made else (SAMPLES / name).read_bytes()
    assert len(whole) >= size
    return np.frombuffer(whole[:size], np.uint8)


class Block:
    """A block, its counts, and a new mixer whenever one is wanted."""

    def __init__(self, data, lanes=1, *, slot_bits=0, use="middle", **options):
        self.data, self.lanes, self.slot_bits = data, lanes, slot_bits
        self.options = {"use": use, "network": True} | options
        self.symbols = lanes_of(data, lanes)
        self.counts = counts_like(self.symbols)

    def mixer(self):
        mixer = Mixer(self.data.size, self.lanes, **self.options)
        if self.slot_bits:
            lengths = np.diff(mixer.memory.starts).tolist()
            mixer.memory = open_memory(lengths=lengths, slot_bits=self.slot_bits, **self.options)
            begin_with(shipped(), mixer.memory, self.options["use"])
            mixer._held = held(mixer.memory)
        return mixer

    def scored(self):
        """A mixer that has scored all, and the chances."""
        mixer = self.mixer()
        return mixer, mixer.score(self.symbols, self.counts)

    def code(self):
        encoder = BitEncoder()
        encoder.encode(self.symbols, self.scored()[1])
        return encoder.finish()


def padded(arrays):
    """With zeros after the last step of those that have fewer."""
    steps = max(len(array) for array in arrays)
    return [np.pad(a, [(0, steps - len(a))] + [(0, 0)] * (a.ndim - 1)) for a in arrays]


def assert_same(*blocks, cuts=(), seed=1):
    """Chances and what is learnt; returns the mixers of Python."""
    theirs = [block.scored() for block in blocks]
    want = np.concatenate(padded([chances for _, chances in theirs]), 2)
    symbols = np.concatenate(padded([block.symbols for block in blocks]), 1)
    counts = np.concatenate(padded([block.counts for block in blocks]), 1)
    mixers = [block.mixer() for block in blocks]
    ours = on_fibers.Blocks(mixers)
    first = 0
    for end in (*cuts, symbols.shape[0]):
        counts_LSV = counts[first:end].astype(np.float32).swapaxes(0, 1)
        symbols_LS = np.ascontiguousarray(symbols[first:end].T, np.int64)
        got = ours.run(first, counts_LSV, symbols_LS, seed=seed)
        np.testing.assert_array_equal(got, want[first:end])
        first = end
    for mixer, (other, _) in zip(mixers, theirs, strict=True):
        for name in LEARNT:
            np.testing.assert_array_equal(
                getattr(mixer.memory, name), getattr(other.memory, name), err_msg=name
            )
    return [mixer for mixer, _ in theirs]


@pytest.mark.parametrize("use", ["lean", "middle", "rich"])
@pytest.mark.parametrize(("lanes", "steps"), [(1, 60), (3, 40), (17, 12), (33, 8)])
def test_chances_are_those_of_the_mixer(use, lanes, steps):
    # Where there are more lanes than one, some are shorter.
    size = lanes * steps - lanes // 2
    assert_same(Block(content("data.json", size), lanes, use=use), seed=lanes)


@pytest.mark.parametrize(
    "name", ["text.txt", "table.csv", "machine", "noise", "zeros", "runs", "pieces"]
)
@pytest.mark.parametrize("use", ["lean", "rich"])
def test_chances_of_all_kinds_of_content(name, use):
    block = Block(content(name, 4 * 120 - 3), 4, use=use, stride=7, unit=3, phase=2)
    assert_same(block, seed=2)


@pytest.mark.parametrize("seed", range(10, 20))
def test_the_order_of_threads_does_not_matter(seed):
    assert_same(Block(content("pieces", 5 * 40), 5, use="rich"), seed=seed)


@pytest.mark.parametrize("cuts", [[1], [7, 8, 20], [29]])
def test_any_split_into_calls_gives_the_same(cuts):
    assert_same(Block(content("table.csv", 3 * 30 - 1), 3), cuts=cuts)


def test_blocks_of_different_sizes_run_at_once():
    blocks = [
        Block(content("text.txt", 50), 2),
        Block(content("noise", 1)),
        Block(content("table.csv", 7 * 11 - 4), 7),
        Block(content("machine", 50), 1),
        Block(content("zeros", 9), 9),
    ]
    assert_same(*blocks, cuts=[1, 12, 40], seed=3)


@pytest.mark.parametrize(
    ("name", "use", "slot_bits"),
    [("data.json", "lean", 2), ("table.csv", "lean", 3)]
    + [("text.txt", "rich", bits) for bits in (2, 5, 8)],
)
def test_contexts_that_want_the_same_place(name, use, slot_bits):
    """They replace each other all the time."""
    block = Block(content(name, 4 * 40 - 1), 4, use=use, slot_bits=slot_bits)
    for seed in (4, 5):
        (mixer,) = assert_same(block, seed=seed)
    places = np.sort(mixer.memory.at)
    assert (places[:, 1:] == places[:, :-1]).any(1).all()  # in each lane some have met


def test_matches_reach_into_other_lanes():
    rng = np.random.default_rng(3)
    first, more = rng.integers(0, 256, 100, np.uint8), rng.integers(0, 256, 10, np.uint8)
    # Each lane repeats, ten steps later, what the one before had.
    data = np.concatenate([first, more, first[:90], more, more, first[:80]])
    for use, seed in (("lean", 6), ("lean", 7), ("middle", 8), ("middle", 9)):
        (mixer,) = assert_same(Block(data, 3, use=use), seed=seed)
        position, lane, length = mixer.memory.matches[1:, :, : matches.LENGTH + 1].T
        assert (position > 0).all()
        assert (lane < [1, 2]).all()
        assert (length > 30).all()


def test_long_matches():
    (mixer,) = assert_same(Block(content("cycle", 2 * 620 - 1), 2, use="lean"), seed=7)
    assert (mixer.memory.matches[:, :, matches.LENGTH] > 512).all()


def test_lanes_that_are_alike():
    """All choose the same weights and calibrations, and have the same contexts."""
    lane = content("text.txt", 30)
    (mixer,) = assert_same(Block(np.tile(lane, 12), 12), seed=8)
    assert (mixer.memory.chosen == mixer.memory.chosen[0]).all()


def decoded(blocks, codes, seed=1):
    """Steps of each block (T, L), as the CUDA source and as Python decode them."""
    ours = on_fibers.Blocks([block.mixer() for block in blocks], codes)
    counts = np.concatenate(padded([block.counts for block in blocks]), 1).astype(np.float32)
    found = np.zeros(counts.shape[:2], np.int64)
    for t, counts_LV in enumerate(counts):
        step_L1 = np.zeros((ours.lanes, 1), np.int64)
        ours.run(t, counts_LV[:, None], step_L1, decode=True, seed=seed)
        found[t] = step_L1[:, 0]
    ends = np.cumsum([block.lanes for block in blocks])[:-1]
    pieces = np.split(found, ends, 1)
    return [piece[: len(b.symbols)] for piece, b in zip(pieces, blocks, strict=True)]


def test_decoding_gives_the_content_back():
    blocks = [
        Block(content("text.txt", 3 * 30 - 2), 3),
        Block(content("noise", 5 * 9), 5),
        Block(content("zeros", 17), 1),
    ]
    found = decoded(blocks, [block.code() for block in blocks])
    for block, symbols in zip(blocks, found, strict=True):
        np.testing.assert_array_equal(symbols, block.symbols)


@pytest.mark.parametrize("use", ["lean", "rich"])
def test_damaged_code_decodes_to_what_the_mixer_makes_of_it(use):
    block = Block(content("table.csv", 3 * 30 - 2), 3, use=use)
    whole = block.code()
    codes = [whole[:20] + b"\xff" + whole[21:], whole[:9], b"", b"\xff" * 200]
    found = decoded([block] * len(codes), codes, seed=9)
    for code, symbols in zip(codes, found, strict=True):
        mixer, decoder = block.mixer(), BitDecoder(code)
        want = [mixer.decode(decoder, 1, counts[None])[0] for counts in block.counts]
        np.testing.assert_array_equal(symbols, want)
