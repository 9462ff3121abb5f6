"""What a command tells its user, on standard error: errors, one line a file, progress."""

import json
import logging
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TextIO

import typer

from mbz.errors import DataError, MbzError

from .files import FULL

WIDE = 10_000  # columns, more than any table has
LEAST_PAUSE = 0.1  # seconds; work that is reported in bursts would seem to be very fast
WIDE_BAR = 60  # columns, for all that a bar shows


class Ui:
    """Messages of one run of a command, and the exit code that they add up to."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: bool = False,
        debug: bool = False,
        as_json: bool = False,
    ) -> None:
        level = logging.DEBUG if debug else logging.ERROR if quiet else logging.WARNING
        logging.basicConfig(format="mbz: %(message)s", level=level)
        self._quiet = quiet
        self._verbose = verbose and not quiet
        self._progress = not quiet and sys.stderr.isatty()
        self._debug = debug
        self.code = 0
        self._seconds = 0.0
        self.files: list[dict[str, object]] | None = [] if as_json else None
        self.report: Callable[[int], None] | None = None
        self.said: list[str] | None = None

    def child(self, report: Callable[[int], None]) -> "Ui":
        """One for work in another thread; `join` tells what it was told, in good order.

        Args:
            report: Is called with the number of bytes done instead of a bar.
        """
        child = Ui(
            quiet=self._quiet,
            verbose=self._verbose,
            debug=self._debug,
            as_json=self.files is not None,
        )
        child.report, child.said = report, []
        return child

    def join(self, child: "Ui") -> None:
        """Takes over what a child was told, once its work is done."""
        for text in child.said or ():
            typer.echo(text, err=True)
        self.code = max(self.code, child.code)
        if self.files is not None:
            self.files += child.files or []

    def _say(self, text: str) -> None:
        if self.said is None:
            typer.echo(text, err=True)
        else:
            self.said.append(text)

    @contextmanager
    def reporting(self, name: str | None = None) -> Iterator[None]:
        """Turns an error of the body into one sentence about the file `name`."""
        try:
            yield
        except (typer.Exit, BrokenPipeError):  # not an error of ours; nobody reads on
            raise
        except Exception as error:  # noqa: BLE001 - the last resort between users and tracebacks
            self.code = max(self.code, 2 if isinstance(error, DataError) else 1)
            if name is None and isinstance(error, OSError) and isinstance(error.filename, str):
                name = error.filename
            place = "" if name is None else f"{printable(name)}: "
            self._say(f"mbz: {place}{_sentence(error)}")
            if self.files is not None:
                self.files.append({"file": name, "error": _sentence(error)})
            if self._debug:
                self._say("".join(traceback.format_exception(error)).rstrip())

    def note(self, text: str) -> None:
        """Says something, if `-v` asks for it."""
        if self._verbose:
            self._say(text)

    def done(self, name: str, raw: int, packed: int, *, packing: bool, output: str = "") -> None:
        """Says how one file went, if `-v` or `--json` asks; the time is that of `progress`."""
        if self.files is not None:
            about = {"content": raw, "bytes": packed, "seconds": round(self._seconds, 3)}
            self.files.append({"file": name, "output": output, **about})
        if self._verbose:
            sizes = f"{raw} -> {packed}" if packing else f"{packed} -> {raw}"
            rates = f"{raw / packed:.3f}x, {8 * packed / raw:.3f} bpb, " if raw else ""
            speed = f"{raw / 1000 / max(self._seconds, 1e-9):.1f} KB/s"
            self.note(f"{printable(name)}: {sizes} bytes ({rates}{speed})")

    @contextmanager
    def progress(self, name: str, total: int | None) -> Iterator[Callable[[int], None] | None]:
        """Times the body for `done` and shows a bar on a terminal.

        Yields:
            What to call with the number of bytes done so far, or None when nothing is shown.
        """
        start = time.perf_counter()
        with self.bar(name, total) as report:
            yield report
        self._seconds = time.perf_counter() - start

    def bar(
        self, name: str, total: int | None
    ) -> AbstractContextManager[Callable[[int], None] | None]:
        """Shows a bar on a terminal; yields as `progress` does."""
        if self.report is not None:
            return nullcontext(self.report)
        return _bar(name, total) if self._progress else nullcontext()

    @contextmanager
    def stages(self, name: str) -> Iterator[Callable[[float, str], None]]:
        """Shows a bar on a terminal for work that is no stream of bytes.

        Yields:
            What to call with the fraction done so far and a note to show beside it.
        """
        hidden = nullcontext(lambda _done, _note: None)
        with _bar(name, 1.0, noted=True) if self._progress else hidden as report:
            yield report

    def tell(self, text: str) -> None:
        """Prints a result on standard output."""
        if not self._quiet:
            typer.echo(text)

    def warn(self, text: str) -> None:
        """Prints what is no error and no result."""
        if not self._quiet:
            self._say(f"mbz: {text}")

    def exit(self) -> None:
        """Ends the command with the worst exit code so far, after what `--json` prints."""
        if self.files is not None:
            typer.echo(json.dumps(self.files, indent=2))
        if self.code:
            raise typer.Exit(self.code)


@contextmanager
def _bar(name: str, total: float | None, *, noted: bool = False) -> Iterator[Callable[..., None]]:
    """A bar with the speed in bytes, or with notes given to it."""
    from rich import progress
    from rich.console import Console, RenderableType
    from rich.constrain import Constrain
    from rich.markup import escape

    console = Console(stderr=True)

    class Bar(progress.Progress):
        """Leaves room for the ^C that a terminal shows, which would begin a new line."""

        def get_renderables(self) -> Iterable[RenderableType]:
            for table in super().get_renderables():
                yield Constrain(table, console.width - 3)

    speed = progress.TextColumn("{task.fields[note]}") if noted else progress.TransferSpeedColumn()
    bar = Bar(
        progress.TextColumn("{task.description}"),
        *([progress.BarColumn()] if console.width >= WIDE_BAR else []),
        progress.TaskProgressColumn(),
        *([speed] if noted or console.width >= WIDE_BAR else []),
        progress.TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,  # standard output may carry the data
    )
    before = sys.stderr
    with bar, _logging_moved(before):
        task = bar.add_task(escape(_end_of(name, console.width // 3)), total=total, note="")
        latest = -math.inf

        def report(done: float, note: str = "") -> None:
            nonlocal latest
            now = time.monotonic()
            if now - latest >= LEAST_PAUSE:
                bar.update(task, completed=done, note=note)
                latest = now

        yield report


@contextmanager
def _logging_moved(before: TextIO) -> Iterator[None]:
    """Lets log messages follow standard error to above a bar, from where it was `before`."""
    streams = (h for h in logging.getLogger().handlers if isinstance(h, logging.StreamHandler))
    moved = [handler for handler in streams if handler.stream is before]
    for handler in moved:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler in moved:
            handler.setStream(before)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str | int | float]]) -> None:
    """Prints aligned columns on standard output, text to the left and numbers to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for index, column in enumerate(columns):
        is_text = any(not _is_number(row[index]) for row in rows)
        table.add_column(column, justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        cells = (f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    # Nothing is folded in a pipe, however long the names are.
    Console(width=None if sys.stdout.isatty() else WIDE, highlight=False).print(table)


def _is_number(cell: str | float) -> bool:
    return not isinstance(cell, str) or cell == "-" or cell.replace(".", "", 1).isdigit()


def print_runs(
    title: str, lines: Iterable[Sequence[tuple[str, int | None]]], colours: Sequence[str]
) -> None:
    """Prints runs of text on standard output, each on its colour or, for None, on none."""
    from rich.console import Console
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    console.print(Text(printable(title), "bold"))
    for line in lines:
        runs = (
            (printable(text), "" if number is None else f"#222222 on {colours[number]}")
            for text, number in line
        )
        console.print(Text.assemble(*runs))


def _sentence(error: Exception) -> str:
    if isinstance(error, MbzError):
        return str(error).removesuffix(".")
    if isinstance(error, OSError):
        if error.errno in FULL:  # files say for themselves that they cannot be written
            return f"cannot write standard output ({error.strerror})"
        return error.strerror or str(error)
    if isinstance(error, MemoryError):
        return "not enough memory; try a smaller --block-size or fewer --lanes"
    return f"internal error ({type(error).__name__}: {error}); run again with --debug, report it"


def _end_of(name: str, most: int) -> str:
    """The last characters of a file name, as many as there is room for."""
    name = printable(name)
    return name if len(name) <= most else "…" + name[1 - most :]


def printable(name: str) -> str:
    """Returns a file name that can do nothing to a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
