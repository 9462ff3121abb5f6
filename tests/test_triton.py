"""The fused CUDA kernels against their definitions in `layers.py`: values and gradients."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mbz import layers
from mbz.config import TINY
from mbz.exact.fixed import rotary_table
from mbz.model import Megabyte

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
BATCH, LENGTH, HEADS, GROUPS, HEAD = 3, 1000, 6, 2, 64
WIDTH = HEADS * HEAD
ALL_HEADS = (HEADS + 2 * GROUPS) * HEAD
BFLOAT_ERROR = 4e-3  # of a tensor rounded to 8 bits; a wrong kernel is off by 1


def random(*shape: int, dtype=torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator).to("cuda", dtype).requires_grad_()


def error(got: Tensor, expected: Tensor) -> float:
    return ((got.float().cpu() - expected.float()).norm() / expected.float().norm()).item()


def check(operation, *inputs: Tensor) -> None:
    """One operation on CUDA and in float32 on the CPU, from the same numbers."""
    copies = [
        x.detach().cpu().float().requires_grad_() if x.requires_grad else x.cpu() for x in inputs
    ]
    results = []
    for arguments in (inputs, copies):
        out = operation(*arguments)
        outs = out if isinstance(out, tuple) else (out,)
        seeds = [torch.linspace(-1, 2, o.numel()).view(o.shape).to(o) for o in outs]
        wanted = [x for x in arguments if x.requires_grad]
        results.append((*outs, *torch.autograd.grad(outs, wanted, seeds)))
    for got, expected in zip(*results, strict=True):
        assert error(got, expected) < BFLOAT_ERROR


def test_rows():
    x, y = random(BATCH, LENGTH, WIDTH), random(BATCH, LENGTH, WIDTH, dtype=torch.bfloat16)
    check(layers.add_normalise, x, y)
    check(lambda x: layers.add_normalise(x, None), x)
    check(lambda x: layers.add_normalise(x, None)[1], x)
    check(layers.fake_quantise, x)
    check(layers.relu_squared, random(BATCH, LENGTH, 4 * WIDTH, dtype=torch.bfloat16))


@pytest.mark.parametrize("window", [16, 32, 128, 512])
def test_attention(window):
    z = random(BATCH, LENGTH, ALL_HEADS, dtype=torch.bfloat16)
    rotary = torch.from_numpy(rotary_table(window, HEAD)).cuda()
    sharpness = torch.linspace(0.5, 2, HEADS).cuda().requires_grad_()
    check(lambda z, r, s: layers.normalise_heads(z, r, s, GROUPS), z, rotary, sharpness)
    with torch.no_grad():
        qkv = layers.normalise_heads(z, rotary, sharpness, GROUPS)
    check(lambda x: layers.window_attention(x, window, HEADS, GROUPS), qkv.requires_grad_())


@pytest.mark.parametrize("orders", [0, 3])
def test_both_ends(orders):
    index = torch.arange(BATCH * 400, device="cuda").view(BATCH, 400) * 7 % 257
    table, position = random(257, WIDTH), random(8, WIDTH)
    if orders:
        rows = torch.stack([index * (n + 1) % 300 + 300 * n for n in range(orders)], -1)
        values = random(300 * orders, HEAD)
        check(layers.embed, index, table, position, rows, values)
    else:
        check(lambda *inputs: layers.embed(*inputs, None, None), index, table, position)
    logits = random(1000, 256, dtype=torch.bfloat16)
    check(layers.cross_entropy, logits, (torch.arange(1000) * 7 % 256).int().cuda())


@pytest.mark.parametrize("encoder", [0, 1])
def test_model(encoder):
    """Roundings fall differently here and there, so this is no closer than a per cent or two."""
    config = replace(
        TINY,
        encoder_layers=encoder,
        byte_width=TINY.local_stack.width if encoder else TINY.byte_width,
        ngram_orders=(2, 3),
        ngram_rows=256,
        ngram_width=32,
    )
    torch.manual_seed(0)
    model = Megabyte(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.02)
    data = torch.randint(0, 256, (4, 1024)).int()
    expected = model.loss(data)
    expected.backward()
    gradient = model.head.weight.grad.clone()
    model.zero_grad()
    model.cuda()
    loss = model.loss(data.cuda())
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)
    assert error(model.head.weight.grad, gradient) < 0.03
