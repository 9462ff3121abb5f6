"""Restoring with numpy alone: equal to the library, and to constriction, bit for bit."""

import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from stub_predictor import StubPredictor
from test_vectors import BAD, GOOD, MODELS, name_of

from mbz import errors, plain_xxhash
from mbz.coder import Decoder, Encoder
from mbz.reference_decoder import RangeDecoder, decompress, read_model

FOLDERS = {model.fingerprint[:8]: path.parent for path, model in MODELS.items()}
# Modules of these names cannot be imported.
BLOCKED = ("torch", "numba", "constriction", "safetensors", "xxhash")
PROGRAM = f"import sys; sys.modules.update(dict.fromkeys({BLOCKED!r})); import runpy; "
PROGRAM += "sys.argv = sys.argv[1:]; runpy.run_module('mbz.reference_decoder', None, '__main__')"


def folder_of(archive: bytes):
    return next((path for found, path in FOLDERS.items() if found in archive), None)


def model_of(archive: bytes):
    folder = folder_of(archive)
    return None if folder is None else opened(folder)


@cache
def opened(folder):
    return read_model(folder)


@pytest.mark.parametrize("path", GOOD, ids=name_of)
def test_golden_archives(path):
    archive = path.read_bytes()
    assert decompress(archive, model_of(archive)) == path.with_suffix(".raw").read_bytes()


@pytest.mark.parametrize("path", [path for path in BAD if "LimitEx" not in path.name], ids=name_of)
def test_bad_archives(path):
    archive = path.read_bytes()
    with pytest.raises(getattr(errors, path.name.split("-")[0])):
        decompress(archive, model_of(archive))


@pytest.mark.parametrize("name", ["lanes-7", "blocks-100", "frames"])
def test_numpy_is_enough(name):
    path = next(path for path in reversed(GOOD) if path.stem == name)
    archive = path.read_bytes()
    folder = folder_of(archive)
    command = [sys.executable, "-c", PROGRAM, "mbz.reference_decoder", path]
    done = subprocess.run(
        command + [folder] * (folder is not None), check=True, capture_output=True
    )
    assert done.stdout == path.with_suffix(".raw").read_bytes()


@given(st.binary(min_size=1, max_size=300), st.integers(1, 10_000), st.binary(max_size=30))
def test_the_range_decoder_is_constriction_s(data, weight, noise):
    predictor = StubPredictor(weight)
    predictor.reset(1)
    symbols = np.frombuffer(data, np.uint8)
    counts = predictor.score(symbols[None])[0]
    encoder = Encoder()
    encoder.encode(symbols, counts)
    decoder = RangeDecoder(encoder.finish())
    assert bytes(decoder.decode(row) for row in counts) == data
    for code in (noise, noise * 20):
        theirs = Decoder(code)
        expected = outcome(lambda row, d=theirs: int(d.decode(row[None])[0]), counts)
        assert outcome(RangeDecoder(code).decode, counts) == expected


def outcome(decode, counts):
    """What a code that may be none decodes to, as far as it goes."""
    found = []
    for row in counts:
        try:
            found.append(decode(row))
        except errors.Corrupt:
            return [*found, None]
    return found


@given(st.binary(max_size=200))
def test_xxh64(data):
    assert plain_xxhash.xxh64_intdigest(data) == xxhash.xxh64_intdigest(data)
    parts = plain_xxhash.xxh64(data[:50])
    parts.update(data[50:])
    assert parts.intdigest() == xxhash.xxh64_intdigest(data)
