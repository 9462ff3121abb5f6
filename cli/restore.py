"""Decoding one archive, as `mbz decompress` and `mbz test` do it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mbz import codec, container, zoo
from mbz.decoding import check_limit
from mbz.errors import Corrupt, MbzError
from mbz.salvage import Salvaged, salvage

from .predictors import Models
from .several import Need
from .ui import printable

if TYPE_CHECKING:
    from .amounts import Span
    from .options import DeviceName
    from .ui import Ui


def models_for(model: str | None, device: DeviceName, threads: int | None) -> Models:
    """Returns where models come from: the one named, or each archive's own."""
    folder = None if model is None else zoo.find(model)
    return Models(folder=folder, device=device, threads=threads)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How much to restore.

    Attributes:
        span: The only bytes wanted; None for all.
        salvage: Whether to go on after damage.
        max_output: Most bytes; None for any number.
    """

    span: Span | None = None
    salvage: bool = False
    max_output: int | None = None

    def check(self, *, seekable: bool) -> None:
        """Checks that the options fit together.

        Raises:
            MbzError: If they do not.
        """
        if self.salvage and self.span is not None:
            raise MbzError("--salvage and --range contradict each other; give one of them")
        if self.salvage and not seekable:
            raise MbzError("--salvage needs a file, not a pipe")


ALL = Plan()


def restore(  # noqa: PLR0917 - each is of another kind
    ui: Ui,
    name: str,
    source: BinaryIO,
    result: BinaryIO | None,
    models: Models,
    plan: Plan = ALL,
) -> codec.DecompressStats | Salvaged:
    """Decodes `source` into `result`, or checks it only."""
    plan.check(seekable=source.seekable())
    find, threads, most = models.find, models.threads or None, plan.max_output
    if plan.salvage:
        with ui.progress(name, None) as progress:
            saved = salvage(
                source, result, find, progress=progress, max_output=most, threads=threads
            )
        if saved.missing and not saved.blocks:
            raise Corrupt("nothing in it can be restored")
        return saved
    if plan.span is not None and result is not None:
        start, end = plan.span.start, plan.span.end
        check_limit((container.MAX_SIZE if end is None else end) - start, most)
        with ui.progress(name, None if end is None else end - start) as progress:
            return codec.extract(
                source, result, find, start, end, progress=progress, threads=threads
            )
    size = None
    if source.seekable():  # finds most damage before a model is loaded
        size = sum(archive.raw_length for archive in codec.describe(source))
        check_limit(size, most)
        source.seek(0)
    with ui.progress(name, size) as progress:
        return codec.decompress(
            source, result, find, progress=progress, max_output=most, threads=threads
        )


def need_of(name: str) -> Need | None:
    """Returns what an archive of one small block needs, if others may share it."""
    if not Path(name).is_file():  # nothing can be taken from a pipe twice
        return None
    try:
        with Path(name).open("rb") as file:
            (archive,) = codec.describe(file)
    except (OSError, MbzError, ValueError):  # whoever restores it says what is wrong
        return None
    block, model = archive.blocks[0].block, archive.header.model
    coding = block.coding
    if model is None or archive.header.only_block is None or coding is None:
        return None
    if not (coding.network and coding.experts and coding.lanes == 1):
        return None
    return Need(model.fingerprint, model.name, block.raw_length)


def complain(ui: Ui, name: str, stats: codec.DecompressStats | Salvaged) -> None:
    """Says what is missing of a salvaged file.

    Raises:
        Corrupt: If anything is.
    """
    if not isinstance(stats, Salvaged) or not stats.missing:
        return
    for one in stats.missing:
        end = "some place" if one.length is None else str(one.start + one.length)
        ui.warn(f"{printable(name)}: bytes {one.start} to {end} are missing: {one.reason}")
    raise Corrupt("some of it is missing; the rest was restored")
