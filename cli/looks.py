"""What `mbz score` writes besides its table: bits of each byte, colours, pictures, surprises."""

from __future__ import annotations

import io
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Self

from mbz.errors import MbzError

from . import files
from .ui import print_runs, printable

if TYPE_CHECKING:
    from types import TracebackType

    from mbz.scoring import Piece
    from mbz.scoring.tally import Score


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Names of outputs, None for what is not wanted; how many surprises; whether to overwrite."""

    per_byte: str | None
    heatmap: str | None
    plot: str | None
    top: int | None
    force: bool


class Looks:
    """Takes pieces as they are scored. Outputs appear under their names when the body succeeds."""

    def __init__(self, asked: Asked) -> None:
        from mbz.scoring import heatmap, per_byte, plot, surprises
        from mbz.training import record

        if asked.plot is not None and not record.can_draw():
            raise MbzError("--plot needs matplotlib; pip install 'mbz[plot]'")
        self._asked = asked
        self.places: list[dict[str, str | int | float]] = []
        """The most surprising places, if asked for."""
        self._album = heatmap.Album() if asked.heatmap is not None else None
        self._profile = plot.Profile() if asked.plot is not None else None
        self._surprises = surprises.Surprises(asked.top) if asked.top is not None else None
        with ExitStack() as outputs:
            self._outputs = outputs
            on_terminal = asked.heatmap == files.STREAM
            self._page = None if on_terminal else self._created(asked.heatmap)
            self._picture = self._created(asked.plot)
            array = self._created(asked.per_byte)
            self._array = None if array is None else per_byte.Writer(array)
            self._outputs = outputs.pop_all()

    def _created(self, name: str | None) -> BinaryIO | None:
        if name is None:
            return None
        made = files.created(name, io.BytesIO(), force=self._asked.force, binary=True)
        return self._outputs.enter_context(made)

    def add(self, name: str, piece: Piece) -> None:
        """Takes the next piece of the document of that name."""
        if self._album is not None:
            self._album.add(name, piece)
        for look in (self._profile, self._surprises, self._array):
            if look is not None:
                look.add(piece)

    def drop(self, document: int) -> None:
        """Forgets a document that could not be read to its end."""
        for look in (self._album, self._profile, self._surprises, self._array):
            if look is not None:
                look.drop(document)

    def finish(self, scores: dict[int, Score]) -> None:
        """Writes what was asked for, of documents by their numbers."""
        from mbz.scoring import heatmap, plot

        if self._album is not None:
            pictures = self._album.pictures.values()
            if self._page is not None:
                self._page.write(heatmap.page(pictures).encode())
            else:
                for picture in pictures:
                    print_runs(picture.name, picture.lines(), heatmap.COLOURS)
        if self._profile is not None and self._picture is not None:
            plot.draw(self._profile, scores, self._picture)
        if self._array is not None:
            self._array.finish()
        if self._surprises is not None:
            self.places = [
                {
                    "place": scores[found.document].name,
                    "offset": found.offset,
                    "bpb": found.bpb,
                    "content": printable(found.data.decode(errors="replace")),
                }
                for found in self._surprises.places()
            ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._outputs.__exit__(kind, error, trace)
