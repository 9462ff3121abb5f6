"""Every backend gives the bits of the reference, however the work is cut."""

import ctypes
import gc
import itertools
from dataclasses import replace

import conftest
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mbz.config import MAX_PATCH_WIDTH
from mbz.exact import COUNT_SUM, Predictor, compiled_backend, units, vectors
from mbz.exact.compiled_backend import CompiledPredictor
from mbz.exact.reference import ReferencePredictor, Root, sum_of_squares
from mbz.exact.rows import hidden_product, product
from mbz.exact.selftest import digest
from mbz.exact.torch_arithmetic import Arithmetic
from mbz.exact.torch_backend import TorchPredictor, pieces
from mbz.exact.torch_matrix import FloatMatrix, Int8Matrix, sound
from mbz.exact.torch_steps import SteppingPredictor, Steps
from mbz.weights import LARGEST_SCALE

LANES, LENGTH = 3, 100  # the longest ring of the test models is 2 * 6 patches of 4 bytes

BACKENDS = [
    "compiled",
    "cpu-float",
    "cpu-int8",
    "steps-float",
    pytest.param("cuda-float", marks=pytest.mark.gpu),
    pytest.param("cuda-int8", marks=pytest.mark.gpu),
]
CPU = ["compiled", "cpu-float", "steps-float"]
MATRICES = {"float": FloatMatrix, "int8": Int8Matrix}


def symbols(lanes: int = LANES, length: int = LENGTH) -> np.ndarray:
    """Seeded bytes with runs in them, all 256 values among them."""
    rng = np.random.default_rng(7)
    return np.repeat(rng.integers(0, 256, (lanes, length)), 2, 1)[:, :length].astype(np.uint8)


def opened(model, backend: str) -> Predictor:
    if backend == "compiled":
        return CompiledPredictor(model.config, model.tensors)
    device, carrier = backend.split("-")
    kind = TorchPredictor if device == "cpu" else SteppingPredictor
    device = "cpu" if device == "steps" else device
    matrix = MATRICES[carrier]
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if not sound(matrix, torch.device(device)):
        pytest.skip(f"{matrix.__name__} is not sound on this machine")
    return kind(model.config, model.tensors, torch.device(device), matrix)


def scored(predictor: Predictor, data: np.ndarray, cuts: list[int]) -> np.ndarray:
    predictor.reset(len(data))
    edges = [0, *cuts, data.shape[1]]
    parts = [predictor.score(data[:, a:b]) for a, b in itertools.pairwise(edges) if b > a]
    return np.concatenate(parts, 1)


def stepped(predictor: Predictor, data: np.ndarray) -> np.ndarray:
    predictor.reset(len(data))
    rows = []
    for column in data.T:
        rows.append(predictor.counts())
        predictor.push(column)
    return np.stack(rows, 1)


# The first characters of the digest of each test model.
GOLDEN = {
    "tiny": "946e00f2af065a99",
    "odd": "d029f48bebdc4d30",
    "encoder": "84ba10f410e5bc3b",
    "ngrams": "c21a0b9a27df7730",
    "both": "16a355e423a1f82c",
}


@pytest.fixture(scope="module")
def expected(model) -> np.ndarray:
    return scored(ReferencePredictor(model.config, model.tensors), symbols(), [])


@pytest.mark.parametrize("backend", BACKENDS)
def test_parallel_step_and_reference_agree(model, expected, backend):
    predictor = opened(model, backend)
    np.testing.assert_array_equal(scored(predictor, symbols(), []), expected)
    np.testing.assert_array_equal(stepped(predictor, symbols()), expected)


@pytest.mark.gpu
def test_graphs_may_be_collected_while_others_are_recorded(model, expected, monkeypatch):
    step, recording = Steps.step, []

    def collecting(self, *, starts):
        if torch.cuda.is_current_stream_capturing():
            recording.append(gc.collect())
        step(self, starts=starts)

    gc.disable()
    try:
        stepped(opened(model, "cuda-float"), symbols())  # it and its steps know each other
        monkeypatch.setattr(Steps, "step", collecting)
        np.testing.assert_array_equal(stepped(opened(model, "cuda-float"), symbols()), expected)
    finally:
        gc.enable()
    assert recording[0] > 0


@pytest.mark.parametrize("sharp", [0.1, 1.0, 8.0])
def test_windows_longer_than_a_vector(sharp):
    """And no multiple of what vectors hold; weights that fit in a byte, and others."""
    base = conftest.ODD
    config = replace(
        base,
        global_stack=replace(base.global_stack, window=33, heads=6, kv_heads=1, width=60),
        local_stack=replace(base.local_stack, window=67, heads=5, kv_heads=1),
    )
    tensors = conftest.random_tensors(config)
    for name in tensors:
        if name.endswith("sharpness"):
            tensors[name] *= np.float32(sharp)
    data = symbols(2, 300)
    expected = scored(ReferencePredictor(config, tensors), data, [])
    predictor = CompiledPredictor(config, tensors, 2)
    np.testing.assert_array_equal(scored(predictor, data, [1, 60, 201]), expected)
    np.testing.assert_array_equal(stepped(predictor, data), expected)


