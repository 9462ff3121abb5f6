"""Several processes that train one model, started by `torchrun`: what they share and agree on."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from mbz.baselines import Network
from mbz.errors import FailedElsewhere
from mbz.exact.torch_open import find_device
from mbz.model import Block

GRACE = 0.5
"""Seconds that the threads of a team have to finish."""


@dataclass(frozen=True, slots=True)
class Team:
    """The processes of a run: `size` of them, this one counting as `rank` from 0."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks for all."""
        return self.rank == 0

    def sums(self, *values: float) -> list[float]:
        """Each value summed over all processes; all must call, all get the same."""
        if self.size == 1:
            return list(values)
        totals = torch.tensor(values, dtype=torch.float64)  # on the CPU: no waiting for a device
        dist.all_reduce(totals)
        return list(map(float, totals))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Fails in all processes if the body fails in one; one of them says why.

        The body exchanges nothing with other processes.

        Raises:
            FailedElsewhere: the body failed, but others say why.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as caught:  # noqa: BLE001 - raised again below
            error = caught
        failed = self.sums(*(rank == self.rank and error is not None for rank in range(self.size)))
        if not any(failed):
            return
        if error is not None and failed.index(1) == self.rank:
            raise error
        raise FailedElsewhere("another process failed") from error

    def share(self, count: int) -> slice:
        """This process's part of `count` things, which must be a multiple of the size."""
        part = count // self.size
        return slice(self.rank * part, (self.rank + 1) * part)


ALONE = Team()


@contextmanager
def joined(device: str) -> Iterator[tuple[Team, torch.device]]:
    """Joins the processes that `torchrun` started, if it did; gives the team and a device.

    Args:
        device: "cuda", "cpu", or "auto" for CUDA where there is one. Each process takes its own.

    Raises:
        ValueError: this machine lacks the device.
    """
    place = find_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE, place
        return
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(place)
    dist.init_process_group("cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo")
    try:
        yield Team(dist.get_rank(), dist.get_world_size()), place
    except RuntimeError as error:
        if "closed by peer" not in str(error) and not isinstance(error, dist.DistError):
            raise
        raise FailedElsewhere("another process went away") from error
    finally:
        dist.destroy_process_group()
        # A thread of gloo may be about to let go of the last tensor, for which it needs the
        # interpreter; if that has ended meanwhile, the thread aborts the program. Nothing joins
        # these threads: DDP and FSDP keep their group until the end.
        time.sleep(GRACE)


def shard(model: Network) -> None:
    """Spreads the weights over the team; each layer is gathered while it is needed."""
    for block in [module for module in model.modules() if isinstance(module, Block)]:
        fully_shard(block)
    fully_shard(model)
    register_fsdp_forward_method(model, "loss")


def replicate(loss: nn.Module) -> nn.Module:
    """A module whose gradient is the mean over the team; all begin with the weights of rank 0."""
    place = next(loss.parameters()).device
    return DistributedDataParallel(loss, device_ids=[place] if place.type == "cuda" else None)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, gathered if it is spread over the team; then all must call."""
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, which every process has, spread as `like` is."""
    if not isinstance(like, DTensor):
        return tensor
    mine = tensor.to(like.device)
    return distribute_tensor(mine, like.device_mesh, like.placements, src_data_rank=None)
