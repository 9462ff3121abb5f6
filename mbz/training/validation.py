"""Bits per byte of the bytes held out."""

import numpy as np
import torch

from mbz.baselines import Network
from mbz.training.config import TrainConfig
from mbz.training.data import Corpus
from mbz.training.parallel import ALONE, Team

STEPS = 8
"""At most as many bytes are measured as so many training steps take, about three steps' time."""


@torch.no_grad()
def evaluate(
    model: Network, corpus: Corpus, config: TrainConfig, team: Team = ALONE
) -> float | None:
    """Bits per byte of a corpus cut into sequences, of which at most STEPS batches are taken.

    Total bits over total bytes; the processes of the team share the work. None if the corpus is
    shorter than one sequence.

    Args:
        model: what to measure.
        corpus: the validation part; the short rest is left out.
        config: the length of sequences and how many are measured at a time.
        team: who shares the work; all must call.
    """
    rows = corpus.size // config.sequence
    count = min(rows, STEPS * config.batch)
    if not count:
        return None
    device = next(model.parameters()).device
    # Each process takes as many rows, so that all call as often; the surplus ones count nothing.
    padded = -(-count // team.size) * team.size
    mine = range(padded)[team.share(padded)]
    positions = np.linspace(0, rows - 1, count).astype(np.int64) * config.sequence
    size = config.batch // (team.size * config.accumulate)
    model.eval()
    bits = 0.0
    for start in range(0, len(mine), size):
        part = [row for row in mine[start : start + size] if row < count]
        sequences = corpus.gather(positions[part or [0]], config.sequence)
        bits += float(model.loss(torch.from_numpy(sequences).to(device).int())) * len(part)
    model.train()
    return team.sums(bits)[0] / count
