"""Guards and outputs: what happens to files around a compression.

An output has its name only when it is complete and on disk (`mbz.atomic`), so that no failure
leaves a partial file.
"""

import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from mbz.atomic import appearing
from mbz.errors import MbzError

STREAM = "-"  # standard input or output, as a file name
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what only writing can meet


class Refused(MbzError):
    """The files named by the user cannot be used as asked."""


@contextmanager
def opened(name: str, *, binary: bool = True) -> Iterator[BinaryIO]:
    """Opens an input; `binary` says that it cannot sensibly be typed in at a terminal."""
    if name == STREAM:
        if binary and sys.stdin.isatty():
            raise Refused("an archive is not read from a terminal; name a file")
        yield sys.stdin.buffer
        return
    if Path(name).is_dir():
        raise Refused("is a directory; take the files in it with -r")
    with Path(name).open("rb") as file:
        yield file


@contextmanager
def removing(name: str, source: BinaryIO, *, wanted: bool) -> Iterator[None]:
    """Removes an input, if `wanted`, after the body has completed its output.

    Raises:
        Refused: If the input is no longer what it was before the body, or no regular file.
    """
    before = _status(source)
    yield
    if not wanted:
        return
    path = Path(name)
    now = path.stat()
    if before is None or not _is_same(before, now):
        raise Refused("is not the file that was read; it is kept")
    if (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns):
        raise Refused("changed while it was read; it is kept")
    path.unlink()


def size_of(source: BinaryIO) -> int | None:
    """Returns the bytes left in a regular file, None for a pipe or a device."""
    status = _status(source)
    if status is None or status.st_size == 0:  # files under /proc say 0 and have content
        return None
    return status.st_size - source.tell()


@contextmanager
def created(
    name: str, source: BinaryIO, *, force: bool, binary: bool, as_file: bool = False
) -> Iterator[BinaryIO]:
    """Opens an output, which appears under its name only if the body succeeds.

    Args:
        name: The output; `-` is standard output.
        source: The input, whose mode and time are copied and which is never overwritten.
        force: Replaces an existing file.
        binary: The output is certainly no text, so a terminal is refused at once.
        as_file: Anything but a file, which can be read again in the body, is refused.

    Raises:
        Refused: If the output exists, is the input, is a directory or is a terminal.
    """
    path = Path(name)
    special = path.exists() and not path.is_file() and not path.is_dir()
    if as_file and (name == STREAM or special):
        raise Refused("the output is no file, which --verify and --rm need")
    if name == STREAM:
        with _standard_output(source, binary=binary) as stream:
            yield stream
        return
    if special:
        # /dev/null or a pipe, which must not be replaced by a file.
        with writing(name), path.open("wb") as device:
            yield device
        return
    _check_target(path, source, force=force)
    with _atomic(path, _status(source)) as stream:
        yield stream
        _check_target(path, source, force=force)  # the file may have appeared meanwhile


def _check_target(path: Path, source: BinaryIO, *, force: bool) -> None:
    if path.is_dir():
        raise Refused(f"the output {path} is a directory; name a file")
    if path.exists() and _is_same(_status(source), path.stat()):
        raise Refused(f"the output {path} is the input itself; name another with -o OUT")
    if os.path.lexists(path) and not force:
        raise Refused(f"the output {path} exists; overwrite it with -f")


@contextmanager
def _atomic(path: Path, status: os.stat_result | None) -> Iterator[BinaryIO]:
    """Opens an output that is complete or not there; `status` is of a file whose mode is copied."""
    with writing(str(path)), ExitStack() as opened:
        try:
            stream = opened.enter_context(appearing(path, status))
        except OSError as error:
            raise Refused(f"cannot create {path} ({error.strerror})") from error
        yield stream


@contextmanager
def writing(name: str) -> Iterator[None]:
    """Says of an error that only writing can meet that writing `name` met it."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise Refused(f"cannot write {name} ({error.strerror})") from error
        raise


@contextmanager
def run_folder(name: str, *, resume: bool, keep: str) -> Iterator[Path]:
    """Makes the folder of a run, and removes it if the body fails before the run is worth keeping.

    Args:
        name: The folder.
        resume: The folder is there already, and stays in any case.
        keep: A pattern of what in the folder makes the run worth keeping.

    Raises:
        Refused: If the name is taken by anything but an empty folder, or, to resume, it is not.
    """
    path = Path(name).absolute()
    if resume:
        if not path.is_dir():
            raise Refused(f"no run to resume in {path}; name its folder")
        yield path
        return
    if path.exists() and not path.is_dir():
        raise Refused(f"the output {path} is a file; name a new folder")
    is_mine = not path.exists()
    if not is_mine and any(path.iterdir()):
        raise Refused(f"the output folder {path} is not empty; name a new one, or use --resume")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"cannot create {path} ({error.strerror})") from error
    try:
        yield path
    except BaseException:  # Ctrl-C and SIGTERM too
        if not any(path.glob(keep)):
            for part in path.iterdir():
                shutil.rmtree(part) if part.is_dir() else part.unlink()
            if is_mine:
                path.rmdir()
        raise


@contextmanager
def _standard_output(source: BinaryIO, *, binary: bool) -> Iterator[BinaryIO]:
    stream = sys.stdout.buffer
    if sys.stdout.isatty():
        if binary:
            raise Refused("compressed data is not written to a terminal; name a file with -o OUT")
        stream = cast("BinaryIO", _Terminal(stream))
    if _is_same(_status(source), _status(sys.stdout.buffer)):
        raise Refused("standard output is the input itself; write to another file")
    with writing("standard output"):
        yield stream
        stream.flush()


class _Terminal:
    """A terminal that takes text only: a byte 0 is in nearly every other kind of data."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        if 0 in data:
            raise Refused("the content is no text for a terminal; name a file with -o OUT")
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


def _status(stream: BinaryIO) -> os.stat_result | None:
    """Returns what the system knows of a regular file, None for anything else."""
    try:
        status = os.fstat(stream.fileno())
    except OSError:  # io.UnsupportedOperation, a stream in memory, is one
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _is_same(one: os.stat_result | None, other: os.stat_result | None) -> bool:
    return one is not None and other is not None and os.path.samestat(one, other)
