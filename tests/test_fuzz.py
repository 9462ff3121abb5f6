"""A little of `make fuzz`, with cases that hypothesis shrinks."""

import random

import pytest
from fuzz import damage, fuzz_archives, fuzz_models, sources, try_archive
from hypothesis import given
from hypothesis import strategies as st

ARCHIVES = sources()


@given(st.sampled_from(ARCHIVES), st.sampled_from(ARCHIVES), st.randoms())
def test_damage_is_found(one, other, chance):
    archive, content = one
    try_archive(damage(archive, chance, other[0]), content, chance)


@given(st.binary(max_size=80), st.sampled_from([b"", b"\xb5mb", b"\xb5ms"]), st.randoms())
def test_garbage_is_refused(data, start, chance):
    assert try_archive(start + data, b"?", chance) not in ("same content", "other content")


@pytest.mark.parametrize("seed", range(4))
def test_archives(seed):
    results = fuzz_archives(100, random.Random(seed))
    assert results["Corrupt"] > 20


def test_models():
    results = fuzz_models(100, random.Random(0))
    assert results["ModelError"] > 50
    assert results["runs"] > 0
