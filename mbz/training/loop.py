"""Trains a Megabyte on a corpus: Muon for the matrices, AdamW for the rest.

Sequences start with an empty cache, at random places or at the start of a file. The loss is bits
per byte. Nothing is printed; progress goes to a callback and to a JSONL log.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mbz.config import ModelConfig
from mbz.exact.torch_open import find_device
from mbz.model import Megabyte
from mbz.training.config import TrainConfig
from mbz.training.data import Corpus, sample_positions
from mbz.training.optim import optimisers

MOST_KEPT = 4 << 30  # bytes of training data on a GPU
LOG_EVERY = 50  # steps
LOG_SECONDS = 5.0  # where steps are slow


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What a callback sees: loss in bits per byte, bytes trained on, seconds, bytes per second."""

    step: int
    loss: float
    bytes: int
    seconds: float
    rate: float
    fraction: float


def untrained(config: ModelConfig, seed: int, device: str = "auto") -> Megabyte:
    """A model whose weights are drawn from `seed`, the same ones on every device.

    Args:
        config: sizes of the network.
        seed: as in `TrainConfig`.
        device: "cuda", "cpu", or "auto" for CUDA where there is one.

    Raises:
        ValueError: this machine lacks the device.
    """
    place = find_device(device)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        torch.manual_seed(seed)
        model = Megabyte(config)
    return model.to(place)


def rate_factor(step: int, fraction: float, config: TrainConfig) -> float:
    """Warm-up, constant, then linear decay to zero; `fraction` of the run lies behind."""
    warm = min(1.0, (step + 1) / config.warmup)
    return warm * min(1.0, (1 - fraction) / (1 - config.decay_from))


class Batches:
    """Sequences of a corpus as tensors on the device; a GPU keeps a stream that is small enough."""

    def __init__(self, corpus: Corpus, config: TrainConfig, device: torch.device) -> None:
        self.corpus, self.config, self.device = corpus, config, device
        keep = device.type == "cuda" and corpus.size <= MOST_KEPT
        self.stream = torch.from_numpy(corpus.stream).to(device) if keep else None
        self.offsets = torch.arange(config.sequence, device=device)

    def __call__(self, step: int) -> Tensor:
        """Bytes of one step, (batch, sequence) int32."""
        c = self.config
        positions = sample_positions(
            self.corpus,
            seed=c.seed,
            step=step,
            batch=c.batch,
            length=c.sequence,
            file_starts=c.file_starts,
        )
        if self.stream is None:
            rows = torch.from_numpy(self.corpus.gather(positions, c.sequence))
            return rows.to(self.device).int()
        starts = torch.from_numpy(positions).to(self.device, non_blocking=True)
        return self.stream[starts[:, None] + self.offsets].int()


def train(
    model: Megabyte,
    corpus: Corpus,
    config: TrainConfig,
    log_path: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Trains `model` in place, on the device where it is.

    Args:
        model: a Megabyte, trained or not.
        corpus: the training part.
        config: sizes, rates, and the end of the run.
        log_path: a JSONL file; one line of configuration, then one line per report.
        on_progress: called every LOG_EVERY steps or LOG_SECONDS seconds, and at the end.

    Returns:
        The last report.

    Raises:
        ValueError: the corpus is shorter than one sequence, or a sequence is not whole patches.
        FloatingPointError: the loss is no longer a number.
    """
    if config.sequence % model.config.patch:
        msg = f"sequence must be a multiple of the patch size, {model.config.patch}"
        raise ValueError(msg)
    device = next(model.parameters()).device
    batches = Batches(corpus, config, device)
    parts = optimisers(model, config)
    rates = [group["lr"] for part in parts for group in part.param_groups]
    model.train()
    if device.type == "cuda":  # kernels are compiled before the clock starts
        model.loss(batches(0)).backward()
        model.zero_grad(set_to_none=True)
    started = time.monotonic()
    step, fraction, losses, reported = 0, 0.0, [], 0.0
    with log_path.open("w") as lines:
        lines.write(json.dumps({"model": model.config.to_dict(), "train": asdict(config)}) + "\n")
        while True:
            loss = model.loss(batches(step))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            factor = rate_factor(step, fraction, config)
            groups = [group for part in parts for group in part.param_groups]
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate * factor
            for part in parts:
                part.step()
                part.zero_grad(set_to_none=True)
            losses.append(loss.detach())
            step += 1
            seconds = time.monotonic() - started
            fraction = max(step / config.steps, seconds / config.seconds)
            if step % LOG_EVERY == 0 or seconds - reported >= LOG_SECONDS or fraction >= 1:
                report = _report(losses, step, time.monotonic() - started, fraction, config)
                losses, reported = [], report.seconds
                lines.write(json.dumps(asdict(report)) + "\n")
                lines.flush()
                on_progress(report)
                if fraction >= 1:
                    return report


def _report(
    losses: list[Tensor], step: int, seconds: float, fraction: float, config: TrainConfig
) -> Progress:
    loss = torch.stack(losses).mean().item()
    if not np.isfinite(loss):
        msg = f"the loss became {loss} before step {step}; try lower learning rates"
        raise FloatingPointError(msg)
    total = step * config.batch * config.sequence
    return Progress(
        step=step,
        loss=loss,
        bytes=total,
        seconds=seconds,
        rate=total / seconds,
        fraction=min(1.0, fraction),
    )


@torch.no_grad()
def evaluate(model: Megabyte, stream: np.ndarray, length: int, batch: int = 16) -> float:
    """Bits per byte of a uint8 stream cut into sequences of `length`, the short rest left out.

    Total bits over total bytes; nan if the stream is shorter than one sequence.
    """
    device = next(model.parameters()).device
    count = len(stream) // length
    rows = torch.from_numpy(np.array(stream[: count * length])).view(count, length)
    model.eval()
    total = 0.0
    for part in rows.split(batch):
        total += float(model.loss(part.to(device).int())) * len(part)
    return total / count if count else float("nan")
