"""What is scored: each file one document, and standard input too."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from mbz.reader import Readable
from mbz.training.files import Patterns, find


@dataclass(frozen=True, slots=True)
class Document:
    """Bytes that belong together.

    Attributes:
        name: what people call it.
        size: bytes, if known before reading.
        open: gives its bytes; OSError or MbzError if that fails.
    """

    name: str
    size: int | None
    open: Callable[[], AbstractContextManager[Readable]]


def documents(path: Path) -> Iterator[Document]:
    """The file `path`, or the files under it, in order.

    Raises:
        ValueError: there is no such path, or a folder cannot be read.
    """
    for file in find(path, Patterns((), ()), Counter()):
        yield Document(str(file.path), file.size, partial(_opened, file.path))


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")
