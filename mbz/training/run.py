"""A run folder, from the first step to the exported model: new, or resumed.

    config.toml            all settings, for `--resume` and for `--config` of another run
    log.jsonl              each step and each validation (`record.py`); curve.png, its picture
    checkpoints/step-N/    where to go on from (`checkpoint.py`)
    weights.safetensors    at the end: the model, for all other commands; of baselines there is none

What is exported is what did best on the bytes held out, or what came last if there are none.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mbz import quantize
from mbz.atomic import sync
from mbz.baselines import Network
from mbz.config import ModelConfig
from mbz.errors import MbzError
from mbz.model import Megabyte
from mbz.training import checkpoint, record, settings
from mbz.training.config import RunConfig, TrainConfig
from mbz.training.data import Data, load
from mbz.training.loop import State, train
from mbz.training.parallel import Team, joined
from mbz.training.record import Record
from mbz.training.start import trained, untrained
from mbz.training.trainer import GROUPS, Batches, Tensors, Trainer

CONFIG = "config.toml"
CHECKPOINTS = f"{checkpoint.FOLDER}/step-*"
FREE = {"train.steps", "train.seconds", "train.shard", "train.save_every", "data.paths"}
"""Settings that may change when a run is resumed; of the data a digest is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What a callback sees after each step.

    Attributes:
        step: steps made.
        loss: bits per byte, mean over the last hundred steps.
        best: bits per byte of the best validation; None before the first.
        rate: bytes a second, of this start of the program.
        fraction: of the run that lies behind, 0 to 1.
    """

    step: int
    loss: float
    best: float | None
    rate: float
    fraction: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        finished: whether the end was reached and the model exported; else it was asked to stop.
        step: steps made.
        best: "step" and "bits" per byte of the best validation, None if nothing was held out.
    """

    finished: bool
    step: int
    best: Mapping[str, float] | None


