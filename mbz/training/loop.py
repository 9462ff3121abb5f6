"""The training loop: schedule, limits, and when to measure and to save.

Sequences start with an empty cache, at random places or at the start of a file. The loss is bits
per byte. With a limit of steps alone, all that happens is a function of the step: nothing is drawn
but the positions of the data, from seed and step, so that a resumed run repeats the same bits.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn, Protocol

from mbz.errors import MbzError
from mbz.training import validation
from mbz.training.config import TrainConfig
from mbz.training.data import Corpus
from mbz.training.guard import PATIENCE, Guard, Level
from mbz.training.trainer import Tensors, Trainer

log = logging.getLogger(__name__)

SPACING = 4 * validation.STEPS
"""Steps between validations at least, so that they take a small part of the time."""


@dataclass(kw_only=True, slots=True)
class State:
    """Where a run is: all of it but the tensors.

    Attributes:
        step: steps made, refused ones too.
        seconds: time they took, in all processes that the run had.
        validated: step of the last validation.
        best: step and bits per byte of the best validation, if any.
        guard: what the next step is judged by.
    """

    step: int = 0
    seconds: float = 0.0
    validated: int = 0
    best: dict[str, Any] | None = None
    guard: Guard = field(default_factory=Guard)

    def to_dict(self) -> dict[str, Any]:
        """The state as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "State":
        """The inverse of `to_dict`."""
        guard = data["guard"]
        levels = {name: Level(**guard[name]) for name in ("loss", "norm")}
        return cls(
            step=data["step"],
            seconds=data["seconds"],
            validated=data["validated"],
            best=data["best"],
            guard=Guard(**levels, refused=guard["refused"]),
        )


class Witness(Protocol):
    """Whom the loop tells of a run."""

    def stepped(self, state: State, measured: Mapping[str, float], fraction: float) -> None:
        """A step was made, to `fraction` of the run; `measured` is loss, norm and rate factor."""

    def validated(self, state: State, bits: float) -> None:
        """The bytes held out were measured, in bits per byte."""

    def saved(self, state: State, tensors: Tensors) -> None:
        """It is time to save."""


def fraction_done(state: State, config: TrainConfig) -> float:
    """How much of the run lies behind, by the limit that is nearer; 1 or more is the end."""
    by_steps = state.step / config.steps if config.steps else 0.0
    by_time = state.seconds / config.seconds if config.seconds else 0.0
    return max(by_steps, by_time)


def rate_factor(step: int, fraction: float, config: TrainConfig) -> float:
    """Warm-up, constant, then linear decay to zero; `fraction` of the run lies behind."""
    warm = min(1.0, (step + 1) / config.warmup)
    return warm * min(1.0, (1 - fraction) / (1 - config.decay_from))


def train(
    trainer: Trainer,
    held_out: Corpus,
    state: State,
    witness: Witness | None,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Trains to the end of the run, or until asked to stop after a step.

    Args:
        trainer: the model and what belongs to it.
        held_out: the validation part.
        state: where the run is; kept up to date.
        witness: whom to tell, in the process that leads; None in the others.
        should_stop: asked after each step; one process is enough to stop all.

    Returns:
        Whether the end was reached. Either way the last state is saved.

    Raises:
        MbzError: too many steps in a row were refused. If any step was accepted before, the last
            good state is saved.
    """
    config, team, guard = trainer.config, trainer.team, state.guard
    trainer.warm_up()
    started = time.monotonic() - state.seconds
    saved = state.seconds
    stop, fraction = False, fraction_done(state, config)
    while fraction < 1 and not stop:
        loss, norm = map(float, trainer.gradient(state.step))
        loss, norm, state.seconds, stopping = team.sums(
            loss / team.size,
            norm / team.size,
            time.monotonic() - started if team.leads else 0.0,
            should_stop(),
        )
        stop = stopping > 0
        factor = rate_factor(state.step, fraction, config)
        if guard.accepts(loss, norm):
            trainer.update(state.step, factor)
        else:
            factor = 0.0
            log.warning("step %d refused: loss %.3f, gradient %.3g", state.step + 1, loss, norm)
        state.step += 1
        before, fraction = fraction, fraction_done(state, config)
        if witness:
            measured = {"loss": loss, "norm": norm, "factor": factor}
            witness.stepped(state, measured, min(1.0, fraction))
        if guard.refused == PATIENCE:
            _give_up(trainer, state, witness)
        is_best = False
        if _is_due(state, before, fraction, config):
            is_best = _validate(trainer, held_out, state, witness)
        ends = stop or fraction >= 1
        if ends or is_best or state.seconds - saved >= config.save_every:
            _save(trainer, state, witness)
            saved = state.seconds
    return fraction >= 1


def _save(trainer: Trainer, state: State, witness: Witness | None) -> None:
    tensors = trainer.tensors()  # every process has to give its part
    if witness:
        witness.saved(state, tensors)


def _is_due(state: State, before: float, now: float, config: TrainConfig) -> bool:
    """Whether to measure: at evenly spread marks, not too near to each other, and at the end."""
    if not config.validations:
        return False
    passed = int(now * config.validations) > int(before * config.validations)
    return now >= 1 or (passed and state.step - state.validated >= SPACING)


def _validate(trainer: Trainer, held_out: Corpus, state: State, witness: Witness | None) -> bool:
    """Measures the bytes held out; returns whether the model is better than ever before."""
    with trainer.averaged():
        bits = validation.evaluate(trainer.model, held_out, trainer.config, trainer.team)
    state.validated = state.step
    if bits is None:
        return False
    if is_best := state.best is None or bits < state.best["bits"]:
        state.best = {"step": state.step, "bits": bits}
    if witness:
        witness.validated(state, bits)
    return is_best


def _give_up(trainer: Trainer, state: State, witness: Witness | None) -> NoReturn:
    kept = ""
    if state.guard.loss.count:  # else no step was ever accepted
        state.guard.refused = 0  # resumed, the run gets another chance, with the data to come
        _save(trainer, state, witness)
        kept = "; the weights before are saved, and --from starts from them"
    with trainer.team.together():
        raise MbzError(
            f"{PATIENCE} steps in a row were refused by step {state.step}, for the loss or its "
            f"gradient was no number or far too large; lower matrix_rate and other_rate{kept}"
        )
