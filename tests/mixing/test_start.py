"""Start states: what is trained comes back from the file and helps; the shipped ones are pinned."""

import hashlib
from importlib.resources import files

import numpy as np
import pytest
from stub_predictor import StubPredictor

from mbz.errors import MbzError
from mbz.mixing import Mixer, begun, begun_to_copy
from mbz.mixing.experts import names_of
from mbz.mixing.memory import SAME, Memory
from mbz.mixing.start import COUNT, Start, begin_with, read, shipped
from mbz.mixing.train_start import KEYS, compact, pieces_of, save, train
from mbz.training.data import Corpus

TEXT = b"".join(
    b"The %d. of %d words: a house, an apple; {'x': %d}\n" % (n, n, n) for n in range(9)
)
NONE = Start({}, {})


def cost(data, start, *, network=False, **options):
    """Bits per byte of a block."""
    symbols = np.frombuffer(data, np.uint8)[:, None]
    counts = None
    if network:
        predictor = StubPredictor()
        predictor.reset(1)
        counts = predictor.score(symbols.T)[0].astype(np.uint32)[:, None]
    p = Mixer(len(data), network=network, start=start, **options).score(symbols, counts)
    bits = np.unpackbits(symbols[:, None], axis=1)
    return -np.log2(np.where(bits, p, 65536 - p) / 65536).sum() / len(data)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("start") / "a.safetensors"
    pieces = pieces_of(Corpus.of([TEXT]), 6)
    assert all(bytes(piece) in TEXT for piece in pieces)
    tensors = train(pieces, "lean") | train(pieces, "lean", StubPredictor())
    save(path, tensors, dict.fromkeys(("lean", "lean+network"), names_of("lean")))
    return read(path)


def test_what_was_trained_helps_and_only_its_set(trained):
    other = TEXT.replace(b"house", b"horse")
    assert cost(other, trained, use="lean") < 0.9 * cost(other, NONE, use="lean")
    assert cost(other, trained, use="middle") == cost(other, NONE, use="middle")


def test_a_network_has_start_states_of_its_own(trained):
    alone = {name: table for name, table in trained.tensors.items() if "+" not in name}
    start = Start(alone, {"lean": trained.experts["lean"]})
    costs = [cost(TEXT, s, use="lean", network=True) for s in (trained, start, NONE)]
    assert costs[0] < 0.9 * costs[1] == 0.9 * costs[2]


def test_experts_are_found_by_name(trained):
    names = trained.experts["lean"]
    assert names == names_of("lean")
    turned = {
        name: table[::-1] if table.shape[0] == len(names) else table
        for name, table in trained.tensors.items()
    }
    basis = turned["lean.basis"].copy()
    for k in (0, len(names), 2 * len(names)):
        basis[:, :, k : k + len(names)] = basis[:, :, k : k + len(names)][:, :, ::-1]
    again = Start(turned | {"lean.basis": basis}, {"lean": names[::-1]})
    here, there = (Mixer(9, use="lean", start=start).memory for start in (trained, again))
    for field in ("weights", "final_weights", "state_chance", "slot_chance", "match_chance"):
        np.testing.assert_array_equal(getattr(here, field), getattr(there, field))


def test_an_expert_that_is_not_in_the_file_begins_as_without_one(trained):
    names = ["another", *trained.experts["lean"][1:]]
    fresh, known = (Mixer(9, use="lean", start=NONE).memory for _ in range(2))
    begin_with(Start(trained.tensors, {"lean": names}), known, "lean")
    np.testing.assert_array_equal(known.state_chance[0], fresh.state_chance[0])
    np.testing.assert_array_equal(known.weights[:, 0], fresh.weights[:, 0])
    assert (known.state_chance[1] & 1023 == COUNT).any()


def test_rows_and_basis_give_nearly_the_weights():
    rng = np.random.default_rng(4)
    weights = rng.integers(-9000, 9000, (1024, 2)) @ rng.integers(-5, 6, (2, 32)) + 7000
    rows, basis = compact(weights, np.ones(1024, bool))
    assert rows.dtype == np.int8
    again = ((rows.astype(np.int64) @ basis[0, :-1]) >> 8) + basis[0, -1]
    assert np.abs(again - weights).max() < 0.03 * np.abs(weights).max()


def test_shipped_start_states_are_pinned():
    """Other ones are another arithmetic: old archives would be lost."""
    content = (files("mbz.mixing") / "start.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest()[:16] == "83faafba1f4fb259"
    assert set(shipped().experts) == set(KEYS)
    assert cost(TEXT, shipped(), use="rich") < 0.95 * cost(TEXT, NONE, use="rich")


@pytest.mark.parametrize("use", ["lean", "middle", "rich"])
def test_blocks_that_share_what_they_know_at_first(use):
    options = {"use": use, "network": True, "stride": 7, "unit": 3, "phase": 2}
    one, other = (begun_to_copy(n, 5, **options) for n in (12345, 999))
    for memory, size in ((one, 12345), (other, 999)):
        want = begun(size, 5, **options)
        for name in set(Memory._fields) - {"numbers"}:
            np.testing.assert_array_equal(getattr(memory, name), getattr(want, name))
            assert getattr(memory, name).dtype == getattr(want, name).dtype
    for name in SAME:
        assert getattr(one, name) is getattr(other, name)
        assert not getattr(one, name).flags.writeable


def test_another_file_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"no tensors")
    with pytest.raises(MbzError, match="holds no start states"):
        read(tmp_path / "x")
