"""Tuples of arrays behind one pointer: what compiled functions read is what the tuple holds."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

numba = pytest.importorskip("numba")
if numba.config.DISABLE_JIT:
    pytest.skip("numba is turned off", allow_module_level=True)

from mbz.records import Held, at_address  # noqa: E402


class Inner(NamedTuple):
    table: NDArray[np.int32]
    ends: NDArray[np.uint8]


class Outer(NamedTuple):
    first: NDArray[np.float32]
    inner: Inner
    last: NDArray[np.int64]


def opened(shape=(2, 3, 4)):
    table = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    ends = np.frombuffer(b"read only", np.uint8)
    return Outer(np.array([0.5], np.float32), Inner(table, ends), np.array([7, 8], np.int64))


def read(m):
    inner = m.inner
    row = inner.table[1, 2]
    m.last[1] = row[3] + inner.table[-1, 0, 1]
    row[0] = 99
    return m.first[0] + inner.ends[0] + m.last.size + inner.table.shape[2] + inner.table[:, 1].size


def test_compiled_functions_see_the_same_as_python():
    here, there = opened(), opened()
    assert numba.njit(_nrt=False)(read)(Held(there)) == read(here)
    for one, other in zip((*here[::2], *here.inner), (*there[::2], *there.inner), strict=True):
        assert (one == other).all()


def test_tuples_within_may_be_held_already():
    here, there = Held(opened()), opened()
    within = Held(there._replace(inner=Held(there.inner)))
    assert within.kind == here.kind
    assert numba.njit(_nrt=False)(read)(within) == numba.njit(_nrt=False)(read)(here)
    assert (there.inner.table == here.given.inner.table).all()
    assert (there.last == here.given.last).all()


def test_a_tuple_can_be_found_by_its_address():
    held = Held(opened())
    record = at_address(held.kind)

    @numba.njit(_nrt=False)
    def last(address):
        inner = record(address).inner
        return inner.ends[inner.ends.size - 1]

    assert last(held.address) == ord("y")


def test_types_go_by_what_is_held():
    kind = Held(opened()).kind
    assert kind == Held(opened((5, 1, 2))).kind
    assert kind != Held(opened((5, 2))).kind
    assert kind != Held(opened()._replace(last=np.zeros(1, np.int32))).kind


def test_types_have_the_same_name_in_every_process():
    code = "from test_records import Held, opened; print(Held(opened()).kind)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == str(Held(opened()).kind)


def test_arrays_lie_in_one_piece():
    with pytest.raises(AssertionError):
        Held(opened()._replace(last=np.zeros(4, np.int64)[::2]))
