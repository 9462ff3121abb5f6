"""Several blocks at a time give what one at a time does, whatever happens in between."""

import io
import threading

import numpy as np
import pytest
import torch
from sampled import sampled
from stub_predictor import StubPredictor

from mbz import codec, parallel, weights
from mbz.container import Kind, ModelId
from mbz.errors import Corrupt, MbzError, Truncated
from mbz.exact import Predictor, Stepping
from mbz.exact.compiled_backend import CompiledPredictor
from mbz.exact.torch_matrix import FloatMatrix
from mbz.exact.torch_steps import SteppingPredictor
from mbz.mixing import Mixer
from mbz.mixing.compiled import held
from mbz.mixing.memory import SAME
from mbz.progress import Stopped, Sum
from mbz.together import Table

NAME = ModelId(fingerprint=b"8 bytes.", name=None)
BLOCK = 300
DATA = np.random.default_rng(3).geometric(0.2, 5 * BLOCK - 70).astype(np.uint8).tobytes()


class WideStub(StubPredictor):
    """One that likes many lanes, and counts how many it was given."""

    lanes_at_once = 12

    def reset(self, lanes: int) -> None:
        self.lanes = lanes
        super().reset(lanes)


def pack(predictor: Predictor | None, data: bytes = DATA, **options) -> bytes:
    dst = io.BytesIO()
    name = None if predictor is None else NAME
    options = {"block_size": BLOCK, "lanes": 3, "threads": 1} | options
    codec.compress(io.BytesIO(data), dst, predictor, name, **options)
    return dst.getvalue()


def unpack(predictor: Predictor | None, archive: bytes, **options) -> bytes:
    dst = io.BytesIO()
    codec.decompress(io.BytesIO(archive), dst, lambda _fingerprint, _name: predictor, **options)
    return dst.getvalue()


def each(items, work, **options) -> list:
    load = parallel.Load(length=1, lanes=0, experts=0)
    options = {"progress": None, "threads": 3} | options
    return parallel.each(items, work, lambda _: load, None, **options)


def test_things_come_in_order_however_long_they_take():
    late = threading.Event()

    def work(item, _predictor, report):
        if item == 0:
            late.wait()
        if item == 2:
            late.set()
        report(item)
        return item

    seen = []
    assert list(each(range(20), work, progress=seen.append)) == list(range(20))
    assert seen == sorted(seen)
    assert seen[-1] == sum(range(20))


def test_an_error_comes_after_what_was_before_it():
    def work(item, _predictor, _report):
        if item == 4:
            raise Corrupt("four")
        return item

    found = []
    with pytest.raises(Corrupt, match="four"):
        found.extend(each(range(20), work))
    made = each(range(20), work)
    assert [next(made) for _ in range(4)] == [0, 1, 2, 3]


