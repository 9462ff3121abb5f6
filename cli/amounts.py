"""Options that are amounts: how many bytes to restore, and which."""

import re
from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `start` to `end`, or to the last one if that is None."""

    start: int
    end: int | None


def amount(text: str) -> int:
    """Reads a number of bytes such as `65536`, `64K`, `1M` or `2G` (powers of 1024)."""
    match = re.fullmatch(r"(\d{1,19})([KMGT]?)(?:i?B)?", text, re.IGNORECASE | re.ASCII)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no number of bytes, such as 65536 or 64K")
    return int(match[1]) << 10 * " KMGT".index(match[2].upper() or " ")


def span(text: str) -> Span:
    """Reads a range such as `0:64K`, `1M:` or `:100`."""
    start, colon, end = text.partition(":")
    if not colon:
        raise typer.BadParameter(f"{text!r} is no range, such as 0:64K or 1M:")
    first, last = amount(start or "0"), amount(end) if end else None
    if last is not None and last < first:
        raise typer.BadParameter(f"{text!r} ends before it begins")
    return Span(first, last)


Range = Annotated[
    Span | None,
    typer.Option("--range", parser=span, metavar="START:END", help="Only these bytes: 0:64K, 1M:"),
]
Salvage = Annotated[
    bool, typer.Option("--salvage", help="Write all that is right of a damaged archive.")
]
MaxOutput = Annotated[
    int | None,
    typer.Option("--max-output", parser=amount, metavar="SIZE", help="Refuse to restore more."),
]