@pytest.mark.parametrize("backend", CPU)
@given(cuts=st.lists(st.integers(0, LENGTH), max_size=6), mix=st.booleans())
def test_any_split_into_calls(model, expected, backend, cuts, mix):
    predictor = opened(model, backend)
    cuts = sorted(cuts)
    got = scored(predictor, symbols(), cuts)
    np.testing.assert_array_equal(got, expected)
    if mix and cuts:  # steps after a parallel part, as a decoder never does but may
        predictor.reset(LANES)
        if cuts[0]:
            predictor.score(symbols()[:, : cuts[0]])
        for i in range(cuts[0], min(cuts[0] + 9, LENGTH)):
            np.testing.assert_array_equal(predictor.counts(), expected[:, i])
            predictor.push(symbols()[:, i])


@pytest.mark.parametrize("backend", CPU)
@pytest.mark.parametrize("lanes", [1, 2, 3, 16, 17, 64, 150])
def test_lanes_do_not_see_each_other(model, backend, lanes):
    data = symbols(lanes, 40)
    predictor = opened(model, backend)
    together = scored(predictor, data, [])
    np.testing.assert_array_equal(stepped(predictor, data), together)
    alone = ReferencePredictor(model.config, model.tensors)
    for lane in {0, lanes // 2, lanes - 1}:
        np.testing.assert_array_equal(scored(alone, data[lane : lane + 1], [])[0], together[lane])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_thread_count_does_not_matter(model, expected, threads):
    predictor = CompiledPredictor(model.config, model.tensors, threads)
    np.testing.assert_array_equal(scored(predictor, symbols(), [33]), expected)
    np.testing.assert_array_equal(stepped(predictor, symbols()), expected)
    predictor.reset(LANES)  # a push that waits, and then a parallel part
    np.testing.assert_array_equal(predictor.counts(), expected[:, 0])
    predictor.push(symbols()[:, 0])
    np.testing.assert_array_equal(predictor.score(symbols()[:, 1:]), expected[:, 1:])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_steps_without_python_between(model, expected, threads):
    predictor = CompiledPredictor(model.config, model.tensors, threads)
    for _ in range(2):  # a second block starts anew
        predictor.reset(LANES)
        with predictor.stepping() as steps:
            function, argument = map(int, steps.call)
            step = ctypes.CFUNCTYPE(None, ctypes.c_int64)(function)
            for i, column in enumerate(symbols().T):
                step(argument)
                np.testing.assert_array_equal(steps.counts, expected[:, i])
                steps.symbols[:] = column


def test_predictors_of_the_same_weights_do_not_see_each_other(model, expected):
    first = CompiledPredictor(model.config, model.tensors, 2)
    first.reset(LANES)
    first.score(symbols()[:, :50])
    np.testing.assert_array_equal(scored(first.apart(), symbols(), []), expected)
    np.testing.assert_array_equal(first.score(symbols()[:, 50:]), expected[:, 50:])


@pytest.mark.parametrize("rows", [1, 7, 33])
def test_how_many_positions_pass_at_once_does_not_matter(model, expected, rows, monkeypatch):
    monkeypatch.setattr(compiled_backend, "ROWS", rows)
    predictor = CompiledPredictor(model.config, model.tensors)
    np.testing.assert_array_equal(scored(predictor, symbols(), [50]), expected)


@pytest.mark.parametrize("terms", [1, 40, 64, 384, 2048, 8321])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 9])
def test_products_of_the_largest_operands_are_exact(terms, rows):
    index = np.arange(terms)
    signs = (index * index % 7 < 4) * 254 - 127
    weight = np.stack([signs, -signs, abs(signs), -abs(signs), signs] * 20).astype(np.int8)
    q = np.zeros((rows, terms), np.int64)
    q[::2], q[1::2] = signs, abs(signs)
    blocks = vectors.packed(weight)
    left = np.zeros((rows, terms + vectors.GROUP), vectors.LEFT)
    left[:, :terms] = q + vectors.OFFSET
    sums = np.zeros((rows, len(blocks) * vectors.OUTPUTS), np.int32)
    product(left, rows, blocks, sums)
    np.testing.assert_array_equal(sums[:, : len(weight)], q @ weight.T.astype(np.int64))