def run(
    config: RunConfig,
    folder: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    tensorboard: bool = False,
    on_read: Callable[[int], None] = lambda _: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Trains as `config` says, in `folder`, and exports the model there at the end.

    Started by `torchrun`, all processes call this; the first one writes and is called back.

    Args:
        config: the settings; of a resumed run they must be what they were, but for FREE.
        folder: exists; of a resumed run it has a checkpoint.
        device: "cuda", "cpu", or "auto" for CUDA where there is one.
        resume: go on from the last checkpoint.
        tensorboard: write for TensorBoard too.
        on_read: called with the number of bytes of data read so far.
        on_progress: called after each step.
        should_stop: asked after each step; if true, the run is saved and ends, to be resumed.

    Raises:
        ValueError: the settings don't fit the data, the device or the team.
        MbzError: the run cannot be resumed, the memory is too small, or training failed.
    """
    with ExitStack() as opened:
        opened.enter_context(enough_memory(config.train))
        team, place = opened.enter_context(joined(device))
        with team.together():
            last = _last(config, folder) if resume else None
            batches, data = read_data(config, team, place, on_read)
            digest = f"{data.train.digest} {data.validation.digest}"
            state = State() if last is None else _state(last, digest)
            scribe = None
            if team.leads:
                log = opened.enter_context(Record(folder, state.step, tensorboard=tensorboard))
                scribe = _Scribe(config, folder, digest, log, on_progress, state.seconds)
                scribe.write_config()
            resumed = last is not None
            model = first_model(replace(config, start=None) if resumed else config, place)
        trainer = Trainer(model, batches, config.train, team)
        if last is not None:
            trainer.load({group: checkpoint.read(last, group) for group in GROUPS})
        finished = train(trainer, data.validation, state, scribe, should_stop=should_stop)
        if finished and team.leads and isinstance(config.model, ModelConfig):
            _export(config, folder)
        return Outcome(finished=finished, step=state.step, best=state.best)


@contextmanager
def enough_memory(config: TrainConfig) -> Iterator[None]:
    """Says in one sentence that there was not, and what to do.

    Raises:
        MbzError: the body ran out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_full = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not is_full and "can't allocate memory" not in str(error):  # torch's words on the CPU
            raise
        raise MbzError(
            f"not enough memory for {config.batch} sequences of {config.sequence} bytes; try a "
            "smaller --batch, or accumulate = 4 or recompute = true in the file of --config"
        ) from error


def read_data(
    config: RunConfig,
    team: Team,
    place: torch.device,
    on_read: Callable[[int], None] = lambda _: None,
) -> tuple[Batches, Data]:
    """The batches to train on, and all that was read.

    Raises:
        ValueError: the data cannot be read, or is too little for one sequence.
    """
    c = config.data
    data = load(
        c.sources,
        c.validation,
        include=c.include,
        exclude=c.exclude,
        media=c.reading(config.model.patch),
        progress=on_read,
    )
    batches = Batches(data.train, config.train, place, team)
    batches(0)  # complains now, in time, of too little data
    return batches, data


def first_model(config: RunConfig, place: torch.device) -> Network:
    """The model before the first step."""
    model = untrained(config.model, config.train.seed, place)
    if config.start is not None:
        model.load_state_dict(trained(config.start)[1])
    return model


@dataclass(slots=True)
class _Scribe:
    """Writes down what the loop tells it, and passes it on to the callback."""

    config: RunConfig
    folder: Path
    digest: str
    log: Record
    on_progress: Callable[[Progress], None]
    seconds_before: float
    bytes: int = 0

    def write_config(self) -> None:
        """Writes the settings, in place of those of a run that is resumed."""
        text = f"# The settings of this run, written by mbz train.\n{settings.dump(self.config)}"
        partial = self.folder / f".{CONFIG}"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.folder / CONFIG)

    def stepped(self, state: State, measured: Mapping[str, float], fraction: float) -> None:
        self.log.add(state.step, state.seconds, **measured)
        self.bytes += self.config.train.batch * self.config.train.sequence
        self.on_progress(
            Progress(
                step=state.step,
                loss=state.guard.loss.mean,
                best=None if state.best is None else state.best["bits"],
                rate=self.bytes / max(state.seconds - self.seconds_before, 1e-9),
                fraction=fraction,
            )
        )

    def validated(self, state: State, bits: float) -> None:
        self.log.add(state.step, state.seconds, validation=bits)

    def saved(self, state: State, tensors: Tensors) -> None:
        self.log.sync()
        extra = {"corpus": self.digest, "config": self.config.to_dict()}
        checkpoint.save(self.folder, state.step, tensors, state.to_dict() | extra)
        if record.can_draw():
            record.draw(self.folder)


def _last(config: RunConfig, folder: Path) -> Path:
    """The checkpoint to go on from, made with the same settings."""
    last = checkpoint.newest(folder)
    if last is None:
        raise MbzError(f"{folder} has no checkpoint to resume from; delete it to start anew")
    before = checkpoint.read_state(last)["config"]
    changed = set(settings.differences(before, config.to_dict())) - FREE
    if changed:
        names = ", ".join(sorted(changed))
        raise MbzError(f"cannot resume {folder}: it was started with another {names}")
    return last


def _state(last: Path, digest: str) -> State:
    state = checkpoint.read_state(last)
    if state["corpus"] != digest:
        raise MbzError(f"cannot resume from {last}: the data is no longer the same")
    return State.from_dict(state)


def _export(config: RunConfig, folder: Path) -> None:
    """Writes the model for the other commands, in place of one that an earlier end left."""
    chosen = checkpoint.best(folder)
    assert chosen is not None  # the end of training has just been saved
    shape, state = checkpoint.read_weights(chosen)
    assert isinstance(shape, ModelConfig)
    model = Megabyte(shape)
    model.load_state_dict(state)
    partial = folder / ".export"
    shutil.rmtree(partial, ignore_errors=True)
    path = quantize.export(model, config.name or folder.resolve().name, partial)
    sync(path)
    path.replace(folder / path.name)
    partial.rmdir()
