"""`mbz score`: bits per byte of files."""

from typing import Annotated, Literal

import typer

from mbz.errors import MbzError
from mbz.levels import DEFAULT

from . import files, looks, options, scores
from .ui import Ui

Paths = Annotated[
    list[str] | None, typer.Argument(metavar="PATH", help="Files, folders; none or '-': stdin.")
]
Exact = Annotated[
    bool, typer.Option("--exact", help="As `compress --no-mix` codes, in its lanes and arithmetic.")
]
Mix = Annotated[bool, typer.Option("--mix", help="As `compress` codes, with experts.")]
Context = Annotated[
    int | None, typer.Option(metavar="BYTES", help="Length of a window; none: 8192.")
]
Slide = Annotated[bool, typer.Option("--slide", help="Windows overlap by half; twice the work.")]
Stride = Annotated[
    bool, typer.Option("--stride", help="A second pass, half a patch on; twice the work.")
]
Kind = Annotated[options.Kind, typer.Option("--as", help="What the files hold.")]
By = Annotated[
    Literal["file", "ext", "folder"], typer.Option("--by", help="What a row of the table is.")
]
PerByte = Annotated[
    str | None, typer.Option("--per-byte", metavar="OUT.npy", help="Write the bits of each byte.")
]
Heatmap = Annotated[
    str | None,
    typer.Option(metavar="OUT.html", help="Write the bytes in colours; '-': to the terminal."),
]
Plot = Annotated[
    str | None, typer.Option(metavar="OUT.png", help="Draw bits by place; needs matplotlib.")
]
Top = Annotated[
    int | None, typer.Option(min=1, metavar="K", help="Show the K most surprising rows and places.")
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV for programs.")]


def score(
    paths: Paths = None,
    *,
    model: options.Model = None,
    exact: Exact = False,
    mix: Mix = False,
    level: options.Level = DEFAULT,
    context: Context = None,
    slide: Slide = False,
    stride: Stride = False,
    kind: Kind = "bytes",
    scan: options.Scan = None,
    by: By = "file",
    top: Top = None,
    per_byte: PerByte = None,
    heatmap: Heatmap = None,
    plot: Plot = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
    as_csv: AsCsv = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Measures how many bits each byte of files takes under a model: its surprise.

    Each file starts with nothing known. Columns best and worst are of its kilobytes. Totals are
    sums of bits over sums of bytes. See docs/score.md.
    """
    ui = Ui(quiet=quiet, debug=debug)
    with ui.reporting(), scores.plainly():
        archive = exact or mix
        if exact and mix:
            raise MbzError("--exact is without experts and --mix with them; give one of them")
        if archive and (context is not None or slide or stride):
            raise MbzError("--context, --slide and --stride are not what an archive does")
        if archive and (top is not None or plot is not None):
            raise MbzError("--top and --plot want windows; leave out --exact and --mix")
        if as_json and as_csv:
            raise MbzError("--json and --csv contradict each other; give one of them")
        asked = looks.Asked(per_byte=per_byte, heatmap=heatmap, plot=plot, top=top, force=force)
        with looks.Looks(asked) as seen:
            if archive:
                scorer = scores.as_archive(model, level, device, threads, mix=mix)
            else:
                method = scores.method(context, slide=slide, stride=stride)
                scorer = scores.in_windows(model, device, threads, method)
            found = scores.documents(paths or [files.STREAM], kind, scan, scorer.patch, ui)
            if per_byte is not None and len(found) != 1:
                raise MbzError(f"--per-byte takes one file, not {len(found)}")
            measured = scores.measure(found, scorer, seen, ui)
        form = "json" if as_json else "csv" if as_csv else "table"
        scores.show(measured, seen.places, by=by, form=form, top=top)
    ui.exit()
