"""The optimisers: Muon for the matrices, AdamW for the rest."""

import math
from collections import defaultdict

import torch
from torch import Tensor, nn

from mbz.baselines import Network
from mbz.model import Linear
from mbz.training.config import TrainConfig

# Five steps of this quintic bring singular values between 0 and 1 near 1 (Keller Jordan's Muon).
QUINTIC, STEPS = (3.4445, -4.7750, 2.0315), 5


def orthogonalise(x_NRC: Tensor) -> Tensor:
    """Nearly the orthogonal factor of each of N matrices.

    In bfloat16 on a GPU; few CPUs multiply that as fast as float32.
    """
    a, b, c = QUINTIC
    x = x_NRC.bfloat16() if x_NRC.is_cuda else x_NRC
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Muon):
    """torch's Muon with all matrices of one shape in one product.

    A step of torch's is 25 small launches a matrix, of this one 25 for each shape, and a network
    has many layers but few shapes.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; the state is the same as torch's."""
        assert closure is None
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            gradients = [p.grad for p in parameters]
            for p in parameters:
                self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
            momenta = [self.state[p]["momentum_buffer"] for p in parameters]
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            updates = torch._foreach_lerp(gradients, momenta, group["momentum"])  # noqa: SLF001
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            shapes = defaultdict(list)
            for p, update in zip(parameters, updates, strict=True):
                shapes[p.shape].append((p, update))
            for (rows, columns), pairs in shapes.items():
                same, theirs = zip(*pairs, strict=True)
                directions = orthogonalise(torch.stack(theirs)).float().unbind()
                rate = group["lr"] * math.sqrt(max(1, rows / columns))
                torch._foreach_add_(same, directions, alpha=-rate)


def optimisers(model: Network, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the model; AdamW for embeddings, vectors and the head."""
    head = getattr(model, "head", None)  # baselines have tied theirs to the embedding
    linears = [m for m in model.modules() if isinstance(m, Linear | nn.Linear) and m is not head]
    matrices = [m.weight for m in linears]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    fused = rest[0].is_cuda
    return [
        Muon(
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
