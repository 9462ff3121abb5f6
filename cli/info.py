"""`mbz list`: what archives say of themselves, without decoding them or loading a model."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from mbz import versions, zoo

from . import files, options
from .ui import Ui, print_table

if TYPE_CHECKING:
    from mbz.codec import ArchiveInfo, BlockInfo

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
            blocks = [one for _, archive in found for one in archive.blocks]
            if verbose and blocks:
                typer.echo()
                columns = ("archive", "block", *_block(blocks[0]))
                print_table(columns, [row for archive in found for row in _block_rows(*archive)])
    ui.exit()


def _as_json(name: str, archive: ArchiveInfo) -> dict[str, object]:
    return {
        "file": name,
        "offset": archive.offset,
        "bytes": archive.archive_length,
        "content": archive.raw_length,
        "format_version": versions.FORMAT,
        "arithmetic_version": versions.ARITHMETIC,
        "model": _model_name(archive),
        "fingerprint": _fingerprint(archive),
        "check": _check(archive),
        "blocks": [_block(info) for info in archive.blocks],
    }


def _block(info: BlockInfo) -> dict[str, str | int | None]:
    block, coding = info.block, info.block.coding
    how = {} if coding is None else asdict(coding)
    return {
        "offset": info.offset,
        "content_offset": info.raw_offset,
        "kind": block.kind.name.lower(),
        "bytes": block.coded_length,
        "content": block.raw_length,
        "network": how.get("network"),
        "experts": how.get("experts"),
        "lanes": how.get("lanes"),
        "check": block.check.hex(),
    }


def _row(name: str, archive: ArchiveInfo) -> list[str | int | float]:
    raw, packed = archive.raw_length, archive.archive_length
    return [
        name,
        packed,
        raw,
        raw / packed,
        8 * packed / raw if raw else "-",
        f"{versions.FORMAT}.{versions.ARITHMETIC}",
        _model_name(archive) or "-",
        _fingerprint(archive) or "-",
        _check(archive),
    ]


def _block_rows(name: str, archive: ArchiveInfo) -> list[list[str | int | float]]:
    blocks = map(_block, archive.blocks)
    return [
        [name, number, *("-" if value is None else value for value in block.values())]
        for number, block in enumerate(blocks)
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
