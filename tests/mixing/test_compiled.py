"""The first use on a machine is announced, and later ones are not."""

import logging
from types import SimpleNamespace

import pytest

from mbz.compiled import announce
from mbz.mixing.compiled import function


@function
def entry(x):
    return x + 1


@pytest.fixture
def fresh(tmp_path):
    """As `entry` was before it was first compiled, with another cache folder."""
    stats = SimpleNamespace(cache_path=str(tmp_path))
    return SimpleNamespace(
        signatures=[], stats=stats, py_func=entry.py_func, __name__=entry.__name__
    )


def test_the_first_use_is_announced_once(fresh, caplog, tmp_path):
    announce(fresh, "kernels")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "compiling" in caplog.text
    line = entry.py_func.__code__.co_firstlineno
    (tmp_path / f"test_compiled.entry-{line}.py311.nbi").touch()
    announce(fresh, "kernels")
    assert len(caplog.records) == 1


def test_what_is_compiled_is_not_announced(caplog):
    assert entry(1) == 2
    announce(entry, "kernels")
    assert not caplog.records


def test_the_names_of_kept_files_are_known(caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert entry(1) == 2
    line = entry.py_func.__code__.co_firstlineno
    assert entry.stats.cache_hits or entry.stats.cache_misses
    from pathlib import Path

    assert list(Path(entry.stats.cache_path).glob(f"test_compiled.entry-{line}.*.nbi"))
    assert not caplog.records
