"""Shows bytes coloured by their bits: text as it reads, anything else as a hex view.

One picture, `lines`, for the page (`page`) and for terminals alike: a line is runs of text that
have the same level of surprise.
"""

import html
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbz.scoring import Piece

MOST = 1 << 20
"""Bytes that are shown at most, of all documents together."""
ROW = 16  # bytes of a row of a hex view
BOUNDS = (0.05, 0.25, 0.5, 1, 2, 3, 4, 6, 8, 10, 13)
"""Bits from which on a level begins; level 0 is below the first."""
COLOURS = (
    "#ffffff", "#f7fbf3", "#edf7e0", "#e3f2c4", "#f3f0a8", "#fde38c",
    "#fdc76d", "#fba357", "#f47b45", "#e2523a", "#c22b3c", "#8f0f45",
)  # fmt: skip
WHITE_FROM = 9  # level from which on letters are white

STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em; color: #222; background: #fff }
pre { font: 13px/1.6 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
.legend span { display: inline-block; padding: 0 .6em }
"""


class Run(NamedTuple):
    """Some text; its level of surprise, None for what is not content."""

    text: str
    level: int | None


class Album:
    """Pictures of documents, which share MOST bytes."""

    def __init__(self) -> None:
        self.pictures: dict[int, Picture] = {}
        self.left = MOST

    def add(self, name: str, piece: Piece) -> None:
        """Takes the next piece of the document of that name."""
        picture = self.pictures.setdefault(piece.document, Picture(name))
        self.left -= picture.add(piece, self.left)

    def drop(self, document: int) -> None:
        """Leaves out a document that could not be read to its end."""
        self.pictures.pop(document, None)


class Picture:
    """The start of a document."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.size = 0
        self._data: list[NDArray[np.uint8]] = []
        self._bits: list[NDArray[np.float32]] = []

    def add(self, piece: Piece, room: int) -> int:
        """Takes at most `room` bytes of the next piece, and says how many."""
        self._data.append(piece.data[:room].copy())
        self._bits.append(piece.bits[:room].copy())
        self.size += piece.bits.size
        return self._data[-1].size

    def lines(self) -> Iterator[list[Run]]:
        """The picture, line by line."""
        data = b"".join(part.tobytes() for part in self._data)
        bits = np.concatenate([*self._bits, np.zeros(0, np.float32)])
        text = _text(data)
        yield from _rows(data, bits) if text is None else _text_lines(text, bits)
        if self.size > len(data):
            yield [Run(f"... and {self.size - len(data)} bytes more", None)]


def page(pictures: Iterable[Picture]) -> str:
    """A page of HTML that needs no other file."""
    styles = STYLE + "".join(
        f".l{level} {{ background: {back}; color: {'#fff' if level >= WHITE_FROM else '#222'} }}\n"
        for level, back in enumerate(COLOURS)
    )
    low = ["0", *map(str, BOUNDS)]
    legend = "".join(f'<span class="l{level}">{bits}</span>' for level, bits in enumerate(low))
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Bits of bytes</title>',
        f"<style>{styles}</style></head><body>",
        f'<p class="legend">Bits from: {legend}</p>',
    ]
    for picture in pictures:
        parts.append(f"<h2>{html.escape(picture.name, quote=True)}</h2><pre>")
        parts += ("".join(map(_tagged, line)) + "\n" for line in picture.lines())
        parts.append("</pre>")
    return "".join([*parts, "</body></html>\n"])


def _tagged(run: Run) -> str:
    text = html.escape(run.text)
    return text if run.level is None else f'<span class="l{run.level}">{text}</span>'


def _text(data: bytes) -> str | None:
    """The text that the bytes are, up to a character that is cut off; None if they are no text."""
    for cut in range(min(4, len(data) + 1)):
        try:
            text = data[: len(data) - cut].decode()
        except UnicodeDecodeError:
            continue
        odd = sum(not (c.isprintable() or c in "\t\n\r\f") for c in text)
        return text if odd * 100 <= len(text) else None
    return None


def _levels(bits: NDArray[np.floating]) -> list[int]:
    levels: list[int] = np.searchsorted(BOUNDS, bits, side="right").tolist()
    return levels


def _runs(texts: list[str], levels: list[int]) -> list[Run]:
    groups = groupby(zip(texts, levels, strict=True), key=lambda pair: pair[1])
    return [Run("".join(text for text, _ in group), level) for level, group in groups]


def _text_lines(text: str, bits: NDArray[np.float32]) -> Iterator[list[Run]]:
    """Each character with the bits of all its bytes."""
    ends = np.cumsum([len(character.encode()) for character in text], dtype=np.intp)
    sums = np.diff(np.concatenate([[0.0], np.cumsum(bits, dtype=np.float64)])[ends], prepend=0.0)
    levels, start = _levels(sums), 0
    while start < len(text):
        stop = text.find("\n", start) + 1 or len(text)
        shown = [_visible(character) for character in text[start:stop]]
        yield _runs(shown, levels[start:stop])
        start = stop


def _visible(character: str) -> str:
    if character == "\n":
        return "\N{NOT SIGN}"
    return character if character.isprintable() or character == "\t" else "\N{MIDDLE DOT}"


def _rows(data: bytes, bits: NDArray[np.float32]) -> Iterator[list[Run]]:
    """Offset, bytes in hex, bytes as ASCII, and the bits per byte of the row."""
    for start in range(0, len(data), ROW):
        row, levels = data[start : start + ROW], _levels(bits[start : start + ROW])
        gap = "   " * (ROW - len(row)) + " "
        letters = [chr(byte) if 32 <= byte < 127 else "." for byte in row]
        yield [
            Run(f"{start:08x}  ", None),
            *_runs([f"{byte:02x} " for byte in row], levels),
            Run(gap, None),
            *_runs(letters, levels),
            Run(f"{' ' * (ROW - len(row))}  {bits[start : start + ROW].mean():6.2f}", None),
        ]
