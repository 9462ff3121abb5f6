"""Damages archives and model folders in every way, and looks at what comes out (`make fuzz`).

    python tests/fuzz.py [--archives 20000] [--models 2000] [--seed 0]

An archive must give an `MbzError` or the right bytes, never others and never another exception;
where the bytes are not those of the archive it was made from (half of two archives is an archive),
the independent decoder must give the same ones. Salvage and random access may raise `MbzError`
only. A model must be refused, or give counts that sum to what they should.
"""

import argparse
import io
import json
import random
import resource
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import independent_decoder
import numpy as np
import xxhash
from conftest import NGRAMS, TINY, random_tensors, write_model
from sampled import sampled
from stub_predictor import StubPredictor

from mbz import codec, salvage, versions, weights
from mbz.archive_file import ArchiveReader
from mbz.container import ModelId
from mbz.errors import MbzError
from mbz.exact import COUNT_SUM, Predictor
from mbz.exact.compiled_backend import CompiledPredictor
from mbz.exact.reference import ReferencePredictor
from mbz.training import settings

STUB, NETWORK = bytes(range(8)), bytes(range(1, 9))  # fingerprints
MOST = 1 << 12  # content bytes, above any of the archives
CONFIG = (
    """name = "x"\n[train]\nsteps = 10\nbatch = 4\nmatrix_rate = 0.01\n[data]\npaths = ["."]\n"""
)


@cache
def network() -> CompiledPredictor:
    """A small one, untrained."""
    return CompiledPredictor(TINY, random_tensors(TINY), threads=1)


def find_any(fingerprint: bytes, _name: str | None = None) -> Predictor:
    """The network for its fingerprint and half of the others, a stub for the rest."""
    return network() if fingerprint[0] & 1 else StubPredictor()


@cache
def sources() -> list[tuple[bytes, bytes]]:
    """Archives of all kinds, small, with their content."""
    chance = np.random.default_rng(0)
    skewed = chance.geometric(0.2, 150).astype(np.uint8).tobytes()
    contents = [b"", b"x", skewed, chance.bytes(100), b"ab" * 300, skewed + chance.bytes(40)]
    plain = ({}, {"block_size": 60, "lanes": 3}, {"experts": "lean", "lanes": 2})
    stub = StubPredictor(), ModelId(fingerprint=STUB, name="stub")
    real = network(), ModelId(fingerprint=NETWORK, name="tiny")
    asked = [(data, chosen, how) for data in contents for chosen in (stub, ()) for how in plain]
    rows = np.add.outer(np.arange(20), 3 * np.arange(30))
    picture = b"P5 30 20 255\n" + rows.astype(np.uint8).tobytes()
    wave = wav((np.sin(np.arange(300) / 9) * 9000).astype("<i2").tobytes())
    many = {"experts": "rich", "lanes": 3, "block_size": 200}
    asked += [(data, (), {"experts": "middle"}) for data in (picture, wave)]
    likely = sampled(network(), 300, seed=1)
    asked += [(data, real, many) for data in (skewed, b"ab" * 300, likely)]
    asked += [(likely, real, how) for how in ({}, plain[1], {"experts": "middle"})]
    found = []
    for content, chosen, how in asked:
        dst = io.BytesIO()
        codec.compress(io.BytesIO(content), dst, *chosen, **how)
        found.append((dst.getvalue(), content))
    return found


def wav(samples: bytes) -> bytes:
    """A sound of two bytes a sample, in one channel."""
    form = struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    parts = b"WAVEfmt " + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(parts)) + parts


