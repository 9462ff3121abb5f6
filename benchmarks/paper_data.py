"""Writes the data of the paper's tables, for paper.py.

    python benchmarks/paper_data.py --corpus ../shared/corpus --photos PHOTOS --out DATA

Text is the public-domain books of the corpus, three of them to test. Pictures and sound are few and
would soon be known by heart, so they are cut and resampled at random, always alike. All that comes
of one picture or recording lies in one file, one after the other, so that no file held out of
training shares it with the others. What is to test is as the corpus has it; nothing of it is
trained on. PHOTOS holds further pictures to train on, of 300 pixels or more, such as
paper_photos.py writes; it may be left out.
"""

import argparse
import hashlib
import io
import lzma
import tarfile
import wave
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

TESTED_BOOKS = 3
VARIANTS = 8
"""Of a recording."""
CROPS = {(64, True): 48, (64, False): 12, (256, True): 8, (256, False): 8}
"""Of a picture: by their size, and whether the picture is larger."""


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files of an archive."""
    with tarfile.open(path) as archive:
        for member in archive:
            if (file := archive.extractfile(member)) is not None:
                yield member.name, file.read()


def text(corpus: Path, out: Path) -> None:
    """Books as files, those to test by the hash of their names."""
    books = dict(members(corpus / "train/books.tar.xz"))
    tested = sorted(books, key=lambda name: hashlib.sha1(name.encode()).digest())[:TESTED_BOOKS]  # noqa: S324
    books |= dict(members(corpus / "train2/prose-books.tar.xz"))
    for number, (name, content) in enumerate(books.items()):
        (out / ("test" if name in tested else "train") / f"{number}.txt").write_bytes(content)


def audio(corpus: Path, out: Path) -> None:
    """Recordings, those to train on with variants of other speeds and loudness behind them."""
    for number, (name, content) in enumerate(members(corpus / "audio/wav16.tar.xz")):
        if "/test/" in name:
            (out / "test" / Path(name).name).write_bytes(content)
            continue
        rng = np.random.default_rng(number)
        with wave.open(io.BytesIO(content)) as sound:
            samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
            rate = sound.getframerate()
        parts = [samples]
        for _ in range(VARIANTS - 1):
            length = round(len(samples) * rng.uniform(0.9, 1.1))
            bands = np.fft.rfft(samples) * (length / len(samples)) * rng.uniform(0.6, 1.1)
            changed = np.fft.irfft(bands[: length // 2 + 1], length)
            parts.append(changed.round().clip(-(1 << 15), (1 << 15) - 1).astype("<i2"))
        with wave.open(str(out / "train" / Path(name).name), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(rate)
            sound.writeframes(b"".join(part.tobytes() for part in parts))


def crops(picture: Pixels, size: int, count: int, seed: list[int]) -> Iterator[Pixels]:
    """Squares of random places and sizes, resampled, each second one mirrored.

    Of a picture of about `size` they show nearly all, and what is beyond its edges is reflected.
    """
    rng = np.random.default_rng(seed)
    if min(picture.shape[:2]) <= size:
        margin = size // 8
        picture = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), "reflect")
        sides = (size * 15 / 16, size * 9 / 8)
    else:
        shorter = min(picture.shape[:2])
        sides = (min(size * 3 / 2, shorter), shorter)
    image = Image.fromarray(picture)
    for number in range(count):
        side = np.exp(rng.uniform(*np.log(sides)))
        x, y = (rng.uniform(0, max(length - side, 0)) for length in image.size)
        box = (x, y, x + side, y + side)
        crop = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, box))
        yield crop[:, ::-1] if number % 2 else crop


def strip(task: tuple[str, Path | Pixels, int, int, Path]) -> None:
    """Writes the crops of one picture, one below the other, those as it is first."""
    name, source, size, number, out = task
    if isinstance(source, Path):
        with Image.open(source) as opened:
            picture = np.asarray(opened.convert("RGB"))
    else:
        picture = source
    larger = min(picture.shape[:2]) > size
    parts = [] if larger else [picture, picture[:, ::-1]]
    parts += crops(picture, size, CROPS[size, larger], [size, number])
    Image.fromarray(np.concatenate(parts)).save(out / "train" / f"{name}.ppm")


def main() -> None:
    """Writes all folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--photos", type=Path, help="folder of further pictures")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    for kind in ("text", "images64", "images256", "audio"):
        for part in ("train", "test"):
            (args.out / kind / part).mkdir(parents=True, exist_ok=True)
    text(args.corpus, args.out / "text")
    audio(args.corpus, args.out / "audio")
    tasks: list[tuple[str, Path | Pixels, int, int, Path]] = []
    photos = sorted(args.photos.iterdir()) if args.photos else []
    pictures: dict[int, Pixels] = {}
    for name, size, kept in (("imagenet1000_64", 64, 900), ("imagenet60_256", 256, 54)):
        with lzma.open(args.corpus / "images" / f"{name}.npy.xz") as file:
            stack = np.load(io.BytesIO(file.read()))
        pictures[size] = stack[:kept]
        np.save(args.out / f"images{size}" / "test" / "images.npy", stack[kept:])
    for size in (64, 256):
        sources = [
            *photos,
            *(one for larger in pictures if larger >= size for one in pictures[larger]),
        ]
        out = args.out / f"images{size}"
        tasks += [(str(n), source, size, n, out) for n, source in enumerate(sources)]
    with ProcessPoolExecutor() as pool:
        list(pool.map(strip, tasks, chunksize=4))


if __name__ == "__main__":
    main()
