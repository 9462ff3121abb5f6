"""How to train: frozen configurations, validated on construction."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_args

from mbz.baselines.config import NetworkConfig
from mbz.config import ModelConfig, require
from mbz.media.reading import Kind, Reading
from mbz.training.data import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How to train. Training ends at the first limit, which the rates follow too.

    Attributes:
        sequence: bytes of a sequence, a multiple of the model's patch.
        batch: sequences of a step, over all processes.
        accumulate: parts into which each process cuts its share of a step, one after the other:
            less memory, the same gradient.
        recompute: keep no activations inside layers but compute them again: much less memory, a
            third more time.
        shard: spread weights and optimisers over the processes, for models that one device can't
            hold; each has a copy otherwise.
        steps: limit of steps; 0 for none.
        seconds: limit of time; 0 for none.
        matrix_rate: learning rate of the matrices (Muon).
        other_rate: learning rate of embeddings, vectors and the head (AdamW).
        weight_decay: of the matrices.
        warmup: steps in which the rates rise from zero.
        decay_from: fraction of the run after which the rates fall, in a straight line to zero.
        clip: largest norm of the gradient of a step.
        average: decay of the running average of the weights, which is then what is measured and
            exported; 0 for none.
        file_starts: share of the sequences that begin where a file does.
        align: where the others begin is a multiple of so many bytes from their file's start: for
            images, a patch, which is then one block of pixels.
        validations: how often in a run the bytes held out are measured, evenly spread.
        save_every: seconds between checkpoints.
        seed: draws the first weights and the order of the data.
    """

    sequence: int = 8192
    batch: int = 16
    accumulate: int = 1
    recompute: bool = False
    shard: bool = False
    steps: int = 0
    seconds: float = 600.0
    matrix_rate: float = 0.014
    other_rate: float = 6e-3
    weight_decay: float = 0.01
    warmup: int = 100
    decay_from: float = 0.4
    clip: float = 1.0
    average: float = 0.0
    file_starts: float = 0.25
    align: int = 1
    validations: int = 10
    save_every: float = 600.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        for name in ("sequence", "batch", "accumulate", "warmup", "align"):
            require(getattr(self, name) >= 1, name, "must be at least 1")
        for name in ("steps", "seconds", "weight_decay", "validations"):
            require(getattr(self, name) >= 0, name, "must be at least 0")
        for name in ("matrix_rate", "other_rate", "clip", "save_every"):
            require(getattr(self, name) > 0, name, "must be above 0")
        require(self.steps > 0 or self.seconds > 0, "seconds", "must be above 0 if steps is 0")
        for name in ("decay_from", "average"):
            require(0 <= getattr(self, name) < 1, name, "must be in [0, 1)")
        require(0 <= self.file_starts <= 1, "file_starts", "must be in [0, 1]")
        require(0 <= self.seed < 1 << 63, "seed", "must be at least 0 and below 2**63")
        require(self.batch % self.accumulate == 0, "batch", "must be a multiple of accumulate")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What to train on; `mbz.training.data.load` says more.

    Attributes:
        paths: files, folders and archives.
        weights: how often to train on their bytes, one number for each path; none: all the same.
        include: patterns of files to keep; none: all.
        exclude: patterns of files to leave out.
        validation: share of the files that is held out.
        kind: what the files hold: "bytes" if None, "image", "audio", "video", or "auto" to go by
            their names.
        scan: order of pixels and samples, as `mbz.media.reading.Reading` has it.
    """

    paths: tuple[str, ...]
    weights: tuple[float, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    validation: float = 0.005
    kind: str | None = None
    scan: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        require(len(self.paths) > 0, "paths", "must name something to train on")
        fits = len(self.weights) in (0, len(self.paths))
        require(fits, "weights", "must be one for each of the paths, or none")
        require(all(0 < w < math.inf for w in self.weights), "weights", "must be above 0")
        require(0 <= self.validation < 1, "validation", "must be in [0, 1)")
        known = self.kind in (None, *get_args(Kind))
        require(known, "kind", f"must be one of {', '.join(get_args(Kind))}")
        self.reading(1)  # complains of the scan

    def reading(self, patch: int) -> Reading:
        """How to read the files for a model of patches of so many bytes."""
        kind = cast("Kind", self.kind or "bytes")
        return Reading(kind=kind, scan=self.scan or "", patch=patch)

    @property
    def sources(self) -> list[Source]:
        """Paths and weights."""
        weights = self.weights or (1.0,) * len(self.paths)
        return [Source(Path(path), w) for path, w in zip(self.paths, weights, strict=True)]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """All that decides a run.

    Attributes:
        name: what archives will call the model; None for the name of its folder.
        start: name or folder of the model to start from; None for weights drawn from the seed.
    """

    model: NetworkConfig
    train: TrainConfig
    data: DataConfig
    name: str | None = None
    start: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError if the parts do not fit together."""
        if self.train.sequence % self.model.patch:
            msg = f"sequence must be a multiple of the patch size, {self.model.patch}"
            raise ValueError(msg)
        plain = not isinstance(self.model, ModelConfig)
        for name in ("recompute", "shard"):
            rule = "must be false for a baseline, which cannot do so"
            require(not (plain and getattr(self.train, name)), name, rule)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain dictionaries and lists; what is None is left out."""
        given = {k: v for k, v in asdict(self.data).items() if v is not None}
        lists = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
        tables = {"model": self.model.to_dict(), "train": asdict(self.train), "data": lists}
        words = {"name": self.name, "start": self.start}
        return {key: value for key, value in words.items() if value is not None} | tables
