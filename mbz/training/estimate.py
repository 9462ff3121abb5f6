"""What a run would take, measured by its first steps on the device."""

import resource
import sys
import time
from dataclasses import dataclass

import torch

from mbz.training.config import RunConfig
from mbz.training.data import Report
from mbz.training.parallel import joined
from mbz.training.run import enough_memory, first_model, read_data
from mbz.training.trainer import Trainer

STEPS = 3
"""Timed steps unless others are asked for; one more goes before them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a run would take.

    Attributes:
        parameters: weights of the network.
        multiply_adds: per byte, in the forward pass, attention left out.
        memory: bytes at the peak, of the device or on the CPU of this process.
        steps: until the first limit.
        step_bytes: bytes of one step.
        seconds: until the first limit, without validations and checkpoints.
        passes: how often the training data would be read.
        data: what was read.
    """

    parameters: int
    multiply_adds: float
    memory: int
    steps: int
    step_bytes: int
    seconds: float
    passes: float
    data: Report


def estimate(config: RunConfig, *, device: str = "auto", timed: int = STEPS) -> Estimate:
    """Makes a few steps of a run, writes nothing, and says what all of it would take.

    Args:
        config: the settings.
        device: "cuda", "cpu", or "auto" for CUDA where there is one.
        timed: steps that are timed, at least 1.

    Raises:
        ValueError: the settings don't fit the data or the device.
        MbzError: the memory is too small.
    """
    with enough_memory(config.train), joined(device) as (team, place):
        with team.together():
            batches, data = read_data(config, team, place)
        trainer = Trainer(first_model(config, place), batches, config.train, team)
        trainer.warm_up()
        for step in range(timed + 1):
            if step == 1:
                started = time.monotonic()
            trainer.gradient(step)
            trainer.update(step, 0.0)
        if place.type == "cuda":
            torch.cuda.synchronize()
        step_seconds = (time.monotonic() - started) / timed
        limits = [config.train.steps, int(config.train.seconds / step_seconds)]
        steps = max(1, min(limit for limit in limits if limit))
        step_bytes = config.train.batch * config.train.sequence
        return Estimate(
            parameters=sum(p.numel() for p in trainer.model.parameters()),
            multiply_adds=config.model.multiply_adds_per_byte,
            memory=_peak_memory(place),
            steps=steps,
            step_bytes=step_bytes,
            seconds=steps * step_seconds,
            passes=steps * step_bytes / data.train.size,
            data=data.report,
        )


def _peak_memory(place: torch.device) -> int:
    if place.type == "cuda":
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
