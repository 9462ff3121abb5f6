"""Muon: the same numbers as torch's, matrix by matrix."""

import torch

from mbz.training.optim import Muon

SHAPES = [(64, 32), (64, 32), (32, 64), (48, 48), (32, 64)]
SETTINGS = {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.1, "adjust_lr_fn": "original"}


def test_matrices_of_one_shape_move_as_they_would_alone(monkeypatch):
    # torch's takes bfloat16 everywhere, ours float32 on a CPU
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)
    generator = torch.Generator().manual_seed(0)
    starts = [torch.randn(shape, generator=generator) for shape in SHAPES]
    ours, theirs = ([torch.nn.Parameter(s.clone()) for s in starts] for _ in range(2))
    optimisers = Muon(ours, **SETTINGS), torch.optim.Muon(theirs, **SETTINGS)
    for _ in range(3):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = b.grad = torch.randn(a.shape, generator=generator)
        for optimiser in optimisers:
            optimiser.step()
    for a, b, start in zip(ours, theirs, starts, strict=True):
        assert (a - start).abs().max() > 1e-3
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)  # products may be blocked otherwise
