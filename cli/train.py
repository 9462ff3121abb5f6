"""`mbz train`: files to a model."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import Annotated, Literal

import typer

from mbz.config import PRESETS
from mbz.errors import MbzError
from mbz.training.config import TrainConfig

from . import files, options
from .ui import Ui

DEFAULT = TrainConfig()
UNLIMITED = float(1 << 30)  # seconds; the end set by --steps must not depend on the machine

Data = Annotated[
    list[str], typer.Option("--data", metavar="PATH", help="File, folder or tar to train on.")
]
More = Annotated[
    list[str] | None, typer.Argument(metavar="PATH", help="More to train on, as for --data.")
]
Out = Annotated[str, typer.Option("--out", metavar="DIR", help="Model folder to make.")]
Preset = Annotated[Literal["tiny", "base"], typer.Option(help="Size of the network.")]
Time = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help=f"Limit; {DEFAULT.seconds:g} unless --steps is given."),
]
Steps = Annotated[int | None, typer.Option(metavar="N", help="Limit of steps.")]
Batch = Annotated[int, typer.Option(metavar="N", help="Sequences a step; fewer suit a CPU.")]
Sequence = Annotated[int, typer.Option(metavar="BYTES", help="Length of a sequence.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Draws the first weights and the data.")]
Name = Annotated[str | None, typer.Option(help="Name of the model; none: the folder's.")]


def train(
    more: More = None,
    *,
    data: Data,
    out: Out,
    preset: Preset = "tiny",
    time: Time = None,
    steps: Steps = None,
    batch: Batch = DEFAULT.batch,
    sequence: Sequence = DEFAULT.sequence,
    seed: Seed = DEFAULT.seed,
    device: options.Device = "auto",
    name: Name = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Trains a model on files and writes it to a new folder.

    The other commands take that folder as --model. Training ends at the first limit.
    """
    ui = Ui(quiet=quiet, debug=debug)
    with ui.reporting(), _plainly():
        from mbz import quantize, zoo
        from mbz.container import FINGERPRINT_BYTES, ModelId
        from mbz.training.data import load
        from mbz.training.loop import Progress, evaluate, untrained
        from mbz.training.loop import train as run

        name = name or Path(out).resolve().name
        ModelId(fingerprint=bytes(FINGERPRINT_BYTES), name=name)  # archives must be able to say it
        config = TrainConfig(
            sequence=sequence,
            batch=batch,
            steps=DEFAULT.steps if steps is None else steps,
            seconds=(DEFAULT.seconds if steps is None else UNLIMITED) if time is None else time,
            seed=seed,
        )
        with files.created_folder(out) as folder, ui.stages(out) as show:

            def report(now: Progress) -> None:
                show(now.fraction, f"{now.loss:.3f} bpb, {now.rate / 1000:.1f} KB/s")

            corpus, held_out, _ = load([Path(path) for path in (*data, *(more or ()))])
            model = untrained(PRESETS[preset], seed, device)
            run(model, corpus, config, folder / "log.jsonl", on_progress=report)
            bits = evaluate(model, held_out.stream, sequence)
            quantize.export(model, name, folder)
        if not quiet:
            fingerprint = zoo.fingerprint(Path(out))[:FINGERPRINT_BYTES].hex()
            validation = "none held out" if isnan(bits) else f"{bits:.3f} bpb"
            typer.echo(f"{out}: fingerprint {fingerprint}, validation {validation}")
    ui.exit()


@contextmanager
def _plainly() -> Iterator[None]:
    """Turns what the library says of settings and data into errors of the user."""
    try:
        yield
    except (ValueError, FloatingPointError) as error:
        raise MbzError(str(error)) from error
