"""The Typer application: its commands, global options, usage errors and signals."""

import os
import signal
import sys
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from . import bench, compress, decompress, info, models, options, sample, score, train, verify


class _Group(TyperGroup):
    """A group whose usage errors are one sentence and exit code 1 (2 is for damaged data)."""

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 - as in the base class
        extra["standalone_mode"] = False
        try:
            code = super().main(*args, **extra)
        except typer.TyperException as error:
            path = getattr(getattr(error, "ctx", None), "command_path", "mbz")
            what = error.format_message().removesuffix(".")
            typer.echo(f"mbz: {what}; see '{path} --help'", err=True)
            code = 1
        except OSError as error:  # of help and version; commands tell their own
            typer.echo(f"mbz: cannot write standard output ({error.strerror})", err=True)
            code = 1
        sys.exit(code)


app = typer.Typer(
    cls=_Group,
    name="mbz",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # plain help starts twice as fast and pipes well
)
app.command("compress", cls=options.LevelCommand)(compress.compress)
app.command("decompress")(decompress.decompress)
app.command("test")(verify.verify)
app.command("list")(info.info)
app.command("score", cls=options.LevelCommand)(score.score)
app.command("bench", cls=options.LevelCommand)(bench.bench)
app.command("sample")(sample.sample)
app.command("train")(train.train)
app.add_typer(models.app, name="models")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mbz {version('mbz')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def mbz(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Compresses any file with a Megabyte network and restores it exactly, on any machine."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(1)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    """Ends the program as the shell expects, after partial outputs were removed on the way up."""
    sys.exit(128 + number)


def main() -> None:
    """Runs the command line; the program `mbz` starts here."""
    signal.signal(signal.SIGTERM, _stop)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, _stop)
    try:
        app()
    finally:
        _drop_unwritten()


def _drop_unwritten() -> None:
    """Drops what a full disk did not take; the error has been told, and Python would again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
