"""Finding and reading training files: folders, patterns, compressed files and archives."""

import bz2
import errno
import gzip
import lzma
import os
import stat
import sys
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pathspec import GitIgnoreSpec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OPENERS: dict[str, Callable[..., AbstractContextManager[Any]]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": zstd.open,
}
SHORT_FORMS = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".txz": ".tar.xz", ".tzst": ".tar.zst"}
VERSION_CONTROL = {".git", ".hg", ".svn"}  # compressed copies of what is beside them
PIECE = 1 << 20  # bytes read at once
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,  # of mmap, where a file has become shorter
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zstd.ZstdError,
)


class Patterns:
    """Which files are wanted, by patterns as in .gitignore; the last one that matches decides.

    A pattern without a slash matches the name of a file or of a folder around it (`*.log`,
    `node_modules`). One with a slash in front or inside matches the path below the folder that was
    given (`/build`, `src/*.py`, `docs/**/old`); of a file that was given, this is its name. A
    leading `!` takes back what an earlier pattern matched. An archive counts as a folder of its
    name (`big.tar/docs`); a compressed file goes by its name on disk (`*.json.gz`).
    """

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        """Takes what to keep, where nothing means all, and what of it to leave out.

        Raises:
            ValueError: a pattern is malformed.
        """
        self._include = GitIgnoreSpec.from_lines(include or ["*"])
        self._exclude = GitIgnoreSpec.from_lines(exclude)

    def __call__(self, name: str, *, archive: bool = False) -> bool:
        """Whether to read a file; an archive is read for members that may be included."""
        included = archive or self._include.match_file(name)
        return included and not self._exclude.match_file(name)


@dataclass(frozen=True, slots=True)
class File:
    """A file on disk, its path below the folder that was given, and its bytes on disk."""

    path: Path
    name: str
    size: int

    @property
    def is_plain(self) -> bool:
        """Whether the bytes on disk are the content."""
        return not _is_archive(self.name) and PurePosixPath(self.name).suffix not in OPENERS


def find(path: Path, wanted: Patterns, skipped: Counter[str]) -> list[File]:
    """Lists `path`, or the files under it, in order of path.

    Links to files are followed, links to folders only if `path` itself is one. Folders of version
    control (.git, .hg, .svn) are passed over; other hidden files and folders are not.

    Args:
        path: a file or a folder.
        wanted: which files to list.
        skipped: counts files that are not wanted as "excluded", and as "special" whatever is
            neither a file nor a folder: broken links, links to folders, pipes, sockets, devices.

    Raises:
        ValueError: there is no such path, or a folder cannot be read.
    """
    with reading(path):
        exists, is_folder = path.exists(), path.is_dir()
    if not exists:
        msg = f"{path}: no such file or folder"
        raise ValueError(msg)
    files = []
    for place, name in _walk(path, "") if is_folder else [(path, path.name)]:
        size = _size(place)
        if size is None:
            skipped["special"] += 1
        elif not wanted(name, archive=_is_archive(name)):
            skipped["excluded"] += 1
        else:
            files.append(File(place, name, size))
    return files


def _walk(folder: Path, prefix: str) -> Iterator[tuple[Path, str]]:
    """All but the folders under a folder, with their paths below the one that was given."""
    with reading(folder), os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if not entry.is_dir(follow_symlinks=False):
            yield folder / entry.name, prefix + entry.name
        elif entry.name not in VERSION_CONTROL:
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/")


def _size(path: Path) -> int | None:
    """Bytes of a regular file; None for anything else."""
    with reading(path):
        try:
            status = path.stat()
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ELOOP}:  # a link to nowhere or to itself
                return None
            raise
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def unpack(file: File, wanted: Patterns, skipped: Counter[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Opens a file, decompressed, or one member of an archive after the other, as it is there.

    Args:
        file: found by `find`.
        wanted: which members to open.
        skipped: counts members as `find` counts files.

    Yields:
        The kind, "plain", "compressed" or "archived", and a stream, to be read at once.

    Raises:
        ValueError: the file cannot be read, or is damaged.
    """
    suffix = PurePosixPath(_long(file.name)).suffix
    opener = OPENERS.get(suffix, nullcontext)
    with reading(file.path), file.path.open("rb") as raw, opener(raw) as stream:
        if not _is_archive(file.name):
            yield "plain" if file.is_plain else "compressed", stream
            return
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                path = PurePosixPath(file.name, member.name.lstrip("/"))
                if member.isdir() or not VERSION_CONTROL.isdisjoint(path.parts[:-1]):
                    continue
                content = archive.extractfile(member) if member.isreg() else None
                if content is None:
                    skipped["special"] += 1
                elif not wanted(str(path)):
                    skipped["excluded"] += 1
                else:
                    yield "archived", content
        while stream.read(PIECE):  # to the checksum at the end of a compressed archive
            pass


def _long(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) + SHORT_FORMS.get(suffix, suffix)


def _is_archive(name: str) -> bool:
    path = PurePosixPath(_long(name))
    return path.suffix == ".tar" or (path.suffix in OPENERS and path.stem.endswith(".tar"))


def pieces(stream: IO[bytes], path: Path) -> Iterator[bytes]:
    """The bytes of a stream; ValueError names `path` where they cannot be read."""
    with reading(path):
        while piece := stream.read(PIECE):
            yield piece


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what can go wrong with a file into one sentence that names it."""
    try:
        yield
    except UNREADABLE as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        msg = f"{path}: cannot be read ({reason}); repair or exclude it"
        raise ValueError(msg) from error
