"""Training bytes: files as one stream that need not fit in memory, split, and sampled.

A file is the unit of the split and the place where a sequence may start as a new file does. Large
files are mapped into memory where they are; small, compressed and archived ones are packed one
after the other into one temporary file, which is mapped too, because the number of mappings of a
process is limited. The system removes the temporary file however the process ends.
"""

import hashlib
import io
import logging
import mmap
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbz.config import require
from mbz.errors import MbzError
from mbz.media.reading import Reading
from mbz.training.files import Patterns, find, pieces, reading, unpack

log = logging.getLogger(__name__)

LARGE = 16 << 20  # bytes from which on a file is mapped where it is
MOST_MAPPED = 200  # files, the largest ones; each mapping holds one of 256 or more descriptors


@dataclass(frozen=True, slots=True)
class Source:
    """A file, folder or archive, and how often to train on its bytes compared with others'."""

    path: Path
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError if the weight is no positive number."""
        require(0 < self.weight < float("inf"), "weight", "must be above 0 and finite")


@dataclass(frozen=True)
class Corpus:
    """Files laid end to end.

    Attributes:
        parts: the stream in pieces, each (bytes,) uint8, mostly mapped into memory.
        starts: where files start, (files,), ascending.
        digest: hex hash of the contents in their order.
        sources: where the sources start, (sources,), ascending.
        weights: how often their bytes are drawn, compared with others', (sources,).
    """

    parts: tuple[NDArray[np.uint8], ...]
    starts: NDArray[np.int64]
    digest: str
    sources: NDArray[np.int64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, files: Sequence[bytes]) -> "Corpus":
        """Lays contents in memory end to end, as one source."""
        marks = [_hash(content).digest() for content in files]
        starts = np.cumsum([0, *map(len, files)], dtype=np.int64)[:-1]
        stream = np.frombuffer(b"".join(files), np.uint8)
        return cls((stream,), starts, _digest(marks), np.zeros(1, np.int64), np.ones(1))

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Where the parts end, (parts,)."""
        return np.cumsum([len(part) for part in self.parts], dtype=np.int64)

    @property
    def size(self) -> int:
        """Bytes of the stream."""
        return int(self.ends[-1]) if self.parts else 0

    @property
    def stream(self) -> NDArray[np.uint8]:
        """All bytes, (size,), read into memory: for what is known to fit there."""
        return self.gather(np.zeros(1, np.int64), self.size).ravel()

    def gather(self, positions: NDArray[np.int64], length: int) -> NDArray[np.uint8]:
        """Reads `length` bytes from each of the positions (batch,) on, across files.

        Args:
            positions: in [0, size - length].
            length: bytes of a sequence.

        Returns:
            The sequences, (batch, length).

        Raises:
            ValueError: a position is out of range, or a file has become shorter meanwhile.
        """
        if positions.min() < 0 or positions.max() + length > self.size:
            msg = f"positions must be from 0 to {self.size - length}"
            raise ValueError(msg)
        rows = np.empty((len(positions), length), np.uint8)
        for row, position in zip(rows, positions.tolist(), strict=True):
            index, done = int(np.searchsorted(self.ends, position, side="right")), 0
            while done < length:
                part, end = self.parts[index], int(self.ends[index])
                _check_length(part)
                piece = part[position + done - end :][: length - done]
                row[done : done + len(piece)] = piece
                index, done = index + 1, done + len(piece)
        return rows


@dataclass(frozen=True, slots=True)
class Report:
    """What was read, for people; files and bytes are without those left out.

    Attributes:
        files: all kept files, those for validation too.
        bytes: their contents, decompressed.
        validation_files: of them, held out.
        validation_bytes: of them, held out.
        kinds: kept files by "plain", "compressed", "archived" and "decoded".
        skipped: files left out by "excluded" (patterns), "duplicate", "empty" and "special" (links
            to folders or to nothing, pipes, sockets, devices).
    """

    files: int
    bytes: int
    validation_files: int
    validation_bytes: int
    kinds: Counter[str]
    skipped: Counter[str]

    def __str__(self) -> str:
        """One line."""
        files, size = self.files - self.validation_files, self.bytes - self.validation_bytes
        return (
            f"{files} files, {size} bytes to train on; {self.validation_files} files, "
            f"{self.validation_bytes} bytes for validation ({_listed(self.kinds)}); "
            f"left out: {_listed(self.skipped)}"
        )


class Data(NamedTuple):
    """What `load` returns."""

    train: Corpus
    validation: Corpus
    report: Report


