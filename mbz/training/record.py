"""What a run writes down as it goes: log.jsonl, TensorBoard, and the curve."""

import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mbz.atomic import sync
from mbz.errors import MbzError

LOG = "log.jsonl"
CURVE = "curve.png"
SMOOTHING = 50
"""Points of the curve, at least; each is the mean over the steps before it."""


class Record:
    """The log of a run: a JSON object for each step and for each validation.

    Steps have `step`, `loss` (bits per byte), `norm` (of the gradient), `factor` (on the learning
    rates; 0 if the step was refused) and `seconds`; validations have `step`, `validation` (bits
    per byte) and `seconds`. What is no finite number is null.
    """

    def __init__(self, run: Path, step: int, *, tensorboard: bool = False) -> None:
        """Opens the log of a run that goes on after `step`, and forgets what it said of later ones.

        Raises:
            MbzError: TensorBoard is asked for and not installed.
        """
        self._board = _board(run, step) if tensorboard else None
        self._path = run / LOG
        self._lines = self._path.open("a", encoding="utf-8")
        kept = [end for line, end in _parsed(self._path) if line["step"] <= step]
        self._lines.truncate(kept[-1] if kept else 0)

    def add(self, step: int, seconds: float, **values: float) -> None:
        """Writes what was measured after `step` steps, which took so many seconds."""
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._lines.write(json.dumps({"step": step, **line, "seconds": seconds}) + "\n")
        self._lines.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def sync(self) -> None:
        """Waits until all is on disk."""
        self._lines.flush()
        sync(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.close()
        if self._board is not None:
            self._board.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a last one that was cut off is left out, and no file is an empty log."""
    return [line for line, _ in _parsed(path)]


def can_draw() -> bool:
    """Whether `draw` has what it needs."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(run: Path) -> None:
    """Draws the log of a run as its curve.png; needs matplotlib."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    lines = read(run / LOG)
    steps = [(line["step"], line["loss"]) for line in lines if line.get("loss") is not None]
    validations = [(line["step"], line["validation"]) for line in lines if "validation" in line]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="bits per byte", title=run.name)
    if steps:
        axes.plot(*zip(*_smoothed(steps), strict=True), label="training", linewidth=1)
    if validations:
        axes.plot(*zip(*validations, strict=True), "o-", label="validation", markersize=4)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    partial = run / f".{CURVE}"
    figure.savefig(partial, format="png", dpi=120)
    partial.replace(run / CURVE)


def _smoothed(points: list[tuple[int, float]]) -> list[tuple[float, float]]:
    """Means of the values over neighbouring points, a fiftieth of them at a time."""
    size = max(1, len(points) // SMOOTHING)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _parsed(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Each whole line of a log, and where in the file it ends."""
    end = 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        end += len(line)
        try:
            yield json.loads(line), end
        except ValueError:
            return


def _board(run: Path, step: int) -> Any:  # noqa: ANN401 - has no type hints
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MbzError("TensorBoard is not installed; pip install 'mbz[tensorboard]'") from error
    return SummaryWriter(run / "tensorboard", purge_step=step + 1)
