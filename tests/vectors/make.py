"""Writes the golden archives of the present versions into tests/vectors/vFORMAT.ARITHMETIC/.

    python tests/vectors/make.py            # all
    python tests/vectors/make.py mixed      # of one group: models, good, mixed or bad

`good` holds archives NAME.mbz beside their content NAME.raw, `mixed` the same for all that depends
on the mixing coder, `bad` archives with one fault each, ERROR-NAME.mbz. Released bytes never
change: from format version 1 on, this refuses to overwrite a file with other bytes. The archives
of another version go to another folder, and the tests read all folders.
"""

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import BOTH, TINY, random_tensors

from mbz import codec, container, versions, weights
from mbz.container import Block, Coding, End, Frame, Header, Kind, ModelId
from mbz.exact.reference import ReferencePredictor
from mbz.exact.selftest import digest
from mbz.fields import sealed
from mbz.payload import encode, encode_lzma

VERSION = f"v{versions.FORMAT}.{versions.ARITHMETIC}"
FOLDER = Path(__file__).parent / VERSION
NAMES = {"tiny": TINY, "both": BOTH}
TEXT = b"She sells sea shells by the sea shore; the shells she sells are sea shells, I'm sure.\n"
SETS = ("lean", "middle", "rich", "pixels", "sound")

Files = Iterator[tuple[str, bytes]]


def models() -> Files:
    """Untrained models."""
    for name, config in NAMES.items():
        tensors = random_tensors(config)
        golden = digest(ReferencePredictor(config, tensors))
        folder = FOLDER / "models" / name
        path = folder / weights.FILE_NAME
        old = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        weights.write(folder, name=name, config=config, tensors=tensors, golden=golden)
        blob = path.read_bytes()
        if old is not None:
            path.write_bytes(old)  # `put` decides whether it may change
        yield f"models/{name}/{weights.FILE_NAME}", blob


