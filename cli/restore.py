"""Decoding one archive, as `mbz decompress` and `mbz test` do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from mbz import codec, zoo

from .predictors import Models

if TYPE_CHECKING:
    from .options import DeviceName
    from .ui import Ui


def models_for(model: str | None, device: DeviceName, threads: int | None) -> Models:
    """Returns where models come from: the one named, or each archive's own."""
    folder = None if model is None else zoo.find(model)
    return Models(folder=folder, device=device, threads=threads)


def restore(
    ui: Ui, name: str, source: BinaryIO, result: BinaryIO | None, models: Models
) -> codec.DecompressStats:
    """Decodes `source` into `result`, or checks it only."""
    size = None
    if source.seekable():  # finds most damage before a model is loaded
        size = sum(archive.raw_length for archive in codec.describe(source))
        source.seek(0)
    with ui.progress(name, size) as progress:
        return codec.decompress(source, result, models.find, progress=progress)