def damage(data: bytes, chance: random.Random, other: bytes) -> bytes:  # noqa: C901
    """One fault: bits, bytes, lengths, cuts, splices, or a header that lies and has its check."""
    if not data:
        return other
    damaged = bytearray(data)
    place = chance.randrange(len(damaged))
    size = chance.choice([1, 1, 2, 3, 8, 20])
    match chance.randrange(9):
        case 0 | 1:
            for _ in range(chance.choice([1, 1, 2, 5])):
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        case 2:
            damaged[place] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        case 3:
            del damaged[place:]
        case 4:
            del damaged[place : place + size]
        case 5:
            damaged[place:place] = chance.randbytes(size)
        case 6:
            damaged[place:] = other[chance.randrange(len(other)) :]
        case 7:
            damaged += other[: chance.randrange(len(other) + 1)]
        case 8:
            return lie(data, chance)
    return bytes(damaged)


def lie(data: bytes, chance: random.Random) -> bytes:
    """Changes a field of the first header, and gives it the check that fits."""
    for size in range(5, min(60, len(data) - 1)):
        if data[size : size + 2] == check16(data[:size]):
            break
    else:
        return data[:-1]
    header = bytearray(data[:size])
    place = chance.randrange(3, size)
    match chance.randrange(3):
        case 0:
            header[place] ^= 1 << chance.randrange(8)
        case 1:
            header[place] = chance.choice([0, 1, 0x7F, 0x80, 0xFF])
        case 2:  # a long length
            value = chance.choice([2**14, 2**21, 2**23 + 1, 2**25, 2**25 + 1, 2**40, 2**62])
            header[place : place + 1] = varint(value)
    return bytes(header) + check16(header) + data[size + 2 :]


def check16(header: bytes) -> bytes:
    return (xxhash.xxh64_intdigest(bytes(header)) & 0xFFFF).to_bytes(2, "little")


def varint(value: int) -> bytes:
    groups = [value >> shift & 127 | 128 for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*groups[:-1], groups[-1] & 127])


def try_archive(archive: bytes, content: bytes, chance: random.Random) -> str:
    """Restores, and says how it went; AssertionError or anything but MbzError is a finding."""
    restored = restore(archive, chance)
    if isinstance(restored, MbzError):
        return type(restored).__name__
    if restored == content:
        return "same content"
    numbers = versions.FORMAT, versions.ARITHMETIC
    assert independent_decoder.decode(archive, find_any, numbers) == restored
    return "other content"


def restore(archive: bytes, chance: random.Random) -> bytes | MbzError:
    """Goes every way that there is, and returns the content or what is wrong."""
    for look in (look_inside, save, read_anywhere):
        with suppress(MbzError):
            look(archive, chance)
    dst = io.BytesIO()
    try:
        codec.decompress(io.BytesIO(archive), dst, find_any, max_output=MOST)
    except MbzError as error:
        return error
    return dst.getvalue()


def look_inside(archive: bytes, _chance: random.Random) -> None:
    codec.describe(io.BytesIO(archive))


def save(archive: bytes, _chance: random.Random) -> None:
    salvage.salvage(io.BytesIO(archive), io.BytesIO(), find_any, max_output=MOST)


def read_anywhere(archive: bytes, chance: random.Random) -> None:
    start = chance.randrange(200)
    if sum(one.raw_length for one in codec.describe(io.BytesIO(archive))) <= MOST:
        codec.extract(io.BytesIO(archive), io.BytesIO(), find_any, start, start + 10)
        with io.BufferedReader(ArchiveReader(io.BytesIO(archive), find_any)) as file:
            file.seek(start)
            file.read(10)


def fuzz_archives(count: int, chance: random.Random) -> Counter[str]:
    """Mutated archives, and how many ended how."""
    archives = sources()
    results: Counter[str] = Counter()
    slowest = 0.0
    for number in range(count):
        archive, content = chance.choice(archives)
        damaged = damage(archive, chance, chance.choice(archives)[0])
        if chance.random() < 0.2:
            damaged = damage(damaged, chance, archive)
        start = time.process_time()
        try:
            results[try_archive(damaged, content, chance)] += 1
        except BaseException:
            print(f"number {number}: {damaged.hex()}")
            raise
        slowest = max(slowest, time.process_time() - start)
    print(f"the slowest archive took {slowest:.1f} s")
    return results


