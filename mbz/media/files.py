"""Reads pictures, sound and video from files, as arrays of uint8, or int16 for sound."""

import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mbz.errors import MbzError

PLANES = {"420": (2, 2), "422": (1, 2), "444": (1, 1)}  # how much smaller chroma is: rows, columns


@contextmanager
def _as(kind: str) -> Iterator[None]:
    """Says in one sentence what a file is not."""
    try:
        yield
    except OSError as error:
        if error.strerror:  # of the system; those of Pillow have none
            raise
        raise MbzError(f"is no {kind} that can be read ({error})") from error
    except (ValueError, EOFError, SyntaxError, wave.Error) as error:
        raise MbzError(f"is no {kind} that can be read ({error})") from error


def image(path: Path) -> NDArray[np.uint8]:
    """An image file in three channels, (H, W, 3); Pillow decodes it.

    Raises:
        OSError: the file cannot be read.
        MbzError: it is no image, is damaged, or Pillow is missing.
    """
    try:
        from PIL import Image  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MbzError("images need Pillow; pip install 'mbz[image]'") from error
    try:
        with _as("image"), Image.open(path) as opened:
            return np.asarray(opened.convert("RGB"))
    except Image.DecompressionBombError as error:
        raise MbzError(f"is too large an image ({error})") from error


def array(path: Path, axes: int) -> NDArray[np.uint8]:
    """An array of uint8 with channels last, mapped from a .npy file; of fewer axes, one more first.

    Args:
        path: the file.
        axes: of the result.

    Raises:
        OSError: the file cannot be read.
        MbzError: it is no array of pixels.
    """
    with _as("array"):
        found: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    if found.ndim == axes - 1:
        found = found[None]
    if found.dtype != np.uint8 or found.ndim != axes or not 1 <= found.shape[-1] <= 4:
        shape = "x".join(map(str, found.shape))
        raise MbzError(f"has no pixels of uint8 with channels last, but {shape} {found.dtype}")
    return found


def sound(path: Path) -> NDArray[np.generic]:
    """The samples of a WAV file, (time, channels): uint8 or int16.

    Raises:
        OSError: the file cannot be read.
        MbzError: it is no WAV file of 8 or 16 bits, or is cut off.
    """
    with _as("WAV file"), path.open("rb") as file, wave.open(file) as opened:
        width, channels, count = (
            opened.getsampwidth(),
            opened.getnchannels(),
            opened.getnframes(),
        )
        data = opened.readframes(count)
    if width not in (1, 2):
        raise MbzError(f"has samples of {8 * width} bits; take 8 or 16")
    if len(data) != count * channels * width:
        raise MbzError("is a WAV file that is cut off")
    return np.frombuffer(data, np.uint8 if width == 1 else "<i2").reshape(-1, channels)


def video(path: Path) -> list[NDArray[np.uint8]]:
    """The planes of a YUV4MPEG2 file, each (T, H, W, C): one in 4:4:4 and in grey, else three.

    Raises:
        OSError: the file cannot be read.
        MbzError: it is no such file, or is cut off.
    """
    with _as("Y4M file"), path.open("rb") as file:
        words = file.readline(1 << 12).decode("latin-1").split()
        if words[:1] != ["YUV4MPEG2"]:
            raise MbzError("is no Y4M file")
        said = {word[0]: word[1:] for word in words[1:]}
        height, width, chroma = int(said["H"]), int(said["W"]), said.get("C", "420")[:4]
        if chroma != "mono" and (chroma[:3] not in PLANES or "p1" in said.get("C", "")):
            raise MbzError(f"has the colours {said['C']}; take 420, 422, 444 or mono of 8 bits")
        shapes = [(height, width)]
        if chroma != "mono":
            down, right = PLANES[chroma[:3]]
            shapes += [(-(-height // down), -(-width // right))] * 2
        frames = list(_frames(file, sum(h * w for h, w in shapes)))
    stack = np.stack(frames) if frames else np.zeros((0, sum(h * w for h, w in shapes)), np.uint8)
    cuts = np.cumsum([h * w for h, w in shapes])[:-1]
    pairs = zip(np.split(stack, cuts, axis=1), shapes, strict=True)
    planes = [part.reshape(-1, h, w, 1) for part, (h, w) in pairs]
    return [np.concatenate(planes, 3)] if chroma[:3] == "444" else planes


def _frames(file: IO[bytes], size: int) -> Iterator[NDArray[np.uint8]]:
    while line := file.readline(1 << 12):
        data = file.read(size)
        if not line.startswith(b"FRAME") or len(data) < size:
            raise ValueError("a frame is damaged or cut off")
        yield np.frombuffer(data, np.uint8)
