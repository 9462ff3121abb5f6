"""Files that appear under their name once they are complete, and not before."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["PARTIAL", "appearing", "sync"]

PARTIAL: Final = r"\.mbz-[0-9a-f]{16}\.tmp"
"""Names of files that are not complete, where they need names."""


@contextmanager
def appearing(path: Path, like: os.stat_result | None = None) -> Iterator[BinaryIO]:
    """Opens a file for writing and reading, which is called `path` once the body has succeeded.

    However the body or the process ends, `path` is what it was before, or all of the new file, on
    disk. Linux gives a file no name before it is complete, so that a killed process leaves nothing
    behind; where that cannot be, a file in the same folder is left, named as PARTIAL says.

    Args:
        path: what is there is replaced.
        like: of a file whose mode and time are copied, and which says who may read the new one.

    Raises:
        OSError: the file cannot be created, or not written.
    """
    partial = path.with_name(f".mbz-{secrets.token_hex(8)}.tmp")
    mode = 0o666 if like is None else 0o600  # nobody reads more here than there
    file = _nameless(path.parent, mode)
    has_name = file is None
    if file is None:
        file = open(partial, "x+b", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115
    try:
        with file:
            yield file
            file.flush()
            if like is not None:
                _copy_status(like, partial if has_name else file.fileno())
            os.fsync(file.fileno())
            if not has_name:  # a link cannot replace what is there, but a file with a name can
                os.link(_entry(file.fileno()), partial, src_dir_fd=file.fileno())
        partial.replace(path)
    except BaseException:  # Ctrl-C and SIGTERM too
        partial.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # some systems cannot open a folder; the file itself is safe
        sync(path.parent)


def _nameless(folder: Path, mode: int) -> BinaryIO | None:
    """A new file in no folder, on the disk of `folder`; None where the system has no such files."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None:
        return None
    with suppress(OSError):  # not every disk can; if it is another fault, the other way finds it
        descriptor = os.open(folder, flag | os.O_RDWR, mode)
        if Path(_entry(descriptor)).exists():
            return os.fdopen(descriptor, "w+b")
        os.close(descriptor)
    return None


def _entry(descriptor: int) -> str:
    """Where the system lists an open file, without which it cannot get a name."""
    return f"/proc/self/fd/{descriptor}"


def _copy_status(status: os.stat_result, file: Path | int) -> None:
    with suppress(OSError):  # some file systems have no modes
        os.chmod(file, stat.S_IMODE(status.st_mode) & 0o777)  # noqa: PTH101 - of an open file, too
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def sync(path: Path) -> None:
    """Waits until a file, or what a folder lists, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
