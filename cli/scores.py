"""What `mbz score` measures with, and how it shows what it found."""

from __future__ import annotations

import csv
import json
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mbz import zoo
from mbz.errors import MbzError
from mbz.levels import LEVELS

from . import files
from .ui import print_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from mbz.reader import Readable
    from mbz.scoring import Document, Scorer
    from mbz.scoring.tally import Score
    from mbz.scoring.windows import Method

    from .looks import Looks
    from .options import DeviceName, Kind
    from .ui import Ui


@contextmanager
def plainly() -> Iterator[None]:
    """Turns what the library says of arguments and files into errors of the user."""
    try:
        yield
    except ValueError as error:
        raise MbzError(str(error)) from error


def documents(paths: list[str], kind: Kind, scan: str | None, patch: int, ui: Ui) -> list[Document]:
    """What there is to score; says which paths cannot be read."""
    from mbz.media.reading import Reading
    from mbz.scoring import documents

    reading = Reading(kind=kind, scan=scan or "", patch=patch)
    found: list[Document] = []
    for path in paths:
        if path == files.STREAM:
            found.append(documents.Document(path, None, _standard_input))
            continue
        with ui.reporting(), plainly():
            found += documents.documents(Path(path), reading)
    return found


def _standard_input() -> AbstractContextManager[Readable]:
    return nullcontext(sys.stdin.buffer)


def method(context: int | None, *, slide: bool, stride: bool) -> Method:
    """How to cut into windows."""
    from mbz.scoring.windows import DEFAULT_CONTEXT, Method

    length = DEFAULT_CONTEXT if context is None else context
    return Method(context=length, slide=slide, stride=stride)


def in_windows(model: str | None, device: DeviceName, threads: int | None, how: Method) -> Scorer:
    """The fastest scorer of a model."""
    from mbz.scoring.engines import open_engine
    from mbz.scoring.windows import WindowScorer

    return WindowScorer(open_engine(model, device, threads or None), how)


def as_archive(
    model: str | None, level: int, device: DeviceName, threads: int | None, *, mix: bool
) -> Scorer:
    """The scorer that does as `compress` does."""
    from mbz import codec, weights
    from mbz.scoring.archive import ArchiveScorer

    from .predictors import Models

    plan = LEVELS[level]
    predictor, patch = None, 1
    wanted = model or plan.model
    if wanted is not None:
        folder = zoo.find(wanted)
        predictor, _ = Models(folder=folder, device=device, threads=threads).open(folder)
        patch = weights.read(folder).config.patch
    elif not mix:
        raise MbzError("--exact leaves nothing of level 0, which has no network")
    experts = plan.experts if mix else None
    return ArchiveScorer(predictor, experts, plan.lane_bytes or codec.DEFAULT_LANE, patch)


def measure(found: list[Document], scorer: Scorer, looks: Looks, ui: Ui) -> list[Score]:
    """Scores documents; says which cannot be read, and leaves them out."""
    from mbz.scoring import Failure, score, tally

    made = {number: tally.Score(document.name) for number, document in enumerate(found)}
    sizes = [document.size for document in found]
    done = 0
    with ui.progress("score", None if None in sizes else sum(filter(None, sizes))) as progress:
        for event in score(found, scorer):
            if isinstance(event, Failure):
                del made[event.document]
                looks.drop(event.document)
                if found[event.document].order[0] == 0:  # once for all orders
                    with ui.reporting(found[event.document].name):
                        raise event.error
                continue
            made[event.document].add(event)
            looks.add(made[event.document].name, event)
            done += event.bits.size
            if progress is not None:
                progress(done)
    for one in made.values():
        one.finish()
    looks.finish(made)
    orders: dict[int, list[tally.Score]] = {}
    for number, one in made.items():
        orders.setdefault(number - found[number].order[0], []).append(one)
    return [tally.chosen(scores) for scores in orders.values()]


def show(
    scores: list[Score],
    places: list[dict[str, str | int | float]],
    *,
    by: str,
    form: str,
    top: int | None,
) -> None:
    """Prints a row for each file or group, the total, and the most surprising places.

    Args:
        scores: of files.
        places: that surprise most.
        by: "file", "ext" or "folder".
        form: "table", "json" or "csv".
        top: show so many rows, the most surprising ones; None for all as they come.
    """
    from mbz.scoring import tally

    found = scores if by == "file" else tally.groups(scores, by)
    if top is not None:
        found = sorted(found, key=lambda one: -(one.bpb or 0))[:top]
    rows = [one.to_dict() for one in found]
    total = tally.total(scores).to_dict()
    if form == "json":
        typer.echo(json.dumps({"rows": rows, "total": total, "places": places}, indent=2))
    elif form == "csv":
        writer = csv.DictWriter(sys.stdout, list(total), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        columns = ("name", *(() if by == "file" else ("files",)), "bytes", "bpb", "best", "worst")
        cells = [
            ["-" if (cell := row[column]) is None else cell for column in columns]
            for row in [*rows, total]
        ]
        print_table((by, *columns[1:]), cells)
        if places:
            typer.echo()
            print_table(list(places[0]), [list(place.values()) for place in places])
