"""Golden archives of every version: the library and an independent decoder restore them."""

import io
import random
from pathlib import Path

import independent_decoder
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from packing import find_stub, framed, pack, skewed
from vectors import make

from mbz import codec, errors, versions, weights
from mbz.errors import ModelMismatch
from mbz.exact.reference import ReferencePredictor

VECTORS = Path(__file__).parent / "vectors"
GOOD = sorted(VECTORS.glob("v*/good/*.mbz")) + sorted(VECTORS.glob("v*/mixed/*.mbz"))
BAD = sorted(VECTORS.glob("v*/bad/*.mbz"))
MODELS = {path: weights.read(path.parent) for path in VECTORS.glob("v*/models/*/*.safetensors")}


def name_of(path: Path) -> str:
    return "-".join(path.parts[-3:]).removesuffix(".mbz")


def find_model(fingerprint: bytes, name: str | None = None) -> ReferencePredictor:
    for model in MODELS.values():
        if model.fingerprint.startswith(fingerprint):
            return ReferencePredictor(model.config, model.tensors)
    raise ModelMismatch(f"no model {name}")


def unpack(archive: bytes, **options) -> bytes:
    dst = io.BytesIO()
    codec.decompress(io.BytesIO(archive), dst, find_model, **options)
    return dst.getvalue()


def numbers(path: Path) -> tuple[int, int]:
    major, minor = path.parts[-3].removeprefix("v").split(".")
    return int(major), int(minor)


def test_there_are_archives_of_this_version():
    for group in ("good", "mixed", "bad"):
        assert list((VECTORS / make.VERSION / group).glob("*.mbz"))


@pytest.mark.parametrize("path", GOOD, ids=name_of)
def test_good(path):
    assert unpack(path.read_bytes()) == path.with_suffix(".raw").read_bytes()


@pytest.mark.parametrize("path", GOOD, ids=name_of)
def test_good_by_the_independent_decoder(path):
    found = independent_decoder.decode(path.read_bytes(), find_model, numbers(path))
    assert found == path.with_suffix(".raw").read_bytes()


@pytest.mark.parametrize("path", BAD, ids=name_of)
def test_bad(path):
    error = getattr(errors, path.name.split("-")[0])
    with pytest.raises(errors.DataError) as caught:
        unpack(path.read_bytes(), max_output=1000)
    assert type(caught.value) is error
    if error not in (errors.ModelMismatch, errors.LimitExceeded):
        with pytest.raises(independent_decoder.Bad):
            independent_decoder.decode(path.read_bytes(), find_model, numbers(path))


@pytest.mark.parametrize("group", ["models", "good", "bad"])
def test_the_generator_gives_the_same_bytes(group):
    for name, data in make.GROUPS[group]():
        if "lzma" not in name.lower() and "blocks-" not in name and "joined" not in name:
            assert (make.FOLDER / name).read_bytes() == data, name  # another liblzma may differ


def test_the_generator_refuses_to_change_released_bytes(monkeypatch, tmp_path):
    monkeypatch.setattr(make, "FOLDER", tmp_path)
    monkeypatch.setattr(versions, "FORMAT", 1)
    make.put("good/x.mbz", b"one")
    make.put("good/x.mbz", b"one")
    with pytest.raises(SystemExit, match="would change"):
        make.put("good/x.mbz", b"two")


@given(st.binary(max_size=200))
def test_xxh64(data):
    assert independent_decoder.xxh64(data) == xxhash.xxh64_intdigest(data)


@pytest.mark.parametrize("seed", range(60))
def test_both_decoders_agree_on_damage(seed):
    """What one restores the other restores to the same bytes; what one refuses both refuse."""
    rng = random.Random(seed)
    archive = bytearray(
        [pack(skewed(150)), framed(b"ab") + pack(skewed(150), block_size=70), pack(b"abc")][
            seed % 3
        ]
    )
    place = rng.randrange(len(archive))
    match rng.randrange(3):
        case 0:
            archive[place] ^= 1 << rng.randrange(8)
        case 1:
            del archive[place:]
        case 2:
            archive[place:place] = rng.randbytes(3)
    try:
        dst = io.BytesIO()
        codec.decompress(io.BytesIO(archive), dst, find_stub)
        expected = dst.getvalue()
    except errors.DataError:
        expected = None
    try:
        found = independent_decoder.decode(
            bytes(archive),
            lambda fingerprint: find_stub(fingerprint, None),
            (versions.FORMAT, versions.ARITHMETIC),
        )
    except independent_decoder.Bad:
        found = None
    assert found == expected