def load(
    sources: Sequence[Source | Path],
    validation: float = 0.005,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    media: Reading | None = None,
    folder: Path | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Data:
    """Finds and reads training files and splits them by a hash of each one's content.

    Folders are searched recursively. Files named .gz, .bz2, .xz or .zst are decompressed; members
    of .tar archives, compressed or not, count as files and are taken as they are. Empty files are
    dropped, and so is content that came before. `Patterns` and `find` in `mbz.training.files` say
    how patterns match and what is passed over.

    Args:
        sources: files, folders and archives; a path alone has weight 1.
        validation: expected share of files that go to the validation part, in [0, 1]; of few files
            that may be none.
        include: patterns of files to keep; none keeps all.
        exclude: patterns of files to leave out.
        media: how to read pictures and sound, each of which is a file then; None takes all bytes as
            they are.
        folder: where the temporary file goes, with room for all that is small or compressed; None
            is the folder of the system, `$TMPDIR`.
        progress: called with the number of bytes read so far.

    Raises:
        ValueError: a path is missing, a file cannot be read, a pattern is malformed, there is no
            room for the temporary file, or nothing to train on.
    """
    require(0 <= validation <= 1, "validation", "must be in [0, 1]")
    weighted = [item if isinstance(item, Source) else Source(item) for item in sources]
    wanted, skipped = Patterns(include, exclude), Counter[str]()
    files = [find(source.path, wanted, skipped) for source in weighted]
    least = _least_mapped(file.size for found in files for file in found if file.is_plain)
    with _room(folder), tempfile.TemporaryFile(dir=folder) as pack:
        intake = _Intake(pack, skipped, progress)
        for number, found in enumerate(files):
            for file in found:
                if media is not None and media.kind_of(file.path) != "bytes":
                    for content in _decoded(file.path, media):
                        decoded = io.BytesIO(content)
                        intake.take(number, "decoded", file.path, decoded, mapped=False)
                    continue
                for kind, stream in unpack(file, wanted, skipped):
                    mapped = kind == "plain" and file.size >= least
                    intake.take(number, kind, file.path, stream, mapped=mapped)
        packed = intake.finish()
    parts: tuple[list[_Kept], list[_Kept]] = ([], [])
    for kept in intake.kept:
        parts[int.from_bytes(kept.mark, "big") < validation * 2**64].append(kept)
    weights = [source.weight for source in weighted]
    train, held_out = (_corpus(part, packed, weights) for part in parts)
    report = Report(
        files=len(intake.kept),
        bytes=train.size + held_out.size,
        validation_files=len(held_out.starts),
        validation_bytes=held_out.size,
        kinds=intake.kinds,
        skipped=+skipped,
    )
    log.info("%s", report)
    if not intake.kept:
        places = ", ".join(str(source.path) for source in weighted)
        msg = (
            f"no bytes to train on under {places}: {skipped.total()} files seen, left out: "
            f"{_listed(+skipped)}"
        )
        raise ValueError(msg)
    if not train.size:
        msg = (
            f"all {report.files} files ({report.bytes} bytes) fall into validation and none is "
            f"left to train on; give more files or a share below {validation:g}"
        )
        raise ValueError(msg)
    return Data(train, held_out, report)


def _decoded(path: Path, media: Reading) -> Iterator[bytes]:
    """The sequences in a file; where several orders are to be tried, they take turns."""
    try:
        for number, (_, orders) in enumerate(media.contents(path)):
            yield orders[number % len(orders)]()
    except (OSError, MbzError) as error:
        msg = f"{path}: {error.strerror if isinstance(error, OSError) else error}"
        raise ValueError(msg) from error


class _Kept(NamedTuple):
    """A file of a corpus: its source, the hash of its content, and where that is."""

    source: int
    mark: bytes
    mapped: NDArray[np.uint8] | None  # None: in the pack
    start: int
    size: int


class _Intake:
    """Takes contents in one by one, and keeps those that are new."""

    def __init__(
        self, pack: IO[bytes], skipped: Counter[str], progress: Callable[[int], None]
    ) -> None:
        self.pack, self.progress = pack, progress
        self.kept: list[_Kept] = []
        self.kinds, self.skipped = Counter[str](), skipped
        self.seen: set[bytes] = set()
        self.read = self.packed = 0  # bytes

    def take(self, source: int, kind: str, path: Path, stream: IO[bytes], *, mapped: bool) -> None:
        """Reads one content and maps it, or adds it to the pack."""
        digest, size = _hash(), 0
        for piece in pieces(stream, path):
            digest.update(piece)
            if not mapped:
                self.pack.write(piece)
            size += len(piece)
            self.progress(self.read + size)
        self.read += size
        mark = digest.digest()
        if size == 0 or mark in self.seen:
            self.skipped["duplicate" if size else "empty"] += 1
            self.pack.seek(self.packed)
            return
        content = None
        if mapped:
            with reading(path):  # fails where the file has become shorter than what was read
                content = np.memmap(stream, np.uint8, "r", shape=(size,))
        self.seen.add(mark)
        self.kinds[kind] += 1
        self.kept.append(_Kept(source, mark, content, self.packed, size))
        self.packed += 0 if mapped else size

    def finish(self) -> NDArray[np.uint8]:
        """Maps the pack."""
        if self.packed == 0:
            return np.empty(0, np.uint8)
        self.pack.flush()
        return np.memmap(self.pack, np.uint8, "r", shape=(self.packed,))


def _corpus(files: list[_Kept], pack: NDArray[np.uint8], weights: list[float]) -> Corpus:
    """Lays files end to end; what lies together in the pack is one part."""
    parts: list[NDArray[np.uint8]] = []
    start = stop = -1  # of the part at the end of the pack's parts so far
    for file in files:
        if file.mapped is not None:
            parts.append(file.mapped)
            stop = -1
            continue
        if file.start == stop:
            parts.pop()
        else:
            start = file.start
        stop = file.start + file.size
        parts.append(pack[start:stop])
    edges = np.cumsum([0, *(file.size for file in files)], dtype=np.int64)
    firsts = np.searchsorted([file.source for file in files], np.arange(len(weights)))
    return Corpus(
        parts=tuple(parts),
        starts=edges[:-1],
        digest=_digest([file.mark for file in files]),
        sources=edges[firsts],
        weights=np.array(weights),
    )


def _least_mapped(sizes: Iterable[int]) -> int:
    """The size from which on plain files are mapped: LARGE, or more where they are too many."""
    beyond = sorted(sizes, reverse=True)[MOST_MAPPED : MOST_MAPPED + 1]
    return max([LARGE, *(size + 1 for size in beyond)])


def _check_length(part: NDArray[np.uint8]) -> None:
    """Raises ValueError if a file is shorter than its mapping, where reading would be fatal."""
    if not isinstance(part, np.memmap) or not isinstance(part.base, mmap.mmap):
        return  # in memory, or in the pack, which is ours
    if part.base.size() < len(part):
        msg = f"{part.filename}: has become shorter while it was in use; start again"
        raise ValueError(msg)


def _hash(content: bytes = b"") -> "hashlib.blake2b":
    return hashlib.blake2b(content, digest_size=8)


def _digest(marks: list[bytes]) -> str:
    return hashlib.blake2b(b"".join(marks), digest_size=16).hexdigest()


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


@contextmanager
def _room(folder: Path | None) -> Iterator[None]:
    """Turns what can go wrong with the temporary file into one sentence."""
    try:
        yield
    except OSError as error:
        place = folder or tempfile.gettempdir()
        msg = f"{place}: cannot hold the temporary file ({error.strerror}); choose another folder"
        raise ValueError(msg) from error


def sample_positions(
    corpus: Corpus,
    *,
    seed: int,
    step: int,
    batch: int,
    length: int,
    file_starts: float,
    align: int = 1,
) -> NDArray[np.int64]:
    """Where the sequences of one step start, (batch,); a pure function of seed and step.

    Positions are uniform over the stream, or over bytes times weights where these differ. A share
    of `file_starts` of them moves back to the start of its file, as the model meets it when a file
    is compressed; what is shorter than a sequence runs on into the next file. The others are
    multiples of `align` from there.

    Raises:
        ValueError: the corpus is shorter than one sequence.
    """
    last = corpus.size - length
    if last < 0:
        msg = f"{corpus.size} bytes of training data; one sequence alone takes {length}"
        raise ValueError(msg)
    rng = np.random.default_rng((seed, step))
    if (corpus.weights == corpus.weights[0]).all():
        positions = rng.integers(0, last + 1, batch)
    else:
        sizes = np.diff(corpus.sources, append=corpus.size)
        shares = sizes * corpus.weights
        chosen = rng.choice(len(shares), batch, p=shares / shares.sum())
        starts = corpus.sources[chosen]
        positions = np.minimum(rng.integers(starts, starts + sizes[chosen]), last)
    moved = rng.random(batch) < file_starts
    files = np.searchsorted(corpus.starts, positions, side="right") - 1
    beyond = positions - corpus.starts[files]
    return positions - np.where(moved, beyond, beyond % align)
