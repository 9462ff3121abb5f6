"""The optimisers: Muon for the matrices, AdamW for the rest."""

import torch

from mbz.model import Linear, Megabyte
from mbz.training.config import TrainConfig


def optimisers(model: Megabyte, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the model; AdamW for embeddings, vectors and the head."""
    matrices = [m.weight for m in model.modules() if isinstance(m, Linear) and m is not model.head]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    fused = rest[0].is_cuda
    return [
        torch.optim.Muon(
            matrices,
            lr=config.matrix_rate,
            momentum=0.95,
            weight_decay=config.weight_decay,
            adjust_lr_fn="original",
        ),
        torch.optim.AdamW(
            rest, lr=config.other_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=fused
        ),
    ]
