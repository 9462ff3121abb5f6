"""Training bytes: files and archive members as one stream, split, and sampled.

A file is the unit of the split and the place where a sequence may start as a new file does.
"""

import hashlib
import logging
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files laid end to end: `stream` (bytes,) uint8 and `starts` (files,) int64, ascending."""

    stream: NDArray[np.uint8]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, files: list[bytes]) -> "Corpus":
        """Lays the files end to end."""
        sizes = np.array([0, *map(len, files)], np.int64)
        stream = np.frombuffer(b"".join(files), np.uint8)
        return cls(stream, np.cumsum(sizes)[:-1])


def read_files(paths: list[Path]) -> Iterator[bytes]:
    """Contents of every file under `paths`, in order of path; members of tar archives singly."""
    for path in paths:
        if not path.exists():
            msg = f"{path}: no such file or folder"
            raise ValueError(msg)
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            if file.name.endswith(TAR_SUFFIXES):
                yield from _read_members(file)
            else:
                yield file.read_bytes()


def _read_members(path: Path) -> Iterator[bytes]:
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield content.read()
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        msg = f"{path}: not a readable tar archive ({error})"
        raise ValueError(msg) from error


def load(paths: list[Path], validation: float = 0.005) -> tuple[Corpus, Corpus]:
    """Reads all files into memory and splits them by a hash of their content.

    Args:
        paths: files, folders (searched recursively) and tar archives.
        validation: expected share of files that go to the validation part.

    Returns:
        The training and the validation part.

    Raises:
        ValueError: a path is missing, an archive is damaged, or there is nothing to train on.
    """
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    for content in read_files(paths):
        mark = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
        if content:
            parts[mark < validation * 2**64].append(content)
    train, held_out = map(Corpus.of, parts)
    log.info(
        "%d files, %d bytes to train on; %d files, %d bytes for validation",
        len(train.starts),
        len(train.stream),
        len(held_out.starts),
        len(held_out.stream),
    )
    if not len(train.stream):
        msg = f"no bytes to train on under {', '.join(map(str, paths))}"
        raise ValueError(msg)
    return train, held_out


def sample_positions(
    corpus: Corpus, *, seed: int, step: int, batch: int, length: int, file_starts: float
) -> NDArray[np.int64]:
    """Where the sequences of one step start, (batch,); a pure function of seed and step.

    Positions are uniform over the stream; a share of `file_starts` of them moves back to the start
    of its file, as the model meets it when a file is compressed.
    """
    last = len(corpus.stream) - length
    if last < 0:
        msg = f"{len(corpus.stream)} bytes of training data; one sequence alone takes {length}"
        raise ValueError(msg)
    rng = np.random.default_rng((seed, step))
    positions = rng.integers(0, last + 1, batch)
    moved = rng.random(batch) < file_starts
    files = np.searchsorted(corpus.starts, positions, side="right") - 1
    return np.where(moved, corpus.starts[files], positions)