@pytest.mark.parametrize("width", [1, 2, 5, 64, 1023, 8321])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_products_of_hidden_units_are_exact(width, share):
    rng = np.random.default_rng(width)
    index = np.arange(width)
    signs = (index * index % 7 < 4) * 254 - 127
    weight = np.stack([signs, -signs, abs(signs), -abs(signs), index % 255 - 127] * 20)
    hidden = np.where(rng.random((3, width)) < share, rng.integers(1, 128, (3, width)), 0)
    hidden[0] = np.where(hidden[0] > 0, 127, 0)
    q = np.full((3, width + units.MARKED), 99, np.uint8)  # what follows a row is not of it
    q[:, :width] = hidden
    values = np.full((3, width + units.TOGETHER), 99, np.uint8)
    places = np.zeros(values.shape, np.int32)
    blocks = units.packed_units(weight.astype(np.int8))
    sums = np.full((3, len(blocks) * units.SPAN), -1, np.int32)
    hidden_product(q, 3, blocks, values, places, np.zeros(3, np.int64), sums)
    np.testing.assert_array_equal(sums[:, : len(weight)], hidden @ weight.T)


def test_the_future_does_not_leak(model, expected):
    changed = symbols()
    changed[:, 60] ^= 0x55
    got = scored(opened(model, "compiled"), changed, [])
    np.testing.assert_array_equal(got[:, :61], expected[:, :61])
    assert not np.array_equal(got[:, 61], expected[:, 61])


def test_counts_are_integers_that_sum_to_the_scale(expected):
    assert expected.dtype == np.float32
    assert (expected >= 0).all()
    assert (expected == np.floor(expected)).all()
    assert (expected.astype(np.int64).sum(-1) == COUNT_SUM).all()


def test_reset_forgets(model, expected):
    predictor = opened(model, "compiled")
    scored(predictor, symbols()[:, ::-1].copy(), [])
    np.testing.assert_array_equal(scored(predictor, symbols(), []), expected)


def test_digest_is_the_same_for_every_backend_and_for_ever(model):
    """A changed digest is another arithmetic (or another way of numpy to draw test weights)."""
    [name] = (name for name, config in conftest.MODELS.items() if config == model.config)
    reference = digest(ReferencePredictor(model.config, model.tensors))
    assert reference[:16] == GOLDEN[name]
    for backend in CPU:
        assert digest(opened(model, backend)) == reference


@pytest.mark.parametrize("width", [1040, 3072, MAX_PATCH_WIDTH])
def test_norms_of_wide_rows_are_exact(width):
    """Sums of squares of a patch of encoder rows pass 2**24, where float32 would lose units."""
    rows = np.random.default_rng(2).integers(118, 128, (9, width)).astype(np.float32)
    rows[0], rows[1, 1:] = 127, 0
    arithmetic = Arithmetic(torch.device("cpu"), FloatMatrix)
    exact = (rows.astype(np.int64) ** 2).sum(1, keepdims=True)
    assert exact.max() == 127**2 * width
    np.testing.assert_array_equal(sum_of_squares(rows), exact.astype(np.float32))
    in_torch = torch.from_numpy(rows)
    np.testing.assert_array_equal(arithmetic.sum_of_squares(in_torch), exact.astype(np.float32))
    root = Root()(exact.astype(np.float32))
    np.testing.assert_array_equal(arithmetic.root(in_torch), root)
    np.testing.assert_allclose(root * exact**0.5, 1, rtol=3e-4)


def test_a_wide_patch_is_projected_exactly():
    """More than 1040 terms, as in every encoder of a useful size."""
    config = replace(conftest.ENCODER, patch=36, projection="dense")
    model = conftest.Model(config, conftest.random_tensors(config))
    data = symbols(2, 80)
    expected = scored(ReferencePredictor(config, model.tensors), data, [])
    for backend in CPU:
        predictor = opened(model, backend)
        np.testing.assert_array_equal(scored(predictor, data, [7, 41]), expected)
        np.testing.assert_array_equal(stepped(predictor, data), expected)


@given(t=st.integers(0, 50), count=st.integers(1, 60), window=st.integers(1, 9))
def test_pieces_lie_in_one_block_or_are_whole_blocks(t, count, window):
    end = t
    for at, size in pieces(t, count, window):
        assert at == end
        end = at + size
        inside = at // window == (end - 1) // window
        assert inside or (at % window == 0 and size % window == 0)
    assert end == t + count


@pytest.mark.parametrize("backend", CPU)
@pytest.mark.parametrize("low", [0, -LARGEST_SCALE])
def test_the_wildest_weights_make_no_infinities(model, backend, low):
    """Bounds of values keep all sums finite, so that nothing is indexed with a NaN."""
    rng = np.random.default_rng(0)
    wild = {
        name: rng.choice(
            np.array([-127, 127] if t.dtype == np.int8 else [low, LARGEST_SCALE], t.dtype), t.shape
        )
        for name, t in model.tensors.items()
    }
    wild_model = replace(model, tensors=wild)
    with np.errstate(over="raise", invalid="raise"):
        expected = stepped(ReferencePredictor(model.config, wild), symbols(2, 30))
    assert (expected.sum(-1, dtype=np.int64) == COUNT_SUM).all()
    predictor = opened(wild_model, backend)
    assert np.array_equal(stepped(predictor, symbols(2, 30)), expected)
