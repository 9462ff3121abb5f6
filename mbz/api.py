"""Bytes and files in one call, as users of `zlib`, `lzma` and `zstandard` expect."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, overload

import numpy as np
from numpy.typing import NDArray

from mbz import codec
from mbz.archive_file import ArchiveReader, ArchiveWriter
from mbz.levels import DEFAULT, LEVELS, Level
from mbz.loading import Model, find_model, opened
from mbz.payload import costs

__all__ = ["Score", "compress", "decompress", "open", "score"]

AnyModel = Model | str | Path | None
Data = bytes | bytearray | memoryview


def compress(data: Data, *, model: AnyModel = None, level: int = DEFAULT) -> bytes:
    """Compresses bytes to an archive (docs/format.md).

    Args:
        data: the content.
        model: a model from `load_model`, a folder or a name; None for that of the level, which
            level 0 has not.
        level: 0 (adaptive experts alone, fast) to 9 (smallest).

    Raises:
        ValueError: there is no such level.
        ModelError: there is no such model, or it is damaged.

    >>> import mbz
    >>> blob = mbz.compress(b"how now brown cow " * 20, level=0)
    >>> len(blob) < 60, mbz.decompress(blob) == b"how now brown cow " * 20
    (True, True)
    """
    dst = io.BytesIO()
    _write(io.BytesIO(data), dst, model, _plan(level))
    return dst.getvalue()


def decompress(blob: Data, *, max_output: int | None = None) -> bytes:
    """Restores the content of an archive, or of several, one after the other.

    Args:
        blob: the archives. They say which model they need, which must be installed.
        max_output: most bytes of content.

    Raises:
        DataError: the archive is damaged, longer than `max_output`, or needs another release.
        ModelMismatch: the model that it needs is not here.
    """
    dst = io.BytesIO()
    codec.decompress(io.BytesIO(blob), dst, find_model, max_output=max_output)
    return dst.getvalue()


@overload
def open(path: str | Path, mode: Literal["rb"] = "rb") -> io.BufferedReader: ...  # noqa: A001
@overload
def open(  # noqa: A001
    path: str | Path,
    mode: Literal["wb", "xb"],
    *,
    model: AnyModel = None,
    level: int = DEFAULT,
) -> ArchiveWriter: ...
def open(  # noqa: A001 - as in gzip and lzma
    path: str | Path,
    mode: Literal["rb", "wb", "xb"] = "rb",
    *,
    model: AnyModel = None,
    level: int = DEFAULT,
) -> io.BufferedReader | ArchiveWriter:
    """Opens an archive as a binary file.

    Args:
        path: the archive.
        mode: "rb" to read; it can seek, and decodes only the blocks that are read. "wb" or "xb"
            to write; the content is compressed on closing, when the file is replaced, and "xb"
            refuses an existing one.
        model: for writing, as for `compress`.
        level: for writing, 0 to 9.

    Raises:
        ValueError: no such mode or level.
        OSError: the file cannot be opened.
        MbzError: it is damaged or no archive, or its model is not here.

    >>> import mbz, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "squares.mbz")
    >>> with mbz.open(path, "wb", level=0) as file:
    ...     _ = file.write(b"0 1 4 9 16 25")
    >>> with mbz.open(path) as file:
    ...     _ = file.seek(-5, 2)
    ...     file.read()
    b'16 25'
    """
    path = Path(path)
    if mode == "rb":
        file = path.open("rb")
        try:
            return io.BufferedReader(ArchiveReader(file, find_model))
        except BaseException:
            file.close()
            raise
    if mode not in ("wb", "xb"):
        raise ValueError(f"mode must be rb, wb or xb, not {mode!r}")
    plan = _plan(level)
    return ArchiveWriter(path, mode, lambda src, dst: _write(src, dst, model, plan))


@dataclass(frozen=True, slots=True)
class Score:
    """How many bits each byte takes.

    Attributes:
        per_byte: bits of each byte, (n,) float32.
    """

    per_byte: NDArray[np.float32]

    @property
    def bits(self) -> float:
        """Bits of all bytes together."""
        return float(self.per_byte.sum(dtype=np.float64))

    @property
    def bits_per_byte(self) -> float:
        """Mean over the bytes; 0 if there are none."""
        return self.bits / self.per_byte.size if self.per_byte.size else 0.0


def score(data: Data, *, model: AnyModel = None, level: int | None = None) -> Score:
    """Bits that each byte takes under a model, or as `compress` would code it, without headers.

    Args:
        data: the bytes.
        model: as for `compress`; without a level, None is the default model.
        level: 0 to 9 as an archive of that level would have it, in its blocks and lanes; None for
            the network alone, in one lane a block of 1 MiB.

    Raises:
        ValueError: there is no such level.
        ModelError: there is no such model, or it is damaged.

    >>> import mbz
    >>> mbz.score(bytes(1000), level=0).bits < 100
    True
    """
    plan = Level(None, "", codec.DEFAULT_BLOCK) if level is None else _plan(level)
    chosen = opened(model) if level is None else _model(model, plan)
    found = [np.zeros(0, np.float32)]
    for start in range(0, len(data), codec.DEFAULT_BLOCK):
        raw = bytes(data[start : start + codec.DEFAULT_BLOCK])
        coding = codec.coding_of(
            raw,
            predictor=None if chosen is None else chosen.predictor,
            experts=plan.experts or None,
            lanes=None,
            lane_bytes=plan.lane_bytes or codec.DEFAULT_LANE,
        )
        assert coding is not None
        predictor = chosen.predictor if chosen is not None and coding.network else None
        found.append(costs(raw, coding, predictor))
    return Score(np.concatenate(found))


def _plan(level: int) -> Level:
    if not 0 <= level < len(LEVELS):
        raise ValueError(f"level must be 0 to {len(LEVELS) - 1}")
    return LEVELS[level]


def _model(model: AnyModel, plan: Level) -> Model | None:
    """The model given, or else that of the level."""
    wanted = plan.model if model is None else model
    return None if wanted is None else opened(wanted)


def _write(src: BinaryIO, dst: BinaryIO, model: AnyModel, plan: Level) -> None:
    chosen = _model(model, plan)
    codec.compress(
        src,
        dst,
        None if chosen is None else chosen.predictor,
        None if chosen is None else chosen.id,
        experts=plan.experts,
        lane_bytes=plan.lane_bytes or codec.DEFAULT_LANE,
    )
