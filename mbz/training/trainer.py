"""What one step of training does: sequences, their gradient, the update, and copies of it all."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mbz.baselines import Network
from mbz.model import Stack
from mbz.training import parallel
from mbz.training.config import TrainConfig
from mbz.training.data import Corpus, sample_positions
from mbz.training.optim import optimisers
from mbz.training.parallel import ALONE, Team

Tensors: TypeAlias = Mapping[str, Mapping[str, Tensor]]
"""The tensors of a run by group and name."""
GROUPS = ("model", "average", "optimisers")
MOST_KEPT = 4 << 30  # bytes of training data on a GPU


class Batches:
    """Sequences of a corpus as tensors on the device; a GPU keeps a stream that is small enough."""

    def __init__(
        self, corpus: Corpus, config: TrainConfig, device: torch.device, team: Team = ALONE
    ) -> None:
        """Raises ValueError if the batch cannot be cut as asked."""
        if config.batch % (team.size * config.accumulate):
            msg = f"batch must be a multiple of accumulate times {team.size} processes"
            raise ValueError(msg)
        self.corpus, self.config, self.device = corpus, config, device
        self.share = team.share(config.batch)
        keep = device.type == "cuda" and corpus.size <= MOST_KEPT
        self.stream = torch.from_numpy(corpus.stream).to(device) if keep else None
        self.offsets = torch.arange(config.sequence, device=device)

    def __call__(self, step: int) -> Tensor:
        """This process's bytes of one step, (batch / processes, sequence) int32."""
        c = self.config
        positions = sample_positions(
            self.corpus,
            seed=c.seed,
            step=step,
            batch=c.batch,
            length=c.sequence,
            file_starts=c.file_starts,
            align=c.align,
        )[self.share]
        if self.stream is None:
            rows = torch.from_numpy(self.corpus.gather(positions, c.sequence))
            return rows.to(self.device).int()
        starts = torch.from_numpy(positions).to(self.device, non_blocking=True)
        return self.stream[starts[:, None] + self.offsets].int()


