"""`mbz list`: what archives say of themselves, without decoding them or loading a model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from mbz import zoo
from mbz.container import ARITHMETIC_VERSION, FORMAT_VERSION

from . import files, options
from .ui import Ui, print_table

if TYPE_CHECKING:
    from mbz.codec import ArchiveInfo

COLUMNS = (
    "archive",
    "bytes",
    "content",
    "ratio",
    "bpb",
    "version",
    "model",
    "fingerprint",
    "check",
)
BLOCK_COLUMNS = ("archive", "block", "offset", "kind", "bytes", "content", "lanes", "check")


def info(
    names: options.Files,
    *,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Shows each archive's sizes and model.

    No model is loaded. -v shows the blocks too.
    """
    ui = Ui(quiet=quiet, verbose=verbose, debug=debug)
    found: list[tuple[str, ArchiveInfo]] = []
    with ui.reporting():
        from mbz import codec

        for name in names:
            with ui.reporting(name), files.opened(name) as source:
                found += ((name, archive) for archive in codec.describe(source))
        if as_json:
            typer.echo(json.dumps([_as_json(*archive) for archive in found], indent=2))
        elif found:
            print_table(COLUMNS, [_row(*archive) for archive in found])
            if verbose:
                typer.echo()
                print_table(
                    BLOCK_COLUMNS, [row for archive in found for row in _block_rows(*archive)]
                )
    ui.exit()


def _as_json(name: str, archive: ArchiveInfo) -> dict[str, object]:
    return {
        "file": name,
        "offset": archive.offset,
        "bytes": archive.archive_length,
        "content": archive.raw_length,
        "format_version": FORMAT_VERSION,
        "arithmetic_version": ARITHMETIC_VERSION,
        "model": _model_name(archive),
        "fingerprint": _fingerprint(archive),
        "check": _check(archive),
        "blocks": [
            {
                "offset": info.offset,
                "content_offset": info.raw_offset,
                "kind": info.block.kind.name.lower(),
                "bytes": info.block.coded_length,
                "content": info.block.raw_length,
                "lanes": info.block.lanes,
                "check": info.block.check.hex(),
            }
            for info in archive.blocks
        ],
    }


def _row(name: str, archive: ArchiveInfo) -> list[str | int | float]:
    raw, packed = archive.raw_length, archive.archive_length
    return [
        name,
        packed,
        raw,
        raw / packed,
        8 * packed / raw if raw else "-",
        f"{FORMAT_VERSION}.{ARITHMETIC_VERSION}",
        _model_name(archive) or "-",
        _fingerprint(archive) or "-",
        _check(archive),
    ]


def _block_rows(name: str, archive: ArchiveInfo) -> list[list[str | int | float]]:
    return [
        [
            name,
            number,
            info.offset,
            info.block.kind.name.lower(),
            info.block.coded_length,
            info.block.raw_length,
            info.block.lanes,
            info.block.check.hex(),
        ]
        for number, info in enumerate(archive.blocks)
    ]


def _model_name(archive: ArchiveInfo) -> str | None:
    model = archive.header.model
    return None if model is None else model.name or zoo.shipped_name(model.fingerprint)


def _fingerprint(archive: ArchiveInfo) -> str | None:
    model = archive.header.model
    return None if model is None else model.fingerprint.hex()


def _check(archive: ArchiveInfo) -> str:
    """The check of all content; a compact archive has that of its only block."""
    return (archive.end or archive.blocks[0].block).check.hex()
