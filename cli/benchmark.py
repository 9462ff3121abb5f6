"""Runs programs over files for `mbz bench`: compresses, restores, compares and measures."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import mbz
from mbz.errors import Corrupt, MbzError

from . import files, tools
from .measured import RunError, measured
from .results import Result, median

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .measured import Run
    from .ui import Ui

SAMPLE = 1 << 16  # bytes of the source that stand for no file
WARM = b"mbz bench\n" * 100  # compiled code is kept on the first use, which does not count


def run(
    programs: Sequence[tools.Tool],
    names: Sequence[str] | None,
    runs: int,
    ui: Ui,
    show: Callable[[float, str], None],
) -> Iterator[Result]:
    """Yields medians of `runs` of every program on every file, and tells of those that fail."""
    listed = names or ["source of mbz"]
    with tempfile.TemporaryDirectory(prefix="mbz-bench-") as place:
        folder = Path(place)
        (folder / tools.INPUT).write_bytes(WARM)
        for tool in programs:
            if tool.compress[0] == sys.executable:
                show(0.0, f"{tool.name} compiles, once")
                with ui.reporting(tool.name):
                    _once(tool, folder)
        for number, name in enumerate(listed):
            with ui.reporting(name):
                _copy(name if names else None, folder / tools.INPUT)
                for done, tool in enumerate(programs, number * len(programs)):
                    show(done / (len(listed) * len(programs)), f"{tool.name}, {name}")
                    with ui.reporting(f"{name}, {tool.name}"):
                        ran = [_once(tool, folder) for _ in range(runs)]
                        yield _result(name, tool, ran, folder)


def _once(tool: tools.Tool, folder: Path) -> tuple[Run, Run]:
    """Compresses and restores the input, and compares.

    Raises:
        MbzError: The program failed.
        Corrupt: It did not restore the input.
    """
    for name in (tool.archive, tools.RESTORED):
        (folder / name).unlink(missing_ok=True)
    try:
        up = measured(tools.runnable(tool.compress), folder, tool.archive if tool.packs else None)
        down = measured(
            tools.runnable(tool.restore), folder, tools.RESTORED if tool.prints else None
        )
    except RunError as error:
        raise MbzError(f"failed ({error})") from error
    if (folder / tools.RESTORED).read_bytes() != (folder / tools.INPUT).read_bytes():
        raise Corrupt("did not restore the file")
    return up, down


def _result(name: str, tool: tools.Tool, runs: list[tuple[Run, Run]], folder: Path) -> Result:
    return Result(
        file=name,
        program=tool.name,
        raw=(folder / tools.INPUT).stat().st_size,
        packed=(folder / tool.archive).stat().st_size,
        compress=median([up for up, _ in runs]),
        restore=median([down for _, down in runs]),
    )


def _copy(name: str | None, target: Path) -> None:
    """Copies an input, or the beginning of the program's own source, to where it is measured."""
    if name is None:
        paths = sorted(Path(mbz.__file__).parent.rglob("*.py"))
        target.write_bytes(b"".join(path.read_bytes() for path in paths)[:SAMPLE])
        return
    with files.opened(name) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    if not target.stat().st_size:
        raise MbzError("is empty; there is nothing to measure")