def damage_model(blob: bytes, chance: random.Random) -> bytes:
    """Another weights file: damaged bytes, another header, or wild values."""
    size = int.from_bytes(blob[:8], "little")
    header, tensors = json.loads(blob[8 : 8 + size]), bytearray(blob[8 + size :])
    match chance.randrange(6):
        case 0:
            return damage(blob, chance, blob)
        case 1:
            return damage(blob[: 8 + size], chance, blob) + bytes(tensors)
        case 2:  # values
            for _ in range(chance.choice([1, 50])):
                place = chance.randrange(len(tensors) // 4) * 4
                wild = chance.choice([np.inf, np.nan, -np.inf, 3e38, 1e-45, 16384, -1e5])
                tensors[place : place + 4] = np.float32(wild).tobytes()
        case 3:  # places and shapes
            entry = header[chance.choice([name for name in header if name != "__metadata__"])]
            key = chance.choice(["dtype", "shape", "data_offsets"])
            entry[key] = chance.choice(["F32", "I8", "F64", [], [1], [-1], [2**62, 4], None, 7])
        case 4:  # the configuration
            meta = json.loads(header["__metadata__"]["mbz"])
            table = chance.choice([meta, meta["config"], meta["config"]["global_stack"]])
            value = chance.choice([0, -1, 1, 3, 10**9, 2.5, None, "x", [], {}, [3], True])
            table[chance.choice(list(table))] = value
            header["__metadata__"]["mbz"] = json.dumps(meta)
        case 5:
            deep = "[" * chance.choice([10, 10**5]) + chance.choice(["", "]"])
            header["__metadata__"]["mbz"] = deep
    packed = json.dumps(header).encode()
    return len(packed).to_bytes(8, "little") + packed + bytes(tensors)


def try_model(folder: Path) -> str:
    """Reads a model, and if that is possible runs it."""
    try:
        model = weights.read(folder)
    except MbzError as error:
        return type(error).__name__
    predictor = ReferencePredictor(model.config, model.tensors)
    predictor.reset(2)
    with np.errstate(over="raise", invalid="raise"):
        counts = predictor.score(np.arange(12, dtype=np.uint8).reshape(2, 6))
    assert (counts.sum(-1, dtype=np.int64) == COUNT_SUM).all()
    assert counts.min() >= 0
    return "runs"


def try_settings(path: Path) -> str:
    try:
        table = settings.load(path)
        settings.resolve(table, {}, on_cpu=True, shape_of=None)
    except (ValueError, MbzError) as error:
        return f"settings: {type(error).__name__}"
    return "settings: read"


def fuzz_models(count: int, chance: random.Random) -> Counter[str]:
    """Mutated weights and settings, and how many ended how."""
    results: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folders = [write_model(c, Path(name) / str(i)) for i, c in enumerate((TINY, NGRAMS))]
        blobs = [(folder / weights.FILE_NAME).read_bytes() for folder in folders]
        work = Path(name) / "work"
        work.mkdir()
        for number in range(count):
            damaged = damage_model(chance.choice(blobs), chance)
            (work / weights.FILE_NAME).write_bytes(damaged)
            toml = damage(CONFIG.encode(), chance, CONFIG.encode())
            (work / "config.toml").write_bytes(toml)
            try:
                results[try_model(work)] += 1
                results[try_settings(work / "config.toml")] += 1
            except BaseException:
                print(f"model {number}, settings {toml!r}")
                raise
    return results


def timed(what: str, run: Callable[[], Counter[str]]) -> None:
    start = time.process_time()
    results = run()
    print(f"{what}: {time.process_time() - start:.0f} s of CPU time")
    for result, count in results.most_common():
        print(f"{count:8} {result}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archives", type=int, default=20_000)
    parser.add_argument("--models", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    seeded = random.Random(wanted.seed)
    timed(f"{wanted.archives} archives", lambda: fuzz_archives(wanted.archives, seeded))
    timed(f"{wanted.models} models", lambda: fuzz_models(wanted.models, seeded))
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")