class Loss(nn.Module):
    """The loss of a model as a module of its own, as `parallel.replicate` wants it."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, bytes_BT: Tensor) -> Tensor:
        """Mean bits per byte."""
        return self.model.loss(bytes_BT)


class Trainer:
    """A model in training, with its optimisers and the average of its weights."""

    def __init__(
        self, model: Network, batches: Batches, config: TrainConfig, team: Team = ALONE
    ) -> None:
        """Puts the model to training, in place, on the device where it is."""
        self.model, self.config, self.team = model.train(), config, team
        self.batches = batches
        for module in model.modules():
            if isinstance(module, Stack):
                module.recompute = config.recompute
        if team.size > 1 and config.shard:
            parallel.shard(model)
        self.loss: nn.Module = Loss(model)
        if team.size > 1 and not config.shard:
            self.loss = parallel.replicate(self.loss)
        self.optimisers = optimisers(model, config)
        self.rates = [group["lr"] for group in self._groups()]
        self.graph: torch.cuda.CUDAGraph | None = None
        self.average: dict[str, Tensor] = {}
        if config.average:
            self.average = {name: p.detach().clone() for name, p in model.named_parameters()}

    def gradient(self, step: int) -> tuple[Tensor, Tensor]:
        """Computes the gradient of one step, clipped, in place of the last.

        Returns:
            This process's part of the loss in bits per byte, and the norm before clipping.
        """
        bytes_BT = self.batches(step)
        if self.graph is None:
            return self._gradient(bytes_BT)
        self.captured[0].copy_(bytes_BT)
        self.graph.replay()
        return self.captured[1], self.captured[2]

    def _gradient(self, bytes_BT: Tensor) -> tuple[Tensor, Tensor]:
        self.model.zero_grad(set_to_none=True)
        parts = bytes_BT.chunk(self.config.accumulate)
        total = torch.zeros((), device=bytes_BT.device)
        for i, part in enumerate(parts):
            is_last = i == len(parts) - 1
            with nullcontext() if is_last else self._without_exchange():
                loss = self.loss(part) / len(parts)
                loss.backward()
            total += loss.detach()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        return total, parallel.whole(norm)

    def update(self, step: int, factor: float) -> None:
        """Moves the weights along the gradient, at `factor` times the rates."""
        for group, rate in zip(self._groups(), self.rates, strict=True):
            group["lr"] = rate * factor
        for optimiser in self.optimisers:
            optimiser.step()
        # Young averages forget faster, or they would long remember the first weights.
        decay = min(self.config.average, (1 + step) / (10 + step))
        for name, value in self._parameters(self.average):
            self.average[name].lerp_(value, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Lends the model the averaged weights, if there are any."""
        own = {name: value.clone() for name, value in self._parameters(self.average)}
        for name, value in self._parameters(own):
            value.copy_(self.average[name])
        try:
            yield
        finally:
            for name, value in self._parameters(own):
                value.copy_(own[name])

    def tensors(self) -> Tensors:
        """Copies on the CPU of all that a checkpoint needs; empty but on the process that leads.

        Each process must call it.
        """
        state = {
            f"{name}.{key}": value
            for name, p, optimiser in self._owned()
            for key, value in optimiser.state[p].items()
        }
        groups = (dict(self._parameters()), self.average, state)
        return {name: self._gathered(group) for name, group in zip(GROUPS, groups, strict=True)}

    def load(self, tensors: Tensors) -> None:
        """Takes over the copies that `tensors` made, here or in another run."""
        for name, value in self._parameters():
            value.copy_(parallel.spread_like(tensors["model"][name], value))
        for name, average in self.average.items():
            average.copy_(parallel.spread_like(tensors["average"][name], average))
        states: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors["optimisers"].items():
            name, _, part = key.rpartition(".")
            states.setdefault(name, {})[part] = value
        for optimiser in self.optimisers:
            names = [name for name, _, owner in self._owned() if owner is optimiser]
            parameters = dict(self.model.named_parameters())
            packed = {
                i: {
                    part: parallel.spread_like(value, parameters[name]) if value.ndim else value
                    for part, value in states[name].items()
                }
                for i, name in enumerate(names)
                if name in states
            }
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": packed, "param_groups": groups})

    def warm_up(self) -> None:
        """On CUDA, compiles the kernels, so that it does not count as training time.

        Alone, it also records the gradient as a CUDA graph: a small network takes less time than
        Python takes to launch its kernels. Activations that are computed again are not recorded.
        """
        if not next(self.model.parameters()).is_cuda:
            return
        bytes_BT = self.batches(0)
        side = torch.cuda.Stream()  # where torch wants the runs before a capture
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self._gradient(bytes_BT)
        torch.cuda.current_stream().wait_stream(side)
        if self.team.size > 1 or self.config.recompute:
            return
        self.model.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.captured = (bytes_BT, *self._gradient(bytes_BT))

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimiser in self.optimisers for group in optimiser.param_groups]

    def _parameters(
        self, among: Mapping[str, Tensor] | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Names and values of the parameters, or of those in `among`."""
        for name, p in self.model.named_parameters():
            if among is None or name in among:
                yield name, p.detach()

    def _owned(self) -> Iterator[tuple[str, Tensor, torch.optim.Optimizer]]:
        """Name, parameter and optimiser, in the order of the optimisers' own numbers."""
        names = {id(p): name for name, p in self.model.named_parameters()}
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                for p in group["params"]:
                    yield names[id(p)], p, optimiser

    def _gathered(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        gathered = {}
        for name, value in values.items():
            all_of_it = parallel.whole(value)
            if self.team.leads:
                gathered[name] = all_of_it.to("cpu", copy=True)
        return gathered

    def _without_exchange(self) -> Any:  # noqa: ANN401 - contexts of torch have no type
        if isinstance(self.loss, DistributedDataParallel):
            return self.loss.no_sync()
        return nullcontext()
