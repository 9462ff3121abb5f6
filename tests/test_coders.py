"""Blocks decoded where their network runs: all of it but the device, which fibers stand in for."""

import ctypes
from types import SimpleNamespace

import fibers
import numpy as np
import on_fibers
import pytest
import test_range_cuda
import torch
from sampled import sampled
from test_parallel import BLOCK, DATA, pack, unpack

from mbz import parallel, range_cuda, weights
from mbz.errors import MbzError
from mbz.exact.compiled_backend import CompiledPredictor
from mbz.exact.torch_matrix import FloatMatrix
from mbz.exact.torch_steps import SteppingPredictor
from mbz.mixing import Mixer
from mbz.mixing.compiled import held
from mbz.mixing.cuda import mixing, mixing_of, selftest

pytestmark = pytest.mark.skipif(fibers.COMPILER is None, reason="there is no g++")


class FiberKernel:
    """Takes what `mbz.cuda_code.Kernel` takes."""

    most_shared = 1 << 20

    def __init__(self, run, *before):
        self.run, self.before, self.calls = run, before, 0

    def __call__(self, blocks, shared, arguments):
        assert shared <= self.most_shared
        given = []
        for argument in arguments:
            if isinstance(argument, torch.Tensor):
                given.append(ctypes.c_void_p(argument.data_ptr()))
            else:
                wide = isinstance(argument, tuple)
                given.append(ctypes.c_longlong(argument[0]) if wide else argument)
        self.calls += 1
        assert self.run(blocks, *self.before, 1, *given) > 0


@pytest.fixture
def no_device(monkeypatch):
    stream = SimpleNamespace(synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: stream)
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: stream)
    for module in (range_cuda, mixing):
        monkeypatch.setattr(module, "memory_left", lambda _: 1 << 40)


@pytest.mark.usefixtures("no_device")
@pytest.mark.parametrize("experts", [None, "lean", "middle"])
def test_blocks_of_a_real_network(monkeypatch, tiny_model_dir, experts):
    model = weights.read(tiny_model_dir)
    alone = CompiledPredictor(model.config, model.tensors, 1)
    data = sampled(alone, len(DATA))
    several = SteppingPredictor(model.config, model.tensors, torch.device("cpu"), FloatMatrix)
    several.lanes_at_once = 9  # three of five blocks at a time
    if experts is None:
        kernel = FiberKernel(test_range_cuda.loaded().run)
        monkeypatch.setattr(range_cuda, "compiled", lambda *_: kernel)
        coders = range_cuda.Ranges(several)
    else:
        kernel = FiberKernel(on_fibers.loaded().run, on_fibers.THREADS)
        monkeypatch.setattr(mixing, "_sound_kernel", lambda _: kernel)
        coders = mixing.Mixing(several)
        assert coders.takes(experts, 3)
    monkeypatch.setattr(parallel, "_coders", lambda *_: coders)
    seen = []
    archive = pack(alone, data, experts=experts)
    assert unpack(several, archive, threads=3, progress=seen.append) == data
    assert kernel.calls == 2 * BLOCK // 3  # the steps of two batches
    assert seen == sorted(seen)
    assert seen[-1] == len(data)


@pytest.mark.usefixtures("no_device")
def test_a_device_without_memory(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(mixing, "_sound_kernel", lambda _: None)
    monkeypatch.setattr(mixing, "Blocks", full)
    coders = mixing.Mixing(SimpleNamespace(device=torch.device("cpu")))
    with pytest.raises(MbzError, match="too little memory"):
        coders.begin([(selftest.memory(), slice(0, 5))])


def test_the_digest_is_that_of_the_mixer():
    symbols_LS, counts_LSV = selftest.sample()
    assert (counts_LSV.sum(-1) == 2**24 - 256).all()
    mixer = Mixer(symbols_LS.size - 2, len(symbols_LS), use="rich", network=True)
    mixer.memory = selftest.memory()
    mixer._held = held(mixer.memory)
    counts = np.ascontiguousarray(counts_LSV.swapaxes(0, 1), np.uint32)
    chances = mixer.score(np.ascontiguousarray(symbols_LS.T), counts)
    assert selftest.digest_of(chances) == selftest.DIGEST
    assert (mixer.memory.matches[..., 2] > 0).any()  # all takes part
    assert mixer.memory.numerals.any()
    assert mixer.memory.targets.any()
    places = np.sort(mixer.memory.at)
    assert (places[:, 1:] == places[:, :-1]).any()


@pytest.mark.usefixtures("no_device")
def test_a_kernel_that_is_wrong_is_not_used(monkeypatch, tiny_model_dir):
    model = weights.read(tiny_model_dir)
    kernel = FiberKernel(on_fibers.loaded().run, on_fibers.THREADS)
    assert selftest.digest(kernel, torch.device("cpu")) == selftest.DIGEST
    idle = FiberKernel(lambda *_: 1)
    monkeypatch.setattr(mixing, "compiled", lambda *_: idle)
    predictor = SteppingPredictor(model.config, model.tensors, torch.device("cpu"), FloatMatrix)
    with pytest.raises(RuntimeError, match="self-test"):
        mixing.Mixing(predictor)
    assert idle.calls == 1
    monkeypatch.setattr(SteppingPredictor, "device", torch.device("cuda"))
    monkeypatch.setattr(mixing, "Mixing", lambda _: mixing._sound_kernel(torch.device("cpu")))
    assert mixing_of(predictor, 2, 3) is None  # so the CPU mixes
