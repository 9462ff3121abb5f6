"""How to train: a frozen configuration, validated on construction."""

from dataclasses import dataclass

from mbz.config import require


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How to train: sizes in bytes, rates per step, time in seconds.

    Training ends after `steps` steps or `seconds` seconds, whichever comes first; the schedule
    follows whichever is nearer its end. `warmup` is in steps; the rates are constant until the
    fraction `decay_from` of the run and then fall in a straight line to zero.
    """

    sequence: int = 8192
    batch: int = 32
    steps: int = 1 << 30
    seconds: float = 600.0
    matrix_rate: float = 0.02
    other_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: int = 50
    decay_from: float = 0.4
    clip: float = 1.0
    file_starts: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        for name in ("sequence", "batch", "steps", "warmup"):
            require(getattr(self, name) >= 1, name, "must be at least 1")
        for name in ("seconds", "matrix_rate", "other_rate", "clip"):
            require(getattr(self, name) > 0, name, "must be above 0")
        require(0 <= self.decay_from < 1, "decay_from", "must be in [0, 1)")
        require(0 <= self.file_starts <= 1, "file_starts", "must be in [0, 1]")
        require(0 <= self.seed < 1 << 63, "seed", "must be at least 0 and below 2**63")
