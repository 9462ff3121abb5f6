"""Baselines: shapes, causality, training, scoring, and what they are refused."""

import json
from dataclasses import replace

import pytest
import torch

from mbz.baselines import build
from mbz.baselines.config import ARCHS, network_config
from mbz.baselines.paper import Paper

SMALL = {"width": 32, "layers": 2, "heads": 2, "dropout": 0.0}
PAPER = {
    "patch": 4,
    "length": 96,
    "global_width": 32,
    "global_layers": 2,
    "global_heads": 2,
    "local_width": 16,
    "local_layers": 2,
    "local_heads": 2,
    "cross_patch": 0,
    "dropout": 0.0,
}
CONFIGS = {
    "transformer": replace(ARCHS["transformer"], **SMALL),
    "sliding": replace(ARCHS["sliding"], **SMALL, span=16),
    "perceiver": replace(ARCHS["perceiver"], **SMALL, span=16),
    "paper": replace(ARCHS["paper"], **PAPER),
    "cross": replace(ARCHS["paper"], **PAPER | {"cross_patch": 3}),
    "convolutions": replace(ARCHS["paper"], **PAPER | {"convolutions": True}),
    "no-local": replace(ARCHS["paper"], **PAPER | {"local_layers": 0}),
    "no-global": replace(ARCHS["paper"], **PAPER | {"global_layers": 0, "cross_patch": 4}),
}


@pytest.fixture(params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


@pytest.fixture
def network(config):
    """A network whose every weight matters; those of the paper's first weights hardly do."""
    torch.manual_seed(0)
    network = build(config).eval()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn_like(p) * 0.3)
    return network


def random_bytes(batch: int, length: int) -> torch.Tensor:
    return torch.randint(0, 256, (batch, length), generator=torch.Generator().manual_seed(1))


def dependence(network, length: int) -> torch.Tensor:
    """Whether byte t, a row, changes the prediction at each place, a column."""
    data = random_bytes(1, length)
    with torch.no_grad():
        before = network(data)[0]
        rows = []
        for t in range(length):
            changed = data.clone()
            changed[0, t] ^= 0x55
            rows.append(((network(changed)[0] - before).abs() > 1e-6).any(-1))
    return torch.stack(rows)


def test_a_byte_changes_nothing_before_it(network):
    seen = dependence(network, 48)
    assert not torch.tril(seen).any()
    assert seen.any(0)[8:].all()


def test_who_sees_whom():
    torch.manual_seed(0)
    everything = torch.triu(torch.ones(48, 48, dtype=torch.bool), 1)
    assert torch.equal(dependence(lively("transformer"), 48), everything)
    # One layer of the own block and the one before, on rows that hold the byte before.
    sliding = dependence(lively("sliding", layers=1), 48)
    assert sliding[0, 1:32].all()
    assert not sliding[0, 32:].any()
    assert sliding[15, 16:48].all()
    assert torch.equal(dependence(lively("perceiver", layers=1), 48), everything)
    local = dependence(lively("no-global", local_layers=1, cross_patch=0), 16)
    assert torch.equal(local, everything[:16, :16] & same_patch(16))
    parallel = dependence(lively("no-local"), 16)
    assert torch.equal(parallel, everything[:16, :16] & ~same_patch(16))


def same_patch(length: int) -> torch.Tensor:
    patch = torch.arange(length) // 4
    return patch[:, None] == patch


def lively(name: str, **changes):
    network = build(replace(CONFIGS[name], **changes)).eval()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn_like(p) * 0.3)
    return network


def test_the_last_latents_know_what_perceiver_ar_says():
    """Cross-attention of the last block alone to all inputs, then self-attention of it alone."""
    network = lively("perceiver")
    data = random_bytes(1, 48)
    with torch.no_grad():
        whole = network(data)[0, 32:]
        rotary = network.rotary(48, data.device)
        x = network.bytes(torch.cat([torch.tensor([[256]]), data[:, :-1]], 1))
        first, second = network.blocks
        x = first(x, network.attend(0), rotary)[:, 32:]
        x = second(x, lambda q, k, v: torch.softmax(masked(q, k), -1) @ v, rotary[:, 32:])
        latents = network.norm(x) @ network.bytes.weight[:256].T
    assert torch.allclose(whole, latents[0], atol=1e-4)


def masked(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf)


def test_training_lowers_the_loss(config):
    torch.manual_seed(0)
    network, data = build(config), random_bytes(2, 48)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        loss = network.loss(data)
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in network.parameters())
        optimiser.step()
    assert losses[0] == pytest.approx(8, abs=0.1)
    assert losses[-1] < losses[0] - 0.5


def test_configurations_survive_plain_data(config):
    assert network_config(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"arch": "rnn"}, "arch"),
        ({"global_width": 33}, "global_width"),
        ({"cross_patch": 5}, "cross_patch"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": "much"}, "dropout"),
        ({"convolutions": 1}, "convolutions"),
        ({"global_layers": 0, "local_layers": 0}, "global_layers"),
        ({"width": 8}, "width"),
    ],
)
def test_what_is_out_of_range_is_named(changes, field):
    with pytest.raises(ValueError, match=field):
        network_config(CONFIGS["paper"].to_dict() | changes)


def test_a_sequence_without_positions_is_refused():
    with pytest.raises(ValueError, match="at most 96 bytes"):
        Paper(CONFIGS["paper"])(random_bytes(1, 100))
