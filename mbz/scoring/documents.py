"""What is scored: each file one document, and standard input too."""

import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from mbz.errors import MbzError
from mbz.media.reading import Reading
from mbz.reader import Readable
from mbz.training.files import Patterns, find


@dataclass(frozen=True, slots=True)
class Document:
    """Bytes that belong together.

    Attributes:
        name: what people call it.
        size: bytes, if known before reading.
        open: gives its bytes; OSError or MbzError if that fails.
        order: which order of the same content this is, from 0, and of how many, which follow each
            other; the best of them counts.
    """

    name: str
    size: int | None
    open: Callable[[], AbstractContextManager[Readable]]
    order: tuple[int, int] = (0, 1)


def documents(path: Path, reading: Reading) -> Iterator[Document]:
    """The file `path`, or the files under it, in order, read as `reading` says.

    Raises:
        ValueError: there is no such path, or a folder cannot be read.
    """
    for file in find(path, Patterns((), ()), Counter()):
        if reading.kind_of(file.path) == "bytes":
            yield Document(str(file.path), file.size, partial(_opened, file.path))
        else:
            yield from _decoded(file.path, reading)


def _decoded(path: Path, reading: Reading) -> Iterator[Document]:
    try:
        for name, orders in reading.contents(path):
            for number, content in enumerate(orders):
                opened = partial(_in_memory, content)
                yield Document(name, None, opened, (number, len(orders)))
    except (OSError, MbzError) as error:
        yield Document(str(path), None, partial(_fails, error))


def _in_memory(content: Callable[[], bytes]) -> BinaryIO:
    return io.BytesIO(content())


def _fails(error: Exception) -> BinaryIO:
    raise error


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")
