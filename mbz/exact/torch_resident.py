"""Decoding where the network is: without the host between two bytes."""

from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor

from mbz.exact import Resident
from mbz.exact.torch_steps import AHEAD

__all__ = ["decode_there"]


def decode_there(
    predictor: Resident,
    lanes: int,
    steps: int,
    decode: Callable[[int, Tensor, Tensor], None],
    report: Callable[[int], None],
) -> None:
    """Decodes steps of all lanes, after `reset`.

    Args:
        predictor: the network.
        lanes: all of its lanes.
        steps: how many, of the longest lane.
        decode: takes a step, its counts (B, 256) and where the bytes go, (B,) int64.
        report: called with the number of steps done.
    """
    device = predictor.device
    symbols_B = torch.zeros(lanes, dtype=torch.long, device=device)
    coming = iter(range(steps))
    while batch := list(islice(coming, AHEAD)):
        for t in batch:
            if t:
                predictor.push_there(symbols_B)
            decode(t, predictor.counts_there(), symbols_B)
        torch.cuda.current_stream(device).synchronize()
        report(batch[-1] + 1)