class Opened:
    """A golden model, and what it draws: content that it codes better than LZMA."""

    def __init__(self, name: str) -> None:
        model = weights.read(FOLDER / "models" / name)
        self.predictor = ReferencePredictor(model.config, model.tensors)
        self.id = ModelId(fingerprint=model.fingerprint[:8], name=name)

    def drawn(self, size: int, lanes: int = 1) -> bytes:
        self.predictor.reset(lanes)
        chance = np.random.default_rng(size)
        steps = []
        for _ in range(-(-size // lanes)):
            sums = self.predictor.counts().astype(np.int64).cumsum(1)
            steps.append((sums <= chance.integers(sums[:, -1:])).sum(1).astype(np.uint8))
            self.predictor.push(steps[-1])
        of_LT = np.stack(steps, 1)
        lengths = [size // lanes + (lane < size % lanes) for lane in range(lanes)]
        return b"".join(row[:n].tobytes() for row, n in zip(of_LT, lengths, strict=True))

    def likeliest(self) -> bytes:
        """The first byte that it expects most."""
        self.predictor.reset(1)
        return bytes([int(self.predictor.counts()[0].argmax())])


def pack(data: bytes, model: Opened | None = None, **options: object) -> bytes:
    dst = io.BytesIO()
    chosen = (None, None) if model is None else (model.predictor, model.id)
    codec.compress(io.BytesIO(data), dst, *chosen, **options)
    return dst.getvalue()


def noise(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def framed(data: bytes, kind: int = 128) -> bytes:
    return container.pack_frame(Frame(kind=kind, length=len(data))) + data


def resealed(header: bytes, place: int, value: int) -> bytes:
    """A header with another byte and the check that fits."""
    data = bytearray(header[:-2])
    data[place] = value
    return sealed(bytes(data))


def good() -> Files:
    """All that does not depend on the mixing coder."""
    tiny, both = Opened("tiny"), Opened("both")
    drawn = tiny.drawn(200)
    contents: dict[str, tuple[bytes, bytes]] = {}
    for size in (0, 1, 2, 127, 128, 300):
        contents[f"stored-{size}"] = noise(size), pack(noise(size))
    contents["lzma"] = TEXT * 20, pack(TEXT * 20)
    for size in (63, 64, 65):
        data = drawn[:size]
        contents[f"coded-{size}"] = data, pack_coded(data, tiny, 1)
    for lanes in (2, 7, 64):
        data = tiny.drawn(200, lanes)
        contents[f"lanes-{lanes}"] = data, pack_coded(data, tiny, lanes)
    likely = tiny.likeliest() * 200
    contents["lanes-200"] = likely, pack_coded(likely, tiny, 200)
    data = both.drawn(200, 3)
    contents["other-model"] = data, pack_coded(data, both, 3)
    nameless = Opened("tiny")
    nameless.id = ModelId(fingerprint=tiny.id.fingerprint)
    contents["nameless"] = drawn, pack_coded(drawn, nameless, 1)
    blocks = drawn + noise(100) + b"ab" * 50 + drawn[:1]
    for size in (99, 100, 101):
        contents[f"blocks-{size}"] = blocks, pack(blocks, tiny, block_size=size)
    contents["blocks-sized"] = blocks, pack(blocks, tiny, block_size=100, size=len(blocks))
    contents["blocks-none"] = b"", bare() + ended(b"")
    one, two = pack(b"one"), contents["blocks-100"][1]
    contents["joined"] = b"one" + blocks + b"one", one + two + one
    contents["frames"] = b"one", framed(b"x" * 300, 0) + framed(b"") + one + framed(one, 255)
    contents["unused-bits"] = b"one", unused()
    for name, (content, archive) in contents.items():
        yield f"good/{name}.mbz", archive
        yield f"good/{name}.raw", content


def pack_coded(data: bytes, model: Opened, lanes: int, **how: int) -> bytes:
    """The compact form with a coded block, even where another kind would be smaller."""
    coding = Coding(lanes=lanes, network=True, **how)
    return wrapped(data, encode(data, coding, model.predictor, lambda _: None), coding, model.id)


def wrapped(data: bytes, payload: bytes, coding: Coding, model_id: ModelId | None) -> bytes:
    block = block_of(Kind.CODED, data, payload, coding)
    assert len(payload) < len(data), (len(payload), len(data))
    return container.pack_header(Header(model=model_id, size=len(data), only_block=block)) + payload


def block_of(kind: Kind, data: bytes, payload: bytes, coding: Coding | None = None) -> Block:
    return Block(
        kind=kind,
        raw_length=len(data),
        coded_length=len(payload),
        check=container.content_check(data),
        coding=coding,
    )


def bare() -> bytes:
    return container.pack_header(Header(model=None, size=None, only_block=None))


def stored(data: bytes, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    check = container.content_check(data)
    block = Block(kind=Kind.STORED, raw_length=size, coded_length=size, check=check, coding=None)
    return container.pack_block(block) + data


def ended(data: bytes, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return container.pack_end(End(raw_length=size, check=container.content_check(data)))


def unused() -> bytes:
    block = stored(b"one")
    head, end = bare(), ended(b"one")
    return (
        resealed(head, 4, head[4] | 0x40)
        + resealed(block[:-3], 0, 0x80)
        + b"one"
        + resealed(end, 0, 0x83)
    )


def mixed() -> Files:
    """What depends on the mixing coder: every set of experts, alone and with the network."""
    tiny, both = Opened("tiny"), Opened("both")
    wave = (np.sin(np.arange(300) / 9) * 9000).astype("<i2").tobytes()
    picture = (np.add.outer(np.arange(20), np.arange(30)) * 3 % 256).astype(np.uint8).tobytes()
    for use in SETS:
        data = {"pixels": picture, "sound": wave}.get(use, TEXT * 5)
        rows = {"pixels": (30, 1, 3), "sound": (4, 2, 1)}.get(use, (86, 1, 0))
        stride, unit, phase = rows
        for lanes in (1, 7):
            how = {"experts": SETS.index(use) + 1, "stride": stride, "unit": unit, "phase": phase}
            alone = Coding(lanes=lanes, network=False, **how)
            payload = encode(data, alone, None, lambda _: None)
            yield f"mixed/{use}-{lanes}.mbz", wrapped(data, payload, alone, None)
            yield f"mixed/{use}-{lanes}.raw", data
            yield f"mixed/{use}-{lanes}-network.mbz", pack_coded(data, tiny, lanes, **how)
            yield f"mixed/{use}-{lanes}-network.raw", data
    for use in SETS[:3]:
        data = TEXT * 3 + noise(100) + TEXT * 6
        yield f"mixed/blocks-{use}.mbz", pack(data, both, experts=use, block_size=200, lanes=2)
        yield f"mixed/blocks-{use}.raw", data


def bad() -> Files:
    """One fault each; the error comes first in the name."""
    tiny = Opened("tiny")
    drawn = tiny.drawn(200, 2)
    coded = pack_coded(drawn, tiny, 2)
    head = len(coded) - len(encode(drawn, Coding(lanes=2, network=True), tiny.predictor, id))
    one = pack(b"one")
    two = bare() + stored(b"ab") + stored(b"c") + ended(b"abc")
    packed = encode_lzma(TEXT * 5)
    faults: dict[str, bytes] = {
        "BadMagic-text": TEXT,
        "BadMagic-gzip": b"\x1f\x8b\x08" + bytes(20),
        "UnknownVersion-format": resealed(one[:12], 3, one[3] + 0x10) + one[12:],
        "UnknownVersion-format-15": resealed(one[:12], 3, 0xF0) + one[12:],
        "UnknownVersion-arithmetic": resealed(coded[:head], 3, coded[3] + 1) + coded[head:],
        "Truncated-empty": b"",
        "Truncated-magic": one[:2],
        "Truncated-header": coded[: head - 4],
        "Truncated-payload": coded[:-1],
        "Truncated-no-end": two[:-13],
        "Truncated-in-end": two[:-1],
        "Truncated-only-a-frame": framed(one),
        "Truncated-frame": one + framed(b"abc")[:-1],
        "Corrupt-header-bit": bytes([*coded[:8], coded[8] ^ 1, *coded[9:]]),
        "Corrupt-payload-bit": bytes([*coded[:-9], coded[-9] ^ 1, *coded[-8:]]),
        "Corrupt-stored-bit": one[:-1] + b"E",
        "Corrupt-reserved-flag": resealed(one[:12], 4, one[4] | 0x80) + one[12:],
        "Corrupt-other-reserved-flag": resealed(one[:12], 4, one[4] | 0x20) + one[12:],
        "Corrupt-no-size": resealed(one[:12], 4, one[4] & ~0x10) + one[12:],
        "Corrupt-reserved-kind": bare() + resealed(stored(b"")[: -0 or None], 0, 4),
        "Corrupt-empty-block": bare() + stored(b"") + ended(b""),
        "Corrupt-order": bare() + stored(b"c") + stored(b"ab") + ended(b"abc"),
        "Corrupt-total": bare() + stored(b"ab") + ended(b"ab", 3),
        "Corrupt-model-missing": bare() + coded_block(drawn, tiny) + ended(drawn),
        "Corrupt-tail": one + b"garbage",
        "Corrupt-zeros-behind": one + bytes(512),
        "Corrupt-long-block": bare() + stored(b"a", container.MAX_BLOCK + 1),
        "Corrupt-lzma-short": bare() + lzma_block(TEXT * 5 + b"!", packed) + ended(b""),
        "Corrupt-lzma-bit": bare() + lzma_block(TEXT * 5, b"\x55" + packed[1:]) + ended(b""),
        "Corrupt-lzma-tail": bare() + lzma_block(TEXT * 5, packed + b"\0") + ended(b""),
        "Corrupt-channels": wrapped(
            b"ab" * 40, b"?", Coding(lanes=1, network=False, experts=5, stride=40, unit=2), None
        ),
        "Corrupt-long-pixels": bare() + pixels(container.MAX_NUMBERS_BLOCK + 1),
        "ModelMismatch-unknown": other_model(coded, head),
        "LimitExceeded-1000": pack(noise(1001)),
    }
    yield from ((f"bad/{name}.mbz", archive) for name, archive in faults.items())


def coded_block(data: bytes, model: Opened) -> bytes:
    coding = Coding(lanes=2, network=True)
    payload = encode(data, coding, model.predictor, lambda _: None)
    return container.pack_block(block_of(Kind.CODED, data, payload, coding)) + payload


def pixels(length: int) -> bytes:
    """The header of a block that would be so long."""
    coding = Coding(lanes=1, network=False, experts=SETS.index("pixels") + 1)
    return container.pack_block(
        Block(kind=Kind.CODED, raw_length=length, coded_length=0, check=bytes(8), coding=coding)
    )


def lzma_block(data: bytes, payload: bytes) -> bytes:
    return container.pack_block(block_of(Kind.LZMA, data, payload)) + payload


def other_model(archive: bytes, head: int) -> bytes:
    return resealed(archive[:head], 5, archive[5] ^ 0xFF) + archive[head:]


GROUPS: dict[str, Callable[[], Files]] = {
    "models": models,
    "good": good,
    "mixed": mixed,
    "bad": bad,
}


def put(name: str, data: bytes) -> None:
    """Writes a file, unless that would change released bytes."""
    path = FOLDER / name
    if path.exists() and path.read_bytes() != data and versions.FORMAT > 0:
        raise SystemExit(f"{path} would change; raise a number in mbz/versions.py first")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


if __name__ == "__main__":
    for group in sys.argv[1:] or GROUPS:
        for name, data in GROUPS[group]():
            put(name, data)
