"""Windows: which bytes are scored where, and that bits depend on nothing that comes later."""

import io
import itertools

import numpy as np
import pytest

from mbz.exact.reference import ReferencePredictor
from mbz.scoring import Document, Failure, score
from mbz.scoring.engines import FloatEngine, IntegerEngine
from mbz.scoring.windows import Method, WindowScorer

DATA = np.random.default_rng(0).integers(0, 8, 100, np.uint8).tobytes()
METHODS = [
    Method(context=24, slide=slide, stride=stride)
    for slide, stride in itertools.product((False, True), repeat=2)
]


class Places:
    """An engine whose bits say where in its row each byte is; 100 more for a byte that is 255."""

    patch, most = 4, 64

    def bits(self, bytes_BT: np.ndarray) -> np.ndarray:
        assert bytes_BT.shape[1] % self.patch == 0
        return (np.arange(bytes_BT.shape[1]) + 100 * (bytes_BT == 255)).astype(np.float32)


def document(data: bytes) -> Document:
    return Document("data", len(data), lambda: io.BytesIO(data))


def bits_of(scorer: WindowScorer, data: bytes) -> np.ndarray:
    return np.concatenate([piece.bits for piece in score([document(data)], scorer)])


def test_windows_end_to_end():
    found = bits_of(WindowScorer(Places(), Method(context=24)), bytes(50))
    assert found.tolist() == [*range(24), *range(24), 0, 1]


def test_sliding_windows_keep_what_has_half_a_window_before_it():
    found = bits_of(WindowScorer(Places(), Method(context=24, slide=True)), bytes(40))
    assert found.tolist() == [*range(24), *range(12, 24), *range(12, 16)]


def test_the_second_pass_scores_second_halves_as_first_halves():
    found = bits_of(WindowScorer(Places(), Method(context=24, stride=True)), bytes(12))
    #                              places 2 and 3 of a patch are 0 and 1 of one two bytes later
    assert found.tolist() == [0, 1, 2, 3, 4, 5, 4, 5, 8, 9, 8, 9]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_each_byte_is_scored_once_whatever_the_batches(method):
    sizes = [0, 1, 3, 4, 23, 24, 25, 49, 100]
    alone = [bits_of(WindowScorer(Places(), method), bytes(n)) if n else [] for n in sizes]
    found = [[] for _ in sizes]
    for piece in score([document(bytes(n)) for n in sizes], WindowScorer(Places(), method)):
        found[piece.document] += piece.bits.tolist()
    assert [len(bits) for bits in found] == sizes
    assert found == [list(bits) for bits in alone]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_bits_depend_on_nothing_that_comes_later(method, lively_model):
    scorer = WindowScorer(FloatEngine(lively_model), method)
    before = bits_of(scorer, DATA)
    for place in (0, 7, 23, 24, 31, 50, 99):
        changed = bytearray(DATA)
        changed[place] ^= 9
        after = bits_of(scorer, bytes(changed))
        assert np.allclose(after[:place], before[:place], atol=1e-4)
        assert abs(after[place] - before[place]) > 1e-3


def test_the_engines_agree(model):
    from mbz.model import Megabyte
    from mbz.quantize import float_state

    float_model = Megabyte(model.config)
    float_model.load_state_dict(float_state(model.config, model.tensors))
    rows = np.frombuffer(DATA, np.uint8)[:96].reshape(2, 48).copy()
    in_floats = FloatEngine(float_model).bits(rows)
    predictor = ReferencePredictor(model.config, model.tensors)
    in_integers = IntegerEngine(predictor, model.config.patch).bits(rows)
    assert abs(in_floats.mean() - in_integers.mean()) < 0.02 * in_integers.mean()
    assert np.corrcoef(in_floats.ravel(), in_integers.ravel())[0, 1] > 0.99


def test_what_cannot_be_read_to_its_end_is_a_failure():
    class Broken(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            if self.tell() > 30:
                raise OSError("broken")
            return super().read(min(size, 8))

    broken = Document("broken", None, lambda: Broken(bytes(90)))
    events = list(score([document(bytes(9)), broken, document(bytes(5))], scorer()))
    kinds = [(event.document, isinstance(event, Failure)) for event in events]
    assert kinds == [(1, True), (0, False), (2, False)]


def scorer() -> WindowScorer:
    return WindowScorer(Places(), Method(context=24))
