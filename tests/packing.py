"""Archives made with a stub for a network, and what tests do with them."""

import io
import random

import numpy as np
from stub_predictor import StubPredictor

from mbz import codec, container
from mbz.container import ModelId

FINGERPRINT = bytes.fromhex("0011223344556677")
MODEL_ID = ModelId(fingerprint=FINGERPRINT)
TEXT = b"abracadabra alakazam " * 3 + b"abba"


class Pipe:
    """A stream that cannot seek and gives few bytes at a time."""

    def __init__(self, data: bytes, most: int = 7) -> None:
        self._stream = io.BytesIO(data)
        self._most = most

    def read(self, size: int) -> bytes:
        return self._stream.read(min(size, self._most))


def skewed(n: int, seed: int = 0) -> bytes:
    """Bytes with about 3 bits of entropy each and nothing to match: the stub's home ground."""
    rng = np.random.default_rng(seed)
    return rng.geometric(0.2, n).astype(np.uint8).tobytes()


def random_bytes(n: int) -> bytes:
    return random.Random(n).randbytes(n)


def pack(data: bytes, *, model: bool = True, **options) -> bytes:
    dst = io.BytesIO()
    chosen = (StubPredictor(), options.pop("model_id", MODEL_ID)) if model else (None, None)
    stats = codec.compress(io.BytesIO(data), dst, *chosen, **options)
    assert stats.archive_length == len(dst.getvalue())
    assert stats.raw_length == len(data) == sum(block.raw_length for block in stats.blocks)
    return dst.getvalue()


def find_stub(fingerprint: bytes, _name: str | None) -> StubPredictor:
    assert fingerprint == FINGERPRINT
    return StubPredictor()


def unpack(archive: bytes, find_model=find_stub, **options) -> bytes:
    dst = io.BytesIO()
    stats = codec.decompress(io.BytesIO(archive), dst, find_model, **options)
    assert (stats.raw_length, stats.archive_length) == (len(dst.getvalue()), len(archive))
    return dst.getvalue()


def kinds(archive: bytes) -> list[str]:
    return [
        info.block.kind.name for one in codec.describe(io.BytesIO(archive)) for info in one.blocks
    ]


def framed(data: bytes) -> bytes:
    return container.pack_frame(container.Frame(kind=200, length=len(data))) + data
