"""`mbz train`: files to a model."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from mbz.errors import MbzError

from . import files, options, runs
from .stopping import stopping
from .ui import Ui

More = Annotated[
    list[str] | None, typer.Argument(metavar="PATH", help="More to train on, as for --data.")
]
Data = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="PATH", help="File, folder or tar to train on."),
]
Out = Annotated[str, typer.Option("--out", metavar="DIR", help="Folder of the run and its model.")]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file; flags go before it.")
]
Preset = Annotated[
    Literal["tiny", "small", "base", "large"] | None,
    typer.Option(help="Size of the network; none: tiny."),
]
Arch = Annotated[
    Literal["transformer", "sliding", "perceiver", "paper"] | None,
    typer.Option(help="A baseline to compare with, for `score` only; none: MEGABYTE."),
]
Start = Annotated[
    str | None,
    typer.Option("--from", metavar="NAME|PATH", help="Model or run to start from."),
]
Time = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Limit; 600 unless --steps is given."),
]
Steps = Annotated[int | None, typer.Option(metavar="N", help="Limit of steps.")]
Batch = Annotated[
    int | None, typer.Option(metavar="N", help="Sequences a step; none: 16, on a CPU 8.")
]
Sequence = Annotated[
    int | None, typer.Option(metavar="BYTES", help="Length of one; none: 8192, on a CPU 2048.")
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Draws first weights and data.")]
Name = Annotated[str | None, typer.Option(help="Name of the model; none: the folder's.")]
Shard = Annotated[bool, typer.Option("--shard", help="Spread the weights over all GPUs.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would take; write nothing.")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write for TensorBoard too.")]
Kind = Annotated[options.Kind | None, typer.Option("--as", help="What the files hold.")]
Plot = Annotated[bool, typer.Option("--plot", help="Insist on curve.png.")]


def train(
    more: More = None,
    *,
    data: Data = None,
    out: Out,
    kind: Kind = None,
    scan: options.Scan = None,
    config: Config = None,
    preset: Preset = None,
    arch: Arch = None,
    start: Start = None,
    time: Time = None,
    steps: Steps = None,
    batch: Batch = None,
    sequence: Sequence = None,
    seed: Seed = None,
    shard: Shard = False,
    device: options.Device = "auto",
    name: Name = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    tensorboard: TensorBoard = False,
    plot: Plot = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Trains a model on files, in a new folder, which the other commands take as --model.

    Ctrl-C saves the run and ends it; --resume goes on. See docs/training.md.
    """
    leads = os.environ.get("RANK", "0") == "0"  # among the processes of torchrun
    ui = Ui(quiet=quiet or not leads, debug=debug)
    train_flags = {"seconds": time, "steps": steps, "batch": batch, "sequence": sequence}
    flags = {
        "preset": preset,
        "arch": arch,
        "start": start,
        "name": name,
        "train": train_flags | {"seed": seed, "shard": shard or None},
        "data": {"paths": [*(data or ()), *(more or ())] or None, "kind": kind, "scan": scan},
    }
    with ui.reporting(), runs.plainly():
        from mbz.training import record
        from mbz.training.run import CHECKPOINTS, CONFIG, run

        if plot and not record.can_draw():
            raise MbzError("--plot needs matplotlib; pip install 'mbz[plot]'")
        if resume and not Path(out, CONFIG).is_file():
            raise MbzError(f"{out} is no run to resume (it has no {CONFIG})")
        file = config or (Path(out, CONFIG) if resume else None)
        resolved = runs.resolved(file, flags, device, Path(out), resume=resume)
        if dry_run:
            ui.tell(runs.expected(resolved, device))
            return
        new = files.run_folder(out, resume=resume, keep=CHECKPOINTS)
        made = new if leads else nullcontext(Path(out))
        with files.writing(out), made as folder, stopping() as should_stop, ui.stages(out) as show:
            outcome = run(
                resolved,
                folder,
                device=device,
                resume=resume,
                tensorboard=tensorboard,
                on_read=lambda size: show(0.0, f"read {size / 1e6:.0f} MB"),
                on_progress=lambda now: show(now.fraction, runs.note(now)),
                should_stop=should_stop,
            )
        if not outcome.finished:
            again = f"mbz train --resume --out {out}"
            ui.warn(f"{out}: stopped and saved at step {outcome.step}; to go on: {again}")
            raise typer.Exit(130)
        if leads:
            ui.tell(f"{out}: {runs.result(folder, outcome)}")
    ui.exit()
