"""How numba compiles the exact network's kernels."""

from pathlib import Path

import numba

from mbz.compiled import PART, compiler

if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError("numba is turned off, and the kernels need it")

_NAMES = ("vectors", "rows", "attention", "kernels", "memory", "crew", "../pointers", "../records")
_SOURCES = [Path(__file__).parent / f"{name}.py" for name in _NAMES]

function = compiler(_SOURCES)
"""Decorator of a function that Python calls, or that is called by its address."""

part = compiler(_SOURCES, **PART)
"""Decorator of what only other compiled functions call."""
