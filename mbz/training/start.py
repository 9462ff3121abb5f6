"""Where training starts: weights drawn from a seed, or those of a model."""

from pathlib import Path

import torch
from torch import Tensor

from mbz import weights, zoo
from mbz.baselines import Network, build
from mbz.baselines.config import NetworkConfig
from mbz.quantize import float_state
from mbz.training import checkpoint


def untrained(config: NetworkConfig, seed: int, device: torch.device | str = "cpu") -> Network:
    """A model whose weights are drawn from `seed`, the same ones on every device.

    Args:
        config: sizes of the network.
        seed: at least 0, below 2**63.
        device: where the model shall be.
    """
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        torch.manual_seed(seed)
        model = build(config)
    return model.to(device)


def trained(name_or_path: str) -> tuple[NetworkConfig, dict[str, Tensor]]:
    """The shape and the float weights of a model, for `load_state_dict`.

    Args:
        name_or_path: a run folder, whose best checkpoint is taken, or else any model, whose
            integers are taken back to floats.

    Raises:
        MbzError: there is no such model, or it cannot be read.
    """
    best = checkpoint.best(Path(name_or_path))
    if best is not None:
        return checkpoint.read_weights(best)
    model = weights.read(zoo.find(name_or_path))
    return model.config, float_state(model.config, model.tensors)


def shape(name_or_path: str) -> NetworkConfig:
    """The shape alone of what `trained` returns."""
    best = checkpoint.best(Path(name_or_path))
    if best is not None:
        return checkpoint.read_config(best)
    return weights.read(zoo.find(name_or_path)).config
