"""`mbz bench`: mbz beside the compressors that are installed, on the same files."""

from __future__ import annotations

import io
import json
from contextlib import ExitStack
from typing import Annotated

import typer

from mbz.errors import MbzError

from . import files, options
from .ui import Ui, print_table

BenchFiles = Annotated[
    list[str] | None, typer.Argument(metavar="FILE", help="Files; none: the source of mbz, 64 KB.")
]
Levels = Annotated[
    list[int] | None,
    typer.Option(
        "--level", min=0, max=9, metavar="N", help="Levels such as -0 -3; none: all that differ."
    ),
]
Threads = Annotated[
    int, typer.Option("-T", "--threads", min=0, metavar="N", help="For mbz; the others take one.")
]
Runs = Annotated[int, typer.Option(min=1, metavar="N", help="Runs, of which medians are taken.")]
Plot = Annotated[
    str | None, typer.Option(metavar="OUT.png", help="Draw speed against ratio (matplotlib).")
]
COLUMNS = (
    "file", "program", "bytes", "archive", "ratio", "bpb", "compress KB/s", "restore KB/s",
    "compress MB", "restore MB",
)  # fmt: skip


def bench(
    names: BenchFiles = None,
    *,
    level: Levels = None,
    model: options.Model = None,
    device: options.Device = "auto",
    threads: Threads = 1,
    runs: Runs = 1,
    plot: Plot = None,
    as_json: options.AsJson = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Measures mbz at each level beside the compressors that are installed.

    Each runs alone, as a process of its own, whose start counts; each archive is restored and
    compared. MB are peaks of memory.
    """
    ui = Ui(quiet=quiet, debug=debug)
    with ui.reporting(), ExitStack() as outputs:
        from mbz import zoo

        from . import benchmark, speed_plot, tools
        from .results import report, totals

        picture = None
        if plot is not None:
            speed_plot.check()
            opened = files.created(plot, io.BytesIO(), force=force, binary=True)
            picture = outputs.enter_context(opened)
        flags = ["-T", str(threads), "--device", device]
        named = [] if model is None else ["--model", str(zoo.find(model).absolute())]
        numbers = level or tools.distinct_levels()
        programs = [*(tools.mbz(number, flags, named) for number in numbers), *tools.peers()]
        with ui.stages("bench") as show:
            results = list(benchmark.run(programs, names, runs, ui, show))
        if not results:
            raise MbzError("nothing could be measured")
        sums = totals(results)
        if as_json:
            typer.echo(json.dumps(report(programs, results, runs), indent=2))
        elif not quiet:
            several = len({result.file for result in results}) > 1
            shown = results + sums if several else results
            print_table(COLUMNS, [result.row() for result in shown])
        if picture is not None:
            speed_plot.draw(sums, picture)
    ui.exit()