def test_an_error_of_the_source_comes_after_what_was_before_it():
    def items():
        yield from range(4)
        raise Truncated("cut off")

    made = each(items(), lambda item, _predictor, _report: item)
    assert [next(made) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(Truncated):
        next(made)


def test_who_reports_after_the_end_is_stopped():
    total = Sum(None)
    total.part()(1)
    total.stop()
    with pytest.raises(Stopped):
        total.part()(1)


def test_memory_bounds_how_many(monkeypatch):
    most, running = 0, 0

    def work(_item, _predictor, _report):
        nonlocal most, running
        running += 1
        most = max(most, running)
        threading.Event().wait(0.01)
        running -= 1

    monkeypatch.setattr(parallel, "memory", lambda: 2 * parallel.memory_of(1, mixed=False))
    list(each(range(9), work, threads=9))
    assert most == 2


def test_what_asks_for_more_comes_later(monkeypatch):
    lengths = [1, 1, 1, 1000, 1000, 1, 1, 5000]
    running, together = [], []

    def work(item, _predictor, _report):
        running.append(item)
        together.append(list(running))
        threading.Event().wait(0.01)
        running.remove(item)
        return item

    monkeypatch.setattr(parallel, "_at_once", lambda *_: 3)
    loads = (parallel.Load(length=length, lanes=0, experts=1) for length in lengths)
    made = parallel.each(loads, work, lambda load: load, None, progress=None, threads=3)
    assert [load.length for load in made] == lengths
    assert all(group[0].length >= load.length for group in together for load in group)


@pytest.mark.parametrize("experts", [None, "lean"])
def test_blocks_that_share_a_network(experts):
    archive = pack(StubPredictor(), experts=experts)
    wide, seen = WideStub(), []
    assert pack(wide, experts=experts, progress=seen.append) == archive
    assert wide.lanes == 3  # of the last block alone, after four together
    assert seen == sorted(seen)
    assert seen[-1] == len(DATA)
    seen.clear()
    assert unpack(wide, archive, progress=seen.append) == DATA
    assert seen == sorted(seen)
    assert seen[-1] == len(DATA)
    assert unpack(StubPredictor(), archive) == DATA


def test_blocks_of_other_lengths_share_a_network():
    wide = WideStub()
    wide.lanes_at_once = 100
    assert pack(wide) == pack(StubPredictor())
    assert wide.lanes == 15
    assert unpack(wide, pack(wide)) == DATA


@pytest.mark.parametrize("where", ["threads", "cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("experts", [None, "lean", "middle"])
def test_real_networks(tiny_model_dir, experts, where):
    model = weights.read(tiny_model_dir)
    alone = CompiledPredictor(model.config, model.tensors, 1)
    data = sampled(alone, len(DATA))
    if where == "threads":
        several = CompiledPredictor(model.config, model.tensors, 3)
    else:
        if where == "cuda" and not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        place = torch.device(where)
        several = SteppingPredictor(model.config, model.tensors, place, FloatMatrix)
        several.lanes_at_once = 9
    archive = pack(alone, data, experts=experts)
    blocks = codec.describe(io.BytesIO(archive))[0].blocks
    assert {one.block.kind for one in blocks} == {Kind.CODED}
    assert pack(several, data, experts=experts, threads=3) == archive
    assert unpack(several, archive, threads=3) == data
    assert unpack(alone, archive) == data


class MixedThere:
    """Stands in for `mbz.mixing.cuda`: mixes the blocks of a table by a CPU's mixers."""

    memory = 1 << 40

    def __init__(self, predictor):
        self.predictor, self.begun = predictor, 0

    def begin(self, places, decoders=()):
        self.mixers, self.lanes = [], []
        for memory, lanes in places:
            mixer = Mixer(int(memory.starts[-1]), memory.starts.size - 1, use="lean", network=True)
            mixer.memory = memory._replace(**{name: getattr(memory, name).copy() for name in SAME})
            mixer._held = held(mixer.memory)
            self.mixers.append(mixer)
            self.lanes.append(lanes)
        self.decoders, self.done = decoders, 0
        self.begun += 1

    def score(self, symbols_BS):
        counts = self.predictor.score(symbols_BS).astype(np.uint32)
        lanes, steps = symbols_BS.shape
        found = np.zeros((steps, 8, lanes), np.uint16)
        for mixer, own in zip(self.mixers, self.lanes, strict=True):
            left = min(steps, mixer.steps - self.done)
            if left > 0:
                known = np.ascontiguousarray(symbols_BS[own, :left].T)
                those = np.ascontiguousarray(counts[own, :left].swapaxes(0, 1))
                found[:left, :, own] = mixer.score(known, those)
        self.done += steps
        return found

    def decode(self, reports):
        symbols = np.zeros(max(own.stop for own in self.lanes), np.uint8)
        found = [[] for _ in self.mixers]
        for t in range(max(mixer.steps for mixer in self.mixers)):
            if t:
                self.predictor.push(symbols)
            counts = self.predictor.counts().astype(np.uint32)
            for n, (mixer, own) in enumerate(zip(self.mixers, self.lanes, strict=True)):
                if t < mixer.steps:
                    symbols[own] = mixer.decode(self.decoders[n], 1, counts[own][None])[0]
                    found[n].append(symbols[own].copy())
        for report, mixer in zip(reports, self.mixers, strict=True):
            report(int(mixer.memory.starts[-1]))
        return [
            np.concatenate([lane[: end - start] for lane, start, end in zip(
                np.array(rows).T, mixer.memory.starts, mixer.memory.starts[1:], strict=False
            )]).tobytes()
            for rows, mixer in zip(found, self.mixers, strict=True)
        ]  # fmt: skip


def test_blocks_that_are_mixed_where_the_network_is(monkeypatch):
    archive = pack(StubPredictor(), experts="lean")
    wide = WideStub()
    wide.lanes_at_once = 100
    there = MixedThere(wide)
    monkeypatch.setattr(parallel, "_coders", lambda load, _: there if load.experts else None)
    assert pack(wide, experts="lean") == archive
    seen = []
    assert unpack(wide, archive, progress=seen.append) == DATA
    assert seen[-1] == len(DATA)
    assert there.begun == 2
    assert pack(wide) == pack(StubPredictor())  # without experts there is nothing to mix
    assert there.begun == 2


@pytest.mark.parametrize(
    ("threads", "at_once", "times"),
    # Five blocks: more than half of the threads? By twos the last is by itself, and not worth it.
    [(9, 1 << 20, 1), (10, 1 << 20, 0), (1, 2, 2)],
)
def test_when_blocks_are_mixed_there(monkeypatch, threads, at_once, times):
    archive = pack(StubPredictor(), experts="lean")
    wide = WideStub()
    wide.lanes_at_once = 100
    there = MixedThere(wide)
    there.memory = at_once * parallel.memory_of(BLOCK, mixed=True)
    monkeypatch.setattr(parallel, "_coders", lambda *_: there)
    assert unpack(wide, archive, threads=threads) == DATA
    assert there.begun == times
    assert pack(wide, experts="lean", threads=threads) == archive


def test_damage_to_blocks_that_are_mixed_there(monkeypatch):
    archive = bytearray(pack(StubPredictor(), experts="lean"))
    third = codec.describe(io.BytesIO(archive))[0].blocks[2]
    archive[third.offset + third.block.coded_length // 2] ^= 1
    wide, dst = WideStub(), io.BytesIO()
    wide.lanes_at_once = 100
    monkeypatch.setattr(parallel, "_coders", lambda *_: MixedThere(wide))
    with pytest.raises(Corrupt, match="wrong check"):
        codec.decompress(io.BytesIO(archive), dst, lambda *_: wide)
    assert dst.getvalue() == DATA[: 2 * BLOCK]


def test_blocks_without_a_network():
    archive = pack(None, experts="lean")
    assert pack(None, experts="lean", threads=3) == archive
    assert unpack(None, archive, threads=3) == DATA


@pytest.mark.parametrize("wide", [False, True])
def test_a_damaged_block_costs_what_follows(wide):
    archive = pack(StubPredictor())
    third = codec.describe(io.BytesIO(archive))[0].blocks[2]
    bad = bytearray(archive)
    bad[third.offset + third.block.coded_length // 2] ^= 1
    dst = io.BytesIO()
    predictor = WideStub() if wide else StubPredictor()
    with pytest.raises(Corrupt, match="wrong check"):
        codec.decompress(io.BytesIO(bad), dst, lambda _fingerprint, _name: predictor)
    assert dst.getvalue() == DATA[: 2 * BLOCK]
    with pytest.raises(Truncated):
        codec.decompress(io.BytesIO(archive[: third.offset]), dst, lambda *_: predictor)
    assert dst.getvalue() == 2 * DATA[: 2 * BLOCK]


class Interrupted(WideStub):
    """One that is interrupted after some calls."""

    calls = 0

    def counts(self) -> np.ndarray:
        self.calls += 1
        if self.calls == 20:
            raise self.error
        return super().counts()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("experts", [None, "lean"])
def test_what_ends_the_network_ends_all(experts, error):
    archive = pack(StubPredictor(), experts=experts)
    threads = threading.active_count()
    for work in (pack, lambda *given, **_: unpack(*given, archive)):
        predictor = Interrupted()
        predictor.error = error
        with pytest.raises(error):
            work(predictor, experts=experts)
    assert threading.active_count() == threads


def test_progress_may_end_all():
    def report(done):
        if done:
            raise KeyboardInterrupt

    for predictor in (WideStub(), StubPredictor()):
        with pytest.raises(KeyboardInterrupt):
            pack(predictor, progress=report)
        with pytest.raises(KeyboardInterrupt):
            unpack(predictor, pack(predictor, experts="lean"), progress=report)


def test_whoever_is_gone_is_not_waited_for():
    table = Table(WideStub(), 3)
    first, second, third = table.seats
    found = {}

    def one(seat):
        with seat:
            seat.reset(2)
            found[seat] = seat.score(np.full((2, 10 if seat is first else 90), 7, np.uint8))

    threads = [threading.Thread(target=one, args=(seat,)) for seat in (first, second)]
    for thread in threads:
        thread.start()
    third.leave()
    table.serve()
    alone = StubPredictor()
    alone.reset(1)
    expected = alone.score(np.full((1, 90), 7, np.uint8))
    np.testing.assert_array_equal(found[second], np.repeat(expected, 2, 0))
    np.testing.assert_array_equal(found[first], found[second][:, :10])
    with pytest.raises(MbzError, match="changed"):
        third.reset(1)


def test_those_who_ask_for_different_things_are_told():
    table = Table(WideStub(), 2)
    errors = []

    def one(seat, ask):
        with seat:
            seat.reset(1)
            with pytest.raises(MbzError) as error:
                ask(seat)
            errors.append(error)

    asks = [lambda seat: seat.counts(), lambda seat: seat.score(np.zeros((1, 3), np.uint8))]
    for seat, ask in zip(table.seats, asks, strict=True):
        threading.Thread(target=one, args=(seat, ask)).start()
    table.serve()
    assert len(errors) == 2


def test_a_seat_is_no_stepping_predictor():
    assert not isinstance(Table(StubPredictor(), 1).seats[0], Stepping)
