"""Decoding where the network is: without the host between two bytes."""

from collections.abc import Callable, Sequence
from itertools import islice

import torch
from torch import Tensor

from mbz.exact import Resident
from mbz.exact.torch_steps import AHEAD

__all__ = ["decode_there"]


def decode_there(
    predictor: Resident,
    lanes: int,
    sizes: Sequence[tuple[int, int]],
    decode: Callable[[int, Tensor, Tensor], None],
    reports: Sequence[Callable[[int], object]],
) -> None:
    """Decodes all lanes of some blocks, after `reset`.

    Args:
        predictor: the network.
        lanes: all of its lanes.
        sizes: bytes of each block, and of its longest lane.
        decode: takes a step, its counts (B, 256) and where the bytes go, (B,) int64.
        reports: called with the number of bytes of each block that are done.
    """
    device = predictor.device
    symbols_B = torch.zeros(lanes, dtype=torch.long, device=device)
    coming = iter(range(max(longest for _, longest in sizes)))
    while batch := list(islice(coming, AHEAD)):
        for t in batch:
            if t:
                predictor.push_there(symbols_B)
            decode(t, predictor.counts_there(), symbols_B)
        torch.cuda.current_stream(device).synchronize()
        for report, (length, longest) in zip(reports, sizes, strict=True):
            report(min((batch[-1] + 1) * -(-length // longest), length))
