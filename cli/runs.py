"""What `mbz train` makes of its flags, and what it says of a run."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mbz.errors import FailedElsewhere, MbzError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mbz.training.config import RunConfig
    from mbz.training.run import Outcome, Progress

    from .options import DeviceName


def resolved(
    file: Path | None, flags: dict[str, Any], device: DeviceName, folder: Path, *, resume: bool
) -> RunConfig:
    """The settings of a run.

    Args:
        file: TOML file, if any.
        flags: the same tables; None is what was not asked for.
        device: what the run will use.
        folder: where the run will be, which gives its model a name unless another is asked for.
        resume: the run goes on, and needs the model no more that it started from.

    Raises:
        ValueError: a setting is unknown, of the wrong type or out of range.
        FailedElsewhere: the same, but another process says so.
    """
    from mbz.container import FINGERPRINT_BYTES, ModelId
    from mbz.exact.torch_open import find_device
    from mbz.training import settings
    from mbz.training.start import shape

    with _once_a_machine():
        config = settings.resolve(
            {} if file is None else settings.load(file),
            settings.absolute(_given(flags), Path()),
            on_cpu=find_device(device).type == "cpu",
            shape_of=None if resume else shape,
        )
        name = config.name or folder.resolve().name
        ModelId(fingerprint=bytes(FINGERPRINT_BYTES), name=name)  # archives must be able to say it
    return config


@contextmanager
def _once_a_machine() -> Iterator[None]:
    """Lets only the first process that torchrun started on a machine say what is wrong."""
    try:
        yield
    except (ValueError, MbzError) as error:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            raise FailedElsewhere("the first process of this machine failed too") from error
        raise


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """What was really asked for, in tables too."""
    found = {}
    for name, value in flags.items():
        if isinstance(value, dict):
            found[name] = _given(value)
        elif value is not None:
            found[name] = value
    return found


def note(now: Progress) -> str:
    """What the progress bar says beside itself."""
    best = "" if now.best is None else f", best {now.best:.3f}"
    return f"step {now.step}, {now.loss:.3f} bpb{best}, {now.rate / 1000:.1f} KB/s"


def result(folder: Path, outcome: Outcome) -> str:
    """What a run came to."""
    from mbz import zoo
    from mbz.container import FINGERPRINT_BYTES

    mark = "a baseline, for mbz score alone"
    if (folder / zoo.WEIGHTS).exists():
        mark = f"fingerprint {zoo.fingerprint(folder)[:FINGERPRINT_BYTES].hex()}"
    best = outcome.best
    if best is None:
        return f"{mark}, validation none held out"
    step = "" if best["step"] == outcome.step else f" (weights of step {best['step']})"
    return f"{mark}, validation {best['bits']:.3f} bpb{step}"


def expected(config: RunConfig, device: DeviceName) -> str:
    """What a run would take, measured by a few steps."""
    from mbz.training.estimate import STEPS, estimate

    found = estimate(config, device=device)
    each = found.seconds / found.steps
    lines = {
        "parameters": f"{found.parameters:,}",
        "multiply-adds": f"{found.multiply_adds:,.0f} a byte",
        "data": str(found.data),
        "memory": f"{found.memory / 2**30:.1f} GiB at the peak of {STEPS} steps",
        "steps": f"{found.steps:,} of {found.step_bytes:,} bytes",
        "passes": f"{found.passes:.2f} over the data",
        "time": f"{_duration(found.seconds)}, as {STEPS} steps took {each:.3g} s each",
    }
    return "\n".join(f"{name:14} {value}" for name, value in lines.items())


def _duration(seconds: float) -> str:
    """Whole seconds, minutes or hours, whichever says it in a few digits."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


@contextmanager
def plainly() -> Iterator[None]:
    """Turns what the library says of settings and data into errors of the user."""
    try:
        yield
    except FailedElsewhere:  # that process tells the user
        raise typer.Exit(1) from None
    except ValueError as error:
        raise MbzError(str(error)) from error
